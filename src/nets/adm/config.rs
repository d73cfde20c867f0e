//! The configuration of the U-Nets of openai/guided-diffusion: the arguments of `UNetModel`
//! (`guided_diffusion/unet.py`) by their names there.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::nets::fields::Fields;
use crate::nets::unet_fields::{MOST_LEVELS, MOST_ROWS, sample_size_of};

/// Bounds that no real network comes near: the order of an attention's rows is part of the graph.
const MOST_CHANNELS: usize = 1 << 13;
const MOST_LAYERS: usize = 16;

/// Groups of every normalisation.
pub const GROUPS: usize = 32;

/// Every argument of a `UNetModel` that matters at inference.
///
/// Read and without effect are `dropout`, `use_checkpoint`, `use_fp16` (the precision is a choice of the run) and
/// `dims`, which must be 2.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the arguments are those of the original")]
pub struct Config {
    /// Height and width of the images in training, if they are known.
    pub image_size: Option<(usize, usize)>,
    pub in_channels: usize,
    /// Channels that the entries of `channel_mult` multiply.
    pub model_channels: usize,
    /// As many as `in_channels`, or twice as many with a learned variance.
    pub out_channels: usize,
    /// Residual blocks of a level on the way down; one more on the way up.
    pub num_res_blocks: usize,
    /// The rates of downsampling at which there is an attention after each residual block.
    pub attention_resolutions: Vec<usize>,
    /// Channels of each level, highest resolution first: `model_channels` times `channel_mult`.
    pub channels: Vec<usize>,
    /// Resolutions change by convolutions, where `resblock_updown` is not given.
    pub conv_resample: bool,
    /// Classes, if the network takes labels.
    pub num_classes: Option<usize>,
    pub heads: HeadSplit,
    /// The time embedding scales and shifts; otherwise it is added.
    pub use_scale_shift_norm: bool,
    /// Resolutions change within residual blocks.
    pub resblock_updown: bool,
    /// Queries, keys and values of all heads follow each other; otherwise those of each head do.
    pub use_new_attention_order: bool,
}

/// The way channels are split into attention heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSplit {
    /// Heads of this many channels (`num_head_channels`).
    Channels(usize),
    /// This many heads on the way down and in the middle, and on the way up (`num_heads`, `num_heads_upsample`).
    Count(usize, usize),
}

impl HeadSplit {
    /// The number of heads of an attention over `channels` channels, on the way up or not.
    #[must_use]
    pub fn count(self, channels: usize, up: bool) -> usize {
        match self {
            Self::Channels(dim) => channels / dim,
            Self::Count(_, count) if up => count,
            Self::Count(count, _) => count,
        }
    }

    /// Returns `true` if the heads divide `channels`.
    fn divides(self, channels: usize) -> bool {
        let divisors = match self {
            Self::Channels(dim) => [dim, dim],
            Self::Count(down, up) => [down, up],
        };
        divisors.into_iter().all(|divisor| channels.is_multiple_of(divisor))
    }
}

impl Config {
    /// Reads the fields in `map`, which came from `file`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for a field or a value without an implementation, [`crate::Error::BadFile`]
    /// for wrong types, values out of range and fields that contradict each other.
    pub fn from_map(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        fields.get("dropout", 0.0f64)?;
        fields.get("use_checkpoint", false)?;
        fields.get("use_fp16", false)?;
        match fields.get("dims", 2usize)? {
            2 => {}
            dims => return Err(fields.unsupported("dims", &dims.to_string(), "2")),
        }
        let in_channels = fields.count("in_channels", 3, MOST_CHANNELS)?;
        let model_channels = fields.count("model_channels", 128, MOST_CHANNELS)?;
        let config = Self {
            image_size: sample_size_of(&mut fields, "image_size")?,
            in_channels,
            model_channels,
            out_channels: fields.count("out_channels", in_channels, MOST_CHANNELS)?,
            num_res_blocks: fields.count("num_res_blocks", 2, MOST_LAYERS)?,
            attention_resolutions: fields.counts("attention_resolutions", &[], 1 << MOST_LEVELS)?,
            channels: channels(&mut fields, model_channels)?,
            conv_resample: fields.get("conv_resample", true)?,
            num_classes: fields.optional_count("num_classes", None, MOST_ROWS)?,
            heads: heads(&mut fields)?,
            use_scale_shift_norm: fields.get("use_scale_shift_norm", false)?,
            resblock_updown: fields.get("resblock_updown", false)?,
            use_new_attention_order: fields.get("use_new_attention_order", false)?,
        };
        fields.finish()?;
        config.check(&fields)?;
        Ok(config)
    }

    /// Times the resolution is halved.
    #[must_use]
    pub fn halvings(&self) -> usize {
        self.channels.len() - 1
    }

    /// Channels of the time embedding.
    #[must_use]
    pub fn embedding_dim(&self) -> usize {
        4 * self.model_channels
    }

    /// Returns `true` if there are attentions at `level`, counted from the highest resolution.
    #[must_use]
    pub fn attends(&self, level: usize) -> bool {
        self.attention_resolutions.contains(&(1 << level))
    }

    fn check(&self, fields: &Fields) -> Result<()> {
        if self.model_channels < 2 || !self.model_channels.is_multiple_of(2) {
            return Err(fields.bad(format!("`model_channels` is {}, and must be even", self.model_channels)));
        }
        for (level, channels) in self.channels.iter().enumerate() {
            if !channels.is_multiple_of(GROUPS) {
                let what =
                    format!("level {level} has {channels} channels by `channel_mult`: not {GROUPS} equal groups");
                return Err(fields.bad(what));
            }
            let has_attention = self.attends(level) || level == self.halvings();
            if has_attention && !self.heads.divides(*channels) {
                let what = format!("the heads of `num_head_channels` or `num_heads` do not divide {channels} channels");
                return Err(fields.bad(what));
            }
        }
        Ok(())
    }
}

/// `channel_mult`: the channels of each level, rounded down as there.
fn channels(fields: &mut Fields, model_channels: usize) -> Result<Vec<usize>> {
    let factors: Vec<f64> = fields.get("channel_mult", vec![1.0, 2.0, 4.0, 8.0])?;
    if factors.is_empty() || factors.len() > MOST_LEVELS {
        let what = format!("`channel_mult` has {} entries, 1 to {MOST_LEVELS} are allowed", factors.len());
        return Err(fields.bad(what));
    }
    let level = |factor: &f64| match factor * model_channels as f64 {
        channels if (1.0..=MOST_CHANNELS as f64).contains(&channels) => Ok(channels as usize),
        channels => Err(fields.bad(format!(
            "`channel_mult` has {factor}, which makes {channels} channels; 1 to {MOST_CHANNELS} are allowed"
        ))),
    };
    factors.iter().map(level).collect()
}

/// `num_head_channels`, or `num_heads` and `num_heads_upsample`; -1 stands for "not given".
fn heads(fields: &mut Fields) -> Result<HeadSplit> {
    let mut given = |field| match fields.get(field, -1i64)? {
        -1 => Ok(None),
        number => {
            let count = usize::try_from(number).unwrap_or(0);
            fields.check_count(field, count, MOST_CHANNELS).map(Some)
        }
    };
    let (dim, count, up) = (given("num_head_channels")?, given("num_heads")?, given("num_heads_upsample")?);
    Ok(match dim {
        Some(dim) => HeadSplit::Channels(dim),
        None => HeadSplit::Count(count.unwrap_or(1), up.or(count).unwrap_or(1)),
    })
}
