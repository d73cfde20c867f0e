//! The levels of an image, as its file has them.

use image::DynamicImage;

use super::Picture;
use crate::error::Result;

/// The largest level of 16 bits over that of 8.
const PER_LEVEL: f64 = 257.0;
/// The largest level of 8 bits.
const WHITE: f64 = 255.0;

/// The levels of an image from 0 to 255: whole numbers for 8 bits per channel, 257ths for 16 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    pub height: usize,
    pub width: usize,
    /// The number of channels: 1 for grey, 3 for RGB, and one more with transparency.
    pub channels: usize,
    /// The values, height x width x channels. Colours are over white; the opacity is the last channel.
    pub values: Vec<f64>,
    /// `true` if values of more than 8 bits were rounded to 8: those of images with transparency.
    pub is_rounded: bool,
}

impl Levels {
    /// Returns `true` if the last channel is opacity.
    #[must_use]
    pub fn has_alpha(&self) -> bool {
        self.channels.is_multiple_of(2)
    }

    /// The number of channels without opacity: 1 or 3.
    #[must_use]
    pub fn colors(&self) -> usize {
        self.channels - usize::from(self.has_alpha())
    }
}

impl Picture {
    /// Returns the levels of the image, at its size.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn levels(&self) -> Result<Levels> {
        let (height, width) = self.size();
        let colors = if self.image.color().has_color() { 3 } else { 1 };
        let channels = colors + usize::from(self.alpha.is_some());
        let bytes = (height as u64).saturating_mul(width as u64).saturating_mul((channels * size_of::<f64>()) as u64);
        // The colours are there once more while the opacity is added.
        self.budget.ask(&self.file, bytes.saturating_mul(2))?;
        let shown = match &self.image {
            DynamicImage::ImageLuma8(image) => image.as_raw().iter().map(|level| f64::from(*level)).collect(),
            DynamicImage::ImageRgb8(image) => image.as_raw().iter().map(|level| f64::from(*level)).collect(),
            DynamicImage::ImageLuma16(image) => {
                image.as_raw().iter().map(|level| f64::from(*level) / PER_LEVEL).collect()
            }
            DynamicImage::ImageRgb16(image) => {
                image.as_raw().iter().map(|level| f64::from(*level) / PER_LEVEL).collect()
            }
            other => other.to_rgb32f().as_raw().iter().map(|level| f64::from(*level) * WHITE).collect::<Vec<_>>(),
        };
        let values = match &self.alpha {
            None => shown,
            Some(alpha) => {
                let pixels = shown.chunks_exact(colors).zip(alpha);
                pixels.flat_map(|(pixel, alpha)| pixel.iter().copied().chain([f64::from(*alpha)])).collect()
            }
        };
        Ok(Levels { height, width, channels, values, is_rounded: self.is_rounded })
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma, LumaA, Rgba};

    use super::*;

    fn levels(image: impl Into<DynamicImage>) -> Levels {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.png");
        image.into().save(&file).unwrap();
        Picture::read(&file).unwrap().levels().unwrap()
    }

    #[test]
    fn opacity_is_a_channel_and_colours_are_over_white() {
        let pixels = vec![10, 20, 30, 255, 10, 20, 30, 0];
        let found = levels(ImageBuffer::<Rgba<u8>, _>::from_raw(2, 1, pixels).unwrap());
        assert_eq!((found.height, found.width, found.channels, found.colors()), (1, 2, 4, 3));
        assert_eq!(found.values, [10.0, 20.0, 30.0, 255.0, 255.0, 255.0, 255.0, 0.0]);
        assert!(found.has_alpha() && !found.is_rounded);
    }

    #[test]
    fn sixteen_bits_keep_their_fractions() {
        let found = levels(ImageBuffer::<Luma<u16>, _>::from_raw(3, 1, vec![0, 258, 65535]).unwrap());
        assert_eq!((found.channels, found.values), (1, vec![0.0, 258.0 / 257.0, 255.0]));
        let rounded = levels(ImageBuffer::<LumaA<u16>, _>::from_raw(1, 1, vec![258, 65535]).unwrap());
        assert_eq!((rounded.channels, rounded.values, rounded.is_rounded), (2, vec![1.0, 255.0], true));
    }
}
