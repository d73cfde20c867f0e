//! The layers of `NVlabs`' `SongUNet` and `DhariwalUNet` in their order, by name.

use super::config::{Config, Encoder, ModelType};

/// A change of resolution within a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    Keep,
    Halve,
    Double,
}

/// The kind of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `UNetBlock`.
    Block { resize: Resize, attention: bool },
    /// The first convolution.
    Conv,
    /// The image, halved.
    AuxDown,
    /// A product of the halved image, added to the map.
    AuxSkip,
    /// The image or the last of these sums, halved by a convolution and added to the map.
    AuxResidual,
    /// The output so far, doubled.
    AuxUp,
    /// Normalisation, nonlinearity and convolution to the output: `aux_norm` and `aux_conv`, or `out_norm` and
    /// `out_conv`.
    Output,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name within the encoder or the decoder.
    pub name: String,
    pub kind: Kind,
    /// Channels that it reads, with those of a map of the encoder where it joins one.
    pub input: usize,
    /// Channels of its result.
    pub out: usize,
}

impl Layer {
    /// `true` for a `UNetBlock`.
    #[must_use]
    pub fn is_block(&self) -> bool {
        matches!(self.kind, Kind::Block { .. })
    }

    /// `true` for a block that attention follows.
    #[must_use]
    pub fn has_attention(&self) -> bool {
        matches!(self.kind, Kind::Block { attention: true, .. })
    }
}

/// The layers of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The way down.
    pub encoder: Vec<Layer>,
    /// The way up, and the outputs.
    pub decoder: Vec<Layer>,
}

impl Layout {
    /// The layers of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let encoder = encoder(config);
        let decoder = decoder(config, &encoder);
        Self { encoder, decoder }
    }
}

fn block(resize: Resize, attention: bool) -> Kind {
    Kind::Block { resize, attention }
}

fn encoder(config: &Config) -> Vec<Layer> {
    let is_song = config.model_type == ModelType::Song;
    let mut layers = Vec::new();
    let (mut channels, mut aux) = (config.img_channels, config.img_channels);
    for level in 0..config.channel_mult.len() {
        let side = config.img_resolution >> level;
        let mut add = |part: &str, kind, input, out| {
            layers.push(Layer { name: format!("{side}x{side}_{part}"), kind, input, out });
        };
        if level == 0 {
            let out = if is_song { config.model_channels } else { config.channels(0) };
            add("conv", Kind::Conv, channels, out);
            channels = out;
        } else {
            add("down", block(Resize::Halve, false), channels, channels);
            match config.encoder {
                Encoder::Standard => {}
                Encoder::Skip => {
                    add("aux_down", Kind::AuxDown, aux, aux);
                    add("aux_skip", Kind::AuxSkip, aux, channels);
                }
                Encoder::Residual => {
                    add("aux_residual", Kind::AuxResidual, aux, channels);
                    aux = channels;
                }
            }
        }
        let attention = config.attn_resolutions.contains(&side);
        for index in 0..config.num_blocks {
            let out = config.channels(level);
            add(&format!("block{index}"), block(Resize::Keep, attention), channels, out);
            channels = out;
        }
    }
    layers
}

fn decoder(config: &Config, encoder: &[Layer]) -> Vec<Layer> {
    let is_song = config.model_type == ModelType::Song;
    let kept = encoder.iter().filter(|layer| layer.is_block() || layer.kind == Kind::Conv);
    let mut skips: Vec<usize> = kept.map(|layer| layer.out).collect();
    let mut channels = skips.last().copied().unwrap_or(config.img_channels);
    let mut layers = Vec::new();
    let deepest = config.channel_mult.len() - 1;
    for level in (0..=deepest).rev() {
        let side = config.img_resolution >> level;
        let mut add = |part: &str, kind, input, out| {
            layers.push(Layer { name: format!("{side}x{side}_{part}"), kind, input, out });
        };
        if level == deepest {
            add("in0", block(Resize::Keep, true), channels, channels);
            add("in1", block(Resize::Keep, false), channels, channels);
        } else {
            add("up", block(Resize::Double, false), channels, channels);
        }
        let attends = config.attn_resolutions.contains(&side);
        for index in 0..=config.num_blocks {
            let (input, out) = (channels + skips.pop().unwrap_or(0), config.channels(level));
            let attention = attends && (!is_song || index == config.num_blocks);
            add(&format!("block{index}"), block(Resize::Keep, attention), input, out);
            channels = out;
        }
        if is_song && (config.skip_decoder || level == 0) {
            if config.skip_decoder && level < deepest {
                add("aux_up", Kind::AuxUp, config.img_channels, config.img_channels);
            }
            add("aux", Kind::Output, channels, config.img_channels);
        }
    }
    if !is_song {
        layers.push(Layer { name: "out".to_owned(), kind: Kind::Output, input: channels, out: config.img_channels });
    }
    layers
}
