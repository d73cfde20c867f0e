//! Flags of models that are conditioned: texts, class labels, guidance, memory.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::args::{Size, TileArg};
use crate::cli::numbers::whole_from;
use crate::denoise::GuidanceMode;
use crate::error::Result;
use crate::model::{Classifier, Framing, Model, Sampling};

const CONDITIONS: &str = "Text and class labels";

/// The flags of models that are conditioned on texts or class labels.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("text").multiple(true).args(["prompt", "prompts"]))]
pub struct ConditionArgs {
    /// Text that the images should show; given several times, each prompt has its own images, in files with its number
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, help_heading = CONDITIONS)]
    pub prompt: Vec<String>,

    /// File of prompts: one per line, or JSON lines with `prompt`, `negative` and `seed`; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "prompt", help_heading = CONDITIONS)]
    pub prompts: Option<PathBuf>,

    /// Negative prompt: text that the images should not show
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "text", help_heading = CONDITIONS)]
    pub negative: Option<String>,

    /// Read brackets in texts as weights by the rule of AUTOMATIC1111's web UI: `(word)` 1.1 times, `[word]` 1 / 1.1
    /// times, `(word:1.3)`, nested; the mean of the embeddings is restored
    #[arg(long, requires = "text", help_heading = CONDITIONS)]
    pub prompt_weights: bool,

    /// Read texts longer than 77 tokens in chunks, each with its own start and end, instead of cutting them off
    #[arg(long, requires = "text", help_heading = CONDITIONS)]
    pub long_prompts: bool,

    /// Class of each image, by number or name; a list shorter than the number of images is repeated
    #[arg(long, value_name = "A,B,...", value_delimiter = ',', conflicts_with = "text", help_heading = CONDITIONS)]
    pub class_labels: Option<Vec<String>>,

    /// Scale s of the guidance, `eps_u + s (eps_c - eps_u)`, where `eps_c` follows the text or the class and `eps_u`
    /// does not; 1 calls the network with the condition only, and so does less for texts. Latent consistency models
    /// take s as an input [default: 7.5 for texts, 5 for SDXL, 8.5 for LCM, 4 for classes]
    #[arg(long, value_name = "S", help_heading = CONDITIONS)]
    pub cfg_scale: Option<f64>,

    /// Role of the guided estimate: `cfg` takes it for every part of a step; `cfg++` denoises with it and renoises with
    /// `eps_u`, with a scale S from 0 to 1 [default: cfg; with cfg++ S is 0.6]
    #[arg(long, value_name = "MODE", value_parser = mode(), help_heading = CONDITIONS)]
    pub guidance_mode: Option<GuidanceMode>,

    /// Guide only where LO < sigma <= HI; elsewhere call the network with the condition only [default: everywhere]
    #[arg(long, value_name = "LO,HI", allow_hyphen_values = true, help_heading = CONDITIONS)]
    pub guidance_interval: Option<Sigmas>,

    /// Share of the guided output that is rescaled to the standard deviation of the conditional one, 0 to 1
    /// [default: 0]
    #[arg(long, value_name = "PHI", help_heading = CONDITIONS)]
    pub guidance_rescale: Option<f64>,

    /// Classifier of openai/guided-diffusion that guides a network of pixels to `--class-labels`, which the network
    /// itself need not take: a `.pt` or `.safetensors` in the original layout
    #[arg(long, value_name = "FILE", conflicts_with = "text", help_heading = CONDITIONS)]
    pub classifier: Option<PathBuf>,

    /// Factor of the classifier's gradient [default: 1]
    #[arg(long, value_name = "S", requires = "classifier", help_heading = CONDITIONS)]
    pub classifier_scale: Option<f64>,

    /// Blocks at the end of the text encoder to leave out for `--prompt`; 1 is a skip of 2 elsewhere [default: 0]
    #[arg(long, value_name = "N", requires = "text", help_heading = CONDITIONS,
        value_parser = whole_from::<usize>(0))]
    pub clip_skip: Option<usize>,

    /// SDXL: size of the image before training scaled and cropped it [default: the size of the images]
    #[arg(long, value_name = "HxW", requires = "text", hide_short_help = true, help_heading = CONDITIONS)]
    pub original_size: Option<Size>,

    /// SDXL: rows above and columns left of the crop [default: 0,0]
    #[arg(long, value_name = "TOP,LEFT", requires = "text", hide_short_help = true, help_heading = CONDITIONS)]
    pub crop: Option<Crop>,

    /// SDXL: size of the crop [default: the size of the images]
    #[arg(long, value_name = "HxW", requires = "text", hide_short_help = true, help_heading = CONDITIONS)]
    pub target_size: Option<Size>,

    /// Decode in strips: always, of ROWS rows (a number); `never`; or only if the image does not fit (`auto`)
    /// [default: auto]
    #[arg(long, value_name = "ROWS|never|auto", help_heading = CONDITIONS)]
    pub tile: Option<TileArg>,

    /// Limit on device memory: where needed, components are loaded in turn, calls take fewer images, and images are
    /// decoded in strips
    /// [default: 8GiB]
    #[arg(long, value_name = "SIZE", help_heading = CONDITIONS)]
    pub memory: Option<Memory>,
}

impl ConditionArgs {
    /// The labels of the classes, by number.
    ///
    /// # Errors
    /// Those of [`crate::model::NetworkModel::label`].
    pub fn labels(&self, model: &Model) -> Result<Option<Vec<f64>>> {
        let Some(classes) = &self.class_labels else { return Ok(None) };
        let network = model.expect_network()?;
        classes.iter().map(|class| network.label(class)).collect::<Result<_>>().map(Some)
    }

    /// Adds these conditions to a run; `labels` are those of [`Self::labels`].
    ///
    /// # Errors
    /// Those of [`Classifier::open`].
    pub fn describe<'a>(&self, mut sampling: Sampling<'a>, labels: Option<Vec<f64>>) -> Result<Sampling<'a>> {
        if let Some(file) = &self.classifier {
            sampling = sampling.classifier(Classifier::open(file)?, self.classifier_scale.unwrap_or(1.0));
        }
        if let Some(prompt) = self.prompt.first() {
            sampling = sampling.prompt(prompt);
        }
        sampling = sampling.prompt_weights(self.prompt_weights).long_prompts(self.long_prompts);
        if let Some(negative) = &self.negative {
            sampling = sampling.negative(negative);
        }
        if let Some(blocks) = self.clip_skip {
            sampling = sampling.clip_skip(blocks);
        }
        sampling = sampling.framing(Framing {
            original: self.original_size.map(Into::into),
            crop: self.crop.map(|Crop { top, left }| (top, left)),
            target: self.target_size.map(Into::into),
        });
        if let Some(labels) = labels {
            sampling = sampling.labels(labels);
        }
        if let Some(scale) = self.cfg_scale {
            sampling = sampling.guidance_scale(scale);
        }
        if let Some(mode) = self.guidance_mode {
            sampling = sampling.guidance_mode(mode);
        }
        if let Some(Sigmas { low, high }) = self.guidance_interval {
            sampling = sampling.guidance_interval(low, high);
        }
        if let Some(share) = self.guidance_rescale {
            sampling = sampling.guidance_rescale(share);
        }
        if let Some(TileArg(tiling)) = self.tile {
            sampling = sampling.tiling(tiling);
        }
        Ok(match self.memory {
            None => sampling,
            Some(Memory(bytes)) => sampling.memory(bytes),
        })
    }
}

/// Reads a mode of guidance.
fn mode() -> impl TypedValueParser<Value = GuidanceMode> {
    PossibleValuesParser::new(GuidanceMode::ALL.map(GuidanceMode::name)).try_map(|name| name.parse::<GuidanceMode>())
}

/// An interval of noise levels: `LO,HI`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sigmas {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl FromStr for Sigmas {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let read = |part: &str| part.trim().parse::<f64>().ok();
        let pair = text.split_once(',').and_then(|(low, high)| Some(Self { low: read(low)?, high: read(high)? }));
        pair.ok_or_else(|| "expected LO,HI: two sigmas, of which the upper one may be `inf`".to_owned())
    }
}

/// The place of a crop in an image: `TOP,LEFT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Rows above it.
    pub top: usize,
    /// Columns left of it.
    pub left: usize,
}

impl FromStr for Crop {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let read = |part: &str| part.trim().parse::<usize>().ok();
        let pair = text.split_once(',').and_then(|(top, left)| Some(Self { top: read(top)?, left: read(left)? }));
        pair.ok_or_else(|| "expected TOP,LEFT: rows above and columns left of the crop".to_owned())
    }
}

/// An amount of memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub u64);

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
        let (number, unit) = lower.split_at(digits);
        let shift = match unit.trim().trim_end_matches("ib").trim_end_matches('b') {
            "" if unit.trim().is_empty() => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => return Err("expected a size such as 8GiB, 512MiB or a number of bytes".to_owned()),
        };
        let bytes = number.parse::<f64>().map_err(|_| format!("`{number}` is not a number"))? * (1u64 << shift) as f64;
        if bytes < 1.0 { Err("expected an amount above 0".to_owned()) } else { Ok(Self(bytes as u64)) }
    }
}

/// The size in pixels by `--size`, or by `--width` and `--height` in place of one or both sides.
pub fn size(size: Option<Size>, height: Option<usize>, width: Option<usize>, trained: Option<Size>) -> Option<Size> {
    let base = size.or(trained);
    match (height, width) {
        (None, None) => size,
        _ => Some(Size {
            height: height.or(base.map(|size| size.height))?,
            width: width.or(base.map(|size| size.width))?,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_memory_are_read() {
        for (text, bytes) in
            [("8GiB", 8 << 30), ("512mib", 512 << 20), ("1.5G", 3 << 29), ("4096", 4096), ("2 kB", 2048)]
        {
            assert_eq!(text.parse(), Ok(Memory(bytes)), "{text}");
        }
        for text in ["", "GiB", "-1G", "8 lots", "0", "8ib"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
    }

    #[test]
    fn intervals_of_sigmas_are_read() {
        assert_eq!("0.2, 2".parse(), Ok(Sigmas { low: 0.2, high: 2.0 }));
        assert_eq!("0,inf".parse(), Ok(Sigmas { low: 0.0, high: f64::INFINITY }));
        for text in ["", "1", "1-2", "a,b", "1,2,3"] {
            assert!(text.parse::<Sigmas>().is_err(), "{text}");
        }
    }

    #[test]
    fn places_of_crops_are_read() {
        assert_eq!("16,0".parse(), Ok(Crop { top: 16, left: 0 }));
        for text in ["", "16", "16x0", "-1,0", "1,2,3"] {
            assert!(text.parse::<Crop>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_side_is_enough() {
        let trained = Some(Size { height: 512, width: 512 });
        assert_eq!(size(None, None, Some(640), trained), Some(Size { height: 512, width: 640 }));
        assert_eq!(size(None, None, None, trained), None);
        assert_eq!(size(None, Some(64), None, None), None);
    }
}
