//! Host tensors, row-major float32 with an explicit shape, and the layout of tensors on the device.
//!
//! Files and the library's interface use NCHW. Inside the engine every tensor is NHWC with the channels padded to whole
//! *texels* of four floats. The padding is always zero, so that one vec4 load is four channels of one pixel.

/// The number of floats in a texel, the unit of every device tensor.
pub const TEXEL: usize = 4;

/// The storage of numbers in a device array. Arithmetic is in float32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// Four bytes per number.
    #[default]
    Float32,
    /// Two bytes per number: 11 significant bits, and a largest value of 65504.
    Float16,
}

impl Precision {
    /// The size of a texel in bytes.
    #[must_use]
    pub const fn texel_bytes(self) -> u64 {
        match self {
            Self::Float32 => (TEXEL * size_of::<f32>()) as u64,
            Self::Float16 => (TEXEL * size_of::<half::f16>()) as u64,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Float32 => "f32",
            Self::Float16 => "f16",
        })
    }
}

/// The most dimensions that an array in a file may have, as in `NumPy`.
pub const MOST_DIMENSIONS: usize = 64;

/// Returns the number of elements of an array of this shape, or `None` if it cannot be addressed.
///
/// An empty array, too, must have extents whose product can be addressed without those that are 0: what is computed
/// from some of its extents must not overflow.
#[must_use]
pub fn element_count(shape: &[usize]) -> Option<usize> {
    let others =
        shape.iter().filter(|extent| **extent > 0).try_fold(1usize, |product, extent| product.checked_mul(*extent))?;
    Some(if shape.contains(&0) { 0 } else { others })
}

/// A dense row-major float32 tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents, outermost first; the product is `data.len()`.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub data: Vec<f32>,
}

impl Tensor {
    /// Creates a tensor over `data`.
    ///
    /// # Panics
    /// Panics if the number of values is not the product of `shape`.
    #[must_use]
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(element_count(&shape), Some(data.len()), "shape {shape:?} does not hold {} values", data.len());
        Self { shape, data }
    }

    /// Creates a tensor of zeros.
    #[must_use]
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let len = shape.iter().product();
        Self { shape, data: vec![0.0; len] }
    }

    /// The number of values in one item of the outermost dimension.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Returns item `index` of the outermost dimension.
    #[must_use]
    pub fn item(&self, index: usize) -> &[f32] {
        let stride = self.stride();
        &self.data[index * stride..(index + 1) * stride]
    }

    /// Returns a copy of the items `range` of the outermost dimension.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        let stride = self.stride();
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        Self::new(shape, self.data[range.start * stride..range.end * stride].to_vec())
    }

    /// Returns `true` if no value is NaN or infinite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.data.iter().all(|v| v.is_finite())
    }
}

/// A summary of the values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The values that are neither NaN nor infinite; `None` without any.
    pub finite: Option<Range>,
    /// The number of the others.
    pub not_finite: usize,
}

/// The range and the moments of finite values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least value.
    pub least: f32,
    /// The largest value.
    pub most: f32,
    /// The mean.
    pub mean: f64,
    /// The standard deviation: the root of the mean square distance from the mean.
    pub standard_deviation: f64,
}

impl Tensor {
    /// Summarises the values.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let finite = || self.data.iter().copied().filter(|value| value.is_finite());
        let count = finite().count();
        let mean = finite().map(f64::from).sum::<f64>() / count as f64;
        let variance = finite().map(|value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count as f64;
        let range = Range {
            least: finite().fold(f32::INFINITY, f32::min),
            most: finite().fold(f32::NEG_INFINITY, f32::max),
            mean,
            standard_deviation: variance.sqrt(),
        };
        Summary { finite: (count > 0).then_some(range), not_finite: self.data.len() - count }
    }
}

/// The shape of a tensor inside the engine: batch, height, width, channels. Tokens are the columns `w` of a map with
/// `h` = 1. One vector per image is a map of 1 x 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The number of images in the batch.
    pub n: usize,
    /// The number of rows of pixels.
    pub h: usize,
    /// The number of columns of pixels, or of tokens.
    pub w: usize,
    /// The number of channels, without padding.
    pub c: usize,
}

impl Shape {
    /// Creates the shape (n, h, w, c).
    #[must_use]
    pub const fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c }
    }

    /// The shape of one vector of `c` channels per image.
    #[must_use]
    pub const fn vector(n: usize, c: usize) -> Self {
        Self::new(n, 1, 1, c)
    }

    /// The number of pixels per image.
    #[must_use]
    pub const fn pixels(self) -> usize {
        self.h * self.w
    }

    /// The number of pixels in the whole batch: the rows of the tensor viewed as a matrix.
    #[must_use]
    pub const fn rows(self) -> usize {
        self.n * self.h * self.w
    }

    /// The number of texels per pixel: channels over four, rounded up.
    #[must_use]
    pub const fn c4(self) -> usize {
        self.c.div_ceil(TEXEL)
    }

    /// The number of texels in the whole tensor.
    #[must_use]
    pub const fn texels(self) -> usize {
        self.rows() * self.c4()
    }

    /// The size of the whole tensor on the device, in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        (self.texels() * TEXEL * size_of::<f32>()) as u64
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}x{}", self.n, self.h, self.w, self.c)
    }
}

/// Packs an NCHW tensor into the device layout: NHWC, channels padded with zeros to whole texels.
#[must_use]
pub fn pack_nchw(values: &[f32], shape: Shape) -> Vec<f32> {
    let (pixels, padded) = (shape.pixels(), shape.c4() * TEXEL);
    let mut packed = vec![0.0; shape.n * pixels * padded];
    for n in 0..shape.n {
        for c in 0..shape.c {
            let plane = &values[(n * shape.c + c) * pixels..][..pixels];
            for (pixel, value) in plane.iter().enumerate() {
                packed[(n * pixels + pixel) * padded + c] = *value;
            }
        }
    }
    packed
}

/// The inverse of [`pack_nchw`]: drops the padding and returns NCHW.
#[must_use]
pub fn unpack_nchw(packed: &[f32], shape: Shape) -> Vec<f32> {
    let (pixels, padded) = (shape.pixels(), shape.c4() * TEXEL);
    let mut values = vec![0.0; shape.n * shape.c * pixels];
    for n in 0..shape.n {
        for c in 0..shape.c {
            let plane = &mut values[(n * shape.c + c) * pixels..][..pixels];
            for (pixel, value) in plane.iter_mut().enumerate() {
                *value = packed[(n * pixels + pixel) * padded + c];
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extents_of_an_empty_array_are_bounded_too() {
        let huge = 1 << 40;
        assert_eq!((element_count(&[]), element_count(&[2, 3]), element_count(&[0, 3])), (Some(1), Some(6), Some(0)));
        for shape in [[huge, huge, 1], [huge, huge, 0], [0, huge, huge]] {
            assert_eq!(element_count(&shape), None, "{shape:?}");
        }
    }

    #[test]
    fn a_summary_leaves_out_what_is_not_finite() {
        let summary = Tensor::new([4], vec![1.0, f32::NAN, 3.0, f32::INFINITY]).summary();
        let range = Range { least: 1.0, most: 3.0, mean: 2.0, standard_deviation: 1.0 };
        assert_eq!(summary, Summary { finite: Some(range), not_finite: 2 });
        assert_eq!(Tensor::new([1], vec![f32::NAN]).summary(), Summary { finite: None, not_finite: 1 });
    }

    #[test]
    fn packing_round_trips_and_pads_with_zeros() {
        let shape = Shape::new(2, 3, 2, 5);
        let values: Vec<f32> = (1..=60u8).map(f32::from).collect();
        let packed = pack_nchw(&values, shape);
        assert_eq!(packed.len(), shape.texels() * TEXEL);
        assert_eq!(packed.iter().filter(|v| **v == 0.0).count(), 2 * 6 * 3);
        assert_eq!(packed[1], values[6], "the second channel follows the first");
        assert_eq!(unpack_nchw(&packed, shape), values);
    }
}
