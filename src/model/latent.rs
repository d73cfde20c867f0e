//! Pipelines: a denoising network of latents, an autoencoder, and texts or class labels that it is conditioned on.

use super::Size;
use super::network::NetworkModel;
use super::open::{class_names, network_component, network_files};
use crate::checkpoint::{Component, Pipeline, Weights};
use crate::error::{Error, Result};
use crate::graph::{Compiler, Plan};
use crate::latent::tokenizer::Tokenizer;
use crate::nets::architecture::LabelInput;
use crate::nets::autoencoder_kl::{self, AutoencoderKl};
use crate::nets::clip_text::{self, ClipText};
use crate::sample::scheduler_config::SchedulerConfig;

/// Names of the component that denoises.
pub(super) const NETWORKS: [&str; 2] = ["unet", "transformer"];
pub(super) const TEXT_ENCODER: &str = "text_encoder";
pub(super) const TOKENIZER: &str = "tokenizer";
pub(super) const AUTOENCODER: &str = "vae";

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
    pub autoencoder: AutoencoderKl,
    /// The files of the autoencoder.
    pub autoencoder_files: Component,
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

/// From texts to contexts.
#[derive(Clone, Debug)]
pub struct TextSource {
    /// From a text to tokens.
    pub tokenizer: Tokenizer,
    /// From tokens to embeddings.
    pub encoder: ClipText,
    /// The files of the encoder.
    pub files: Component,
}

/// A text to follow, and one to move away from.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The text to follow.
    pub text: String,
    /// The text to move away from, empty by default.
    pub negative: String,
}

/// The tokens of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenized {
    /// Tokens of the text to follow.
    pub text: Vec<u32>,
    /// Tokens of the text to move away from.
    pub negative: Vec<u32>,
    /// Notes about texts that were cut off.
    pub notes: Vec<String>,
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
        let files = network_files(pipeline)?;
        let takes_text = files.config.class_name()? == "UNet2DConditionModel" || pipeline.has(TEXT_ENCODER);
        let source = if takes_text { Source::Text(Box::new(TextSource::open(pipeline)?)) } else { Source::Labels };
        let tokens = match &source {
            Source::Text(source) => source.tokenizer.length(),
            Source::Labels => 0,
        };
        pipeline.expect(AUTOENCODER)?;
        let autoencoder_files = pipeline.component(AUTOENCODER)?;
        let mut network = NetworkModel::new(files, tokens, 2)?;
        network.scheduler = match &source {
            Source::Text(_) => network.scheduler.for_latents(),
            Source::Labels => SchedulerConfig { of_latents: true, ..network.scheduler },
        };
        network.classes = class_names(pipeline)?;
        let opened = Self {
            class: pipeline.class_name().map(str::to_owned),
            component: network_component(pipeline),
            network,
            autoencoder: autoencoder_kl::open(&autoencoder_files.config, &autoencoder_files.weights)?,
            autoencoder_files,
            source,
        };
        opened.check()?;
        Ok(opened)
    }

    /// Refuses components that do not belong together.
    fn check(&self) -> Result<()> {
        let (net, latents) = (&self.network.net, self.autoencoder.config().latent_channels);
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
                let hidden = source.encoder.config().hidden_size;
                let dim = net.context().map_or(0, |context| context.channels);
                if dim != hidden {
                    let path = source.files.config.path.display();
                    let what = format!("`cross_attention_dim` is {dim}, and texts have {hidden} channels (`{path}`)");
                    return refuse(what, "take all components from one model");
                }
                if net.labels() != LabelInput::None {
                    let what = "the network needs class labels, too".to_owned();
                    return refuse(what, "pipelines from text to images have none");
                }
                Ok(())
            }
        }
    }

    /// Notes on the weights of the components beside the network.
    pub(super) fn weight_notes(&self) -> Vec<String> {
        let encoder = match &self.source {
            Source::Text(source) => Some(&source.files.weights),
            Source::Labels => None,
        };
        let others = encoder.into_iter().chain([&self.autoencoder_files.weights]);
        // What was assumed about a single file is said once, for its network.
        others.filter(|weights| weights.origin().is_none()).flat_map(Weights::notes).collect()
    }

    /// Pixels along a side of an image per pixel along that of its latents.
    #[must_use]
    pub fn factor(&self) -> usize {
        self.autoencoder.config().factor()
    }

    /// Channels of the latents.
    #[must_use]
    pub fn latent_channels(&self) -> usize {
        self.autoencoder.config().latent_channels
    }

    /// Returns `true` for a network of inpainting: it takes the latents, a mask, and the latents of the image under it.
    #[must_use]
    pub fn is_inpainting(&self) -> bool {
        self.network.net.in_channels() > self.latent_channels()
    }

    /// Channels of an image.
    #[must_use]
    pub fn image_channels(&self) -> usize {
        self.autoencoder.config().out_channels
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
        match &self.source {
            Source::Text(source) => source.tokenizer.length(),
            Source::Labels => 0,
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

impl TextSource {
    /// The tokenizer and the text encoder of a pipeline.
    ///
    /// # Errors
    /// [`Error::BadFile`] and its kin naming the component or the file that is missing or malformed.
    pub fn open(pipeline: &Pipeline) -> Result<Self> {
        [TEXT_ENCODER, TOKENIZER].iter().try_for_each(|component| pipeline.expect(component))?;
        let files = pipeline.component(TEXT_ENCODER)?;
        Self::of(Tokenizer::find(&pipeline.tokenizer(TOKENIZER)?)?, files)
    }

    /// The text encoder in `files` with its tokenizer.
    ///
    /// # Errors
    /// Those of [`clip_text::open`].
    pub fn of(tokenizer: Tokenizer, files: Component) -> Result<Self> {
        Ok(Self { tokenizer, encoder: clip_text::open(&files.config, &files.weights)?, files })
    }

    /// The tokens of a prompt.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn tokens(&self, prompt: &Prompt) -> Result<Tokenized> {
        let mut notes = Vec::new();
        let mut encode = |field: &str, text: &str| -> Result<Vec<u32>> {
            let tokens = self.tokenizer.encode(text)?;
            if let Some(rest) = tokens.truncated {
                let length = self.tokenizer.length();
                notes.push(format!("`{field}` is longer than {length} tokens: \"{rest}\" is cut off"));
            }
            Ok(tokens.ids)
        };
        let (negative, text) = (encode("negative", &prompt.negative)?, encode("prompt", &prompt.text)?);
        Ok(Tokenized { text, negative, notes })
    }

    /// The plan of encoding `texts` texts in one call.
    #[must_use]
    pub fn plan(&self, compiler: Compiler, texts: usize) -> Plan {
        compiler.plan(&self.encoder.graph(texts))
    }
}
