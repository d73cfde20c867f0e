//! The single stages of a pipeline: texts to contexts, latents to images, images to latents.
//!
//! Each opens from the name of a pipeline, or of the folder of the one component, and goes on a device by itself.

use std::sync::Arc;

use super::Size;
use super::components::TextFiles;
use super::device::{Observer, done, make_ready};
use super::latent::{AUTOENCODER, TEXT_ENCODERS};
use super::memory::largest_batch;
use super::text::TextSource;
use crate::checkpoint::{Component, Pipeline};
use crate::error::{Error, Result};
use crate::graph::{Compiler, Footprint, Plan};
use crate::latent::autoencoder::{Decoder, Encoder, Planned, compiler_for};
use crate::latent::passage::Passage;
use crate::latent::text::Encoded;
use crate::latent::tiles::{Room, Tiling};
use crate::latent::tokenizer::Tokenizer;
use crate::nets::autoencoder;
use crate::noise::Purpose;
use crate::tensor::Tensor;

/// The most texts per call, unless the caller asks for more.
const USUAL_TEXTS: usize = 16;

/// The autoencoder of a pipeline.
#[derive(Clone, Debug)]
pub struct Autoencoder {
    /// The name that it was opened by.
    pub name: String,
    /// The class of the pipeline, if there is a `model_index.json`.
    pub class: Option<String>,
    /// The architecture.
    pub net: Arc<dyn autoencoder::Autoencoder>,
    /// The files.
    pub files: Component,
}

/// The texts of a pipeline: its tokenizers, and the way to its text encoders.
#[derive(Clone, Debug)]
pub struct Texts {
    /// The name that it was opened by.
    pub name: String,
    /// The class of the pipeline, if there is a `model_index.json`.
    pub class: Option<String>,
    /// The tokenizers: one, or two of the same texts.
    pub tokenizers: Vec<Tokenizer>,
    pipeline: Pipeline,
}

/// A stage that is planned for a device.
#[derive(Clone, Debug)]
pub struct PlannedStage<P> {
    /// Items per call.
    pub batch: usize,
    /// The plans.
    pub plans: P,
}

/// The output of a stage for all of its items.
#[derive(Clone, Debug)]
pub struct StageOutput {
    /// The output.
    pub output: Tensor,
    /// Items per call.
    pub batch: usize,
    /// The largest footprint of its calls.
    pub footprint: Option<Footprint>,
    /// The strips of rows that a decoder computed one after the other; 1 for a whole image.
    pub strips: usize,
}

impl StageOutput {
    /// The output of finite values, or else the error that `trace` finds, or one about `place`, whose values come from
    /// `inputs`.
    fn finite(self, place: &str, inputs: &str, trace: impl FnOnce() -> Result<()>) -> Result<Self> {
        if self.output.is_finite() {
            return Ok(self);
        }
        trace()?;
        let hint = format!("the values of {inputs} make it overflow");
        Err(Error::NonFinite { place: place.to_owned(), hint })
    }
}

impl Autoencoder {
    /// Encodes images (n, c, h, w) on a device: the mean of the latents, or a draw by the noise of a seed. Not scaled.
    ///
    /// # Errors
    /// Those of [`Self::plan_encoder`] and of the device; [`Error::NonFinite`]; those of `observer`.
    pub fn encode(
        &self,
        compiler: Compiler,
        images: &Tensor,
        batch: Option<usize>,
        draw: Option<u64>,
        observer: &mut Observer,
    ) -> Result<StageOutput> {
        let (count, size) = (images.shape[0], (images.shape[2], images.shape[3]));
        let planned = self.plan_encoder(compiler, batch, count, size)?;
        make_ready(compiler.engine, std::slice::from_ref(&planned.plans), observer)?;
        let (batch, footprint) = (planned.batch, Footprint::of(&planned.plans));
        let encoder = self.encoder(compiler, size, planned)?;
        done(observer, "upload", "")?;
        let posterior = encoder.encode(images)?;
        done(observer, "call", "")?;
        let output = match draw {
            None => posterior.mean,
            Some(seed) => {
                let len = posterior.mean.stride();
                let noise =
                    (0..count).flat_map(|image| Purpose::Posterior.normals(seed, image as u64, 0, len)).collect();
                posterior.draw(&Tensor::new(posterior.mean.shape.clone(), noise))
            }
        };
        StageOutput { output, batch, footprint: Some(footprint), strips: 1 }.finite(
            "the latents",
            "the images or the weights",
            || encoder.trace_nonfinite(images),
        )
    }

    /// Decodes latents (n, c, h, w), not scaled, on a device: images, about -1 to 1.
    ///
    /// # Errors
    /// Those of [`Self::plan_decoder`] and of the device; [`Error::NonFinite`]; those of `observer`.
    pub fn decode(
        &self,
        compiler: Compiler,
        latents: &Tensor,
        batch: Option<usize>,
        tiling: Tiling,
        observer: &mut Observer,
    ) -> Result<StageOutput> {
        let size = (latents.shape[2], latents.shape[3]);
        let PlannedStage { batch, plans } = self.plan_decoder(compiler, batch, latents.shape[0], size, tiling)?;
        make_ready(compiler.engine, plans.plans(), observer)?;
        let footprint = Footprint::largest(plans.plans());
        let decoder = self.decoder(compiler, size, plans)?;
        done(observer, "upload", "")?;
        let output = decoder.decode(latents)?;
        done(observer, "call", "")?;
        StageOutput { output, batch, footprint, strips: decoder.strips() }.finite(
            "the images",
            "the latents or the weights",
            || decoder.trace_nonfinite(latents),
        )
    }

    /// Opens the autoencoder of a pipeline, or a folder with nothing else.
    ///
    /// # Errors
    /// [`crate::Error::FileNotFound`]; [`crate::Error::BadFile`] and its kin.
    pub fn open(name: &str) -> Result<Self> {
        let pipeline = Pipeline::open(name)?;
        let files = pipeline.component(AUTOENCODER)?;
        let (name, class) = (pipeline.name.clone(), pipeline.class_name().map(str::to_owned));
        Ok(Self { name, class, net: autoencoder::open(&files.config, &files.weights)?, files })
    }

    /// Plans the decoder for up to `images` latents of a size.
    ///
    /// # Errors
    /// Those of [`Planned::new`].
    pub fn plan_decoder(
        &self,
        compiler: Compiler,
        batch: Option<usize>,
        images: usize,
        latents: Size,
        tiling: Tiling,
    ) -> Result<PlannedStage<Planned>> {
        let (room, graph) = (Room::new(compiler_for(self.net.as_ref(), compiler), None), self.net.decoder(1, latents)?);
        let planned = |batch| Planned::of_graph(&graph, batch, tiling, &room);
        let fixed = |batch: usize| batch.clamp(1, images.max(1));
        if let Some(batch) = batch.map(fixed) {
            return Ok(PlannedStage { batch, plans: planned(batch)? });
        }
        let one = planned(1)?;
        let most = one.plans().iter().max_by_key(|plan| Footprint::of(plan).allocated).map_or(1, largest_batch);
        match fixed(most) {
            1 => Ok(PlannedStage { batch: 1, plans: one }),
            batch => Ok(PlannedStage { batch, plans: planned(batch)? }),
        }
    }

    /// The decoder on a device, as it was planned for latents of a size.
    ///
    /// # Errors
    /// Those of the device.
    pub fn decoder<'e>(&self, compiler: Compiler<'e>, latents: Size, planned: Planned) -> Result<Decoder<'e>> {
        Decoder::new(compiler.engine, self.files.clone(), latents, planned)
    }

    /// Plans the encoder for up to `images` images of a size.
    ///
    /// # Errors
    /// Those of [`autoencoder::Autoencoder::encoder`].
    pub fn plan_encoder(
        &self,
        compiler: Compiler,
        batch: Option<usize>,
        images: usize,
        size: Size,
    ) -> Result<PlannedStage<Plan>> {
        let (compiler, graph) = (compiler_for(self.net.as_ref(), compiler), self.net.encoder(1, size)?);
        let plan = |batch| compiler.plan(&graph.for_images(1, batch));
        let fixed = |batch: usize| batch.clamp(1, images.max(1));
        if let Some(batch) = batch.map(fixed) {
            return Ok(PlannedStage { batch, plans: plan(batch) });
        }
        let one = plan(1);
        match fixed(largest_batch(&one)) {
            1 => Ok(PlannedStage { batch: 1, plans: one }),
            batch => Ok(PlannedStage { batch, plans: plan(batch) }),
        }
    }

    /// The encoder on a device, as it was planned for images of a size.
    ///
    /// # Errors
    /// Those of the device.
    pub fn encoder<'e>(&self, compiler: Compiler<'e>, size: Size, planned: PlannedStage<Plan>) -> Result<Encoder<'e>> {
        Encoder::planned(compiler.engine, &self.files, planned.batch, size, planned.plans)
    }
}

impl Texts {
    /// Opens the tokenizers of a pipeline.
    ///
    /// # Errors
    /// [`crate::Error::FileNotFound`]; [`crate::Error::BadFile`] and its kin.
    pub fn open(name: &str) -> Result<Self> {
        let pipeline = Pipeline::open(name)?;
        let (name, class) = (pipeline.name.clone(), pipeline.class_name().map(str::to_owned));
        let open = |tokenizer| Tokenizer::find(&pipeline.tokenizer(tokenizer)?);
        let tokenizers = text_encoders(&pipeline).map(|(_, tokenizer)| open(tokenizer)).collect::<Result<_>>()?;
        Ok(Self { name, class, tokenizers, pipeline })
    }

    /// Opens the text encoders, too.
    ///
    /// # Errors
    /// [`crate::Error::BadFile`] and its kin.
    pub fn encoder(self) -> Result<TextSource> {
        let named = text_encoders(&self.pipeline).zip(self.tokenizers);
        let open = |((name, _), tokenizer)| Ok(TextFiles { name, tokenizer, files: self.pipeline.component(name)? });
        TextSource::of(named.map(open).collect::<Result<_>>()?, false)
    }
}

/// The names of the text encoders that a pipeline has, and of their tokenizers; the first one in any case.
fn text_encoders(pipeline: &Pipeline) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = TEXT_ENCODERS.into_iter().enumerate();
    all.filter(|(at, (encoder, _))| *at == 0 || pipeline.has(encoder)).map(|(_, names)| names)
}

/// The embeddings of texts.
#[derive(Clone, Debug)]
pub struct TextOutput {
    /// The embeddings.
    pub encoded: Encoded,
    /// Texts per call.
    pub batch: usize,
    /// The largest footprint of a call.
    pub footprint: Option<Footprint>,
}

impl TextSource {
    /// Encodes tokens of texts on a device, given for each encoder: embeddings (texts, tokens, channels), as the
    /// network takes them.
    ///
    /// # Errors
    /// Those of the device; [`Error::NonFinite`]; those of `observer`.
    pub fn encode(
        &self,
        compiler: Compiler,
        passages: &[Vec<Passage>],
        batch: Option<usize>,
        observer: &mut Observer,
    ) -> Result<TextOutput> {
        let texts = passages.first().map_or(0, |texts| texts.iter().map(|text| text.chunks.len()).sum::<usize>());
        let batch = batch.unwrap_or(USUAL_TEXTS).clamp(1, texts.max(1));
        let (encoded, footprint) = self.encode_all(compiler, passages, batch, observer)?;
        let all = encoded.pooled.iter().chain([&encoded.hidden]);
        if all.into_iter().any(|tensor| !tensor.is_finite()) {
            let hint = "the values of the weights make it overflow".to_owned();
            return Err(Error::NonFinite { place: "the embeddings".to_owned(), hint });
        }
        Ok(TextOutput { encoded, batch, footprint })
    }
}
