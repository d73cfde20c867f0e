//! The parts of a pipeline of latents, wherever their files lie.

use std::collections::BTreeMap;

use super::latent::{AUTOENCODER, TEXT_ENCODERS};
use super::open::{class_names, network_component, network_files};
use crate::checkpoint::{Component, ModelFiles, Pipeline};
use crate::error::Result;
use crate::latent::tokenizer::Tokenizer;

/// The parts of a pipeline: configurations, headers of weights, tokenizers. [`super::LatentModel::of`] checks that they
/// belong together.
#[derive(Clone, Debug)]
pub struct Components {
    /// The class of the pipeline, if its files name one.
    pub class: Option<String>,
    /// The name of the component that denoises: `unet` or `transformer`.
    pub component: &'static str,
    /// The network that denoises, with the scheduler; its name is that of the model.
    pub network: ModelFiles,
    /// The autoencoder.
    pub autoencoder: Component,
    /// The text encoders, in the order of their channels in a context; none for a pipeline from class labels.
    pub texts: Vec<TextFiles>,
    /// `force_zeros_for_empty_prompt` of SDXL: without a negative prompt, the embeddings to move away from are zeros.
    pub zeroes_empty_negative: bool,
    /// The names of classes by their label.
    pub classes: BTreeMap<usize, String>,
}

/// A text encoder and its tokenizer.
#[derive(Clone, Debug)]
pub struct TextFiles {
    /// The name of the component: `text_encoder` or `text_encoder_2`.
    pub name: &'static str,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Configuration and weights.
    pub files: Component,
}

impl Components {
    /// Opens the components of a diffusers folder, or of a single file.
    ///
    /// # Errors
    /// [`crate::Error::BadFile`] and its kin naming the component or the file that is missing or malformed, or a
    /// pipeline that is not supported.
    pub fn open(pipeline: &Pipeline) -> Result<Self> {
        expect_no_refiner(pipeline)?;
        let network = network_files(pipeline)?;
        let [(encoder, _), ..] = TEXT_ENCODERS;
        let takes_text = network.config.class_name()? == "UNet2DConditionModel" || pipeline.has(encoder);
        let texts = if takes_text { TextFiles::open(pipeline)? } else { Vec::new() };
        pipeline.expect(AUTOENCODER)?;
        let flag = |field| pipeline.index().map_or(Ok(None), |index| index.opt_bool(field, None));
        Ok(Self {
            class: pipeline.class_name().map(str::to_owned),
            component: network_component(pipeline),
            network,
            autoencoder: pipeline.component(AUTOENCODER)?,
            texts,
            zeroes_empty_negative: flag("force_zeros_for_empty_prompt")?.unwrap_or(true),
            classes: class_names(pipeline)?,
        })
    }
}

impl TextFiles {
    fn open(pipeline: &Pipeline) -> Result<Vec<Self>> {
        let mut texts = Vec::new();
        for (at, (encoder, tokenizer)) in TEXT_ENCODERS.into_iter().enumerate() {
            if at > 0 && !pipeline.has(encoder) {
                continue;
            }
            [encoder, tokenizer].iter().try_for_each(|component| pipeline.expect(component))?;
            let tokenizer = Tokenizer::find(&pipeline.tokenizer(tokenizer)?)?;
            texts.push(Self { name: encoder, tokenizer, files: pipeline.component(encoder)? });
        }
        Ok(texts)
    }
}

/// Refuses the refiner of SDXL by name.
fn expect_no_refiner(pipeline: &Pipeline) -> Result<()> {
    const ONLY: &str = "base models of SDXL; its refiner, which is conditioned on an aesthetic score, is not supported";
    let Some(index) = pipeline.index() else { return Ok(()) };
    if index.opt_bool("requires_aesthetics_score", None)? == Some(true) {
        return Err(index.unsupported("requires_aesthetics_score", ONLY));
    }
    let [(first, _), (second, _)] = TEXT_ENCODERS;
    if pipeline.has(second) && !pipeline.has(first) {
        return Err(index.unsupported(first, ONLY));
    }
    Ok(())
}
