//! The configuration of `NVlabs`' `EDMPrecond`: the arguments of its constructor, with its defaults.

use std::path::Path;

use serde_json::{Map, Value};

use super::layout::{Layer, Layout};
use crate::error::Result;
use crate::nets::fields::Fields;
use crate::nets::unet_fields::{MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS, MOST_PIXELS, MOST_ROWS};

/// The network inside (`model_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelType {
    /// `SongUNet`: DDPM++ and NCSN++ (Song et al., 2021).
    Song,
    /// `DhariwalUNet`: ADM (Dhariwal and Nichol, 2021).
    Dhariwal,
}

/// The projection of the noise level before the linear layers (`embedding_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embedding {
    /// Sines and cosines at geometric frequencies: DDPM++ and ADM.
    Positional,
    /// Sines and cosines at the frequencies in `map_noise.freqs`: NCSN++.
    Fourier,
}

/// The way of the image itself down the levels (`encoder_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// None.
    Standard,
    /// It is halved, and a product of it is added at each level.
    Skip,
    /// It is halved by a convolution, and what comes of the level goes on: NCSN++.
    Residual,
}

/// The filter of changes of resolution (`resample_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// (1, 1): means of 2 x 2, and nearest neighbours.
    Box,
    /// (1, 3, 3, 1).
    Smooth,
}

/// Every field that matters at inference. `use_fp16`, `dropout` and `augment_dim` have no effect: `augment_dim` adds a
/// layer for labels of augmentations in training, and an image that is sampled has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Height and width of the images in training.
    pub img_resolution: usize,
    /// Channels of the images.
    pub img_channels: usize,
    /// Classes; 0 for a network without class labels.
    pub label_dim: usize,
    /// Length of the vector of augmentations in training; 0 for none.
    pub augment_dim: usize,
    /// The standard deviation of the data.
    pub sigma_data: f64,
    /// The least noise that the network takes.
    pub sigma_min: f64,
    /// The most noise that the network takes.
    pub sigma_max: f64,
    pub model_type: ModelType,
    /// The unit of channels.
    pub model_channels: usize,
    /// Channels of each level in these units, highest resolution first.
    pub channel_mult: Vec<usize>,
    /// Channels of the embedding in these units.
    pub channel_mult_emb: usize,
    /// Channels of the projected noise level in these units.
    pub channel_mult_noise: usize,
    /// Residual blocks of a level on the way down; one more on the way up.
    pub num_blocks: usize,
    /// Resolutions, of the images in training, with attention.
    pub attn_resolutions: Vec<usize>,
    /// The share of images without their class label in training.
    pub label_dropout: f64,
    pub embedding: Embedding,
    pub encoder: Encoder,
    /// `decoder_type` is `skip`: every level adds to the output.
    pub skip_decoder: bool,
    pub filter: Filter,
}

/// The most units of channels of a level.
const MOST_UNITS: usize = 1 << 10;

impl Config {
    /// Reads the fields in `map`, which came from `file`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for a field or a value without an implementation, [`crate::Error::BadFile`]
    /// for wrong types, values out of range and fields that contradict each other.
    pub fn from_map(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        fields.get("use_fp16", false)?;
        fields.get("dropout", 0.0f64)?;
        let kinds = [("DhariwalUNet", ModelType::Dhariwal), ("SongUNet", ModelType::Song)];
        let model_type = fields.choice("model_type", "DhariwalUNet", &kinds)?;
        let is_song = model_type == ModelType::Song;
        let usual = |song, dhariwal| if is_song { song } else { dhariwal };
        let mults: &[usize] = if is_song { &[1, 2, 2, 2] } else { &[1, 2, 3, 4] };
        let attention: &[usize] = if is_song { &[16] } else { &[32, 16, 8] };
        let mut config = Self {
            img_resolution: fields.count("img_resolution", 0, MOST_PIXELS)?,
            img_channels: fields.count("img_channels", 0, MOST_CHANNELS)?,
            label_dim: up_to(&mut fields, "label_dim", MOST_ROWS)?,
            augment_dim: up_to(&mut fields, "augment_dim", MOST_ROWS)?,
            sigma_data: fields.get("sigma_data", 0.5)?,
            sigma_min: fields.get("sigma_min", 0.0)?,
            // JSON does not have an infinity.
            sigma_max: fields.get("sigma_max", None::<f64>)?.unwrap_or(f64::INFINITY),
            model_type,
            model_channels: fields.count("model_channels", usual(128, 192), MOST_CHANNELS)?,
            channel_mult: fields.counts("channel_mult", mults, MOST_UNITS)?,
            channel_mult_emb: fields.count("channel_mult_emb", 4, MOST_UNITS)?,
            channel_mult_noise: 1,
            num_blocks: fields.count("num_blocks", usual(4, 3), MOST_LAYERS)?,
            attn_resolutions: fields.counts("attn_resolutions", attention, MOST_PIXELS)?,
            label_dropout: fields.get("label_dropout", 0.0)?,
            embedding: Embedding::Positional,
            encoder: Encoder::Standard,
            skip_decoder: false,
            filter: Filter::Box,
        };
        if is_song {
            config.channel_mult_noise = fields.count("channel_mult_noise", 1, MOST_UNITS)?;
            config.embedding = fields.choice(
                "embedding_type",
                "positional",
                &[("positional", Embedding::Positional), ("fourier", Embedding::Fourier)],
            )?;
            config.encoder = fields.choice(
                "encoder_type",
                "standard",
                &[("standard", Encoder::Standard), ("skip", Encoder::Skip), ("residual", Encoder::Residual)],
            )?;
            config.skip_decoder = fields.choice("decoder_type", "standard", &[("standard", false), ("skip", true)])?;
            config.filter = filter(&mut fields)?;
        }
        fields.finish()?;
        config.check(&fields)?;
        Ok(config)
    }

    /// Channels of level `level`.
    #[must_use]
    pub fn channels(&self, level: usize) -> usize {
        self.model_channels * self.channel_mult[level]
    }

    /// Channels of the embedding of the noise level.
    #[must_use]
    pub fn embedding_channels(&self) -> usize {
        self.model_channels * self.channel_mult_emb
    }

    /// Channels of the projected noise level.
    #[must_use]
    pub fn noise_channels(&self) -> usize {
        self.model_channels * self.channel_mult_noise
    }

    /// Height and width of an input must be multiples of this.
    #[must_use]
    pub fn size_multiple(&self) -> usize {
        1 << (self.channel_mult.len() - 1)
    }

    /// Heads of an attention over `channels`; 0 leaves it out.
    #[must_use]
    pub fn heads(&self, channels: usize) -> usize {
        const HEAD_CHANNELS: usize = 64;
        match self.model_type {
            ModelType::Song => 1,
            ModelType::Dhariwal => channels / HEAD_CHANNELS,
        }
    }

    fn check(&self, fields: &Fields) -> Result<()> {
        let levels = self.channel_mult.len();
        if !(1..=MOST_LEVELS).contains(&levels) {
            return Err(fields.bad(format!("`channel_mult` has {levels} entries, expected 1 to {MOST_LEVELS}")));
        }
        if !self.img_resolution.is_multiple_of(self.size_multiple()) {
            let (side, multiple) = (self.img_resolution, self.size_multiple());
            return Err(fields.bad(format!("`img_resolution` is {side}, and its levels need a multiple of {multiple}")));
        }
        let widths = (0..levels).map(|level| self.channels(level));
        let widths = widths.chain([self.embedding_channels(), self.noise_channels()]);
        if let Some(channels) = widths.max().filter(|channels| *channels > MOST_CHANNELS) {
            return Err(fields.bad(format!(
                "`model_channels` and its multiples give {channels} channels, at most {MOST_CHANNELS} are allowed"
            )));
        }
        let has_pairs = self.noise_channels().is_multiple_of(2) && self.noise_channels() > 2;
        if !has_pairs {
            let channels = self.noise_channels();
            return Err(
                fields.bad(format!("{channels} channels of a noise level by `model_channels`: expected 4 or more"))
            );
        }
        let is_level = |sigma: f64| sigma >= 0.0;
        let are_sound = self.sigma_data > 0.0 && self.sigma_data.is_finite() && is_level(self.sigma_min);
        if !(are_sound && self.sigma_max > self.sigma_min && self.label_dropout >= 0.0) {
            let Self { sigma_data, sigma_min, sigma_max, label_dropout, .. } = self;
            return Err(fields.bad(format!(
                "`sigma_data` is {sigma_data}, `sigma_min` {sigma_min}, `sigma_max` {sigma_max} and `label_dropout` \
                 {label_dropout}"
            )));
        }
        self.check_groups(fields)
    }

    /// Refuses channels that do not divide into the groups or heads of their layers.
    fn check_groups(&self, fields: &Fields) -> Result<()> {
        let Layout { encoder, decoder } = Layout::of(self);
        let mut heads = Vec::new();
        let of_block = |layer: &Layer| layer.is_block().then_some([layer.input, layer.out]);
        for layer in encoder.iter().chain(&decoder) {
            if layer.has_attention() {
                heads.push((layer.out, self.heads(layer.out)));
            }
        }
        let widths = encoder.iter().chain(&decoder).filter_map(of_block).flatten();
        for channels in widths.chain([self.channels(0)]) {
            let groups = groups(channels);
            if groups == 0 || !channels.is_multiple_of(groups) {
                return Err(fields.bad(format!(
                    "{channels} channels by `model_channels` and `channel_mult`, which do not divide into {groups} \
                     groups"
                )));
            }
        }
        match heads.iter().find(|(channels, heads)| *heads > 0 && !channels.is_multiple_of(*heads)) {
            Some((channels, heads)) => Err(fields.bad(format!(
                "{channels} channels by `model_channels` and `channel_mult`, which do not divide into {heads} heads"
            ))),
            None => Ok(()),
        }
    }
}

/// Groups of the normalisation of `channels`: 32, or with fewer than four channels each, as many as have four.
#[must_use]
pub fn groups(channels: usize) -> usize {
    (channels / 4).min(32)
}

/// A number from 0 to `most`.
fn up_to(fields: &mut Fields, field: &'static str, most: usize) -> Result<usize> {
    match fields.get(field, 0)? {
        count if count > most => Err(fields.bad(format!("`{field}` is {count}, at most {most} is allowed"))),
        count => Ok(count),
    }
}

fn filter(fields: &mut Fields) -> Result<Filter> {
    let taps: Vec<f64> = fields.get("resample_filter", vec![1.0, 1.0])?;
    match taps[..] {
        [1.0, 1.0] => Ok(Filter::Box),
        [1.0, 3.0, 3.0, 1.0] => Ok(Filter::Smooth),
        _ => {
            let value = format!("{taps:?}");
            Err(fields.unsupported("resample_filter", crate::error::excerpt(&value).as_ref(), "[1, 1], [1, 3, 3, 1]"))
        }
    }
}
