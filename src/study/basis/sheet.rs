//! Eigenvectors as pictures: a sheet per image, with a row per level.

use super::Basis;
use crate::denoise::jacobian::Place;
use crate::error::Result;
use crate::formats::images::{Image, grid, quantise};
use crate::tensor::Tensor;

/// The least side of a picture of a sheet, in pixels.
const LEAST_SIDE: usize = 56;
/// The grey between pictures.
const GAP: u8 = 96;

/// The range of a denoiser's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// `true` for 0 to 1, `false` for -1 to 1.
    pub is_unit: bool,
}

impl Range {
    /// A value in -1 to 1.
    fn signed(self, value: f64) -> f64 {
        if self.is_unit { 2.0 * value - 1.0 } else { value }
    }

    /// A value of an image under noise, shrunk to the spread of images.
    fn noisy(self, value: f64, sigma: f64) -> f64 {
        let sigma = if self.is_unit { 2.0 * sigma } else { sigma };
        self.signed(value) / (1.0 + sigma * sigma).sqrt()
    }
}

/// Returns `true` if values of this shape are a picture: grey or of three colours.
#[must_use]
pub fn is_picture([channels, ..]: [usize; 3]) -> bool {
    matches!(channels, 1 | 3)
}

/// The sheet of an image: for each level its state over sqrt(1 + sigma^2), its x0, and the eigenvectors, each over its
/// largest magnitude, where grey is 0.
///
/// # Errors
/// [`crate::Error::NonFinite`]; [`crate::Error::Argument`] for a shape that is not a picture.
pub fn sheet(path: &[Place], x0: &[Vec<f64>], bases: &[Basis], shape: [usize; 3], range: Range) -> Result<Image> {
    let mut values = Vec::new();
    let mut columns = 2;
    for ((place, x0), basis) in path.iter().zip(x0).zip(bases) {
        let sigma = place.level.sigma;
        values.extend(place.x.data.iter().map(|value| range.noisy(f64::from(*value), sigma) as f32));
        values.extend(x0.iter().map(|value| range.signed(*value) as f32));
        let vectors = &basis.vectors;
        for vector in vectors.data.chunks(vectors.stride().max(1)) {
            let most = vector.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
            values.extend(vector.iter().map(|value| value / most));
        }
        columns = 2 + vectors.shape[0];
    }
    let [channels, height, width] = shape;
    let count = values.len() / (channels * height * width);
    let pictures = quantise(&Tensor::new([count, channels, height, width], values))?;
    let factor = LEAST_SIDE.div_ceil(height.max(width));
    let pictures: Vec<Image> = pictures.iter().map(|picture| enlarged(picture, factor)).collect();
    Ok(grid(&pictures, columns, GAP))
}

/// Each pixel as a square of `factor` x `factor`.
fn enlarged(image: &Image, factor: usize) -> Image {
    let Image { height, width, channels, .. } = *image;
    let (tall, wide) = (height * factor, width * factor);
    let pixel = |at: usize| {
        let (row, column) = (at / wide / factor, at % wide / factor);
        &image.pixels[(row * width + column) * channels..][..channels]
    };
    Image { height: tall, width: wide, channels, pixels: (0..tall * wide).flat_map(pixel).copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_squares() {
        let image = Image { height: 1, width: 2, channels: 3, pixels: vec![1, 2, 3, 4, 5, 6] };
        let large = enlarged(&image, 2);
        assert_eq!((large.height, large.width), (2, 4));
        assert_eq!(large.pixels, [[1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]; 2].concat());
    }

    #[test]
    fn ranges_become_signed() {
        assert_eq!((Range { is_unit: true }.signed(0.25), Range { is_unit: false }.signed(0.25)), (-0.5, 0.25));
        assert!((Range { is_unit: false }.noisy(2.0, 3f64.sqrt()) - 1.0).abs() < 1e-12);
        assert!((Range { is_unit: true }.noisy(1.5, 0.5 * 3f64.sqrt()) - 1.0).abs() < 1e-12);
    }
}
