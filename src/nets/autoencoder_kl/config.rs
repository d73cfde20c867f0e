//! The configuration of diffusers' `AutoencoderKL` (`models/autoencoders/autoencoder_kl.py`, 0.42), with its defaults.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::graph::op::Activation;
use crate::nets::fields::Fields;
use crate::nets::unet_fields::{ACTIVATIONS, MOST_CHANNELS, MOST_LAYERS, check_groups, check_levels, sample_size};

/// The kind of a level, down or up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    /// `DownEncoderBlock2D`, `UpDecoderBlock2D`: residual blocks.
    Plain,
    /// `AttnDownEncoderBlock2D`, `AttnUpDecoderBlock2D`: attention of one head after each residual block.
    Attention,
}

/// Every field of an `AutoencoderKL` that matters at inference. Lists have an entry for each level, highest
/// resolution first, but `up_block_types`, whose first entry is the lowest.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the fields of the file")]
pub struct Config {
    /// Height and width of the images in training, if the file has them.
    pub sample_size: Option<(usize, usize)>,
    pub in_channels: usize,
    pub out_channels: usize,
    pub down_block_types: Vec<BlockType>,
    pub up_block_types: Vec<BlockType>,
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// The nonlinearity of the residual blocks; the one before the last convolution is always `SiLU`.
    pub act_fn: Activation,
    pub latent_channels: usize,
    pub norm_num_groups: usize,
    /// The diffusion network's latents are the encoder's times this, after the shift.
    pub scaling_factor: f64,
    /// Subtracted from the encoder's latents before they are scaled.
    pub shift_factor: f64,
    /// A mean for each channel of the encoder's latents, subtracted as well; empty for none.
    pub latents_mean: Vec<f64>,
    /// A deviation for each channel, by which they are divided; empty for none.
    pub latents_std: Vec<f64>,
    /// A 1 x 1 convolution after the encoder.
    pub use_quant_conv: bool,
    /// A 1 x 1 convolution before the decoder.
    pub use_post_quant_conv: bool,
    /// The middle blocks have an attention.
    pub mid_block_add_attention: bool,
    /// Maps may pass the range of float16, and are kept in float32.
    pub force_upcast: bool,
}

impl Config {
    /// Reads the fields in `map`, which came from `file`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for a field or a value without an implementation, [`crate::Error::BadFile`]
    /// for wrong types, values out of range and fields that contradict each other.
    pub fn from_map(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        let block_out_channels = fields.counts("block_out_channels", &[64], MOST_CHANNELS)?;
        if block_out_channels.is_empty() {
            return Err(fields.bad("`block_out_channels` is empty"));
        }
        check_levels(&fields, &block_out_channels)?;
        let latent_channels = fields.count("latent_channels", 4, MOST_CHANNELS)?;
        let config = Self {
            sample_size: sample_size(&mut fields)?,
            in_channels: fields.count("in_channels", 3, MOST_CHANNELS)?,
            out_channels: fields.count("out_channels", 3, MOST_CHANNELS)?,
            down_block_types: fields.choices("down_block_types", &["DownEncoderBlock2D"], &DOWN_BLOCKS)?,
            up_block_types: fields.choices("up_block_types", &["UpDecoderBlock2D"], &UP_BLOCKS)?,
            block_out_channels,
            layers_per_block: fields.count("layers_per_block", 1, MOST_LAYERS)?,
            act_fn: fields.choice("act_fn", "silu", &ACTIVATIONS)?,
            latent_channels,
            norm_num_groups: fields.count("norm_num_groups", 32, MOST_CHANNELS)?,
            scaling_factor: scaling_factor(&mut fields)?,
            shift_factor: fields.get("shift_factor", None::<f64>)?.unwrap_or(0.0),
            latents_mean: of_channels(&mut fields, "latents_mean", latent_channels)?,
            latents_std: of_channels(&mut fields, "latents_std", latent_channels)?,
            use_quant_conv: fields.get("use_quant_conv", true)?,
            use_post_quant_conv: fields.get("use_post_quant_conv", true)?,
            mid_block_add_attention: fields.get("mid_block_add_attention", true)?,
            force_upcast: fields.get("force_upcast", true)?,
        };
        fields.finish()?;
        config.check(&fields)?;
        Ok(config)
    }

    /// The number of times that the encoder halves the resolution, and the decoder doubles it.
    #[must_use]
    pub fn halvings(&self) -> usize {
        self.block_out_channels.len() - 1
    }

    /// Pixels of an image for each of its latents, along either side.
    #[must_use]
    pub fn factor(&self) -> usize {
        1 << self.halvings()
    }

    /// The encoder's latent of this channel from the diffusion network's: factor and offset.
    #[must_use]
    pub fn raw_of_scaled(&self, channel: usize) -> (f64, f64) {
        let of = |list: &[f64], default: f64| list.get(channel).copied().unwrap_or(default);
        let factor = of(&self.latents_std, 1.0) / self.scaling_factor;
        (factor, of(&self.latents_mean, 0.0) + self.shift_factor)
    }

    fn check(&self, fields: &Fields) -> Result<()> {
        let levels = self.block_out_channels.len();
        fields.check_length("down_block_types", self.down_block_types.len(), levels)?;
        fields.check_length("up_block_types", self.up_block_types.len(), levels)?;
        check_groups(fields, "norm_num_groups", self.norm_num_groups, &self.block_out_channels)?;
        match self.latents_std.iter().find(|deviation| **deviation <= 0.0) {
            Some(deviation) => Err(fields.bad(format!("`latents_std` holds {deviation}, deviations are above 0"))),
            None => Ok(()),
        }
    }
}

const DOWN_BLOCKS: [(&str, BlockType); 2] =
    [("DownEncoderBlock2D", BlockType::Plain), ("AttnDownEncoderBlock2D", BlockType::Attention)];
const UP_BLOCKS: [(&str, BlockType); 2] =
    [("UpDecoderBlock2D", BlockType::Plain), ("AttnUpDecoderBlock2D", BlockType::Attention)];

fn scaling_factor(fields: &mut Fields) -> Result<f64> {
    match fields.get("scaling_factor", 0.18215)? {
        factor if factor > 0.0 => Ok(factor),
        factor => Err(fields.bad(format!("`scaling_factor` is {factor}, it must be above 0"))),
    }
}

/// A number for each channel of the latents, or none.
fn of_channels(fields: &mut Fields, field: &'static str, channels: usize) -> Result<Vec<f64>> {
    match fields.get(field, None::<Vec<f64>>)? {
        Some(numbers) if numbers.len() != channels => Err(fields.bad(format!(
            "`{field}` has {} entries but `latent_channels` is {channels}: they must be as many",
            numbers.len()
        ))),
        numbers => Ok(numbers.unwrap_or_default()),
    }
}
