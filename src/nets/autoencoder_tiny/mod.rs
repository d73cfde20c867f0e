//! diffusers' `AutoencoderTiny` (`models/autoencoders/autoencoder_tiny.py`, `vae.py`) as two graphs: TAESD, a small
//! autoencoder that was distilled from the large one of a latent model (madebyollin/taesd).
//!
//! Images from 0 to 1 and the soft clamp of latents, `3 tanh(z / 3)`, are applied on the host to the small inputs and
//! outputs of the graphs.

mod config;
#[cfg(test)]
mod tests;

pub use config::Config;

use crate::checkpoint::{ConfigFile, Weights};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::graph::op::{Activation, Graph, Value};
use crate::nets::autoencoder::{Autoencoder, names};
use crate::nets::builder::{Builder, Key, Window};
use crate::tensor::Shape;

/// The class in diffusers.
pub const CLASS: &str = "AutoencoderTiny";

/// Latents are clamped softly to this magnitude before they are decoded.
const MAGNITUDE: f64 = 3.0;
/// 3 x 3 that halves the resolution.
const HALVE: Window = Window { side: 3, stride: 2, pad_before: 1, pad_after: 1 };

/// The autoencoder that a configuration describes.
///
/// # Errors
/// [`Error::UnsupportedField`] for another class, a field or a value without an implementation; [`Error::BadFile`] for
/// wrong types, values out of range and fields that contradict each other.
pub fn read(config: &ConfigFile) -> Result<AutoencoderTiny> {
    config.expect_class(&[CLASS])?;
    Ok(AutoencoderTiny { config: Config::from_map(&config.values, &config.path)? })
}

/// The autoencoder that a configuration describes, checked against the weights.
///
/// # Errors
/// As [`read`]; then [`Error::MissingKey`], [`Error::WrongShape`] or [`Error::UnexpectedKey`] of the weights.
pub fn open(config: &ConfigFile, weights: &Weights) -> Result<AutoencoderTiny> {
    let net = read(config)?;
    weights.check(&net.keys())?;
    Ok(net)
}

/// An `AutoencoderTiny`.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderTiny {
    config: Config,
}

impl Autoencoder for AutoencoderTiny {
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
        1 << self.config.halvings()
    }

    fn raw_of_scaled(&self, _: usize) -> (f64, f64) {
        (self.config.scaling_factor.recip(), self.config.shift_factor)
    }

    fn keeps_float32(&self) -> bool {
        false
    }

    fn is_random(&self) -> bool {
        false
    }

    fn encoder(&self, batch: usize, size: (usize, usize)) -> Result<Graph> {
        self.check_images(batch, size)?;
        Ok(self.build_encoder(batch, size).graph)
    }

    fn decoder(&self, batch: usize, size: (usize, usize)) -> Result<Graph> {
        self.check_latents(batch, size)?;
        Ok(self.build_decoder(batch, size).graph)
    }

    fn keys(&self) -> Vec<Key> {
        let side = self.factor();
        let mut keys = self.build_encoder(1, (side, side)).keys;
        keys.extend(self.build_decoder(1, (1, 1)).keys);
        keys
    }

    fn of_image(&self, value: f64) -> f64 {
        f64::midpoint(value, 1.0)
    }

    fn of_latent(&self, value: f64) -> f64 {
        (value / MAGNITUDE).tanh() * MAGNITUDE
    }

    fn to_image(&self, value: f64) -> f64 {
        value * 2.0 - 1.0
    }
}

/// The layers of one half in the order of its `nn.Sequential`, which numbers them.
struct Layers<'a> {
    b: Builder,
    half: &'static str,
    next: usize,
    config: &'a Config,
}

impl Layers<'_> {
    /// The path of the next layer.
    fn path(&mut self) -> String {
        self.next += 1;
        format!("{}.layers.{}", self.half, self.next - 1)
    }

    /// `AutoencoderTinyBlock`: three convolutions beside what they read. Channels never change, so nothing else does.
    fn block(&mut self, x: Value) -> Value {
        let path = self.path();
        let channels = self.b.graph.shape(x).c;
        let mut hidden = x;
        for (index, is_last) in [(0, false), (2, false), (4, true)] {
            hidden = self.b.conv(&format!("{path}.conv.{index}"), hidden, channels, Window::THREE);
            if !is_last {
                let label = format!("{path}.conv.{}", index + 1);
                hidden = self.b.activation(&label, hidden, self.config.act_fn);
            }
        }
        let sum = self.b.add(&format!("{path}.sum"), hidden, x, 1.0);
        self.b.activation(&format!("{path}.fuse"), sum, Activation::Relu)
    }
}

impl AutoencoderTiny {
    /// The network of a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    fn build_encoder(&self, batch: usize, (height, width): (usize, usize)) -> Builder {
        let config = &self.config;
        let mut layers = Layers { b: Builder::new("encoder"), half: "encoder", next: 0, config };
        let mut x = layers.b.input(names::IMAGE, Shape::new(batch, height, width, config.in_channels));
        for (level, blocks) in config.num_encoder_blocks.iter().enumerate() {
            let path = layers.path();
            x = match level {
                0 => layers.b.conv(&path, x, config.encoder_channels, Window::THREE),
                _ => layers.b.conv_plain(&path, x, config.encoder_channels, HALVE),
            };
            for _ in 0..*blocks {
                x = layers.block(x);
            }
        }
        let path = layers.path();
        let x = layers.b.conv(&path, x, config.latent_channels, Window::THREE);
        layers.b.graph.outputs.push(("latents".to_owned(), x));
        layers.b
    }

    fn build_decoder(&self, batch: usize, (height, width): (usize, usize)) -> Builder {
        let config = &self.config;
        let mut layers = Layers { b: Builder::new("decoder"), half: "decoder", next: 0, config };
        let x = layers.b.input(names::LATENT, Shape::new(batch, height, width, config.latent_channels));
        let path = layers.path();
        let x = layers.b.conv(&path, x, config.decoder_channels, Window::THREE);
        let path = layers.path();
        let mut x = layers.b.activation(&path, x, config.act_fn);
        for (level, blocks) in config.num_decoder_blocks.iter().enumerate() {
            for _ in 0..*blocks {
                x = layers.block(x);
            }
            if level < config.halvings() {
                let path = layers.path();
                x = layers.b.upsample_nearest(&path, x);
                let path = layers.path();
                x = layers.b.conv_plain(&path, x, config.decoder_channels, Window::THREE);
            } else {
                let path = layers.path();
                x = layers.b.conv(&path, x, config.out_channels, Window::THREE);
            }
        }
        layers.b.graph.outputs.push(("sample".to_owned(), x));
        layers.b
    }
}
