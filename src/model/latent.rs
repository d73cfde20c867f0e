//! Pipelines: a denoising network of latents, an autoencoder, and texts or class labels that it is conditioned on.

use std::sync::Arc;

use super::Size;
use super::components::Components;
use super::network::NetworkModel;
use super::open::network_component;
use super::text::TextSource;
use crate::checkpoint::{Component, Pipeline, Weights};
use crate::error::{Error, Result, excerpt};
use crate::nets::architecture::LabelInput;
use crate::nets::autoencoder::{self, Autoencoder};
use crate::sample::scheduler_config::SchedulerConfig;

/// Names of the component that denoises.
pub(super) const NETWORKS: [&str; 2] = ["unet", "transformer"];
/// Names of the text encoders, each with that of its tokenizer.
pub(super) const TEXT_ENCODERS: [(&str, &str); 2] = [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")];
pub(super) const AUTOENCODER: &str = "vae";
/// The classes of pipelines of latent consistency models.
pub(super) const LCM: [&str; 2] = ["LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline"];
/// The numbers that SDXL embeds beside a text: original size, crop, target size.
const TIME_IDS: usize = 6;
/// Scales of the guidance in diffusers' `StableDiffusionPipeline`, `StableDiffusionXLPipeline`,
/// `LatentConsistencyModelPipeline` and `DiTPipeline`.
const USUAL_TEXT_SCALE: f64 = 7.5;
const USUAL_XL_SCALE: f64 = 5.0;
const USUAL_LCM_SCALE: f64 = 8.5;
pub(super) const USUAL_LABEL_SCALE: f64 = 4.0;

/// A pipeline whose configurations and headers of weights have been read.
#[derive(Clone, Debug)]
pub struct LatentModel {
    /// The class of the pipeline, by its `model_index.json`.
    pub class: Option<String>,
    /// The name of the component that denoises: `unet` or `transformer`.
    pub component: &'static str,
    /// The denoising network of latents.
    pub network: NetworkModel,
    /// The autoencoder.
    pub autoencoder: Arc<dyn Autoencoder>,
    /// The files of the autoencoder.
    pub autoencoder_files: Component,
    /// Another autoencoder for the predictions at each step, which are previews.
    pub preview: Option<(Arc<dyn Autoencoder>, Component)>,
    /// The names of autoencoders that replace that of the pipeline: for images, and for previews.
    pub(super) replaced: (Option<String>, Option<String>),
    /// The source of conditions.
    pub source: Source,
}

/// The source of the conditions of a pipeline.
#[derive(Clone, Debug)]
pub enum Source {
    /// Texts.
    Text(Box<TextSource>),
    /// Class labels.
    Labels,
}

/// Returns `true` for the class of a pipeline of latent consistency models.
fn is_lcm(class: Option<&str>) -> bool {
    class.is_some_and(|class| LCM.contains(&class))
}

impl Source {
    /// Tokens of the context of an image.
    fn tokens(&self) -> usize {
        match self {
            Self::Text(source) => source.length(),
            Self::Labels => 0,
        }
    }
}

impl LatentModel {
    /// Returns `true` if a folder is a pipeline of latents: its network takes a context, or it has an autoencoder.
    ///
    /// # Errors
    /// [`Error::BadFile`] for a configuration that cannot be read.
    pub(super) fn is_in(pipeline: &Pipeline) -> Result<bool> {
        let config = pipeline.config(network_component(pipeline))?;
        Ok(pipeline.has(AUTOENCODER) || config.class_name()? == "UNet2DConditionModel")
    }

    /// Opens the components of a pipeline.
    ///
    /// # Errors
    /// [`Error::BadFile`] and its kin naming the component or the file that is missing, malformed, or made for another
    /// pipeline than the rest.
    pub(super) fn open(pipeline: &Pipeline) -> Result<Self> {
        Self::of(Components::open(pipeline)?)
    }

    /// The pipeline of these components.
    ///
    /// # Errors
    /// [`Error::BadFile`] and its kin naming the component that is malformed, or made for another pipeline than the
    /// rest.
    pub fn of(components: Components) -> Result<Self> {
        let Components { class, component, network, autoencoder: files, texts, zeroes_empty_negative, classes } =
            components;
        let source = if texts.is_empty() {
            Source::Labels
        } else {
            Source::Text(Box::new(TextSource::of(texts, zeroes_empty_negative)?))
        };
        let mut network = NetworkModel::new(network, source.tokens(), 2)?;
        network.scheduler = match &source {
            // Stable Diffusion 1 and 2, whose pipeline in diffusers overrides the file.
            Source::Text(source) if source.parts.len() == 1 && !is_lcm(class.as_deref()) => {
                network.scheduler.for_latents()
            }
            Source::Text(_) => network.scheduler.of_unbounded_latents(),
            Source::Labels => SchedulerConfig { of_latents: true, ..network.scheduler },
        };
        network.scheduler.shortens = is_lcm(class.as_deref());
        network.classes = classes;
        let autoencoder = autoencoder::open(&files.config, &files.weights)?;
        let opened = Self {
            class,
            component,
            network,
            autoencoder,
            autoencoder_files: files,
            preview: None,
            replaced: (None, None),
            source,
        };
        opened.check()?;
        Ok(opened)
    }

    /// Refuses components that do not belong together.
    fn check(&self) -> Result<()> {
        let (net, latents) = (&self.network.net, self.autoencoder.latent_channels());
        let refuse = |what: String, hint: &str| Err(Error::bad_file_hint(&self.network.config.path, what, hint));
        let is_known = net.in_channels() == latents || net.in_channels() == latents + inpainting_channels(latents);
        if !is_known || net.predicted_channels() != latents {
            let what = format!(
                "`in_channels` is {} and `out_channels` {}, and latents have {latents} (`{}`)",
                net.in_channels(),
                net.out_channels(),
                self.autoencoder_files.config.path.display()
            );
            let hint = "networks of latents are supported, and those of inpainting, which take a mask and the latents \
                        under it, too; other pipelines whose network reads more channels are not";
            return refuse(what, hint);
        }
        match &self.source {
            Source::Labels => match net.labels() {
                LabelInput::Numbers { .. } => Ok(()),
                LabelInput::None | LabelInput::Rows(_) => refuse(
                    "the network of a pipeline without a text encoder does not take class labels by number".to_owned(),
                    "pipelines from texts and from class labels are supported",
                ),
            },
            Source::Text(source) => {
                let hidden = source.channels();
                let dim = net.context().map_or(0, |context| context.channels);
                if dim != hidden {
                    let paths: Vec<_> =
                        source.parts.iter().map(|part| format!("`{}`", part.files.config.path.display())).collect();
                    let paths = paths.join(", ");
                    let what = format!("`cross_attention_dim` is {dim}, and texts have {hidden} channels ({paths})");
                    return refuse(what, "take all components from one model");
                }
                if net.labels() != LabelInput::None {
                    let what = "the network needs class labels, too".to_owned();
                    return refuse(what, "pipelines from text to images have none");
                }
                self.check_added(source)
            }
        }
    }

    /// Refuses text encoders that do not make what the network adds to its time embedding.
    fn check_added(&self, source: &TextSource) -> Result<()> {
        let refuse = |what: String| {
            Err(Error::bad_file_hint(&self.network.config.path, what, "take all components from one model"))
        };
        match (self.network.net.added(), source.pooled_channels()) {
            (None, None) => Ok(()),
            (None, Some(_)) => refuse("`addition_embed_type` is null, and there are two text encoders".to_owned()),
            (Some(_), None) => {
                refuse("`addition_embed_type` needs the embedding of a whole text: a second text encoder".to_owned())
            }
            (Some(added), Some(pooled)) if added.time_ids(pooled) == Some(TIME_IDS) => Ok(()),
            (Some(added), Some(pooled)) => refuse(format!(
                "`projection_class_embeddings_input_dim` is {}, not {pooled} channels of a text and {TIME_IDS} \
                 numbers of `addition_time_embed_dim` {} channels",
                added.channels, added.per_number
            )),
        }
    }

    /// Opens another autoencoder for the latents of this pipeline: a folder of one, or the `vae` of a pipeline.
    fn other_autoencoder(&self, name: &str) -> Result<(Arc<dyn Autoencoder>, Component)> {
        let files = Pipeline::open(name)?.component(AUTOENCODER)?;
        let net = autoencoder::open(&files.config, &files.weights)?;
        let (own, other) = (&self.autoencoder, &net);
        let found = (other.latent_channels(), other.factor(), other.out_channels());
        let expected = (own.latent_channels(), own.factor(), own.out_channels());
        if found != expected {
            let (channels, factor, colours) = found;
            let what =
                format!("latents of {channels} channels, {factor} pixels per latent, {colours} channels of images");
            let hint = format!(
                "the pipeline `{}` has {} channels of latents, {} pixels per latent and images of {} channels",
                self.network.name, expected.0, expected.1, expected.2
            );
            return Err(Error::bad_file_hint(&files.config.path, what, hint));
        }
        Ok((net, files))
    }

    /// Replaces the autoencoder by another one, such as a small one that is fast (`AutoencoderTiny`).
    ///
    /// # Errors
    /// Those of [`Pipeline::component`] and [`autoencoder::open`]; [`Error::BadFile`] for latents of another shape.
    pub fn replace_autoencoder(&mut self, name: &str) -> Result<()> {
        (self.autoencoder, self.autoencoder_files) = self.other_autoencoder(name)?;
        self.replaced.0 = Some(name.to_owned());
        Ok(())
    }

    /// Decodes the predictions at each step by another autoencoder.
    ///
    /// # Errors
    /// As [`Self::replace_autoencoder`].
    pub fn preview_by(&mut self, name: &str) -> Result<()> {
        self.preview = Some(self.other_autoencoder(name)?);
        self.replaced.1 = Some(name.to_owned());
        Ok(())
    }

    /// Notes on autoencoders that replace that of the pipeline.
    pub(super) fn autoencoder_notes(&self) -> Vec<String> {
        let note = |what: &str, name: &Option<String>, class: &str| {
            name.as_ref().map(|name| format!("{what} are decoded by `{}` ({class})", excerpt(name)))
        };
        let preview = self.preview.as_ref().map_or("", |(net, _)| net.class());
        let images = note("images", &self.replaced.0, self.autoencoder.class());
        images.into_iter().chain(note("previews", &self.replaced.1, preview)).collect()
    }

    /// Notes on the weights of the components beside the network.
    pub(super) fn weight_notes(&self) -> Vec<String> {
        let encoder = match &self.source {
            Source::Text(source) => source.parts.iter().map(|part| &part.files.weights).collect(),
            Source::Labels => Vec::new(),
        };
        let others = encoder.into_iter().chain([&self.autoencoder_files.weights]);
        // What was assumed about a single file is said once, for its network.
        others.filter(|weights| weights.origin().is_none()).flat_map(Weights::notes).collect()
    }

    /// Pixels along a side of an image per pixel along that of its latents.
    #[must_use]
    pub fn factor(&self) -> usize {
        self.autoencoder.factor()
    }

    /// Channels of the latents.
    #[must_use]
    pub fn latent_channels(&self) -> usize {
        self.autoencoder.latent_channels()
    }

    /// Returns `true` for a network of inpainting: it takes the latents, a mask, and the latents of the image under it.
    #[must_use]
    pub fn is_inpainting(&self) -> bool {
        self.network.net.in_channels() > self.latent_channels()
    }

    /// Channels of an image.
    #[must_use]
    pub fn image_channels(&self) -> usize {
        self.autoencoder.out_channels()
    }

    /// Height and width of the images of the network's training, if the configuration has them.
    #[must_use]
    pub fn trained_size(&self) -> Option<Size> {
        let (height, width) = self.network.net.sample_size()?;
        Some((height * self.factor(), width * self.factor()))
    }

    /// (channels, height, width) of the latents of images of a size.
    #[must_use]
    pub fn latent_shape(&self, (height, width): Size) -> [usize; 3] {
        [self.latent_channels(), height / self.factor(), width / self.factor()]
    }

    /// Tokens of the context of an image.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.source.tokens()
    }

    /// The scale of the guidance in diffusers' pipeline of this class, where it is not given.
    #[must_use]
    pub(super) fn usual_scale(&self) -> f64 {
        match &self.source {
            Source::Labels => USUAL_LABEL_SCALE,
            Source::Text(_) if is_lcm(self.class.as_deref()) => USUAL_LCM_SCALE,
            Source::Text(source) if source.parts.len() > 1 => USUAL_XL_SCALE,
            Source::Text(_) => USUAL_TEXT_SCALE,
        }
    }

    /// Refuses a size that is not a multiple of the pixels per latent.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the nearest valid size.
    pub fn expect_size(&self, (height, width): Size) -> Result<()> {
        let factor = self.factor();
        if height.is_multiple_of(factor) && width.is_multiple_of(factor) && height > 0 && width > 0 {
            return Ok(());
        }
        let near = |side: usize| ((side + factor / 2) / factor).max(1) * factor;
        Err(Error::argument(
            format!("images of {height} x {width} (height x width)"),
            format!("sides are multiples of {factor}, such as {} x {}", near(height), near(width)),
        ))
    }
}

/// Channels that a network of inpainting takes after the latents: the mask, and the latents of the image under it.
fn inpainting_channels(latents: usize) -> usize {
    1 + latents
}
