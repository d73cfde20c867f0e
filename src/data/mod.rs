//! Data sets: the sources that `DATA` names, and samples at levels of noise.
//!
//! A source is a file of this module, with its name, its one-line description, the texts it accepts and how they are
//! loaded, and a line in `source`. A [`Dataset`] is a matrix with one sample per row. Pixels are bytes in files;
//! [`Pixels`] says which numbers they become. Every value is checked to be finite when data are loaded, so that no
//! reader of a data set has to check again. A [`Stream`] reads the same samples a few at a time.

mod arrays;
mod centred;
mod digits;
mod folder;
mod idx;
pub mod mask;
mod noised;
mod npy;
mod npz;
pub mod picture;
mod power_law;
mod source;
mod spiked;
mod stream;

pub use centred::{Centred, Rows};
pub use digits::{HELD_OUT, SEEN, TRAINED_ON, digit_labels, digits};
pub(crate) use folder::is_named_image;
pub use noised::{Coupling, Noised};
pub use npz::images as npz_images;
pub use power_law::PowerLaw;
pub use source::{Source, forms};
pub use spiked::Spiked;
pub use stream::Stream;

use crate::error::{Error, Result};
pub use crate::formats::Pixels;
use crate::tensor::Tensor;

/// Samples, one per row.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The name that the user gave.
    pub name: String,
    /// The shape of a sample: (28, 28), (3, 32, 32), (p).
    pub sample_shape: Vec<usize>,
    /// The samples as a matrix (n, p), every value finite.
    pub samples: Tensor,
}

impl Dataset {
    /// A data set called `name` from an array (N, ...) of N samples.
    ///
    /// # Errors
    /// [`Error::BadFile`] for an array without samples or of samples without values, [`Error::NonFinite`] for NaN or
    /// infinity.
    pub fn new(name: &str, array: Tensor) -> Result<Self> {
        let (shape, values) = (array.shape, array.data);
        let dimension = stream::dimension_of(name, &shape)?;
        stream::expect_finite(name, 0, dimension, &values)?;
        let samples = Tensor::new([shape[0], dimension], values);
        Ok(Self { name: name.to_owned(), sample_shape: shape[1..].to_vec(), samples })
    }

    /// The number of samples.
    #[must_use]
    pub fn count(&self) -> usize {
        self.samples.shape[0]
    }

    /// The number of values per sample.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.samples.shape[1]
    }

    /// At most `most` samples, evenly spaced.
    #[must_use]
    pub fn evenly(&self, most: usize) -> Self {
        let count = self.count().min(most.max(1));
        let picks = (0..count).map(|at| at * self.count() / count);
        let values = picks.flat_map(|at| self.samples.item(at).iter().copied()).collect();
        Self { samples: Tensor::new([count, self.dimension()], values), ..self.clone() }
    }

    /// The mean of the samples, of `dimension()` values, summed in float64.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        let mut sums = vec![0.0f64; self.dimension()];
        for sample in self.samples.data.chunks_exact(self.dimension()) {
            for (sum, value) in sums.iter_mut().zip(sample) {
                *sum += f64::from(*value);
            }
        }
        let count = self.count() as f64;
        sums.into_iter().map(|sum| sum / count).collect()
    }

    /// The share of the mean in the second moment: |mean|^2 over the mean of |x|^2.
    #[must_use]
    pub fn share_of_mean(&self) -> f64 {
        let mean: f64 = self.mean().iter().map(|value| value * value).sum();
        let squares = self.samples.data.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        mean / (squares / self.count() as f64).max(f64::MIN_POSITIVE)
    }

    /// Subtracts the mean from every sample and returns it. Without this, the mean is the direction of the largest
    /// second moment of most data, images above all.
    pub fn centre(&mut self) -> Vec<f64> {
        let mean = self.mean();
        for sample in self.samples.data.chunks_exact_mut(mean.len()) {
            for (value, mean) in sample.iter_mut().zip(&mean) {
                *value = (f64::from(*value) - mean) as f32;
            }
        }
        mean
    }
}

fn no_samples(name: &str, shape: &[usize]) -> Error {
    Error::bad_file_hint(
        name,
        format!("the array of shape {shape:?} holds no samples"),
        "data are an array (N, ...) of N samples with at least one value each",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_is_a_matrix_of_finite_samples() {
        let data = Dataset::new("x", Tensor::new([2, 3, 2], (0..12u8).map(f32::from).collect())).unwrap();
        assert_eq!((data.count(), data.dimension(), data.sample_shape.as_slice()), (2, 6, [3, 2].as_slice()));
        for shape in [vec![0, 4], vec![3], vec![2, 0], vec![0, 1 << 32, 1 << 32]] {
            let data = vec![0.0; if shape == [3] { 3 } else { 0 }];
            let error = Dataset::new("x.npy", Tensor { shape, data }).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::File);
            assert!(error.to_string().starts_with("x.npy: the array of shape"), "{error}");
        }
        for value in [f32::NAN, f32::INFINITY] {
            let error = Dataset::new("x.npy", Tensor::new([2, 2], vec![0.0, 1.0, 2.0, value])).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::NonFinite);
            assert_eq!(error.to_string(), "non-finite values in `x.npy`: value 1 of sample 1");
        }
    }

    #[test]
    fn centring_takes_the_mean_off() {
        let mut data = Dataset::new("x", Tensor::new([3, 2], vec![1.0, 10.0, 2.0, 20.0, 3.0, 60.0])).unwrap();
        assert_eq!(data.centre(), [2.0, 30.0]);
        assert_eq!(data.samples.data, [-1.0, -20.0, 0.0, -10.0, 1.0, 30.0]);
        assert_eq!(data.mean(), [0.0, 0.0]);
    }
}
