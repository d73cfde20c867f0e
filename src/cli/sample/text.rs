//! What only models of text take: prompt, guidance, memory.

use std::str::FromStr;

use crate::cli::args::{Size, TileArg};
use crate::error::{Error, Result};
use crate::latent::tiles::Tiling;

/// What diffusers' pipelines take where nobody says.
const USUAL_SCALE: f64 = 7.5;
const USUAL_MEMORY: Memory = Memory(8 << 30);
const TEXT: &str = "Text to image";

/// The flags of models of text.
#[derive(Debug, clap::Args)]
pub struct TextArgs {
    /// What the image shall show
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, help_heading = TEXT)]
    pub prompt: Option<String>,

    /// What it shall not show
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "prompt", help_heading = TEXT)]
    pub negative: Option<String>,

    /// Scale s of the guidance, `eps_u + s (eps_c - eps_u)`, by the answers without and with the prompt; 1 calls the network
    /// with the prompt alone [default: 7.5]
    #[arg(long, value_name = "S", requires = "prompt", allow_negative_numbers = true, help_heading = TEXT)]
    pub cfg_scale: Option<f64>,

    /// Decode in strips of so many rows, `never`, or when a map does not fit [default: auto]
    #[arg(long, value_name = "ROWS|never|auto", requires = "prompt", help_heading = TEXT)]
    pub tile: Option<TileArg>,

    /// Device memory to stay within: components are loaded in turn, fewer images go into a call, images are decoded in
    /// strips [default: 8GiB]
    #[arg(long, value_name = "SIZE", requires = "prompt", help_heading = TEXT)]
    pub memory: Option<Memory>,
}

/// What was asked, with what is usual in place of what was not.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What the image shall show.
    pub text: String,
    pub negative: String,
    pub scale: f64,
    pub tiling: Tiling,
    pub memory: Memory,
}

impl TextArgs {
    /// What a model of text is asked.
    ///
    /// # Errors
    /// [`Error::Argument`] without a prompt, and for a scale that is no number.
    pub fn understand(&self, model: &str) -> Result<Prompt> {
        let Some(prompt) = self.prompt.clone() else {
            let what = format!("`{model}` makes images from text");
            return Err(Error::argument(what, "say what they shall show: `--prompt TEXT`; an empty one is one, too"));
        };
        let scale = self.cfg_scale.unwrap_or(USUAL_SCALE);
        if !scale.is_finite() {
            return Err(Error::argument(format!("`--cfg-scale` of {scale} is out of range"), "a number; 7.5 is usual"));
        }
        Ok(Prompt {
            text: prompt,
            negative: self.negative.clone().unwrap_or_default(),
            scale,
            tiling: self.tile.map_or(Tiling::Auto, |tile| tile.0),
            memory: self.memory.unwrap_or(USUAL_MEMORY),
        })
    }

    /// A model without text is asked nothing.
    ///
    /// # Errors
    /// [`Error::Argument`] for a prompt; the other flags need one.
    pub fn expect_none(&self, model: &str) -> Result<()> {
        match self.prompt {
            None => Ok(()),
            Some(_) => Err(Error::argument(
                format!("`--prompt` has no meaning for `{model}`, which knows no text"),
                "leave out `--prompt`, or give a folder with a text encoder",
            )),
        }
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
        let bytes = number.parse::<f64>().map_err(|_| format!("`{number}` is no number"))? * (1u64 << shift) as f64;
        if bytes < 1.0 { Err("no memory at all".to_owned()) } else { Ok(Self(bytes as u64)) }
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
    fn one_side_is_enough() {
        let trained = Some(Size { height: 512, width: 512 });
        assert_eq!(size(None, None, Some(640), trained), Some(Size { height: 512, width: 640 }));
        assert_eq!(size(None, None, None, trained), None);
        assert_eq!(size(None, Some(64), None, None), None);
    }
}
