//! diffusers' `AutoencoderKL` (`models/autoencoders/autoencoder_kl.py`, `vae.py`) as two graphs: images to latents,
//! and back.

mod config;
#[cfg(test)]
mod tests;

pub use config::{BlockType, Config};

use crate::checkpoint::{ConfigFile, Weights};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::graph::op::{Activation, Graph, Value};
use crate::nets::autoencoder::Autoencoder;
use crate::nets::blocks::{Attention, Resize, Resnet, Style, downsample_conv, upsample_conv};
use crate::nets::builder::{Builder, Key, Window, parameters};
use crate::tensor::Shape;

/// Names of the graphs' inputs and outputs.
pub mod names {
    /// Images, about -1 to 1, (n, height, width, `in_channels`): the input of the encoder.
    pub const IMAGE: &str = "image";
    /// Mean, then logarithm of the variance, of each latent, (n, h, w, 2 `latent_channels`): the output of the encoder.
    pub const MOMENTS: &str = "moments";
    /// Latents (n, h, w, `latent_channels`), not scaled: the input of the decoder.
    pub const LATENT: &str = "latent";
    /// Images, about -1 to 1, (n, height, width, `out_channels`): the output of the decoder.
    pub const SAMPLE: &str = "sample";
}

/// The epsilon of every normalisation; no field changes it.
const EPS: f64 = 1e-6;

/// The class in diffusers.
pub const CLASS: &str = "AutoencoderKL";

/// The autoencoder that a configuration describes.
///
/// # Errors
/// [`Error::UnsupportedField`] for another class, a field or a value without an implementation; [`Error::BadFile`] for
/// wrong types, values out of range and fields that contradict each other.
pub fn read(config: &ConfigFile) -> Result<AutoencoderKl> {
    config.expect_class(&[CLASS])?;
    Ok(AutoencoderKl::new(Config::from_map(&config.values, &config.path)?))
}

/// The autoencoder that a configuration describes, checked against the weights.
///
/// # Errors
/// As [`read`]; then [`Error::MissingKey`], [`Error::WrongShape`] or [`Error::UnexpectedKey`] of the weights.
pub fn open(config: &ConfigFile, weights: &Weights) -> Result<AutoencoderKl> {
    let net = read(config)?;
    weights.check(&net.keys())?;
    Ok(net)
}

/// An `AutoencoderKL`.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderKl {
    config: Config,
}

impl AutoencoderKl {
    /// The network of a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The configuration it was made from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The graph of the decoder for `batch` latents of this size (height, width).
    ///
    /// # Errors
    /// Those of [`AutoencoderKl::check_latents`].
    pub fn decoder(&self, batch: usize, size: (usize, usize)) -> Result<Graph> {
        self.check_latents(batch, size)?;
        Ok(self.build_decoder(batch, size).graph)
    }

    /// Refuses what [`AutoencoderKl::decoder`] does not take.
    ///
    /// # Errors
    /// [`Error::Argument`] for latents without pixels, or an empty batch.
    pub fn check_latents(&self, batch: usize, size: (usize, usize)) -> Result<()> {
        Autoencoder::check_latents(self, batch, size)
    }

    /// The graph of the encoder for `batch` images of this size (height, width).
    ///
    /// # Errors
    /// Those of [`AutoencoderKl::check_images`].
    pub fn encoder(&self, batch: usize, size: (usize, usize)) -> Result<Graph> {
        self.check_images(batch, size)?;
        Ok(self.build_encoder(batch, size).graph)
    }

    /// Refuses what [`AutoencoderKl::encoder`] does not take.
    ///
    /// # Errors
    /// [`Error::Argument`] for a size that is not a multiple of [`Config::factor`], or an empty batch.
    pub fn check_images(&self, batch: usize, size: (usize, usize)) -> Result<()> {
        Autoencoder::check_images(self, batch, size)
    }

    /// Every tensor a checkpoint of this network holds, with its shape there.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let side = self.config.factor();
        let mut keys = self.build_encoder(1, (side, side)).keys;
        keys.extend(self.build_decoder(1, (1, 1)).keys);
        keys
    }

    /// The number of parameters in a checkpoint of this network.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        parameters(&self.keys())
    }

    fn build_encoder(&self, batch: usize, (height, width): (usize, usize)) -> Builder {
        let config = &self.config;
        let mut body = Body::new(config, "encoder");
        let x = body.b.input(names::IMAGE, Shape::new(batch, height, width, config.in_channels));
        let mut x = body.conv("conv_in", x, config.block_out_channels[0]);
        for (level, (kind, channels)) in config.down_block_types.iter().zip(&config.block_out_channels).enumerate() {
            let path = format!("encoder.down_blocks.{level}");
            x = body.layers(&path, x, (*kind, *channels), config.layers_per_block);
            if level < config.halvings() {
                x = downsample_conv(&mut body.b, &format!("{path}.downsamplers.0"), x, 0);
            }
        }
        let x = body.middle(x);
        let moments = 2 * config.latent_channels;
        let x = body.last(x, moments);
        let x = if config.use_quant_conv { body.b.conv("quant_conv", x, moments, Window::ONE) } else { x };
        body.b.graph.outputs.push((names::MOMENTS.to_owned(), x));
        body.b
    }

    fn build_decoder(&self, batch: usize, (height, width): (usize, usize)) -> Builder {
        let config = &self.config;
        let mut body = Body::new(config, "decoder");
        let x = body.b.input(names::LATENT, Shape::new(batch, height, width, config.latent_channels));
        let x = if config.use_post_quant_conv {
            body.b.conv("post_quant_conv", x, config.latent_channels, Window::ONE)
        } else {
            x
        };
        let x = body.conv("conv_in", x, config.block_out_channels[config.halvings()]);
        let mut x = body.middle(x);
        let levels = config.up_block_types.iter().zip(config.block_out_channels.iter().rev());
        for (block, (kind, channels)) in levels.enumerate() {
            let path = format!("decoder.up_blocks.{block}");
            x = body.layers(&path, x, (*kind, *channels), config.layers_per_block + 1);
            if block < config.halvings() {
                let Shape { h, w, .. } = body.b.graph.shape(x);
                x = upsample_conv(&mut body.b, &format!("{path}.upsamplers.0"), x, (2 * h, 2 * w));
            }
        }
        let x = body.last(x, config.out_channels);
        body.b.graph.outputs.push((names::SAMPLE.to_owned(), x));
        body.b
    }
}

impl Autoencoder for AutoencoderKl {
    fn class(&self) -> &'static str {
        CLASS
    }

    fn in_channels(&self) -> usize {
        self.config.in_channels
    }

    fn out_channels(&self) -> usize {
        self.config.out_channels
    }

    fn latent_channels(&self) -> usize {
        self.config.latent_channels
    }

    fn factor(&self) -> usize {
        self.config.factor()
    }

    fn raw_of_scaled(&self, channel: usize) -> (f64, f64) {
        self.config.raw_of_scaled(channel)
    }

    fn keeps_float32(&self) -> bool {
        self.config.force_upcast
    }

    fn is_random(&self) -> bool {
        true
    }

    fn encoder(&self, batch: usize, size: (usize, usize)) -> Result<Graph> {
        Self::encoder(self, batch, size)
    }

    fn decoder(&self, batch: usize, size: (usize, usize)) -> Result<Graph> {
        Self::decoder(self, batch, size)
    }

    fn keys(&self) -> Vec<Key> {
        Self::keys(self)
    }
}

/// One of the two halves under construction.
struct Body {
    b: Builder,
    style: Style,
    /// `encoder` or `decoder`.
    path: &'static str,
    attention_in_the_middle: bool,
}

impl Body {
    fn new(config: &Config, path: &'static str) -> Self {
        let style = Style { activation: config.act_fn, groups: config.norm_num_groups, eps: EPS, scale_shift: false };
        Self { b: Builder::new(path), style, path, attention_in_the_middle: config.mid_block_add_attention }
    }

    fn conv(&mut self, name: &str, x: Value, out: usize) -> Value {
        self.b.conv(&format!("{}.{name}", self.path), x, out, Window::THREE)
    }

    fn resnet(&mut self, path: &str, x: Value, out: usize) -> Value {
        let Self { b, style, .. } = self;
        Resnet { style, path, out, output_scale_factor: 1.0, resize: Resize::Keep }.build(b, x, None)
    }

    /// One head over all channels.
    fn attention(&mut self, path: &str, x: Value) -> Value {
        let norm = Some((self.style.groups, self.style.eps));
        let head_dim = self.b.graph.shape(x).c;
        Attention { path, norm, head_dim, rescale_output_factor: 1.0 }.build(&mut self.b, x)
    }

    /// The layers of a level at `path`.
    fn layers(&mut self, path: &str, mut x: Value, (kind, channels): (BlockType, usize), count: usize) -> Value {
        for layer in 0..count {
            x = self.resnet(&format!("{path}.resnets.{layer}"), x, channels);
            if kind == BlockType::Attention {
                x = self.attention(&format!("{path}.attentions.{layer}"), x);
            }
        }
        x
    }

    /// `UNetMidBlock2D`.
    fn middle(&mut self, x: Value) -> Value {
        let (path, channels) = (format!("{}.mid_block", self.path), self.b.graph.shape(x).c);
        let mut x = self.resnet(&format!("{path}.resnets.0"), x, channels);
        if self.attention_in_the_middle {
            x = self.attention(&format!("{path}.attentions.0"), x);
        }
        self.resnet(&format!("{path}.resnets.1"), x, channels)
    }

    /// Normalisation, `SiLU` and the last convolution.
    fn last(&mut self, x: Value, out: usize) -> Value {
        let path = |name: &str| format!("{}.{name}", self.path);
        let x = self.b.group_norm(&path("conv_norm_out"), x, (self.style.groups, self.style.eps), None);
        let x = self.b.activation(&path("conv_act"), x, Activation::Silu);
        self.conv("conv_out", x, out)
    }
}
