//! The pipeline of a run from text to images: opened and checked as far as can be without a device.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::Size;
use super::sample::Prompt;
use crate::checkpoint::{Component, Pipeline};
use crate::denoise::diffusion::NoiseTable;
use crate::error::{Error, Result};
use crate::graph::{Compiler, Footprint, Plan};
use crate::latent::tokenizer::Tokenizer;
use crate::latent::{autoencoder, text};
use crate::nets::architecture::{self, Architecture, CallSize, LabelInput};
use crate::nets::autoencoder_kl::AutoencoderKl;
use crate::nets::clip_text::ClipText;
use crate::report::Console;
use crate::sample::scheduler_config::SchedulerConfig;

const NETWORK: &str = "unet";
const TEXT_ENCODER: &str = "text_encoder";
const TOKENIZER: &str = "tokenizer";
const AUTOENCODER: &str = "vae";

/// What is known of a pipeline whose configurations and headers of weights have been read.
pub struct TextToImage {
    /// What the user calls it.
    pub name: String,
    /// For reports.
    pub json: Value,
    pub unet: Arc<dyn Architecture>,
    pub text: ClipText,
    pub autoencoder: AutoencoderKl,
    pub tokenizer: Tokenizer,
    /// What its scheduler says, or diffusers' defaults.
    pub scheduler: SchedulerConfig,
    /// The noise levels it was trained with.
    pub table: NoiseTable,
}

/// The files of its networks.
pub struct Files {
    pub unet: Component,
    pub text: Component,
    pub autoencoder: Component,
}

impl TextToImage {
    /// Opens what the command line calls MODEL, where it is a pipeline whose network looks at a text; none for other models.
    ///
    /// # Errors
    /// [`Error::BadFile`] and its like (exit code 4) naming the component or file that is missing, malformed, or made for
    /// another pipeline than the rest.
    pub fn open(spec: &str) -> Result<Option<(Self, Files)>> {
        // What is no folder, and what cannot be read, is for the ordinary way to say.
        let Ok(pipeline) = Pipeline::open(spec) else { return Ok(None) };
        let Ok(config) = pipeline.config(NETWORK) else { return Ok(None) };
        if !architecture::read(&config).is_ok_and(|net| net.context().is_some()) {
            return Ok(None);
        }
        [TEXT_ENCODER, TOKENIZER, AUTOENCODER].iter().try_for_each(|component| pipeline.expect(component))?;
        let files = Files {
            unet: pipeline.component(NETWORK)?,
            text: pipeline.component(TEXT_ENCODER)?,
            autoencoder: pipeline.component(AUTOENCODER)?,
        };
        let (scheduler, table) = match pipeline.scheduler()? {
            None => (SchedulerConfig::default(), NoiseTable::default()),
            Some(file) => {
                let scheduler = SchedulerConfig::read(&file.values, &file.path)?;
                let table = scheduler.noise_table(&file.path)?;
                (scheduler, table)
            }
        };
        let opened = Self {
            name: pipeline.name.clone(),
            json: describe(&pipeline, &files, &scheduler),
            unet: architecture::open(&files.unet.config, &files.unet.weights)?,
            text: text::open_net(&files.text)?,
            autoencoder: autoencoder::open_net(&files.autoencoder)?,
            tokenizer: Tokenizer::open(&pipeline.folder(TOKENIZER)?)?,
            scheduler: scheduler.for_latents(),
            table,
        };
        opened.check(&files)?;
        Ok(Some((opened, files)))
    }

    /// Whether the components are made for each other.
    fn check(&self, files: &Files) -> Result<()> {
        let (unet, latents) = (self.unet.as_ref(), self.autoencoder.config().latent_channels);
        let of_unet = |what: String, hint: &str| Err(Error::bad_file_hint(&files.unet.config.path, what, hint));
        if unet.in_channels() != latents || unet.out_channels() != latents {
            let what = format!(
                "`in_channels` is {} and `out_channels` {}, and latents have {latents} (`{}`)",
                unet.in_channels(),
                unet.out_channels(),
                files.autoencoder.config.path.display()
            );
            return of_unet(
                what,
                "pipelines of text to images are supported; inpainting and the like read more channels",
            );
        }
        let hidden = self.text.config().hidden_size;
        if let Some(dim) = unet.context().map(|input| input.channels).filter(|dim| *dim != hidden) {
            let path = files.text.config.path.display();
            let what = format!("`cross_attention_dim` is {dim}, and texts have {hidden} channels (`{path}`)");
            return of_unet(what, "take all components from one model");
        }
        if unet.labels() != LabelInput::None {
            return of_unet("the network needs class labels, too".to_owned(), "pipelines of text to images have none");
        }
        Ok(())
    }

    /// The tokens of the negative prompt and of the prompt; says what was cut off.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn tokens(&self, prompt: &Prompt, console: Console) -> Result<[Vec<u32>; 2]> {
        let encode = |flag: &str, text: &str| {
            let tokens = self.tokenizer.encode(text)?;
            if let Some(rest) = tokens.truncated {
                let length = self.tokenizer.length();
                console.warning(&format!("`--{flag}` is longer than {length} tokens: \"{rest}\" is cut off"));
            }
            Ok(tokens.ids)
        };
        Ok([encode("negative", &prompt.negative)?, encode("prompt", &prompt.text)?])
    }

    /// Channels of latents.
    pub fn channels(&self) -> usize {
        self.unet.in_channels()
    }

    /// Pixels of an image along a side of a pixel of its latents.
    pub fn factor(&self) -> usize {
        self.autoencoder.config().factor()
    }

    /// Channels of an image.
    pub fn image_channels(&self) -> usize {
        self.autoencoder.config().out_channels
    }

    /// The size of the images that the network was trained on.
    pub fn trained(&self) -> Option<Size> {
        let factor = self.factor();
        let (height, width) = self.unet.sample_size()?;
        Some(Size { height: height * factor, width: width * factor })
    }

    /// (channels, height, width) of the latents of images of `size`.
    pub fn latent_shape(&self, size: Size) -> [usize; 3] {
        [self.channels(), size.height / self.factor(), size.width / self.factor()]
    }

    /// A size that the components can make.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the nearest one.
    pub fn expect_size(&self, size: Size) -> Result<()> {
        let factor = self.factor();
        let fits = |side: usize| side.is_multiple_of(factor);
        if fits(size.height) && fits(size.width) {
            return self.unet.graph(self.unet_size(1, size)).map(|_| ());
        }
        let near = |side: usize| ((side + factor / 2) / factor).max(1) * factor;
        Err(Error::argument(
            format!("images of {} x {} (height x width)", size.height, size.width),
            format!("sides are multiples of {factor}: {} x {}, say", near(size.height), near(size.width)),
        ))
    }

    /// The plan of the network's call for so many images, each with as many contexts as guidance takes.
    ///
    /// # Errors
    /// Those of [`Architecture::graph`].
    pub fn unet_plan(&self, images: usize, halves: usize, size: Size, compiler: Compiler) -> Result<Plan> {
        Ok(compiler.plan(&self.unet.graph(self.unet_size(images * halves, size))?))
    }

    /// The extents of a call of the network.
    pub fn unet_size(&self, batch: usize, size: Size) -> CallSize {
        let [_, height, width] = self.latent_shape(size);
        CallSize::images(batch, (height, width)).with_tokens(self.tokenizer.length())
    }

    /// The plan of encoding so many texts at once.
    pub fn text_plan(&self, texts: usize, compiler: Compiler) -> Plan {
        compiler.plan(&self.text.graph(texts))
    }
}

/// Device memory for the values of a call where no batch is asked for.
const USUAL_ARENA_BYTES: u64 = 2 << 30;

/// Images at a call: `asked`, or as many as leave the network within `memory` and its values within a modest part of it.
///
/// # Errors
/// [`Error::OverLimit`] where not even one fits.
pub fn batch(asked: Option<usize>, images: usize, plan: &dyn Fn(usize) -> Result<Plan>, memory: u64) -> Result<usize> {
    let one = Footprint::of(&plan(1)?);
    let batch = asked.unwrap_or_else(|| {
        let room = memory.saturating_sub(one.weights).min(USUAL_ARENA_BYTES);
        (room / one.arena.max(1)) as usize
    });
    let batch = batch.clamp(1, images.max(1));
    let needed = if batch == 1 { one } else { Footprint::of(&plan(batch)?) };
    within(NETWORK, needed.allocated, memory)?;
    Ok(batch)
}

/// A component that takes more than the budget is refused before anything runs.
///
/// # Errors
/// [`Error::OverLimit`] naming it.
pub fn within(component: &str, bytes: u64, memory: u64) -> Result<()> {
    if bytes <= memory {
        return Ok(());
    }
    Err(Error::OverLimit {
        tensor: component.to_owned(),
        bytes,
        limit_name: "memory budget (`--memory`)",
        limit: memory,
        hint: "take `--dtype f16`, smaller images or a lower `--batch`, or raise `--memory`".to_owned(),
    })
}

/// A pipeline for a report.
fn describe(pipeline: &Pipeline, files: &Files, scheduler: &SchedulerConfig) -> Value {
    let component = |component: &Component| {
        json!({
            "config": component.config.path.display().to_string(),
            "weights": component.weights.path().display().to_string(),
            "parameters": component.weights.parameters(),
            "stored_bytes": component.weights.bytes(),
        })
    };
    json!({
        "name": pipeline.name,
        "class": pipeline.class_name(),
        "unet": component(&files.unet),
        "text_encoder": component(&files.text),
        "vae": component(&files.autoencoder),
        "scheduler": scheduler.class_name,
    })
}
