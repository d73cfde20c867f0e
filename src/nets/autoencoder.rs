//! Autoencoders of images, by their class in diffusers.
//!
//! An autoencoder is a folder in `src/nets/` and a line in [`read`].

use std::fmt::Debug;
use std::sync::Arc;

use crate::checkpoint::{ConfigFile, Weights};
use crate::error::{Error, Result};
use crate::graph::op::Graph;
use crate::nets::architecture::check_batch;
use crate::nets::builder::{Key, parameters};
use crate::nets::{autoencoder_kl, autoencoder_tiny};

/// Names of the inputs of the graphs.
pub mod names {
    /// Images, as [`super::Autoencoder::of_image`] makes them, (n, height, width, channels): the input of the encoder.
    pub const IMAGE: &str = "image";
    /// Latents, as [`super::Autoencoder::of_latent`] makes them, (n, h, w, channels): the input of the decoder.
    pub const LATENT: &str = "latent";
}

/// An autoencoder: images to latents, and back.
pub trait Autoencoder: Debug + Send + Sync {
    /// Its class in diffusers.
    fn class(&self) -> &'static str;

    /// Channels of an image to encode.
    fn in_channels(&self) -> usize;

    /// Channels of a decoded image.
    fn out_channels(&self) -> usize;

    /// Channels of a latent.
    fn latent_channels(&self) -> usize;

    /// Pixels of an image per latent, along either side.
    fn factor(&self) -> usize;

    /// The encoder's latent of a channel from the diffusion network's: factor and offset.
    fn raw_of_scaled(&self, channel: usize) -> (f64, f64);

    /// `true` if maps may pass the range of float16, and are kept in float32.
    fn keeps_float32(&self) -> bool;

    /// `true` if the encoder's output holds a mean and the logarithm of a variance for each latent, one after the
    /// other; `false` if it is the latents.
    fn is_random(&self) -> bool;

    /// The graph of the encoder for `batch` images of a size (height, width).
    ///
    /// # Errors
    /// Those of [`Self::check_images`].
    fn encoder(&self, batch: usize, size: (usize, usize)) -> Result<Graph>;

    /// The graph of the decoder for `batch` latents of a size (height, width).
    ///
    /// # Errors
    /// Those of [`Self::check_latents`].
    fn decoder(&self, batch: usize, size: (usize, usize)) -> Result<Graph>;

    /// Refuses what [`Self::decoder`] does not take.
    ///
    /// # Errors
    /// [`Error::Argument`] for latents without pixels, or an empty batch.
    fn check_latents(&self, batch: usize, (height, width): (usize, usize)) -> Result<()> {
        check_batch(batch)?;
        if height == 0 || width == 0 {
            return Err(Error::argument(
                format!("latents of {height} x {width} hold no pixels"),
                "height and width must be at least 1",
            ));
        }
        Ok(())
    }

    /// Refuses what [`Self::encoder`] does not take.
    ///
    /// # Errors
    /// [`Error::Argument`] for a size that is not a multiple of [`Self::factor`], or an empty batch.
    fn check_images(&self, batch: usize, (height, width): (usize, usize)) -> Result<()> {
        check_batch(batch)?;
        let multiple = self.factor();
        if height == 0 || width == 0 || !height.is_multiple_of(multiple) || !width.is_multiple_of(multiple) {
            return Err(Error::argument(
                format!("images of {height} x {width} do not fit this autoencoder"),
                format!("height and width must be multiples of {multiple}"),
            ));
        }
        Ok(())
    }

    /// Every tensor of a checkpoint, with its shape there.
    fn keys(&self) -> Vec<Key>;

    /// The number of parameters in a checkpoint.
    fn parameters(&self) -> u64 {
        parameters(&self.keys())
    }

    /// The input of the encoder's graph for a value of an image from -1 to 1.
    fn of_image(&self, value: f64) -> f64 {
        value
    }

    /// The input of the decoder's graph for a value of a raw latent.
    fn of_latent(&self, value: f64) -> f64 {
        value
    }

    /// The value of an image, about -1 to 1, from the output of the decoder's graph.
    fn to_image(&self, value: f64) -> f64 {
        value
    }
}

/// The autoencoder that a configuration describes.
///
/// # Errors
/// [`Error::UnsupportedField`] for another class, a field or a value without an implementation;
/// [`Error::BadFile`] for wrong types, values out of range and fields that contradict each other.
pub fn read(config: &ConfigFile) -> Result<Arc<dyn Autoencoder>> {
    match config.expect_class(&[autoencoder_kl::CLASS, autoencoder_tiny::CLASS])? {
        autoencoder_tiny::CLASS => Ok(Arc::new(autoencoder_tiny::read(config)?)),
        _ => Ok(Arc::new(autoencoder_kl::read(config)?)),
    }
}

/// The autoencoder that a configuration describes, checked against the weights.
///
/// # Errors
/// As [`read`]; then [`Error::MissingKey`], [`Error::WrongShape`] or [`Error::UnexpectedKey`] of
/// the weights.
pub fn open(config: &ConfigFile, weights: &Weights) -> Result<Arc<dyn Autoencoder>> {
    let net = read(config)?;
    weights.check(&net.keys())?;
    Ok(net)
}
