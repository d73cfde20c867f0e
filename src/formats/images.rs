//! Conversion from the model's range to pixels: 8-bit images and grids of them.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The number of pixels between the images of a grid.
pub const GRID_GAP: usize = 2;
/// The default background of a grid.
pub const WHITE: u8 = 255;

/// The numbers that the bytes 0 to 255 of images become. Arrays of other types are unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// From 0 to 1.
    #[default]
    Unit,
    /// From -1 to 1, the range of the networks.
    Signed,
}

impl Pixels {
    /// Returns the number that a byte becomes.
    #[must_use]
    pub fn value(self, byte: u8) -> f32 {
        match self {
            Self::Unit => f32::from(byte) / 255.0,
            Self::Signed => f32::from(byte) / 127.5 - 1.0,
        }
    }
}

/// An 8-bit image: grey (1 channel), RGB (3) or RGBA (4), row-major with the channels innermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// The values, height x width x channels.
    pub pixels: Vec<u8>,
}

/// Converts a value of the model's range -1..1 to 8 bits as diffusers' `VaeImageProcessor` does: `(x / 2 +
/// 0.5).clamp(0, 1)`, times 255, rounded half to even. NaN becomes 0; see [`quantise`], which refuses it.
#[must_use]
pub fn to_byte(value: f32) -> u8 {
    (to_unit(value) * 255.0).round_ties_even() as u8
}

/// Converts a value of the model's range -1..1 to 0..1, clamped.
#[must_use]
pub fn to_unit(value: f32) -> f32 {
    (value / 2.0 + 0.5).clamp(0.0, 1.0)
}

/// Converts values from 0 to 1 to the model's range -1..1.
#[must_use]
pub fn signed(unit: &Tensor) -> Tensor {
    Tensor::new(unit.shape.clone(), unit.data.iter().map(|value| 2.0 * value - 1.0).collect::<Vec<_>>())
}

/// Converts an NCHW tensor in the model's range -1..1 to images.
///
/// # Errors
/// [`Error::Argument`] if the tensor does not have 1, 3 or 4 channels, [`Error::NonFinite`] if a value is not finite.
pub fn quantise(samples: &Tensor) -> Result<Vec<Image>> {
    let &[count, channels, height, width] = samples.shape.as_slice() else {
        let what = format!("a tensor of shape {:?} is not a batch of images, (N, C, H, W)", samples.shape);
        return Err(Error::argument(what, "save the values as an array instead: `save_samples`"));
    };
    if !matches!(channels, 1 | 3 | 4) {
        let what = format!("{channels} channels do not make an image, which has 1 (grey), 3 (RGB) or 4 (RGBA)");
        return Err(Error::argument(what, "save the values as an array instead: `save_samples`"));
    }
    (0..count).map(|index| quantise_one(index, samples.item(index), [channels, height, width])).collect()
}

fn quantise_one(index: usize, values: &[f32], [channels, height, width]: [usize; 3]) -> Result<Image> {
    if !values.iter().all(|value| value.is_finite()) {
        let hint = "no image is written; the weights or the schedule make the values overflow".to_string();
        return Err(Error::NonFinite { place: format!("image {index}"), hint });
    }
    let area = height * width;
    let pixels = (0..area * channels).map(|at| to_byte(values[at % channels * area + at / channels])).collect();
    Ok(Image { height, width, channels, pixels })
}

/// Returns the default number of columns of a grid: as square as possible, wider rather than taller.
#[must_use]
pub fn square_columns(count: usize) -> usize {
    let root = count.isqrt();
    if root * root < count { root + 1 } else { root.max(1) }
}

/// Combines all images into one, in rows of `columns` (at most the number of images). [`GRID_GAP`] pixels of
/// `background` separate the images; unused cells are filled with it.
///
/// # Panics
/// Panics if `images` is empty, `columns` is zero, or the images differ in size.
#[must_use]
pub fn grid(images: &[Image], columns: usize, background: u8) -> Image {
    let Image { height, width, channels, .. } = images[0];
    assert!(images.iter().all(|image| (image.height, image.width, image.channels) == (height, width, channels)));
    let columns = columns.min(images.len());
    let rows = images.len().div_ceil(columns);
    let whole = |count: usize, extent: usize| count * extent + (count - 1) * GRID_GAP;
    let (all_height, all_width) = (whole(rows, height), whole(columns, width));
    let mut pixels = vec![background; all_height * all_width * channels];
    if channels == 4 {
        pixels.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = u8::MAX);
    }
    for (index, image) in images.iter().enumerate() {
        let (top, left) = (index / columns * (height + GRID_GAP), index % columns * (width + GRID_GAP));
        for (row, values) in image.pixels.chunks_exact(width * channels).enumerate() {
            let start = ((top + row) * all_width + left) * channels;
            pixels[start..start + values.len()].copy_from_slice(values);
        }
    }
    Image { height: all_height, width: all_width, channels, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `np.round(np.clip(np.float32(x) / 2 + 0.5, 0, 1) * 255)`: the ends, values out of range, and the two ties 0.5
    /// and 127.5.
    #[test]
    fn bytes_follow_diffusers() {
        let cases = [(-1.0, 0), (1.0, 255), (-7.0, 0), (7.0, 255), (0.0, 128), (-0.5, 64), (0.5, 191), (0.25, 159)];
        for (value, byte) in cases {
            assert_eq!(to_byte(value), byte, "{value}");
        }
        // No format holds 126.5 / 255 exactly. The nearest float32 lands on the tie, and even is down.
        let tie = 2.0 * (126.5f32 / 255.0) - 1.0;
        assert_eq!((tie / 2.0 + 0.5) * 255.0, 126.5);
        assert_eq!(to_byte(tie), 126);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_byte_comes_back(byte: u8) {
            prop_assert_eq!(to_byte(f32::from(byte) / 255.0 * 2.0 - 1.0), byte);
        }

        #[test]
        fn bytes_are_monotonic_and_within_half_a_step(a in -1.5f32..1.5, b in -1.5f32..1.5) {
            prop_assert!(a > b || to_byte(a) <= to_byte(b));
            let exact = (f64::from(a) / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0;
            prop_assert!((f64::from(to_byte(a)) - exact).abs() <= 0.5 + 1e-4);
        }
    }

    #[test]
    fn channels_move_inside() {
        let values = [-1.0, -0.5, 0.0, 0.5, 1.0, 1.0];
        let images = quantise(&Tensor::new([1, 3, 1, 2], values.to_vec())).unwrap();
        assert_eq!(images, [Image { height: 1, width: 2, channels: 3, pixels: vec![0, 128, 255, 64, 191, 255] }]);
        let grey = quantise(&Tensor::new([2, 1, 1, 3], values.to_vec())).unwrap();
        assert_eq!(grey[1].pixels, [191, 255, 255]);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for channels in [2, 5, 16] {
            let error = quantise(&Tensor::zeros([1, channels, 2, 2])).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Argument);
            assert!(error.to_string().starts_with(&format!("{channels} channels")), "{error}");
        }
        assert_eq!(quantise(&Tensor::zeros([3, 2, 2])).unwrap_err().kind(), crate::ErrorKind::Argument);
        for value in [f32::NAN, f32::INFINITY] {
            let error = quantise(&Tensor::new([2, 1, 1, 1], vec![0.0, value])).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (crate::ErrorKind::NonFinite, "non-finite values in image 1")
            );
        }
    }

    #[test]
    fn grids_are_near_square() {
        let columns: Vec<usize> = (1..=17).map(square_columns).collect();
        assert_eq!(columns, [1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5]);
    }

    #[test]
    fn grids_place_images_in_rows_with_gaps_between() {
        let image = |value: u8| Image { height: 1, width: 2, channels: 1, pixels: vec![value, value + 1] };
        let whole = grid(&[image(10), image(20), image(30)], 2, 9);
        assert_eq!((whole.height, whole.width, whole.channels), (4, 6, 1));
        let rows: Vec<&[u8]> = whole.pixels.chunks(6).collect();
        assert_eq!(rows, [[10, 11, 9, 9, 20, 21], [9; 6], [9; 6], [30, 31, 9, 9, 9, 9]]);
        assert_eq!(grid(&[image(10)], 8, 9), image(10), "one image is its own grid");
    }

    #[test]
    fn the_gaps_of_a_transparent_grid_are_opaque() {
        let image = Image { height: 1, width: 1, channels: 4, pixels: vec![1, 2, 3, 4] };
        let whole = grid(&[image.clone(), image], 2, WHITE);
        assert_eq!(whole.pixels, [&[1, 2, 3, 4][..], &[255; 8], &[1, 2, 3, 4]].concat());
        let dark = grid(&[whole.clone(), whole], 1, 0);
        assert_eq!(dark.pixels[4 * 4..4 * 5], [0, 0, 0, 255]);
    }
}
