//! The configuration of diffusers' `AutoencoderTiny` (`models/autoencoders/autoencoder_tiny.py`, 0.42), with its
//! defaults.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::graph::op::Activation;
use crate::nets::fields::Fields;
use crate::nets::unet_fields::{ACTIVATIONS, MOST_CHANNELS, MOST_LAYERS, check_levels};

/// Every field of an `AutoencoderTiny` that matters at inference.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub in_channels: usize,
    pub out_channels: usize,
    pub latent_channels: usize,
    /// Channels of every level of the encoder.
    pub encoder_channels: usize,
    /// Channels of every level of the decoder.
    pub decoder_channels: usize,
    /// Residual blocks of each level of the encoder, highest resolution first.
    pub num_encoder_blocks: Vec<usize>,
    /// Residual blocks of each level of the decoder, lowest resolution first.
    pub num_decoder_blocks: Vec<usize>,
    /// The nonlinearity inside of the residual blocks; the one at their end is always `ReLU`.
    pub act_fn: Activation,
    /// The diffusion network's latents are the encoder's times this, after the shift.
    pub scaling_factor: f64,
    /// Subtracted from the encoder's latents before they are scaled.
    pub shift_factor: f64,
}

impl Config {
    /// Reads the fields in `map`, which came from `file`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for a field or a value without an implementation, [`crate::Error::BadFile`]
    /// for wrong types, values out of range and fields that contradict each other.
    pub fn from_map(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        let encoder = fields.counts("encoder_block_out_channels", &[64; 4], MOST_CHANNELS)?;
        let decoder = fields.counts("decoder_block_out_channels", &[64; 4], MOST_CHANNELS)?;
        let num_encoder_blocks = fields.counts("num_encoder_blocks", &[1, 3, 3, 3], MOST_LAYERS)?;
        let num_decoder_blocks = fields.counts("num_decoder_blocks", &[3, 3, 3, 1], MOST_LAYERS)?;
        // What diffusers adds when it saves: the channels of the decoder.
        fields.counts("block_out_channels", &decoder, MOST_CHANNELS)?;
        fields.choice("upsample_fn", "nearest", &[("nearest", ())])?;
        let upsampling = fields.count("upsampling_scaling_factor", 2, MOST_CHANNELS)?;
        if upsampling != 2 {
            return Err(fields.unsupported("upsampling_scaling_factor", &upsampling.to_string(), "2"));
        }
        // diffusers sets it to false whatever the file says. The other two are for latents as images.
        for field in ["force_upcast", "latent_magnitude", "latent_shift"] {
            fields.get(field, Value::Null)?;
        }
        let config = Self {
            in_channels: fields.count("in_channels", 3, MOST_CHANNELS)?,
            out_channels: fields.count("out_channels", 3, MOST_CHANNELS)?,
            latent_channels: fields.count("latent_channels", 4, MOST_CHANNELS)?,
            encoder_channels: of_all_levels(&fields, "encoder_block_out_channels", &encoder)?,
            decoder_channels: of_all_levels(&fields, "decoder_block_out_channels", &decoder)?,
            num_encoder_blocks,
            num_decoder_blocks,
            act_fn: fields.choice("act_fn", "relu", &ACTIVATIONS)?,
            scaling_factor: fields.get("scaling_factor", 1.0)?,
            shift_factor: fields.get("shift_factor", 0.0)?,
        };
        fields.finish()?;
        let levels = encoder.len();
        for (field, entries) in [
            ("num_encoder_blocks", config.num_encoder_blocks.len()),
            ("decoder_block_out_channels", decoder.len()),
            ("num_decoder_blocks", config.num_decoder_blocks.len()),
        ] {
            if entries != levels {
                let what = format!("`{field}` has {entries} entries and `encoder_block_out_channels` has {levels}");
                return Err(fields.bad(format!("{what}: they must be as many")));
            }
        }
        check_levels(&fields, &encoder)?;
        if !(config.scaling_factor > 0.0 && config.scaling_factor.is_finite() && config.shift_factor.is_finite()) {
            return Err(fields.bad("`scaling_factor` must be above 0, and both it and `shift_factor` finite"));
        }
        Ok(config)
    }

    /// The number of times that the encoder halves the resolution, and the decoder doubles it.
    #[must_use]
    pub fn halvings(&self) -> usize {
        self.num_encoder_blocks.len() - 1
    }
}

/// The one number of channels that all levels of a half have, without which its layers do not fit together.
fn of_all_levels(fields: &Fields, field: &'static str, channels: &[usize]) -> Result<usize> {
    match channels.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => Ok(*first),
        Some(_) => Err(fields.bad(format!("`{field}` is {channels:?}, and all levels must have the same channels"))),
        None => Err(fields.bad(format!("`{field}` is empty"))),
    }
}
