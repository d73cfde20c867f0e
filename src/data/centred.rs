//! Samples around their mean, taken from memory that others own: their values are read in place and copied once.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The number of rows that are summed at once. It is fixed, so that the mean does not depend on the number of threads.
const ROWS: usize = 1024;

/// Rows of samples around their mean, read in place.
#[derive(Clone, Debug)]
pub struct Rows<'a, T> {
    values: &'a [T],
    mean: Vec<f64>,
}

impl<'a, T: Copy + Into<f64> + Sync> Rows<'a, T> {
    /// Rows of as many values as `mean` has, which is subtracted from each.
    #[must_use]
    pub fn around(values: &'a [T], mean: Vec<f64>) -> Self {
        Self { values, mean }
    }

    /// Rows of `dimension` values, in float32 or float64, around their mean, which is taken in float64.
    ///
    /// # Errors
    /// [`Error::Argument`] for values that are not rows of `dimension`, [`Error::NonFinite`] for NaN or infinity.
    pub fn new(values: &'a [T], dimension: usize) -> Result<Self> {
        if values.is_empty() || dimension == 0 || !values.len().is_multiple_of(dimension) {
            let what = format!("{} values in samples of {dimension}", values.len());
            return Err(Error::argument(what, "give at least one sample, all of the same number of values"));
        }
        let sums: Vec<Vec<f64>> = values.par_chunks(ROWS * dimension).map(|rows| sum(rows, dimension)).collect();
        let mut mean = vec![0.0; dimension];
        for sums in sums {
            mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum);
        }
        let count = (values.len() / dimension) as f64;
        for mean in &mut mean {
            *mean /= count;
        }
        let rows = Self { values, mean };
        if rows.mean.iter().all(|mean| mean.is_finite()) { Ok(rows) } else { Err(rows.not_finite()) }
    }

    /// The values, row by row.
    #[must_use]
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    /// The mean, of p values.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The number of rows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.len() / self.mean.len()
    }

    /// The number of values per row.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// Writes some rows less the mean, rounded to float32, and returns the sum of the squares of what is written.
    pub fn subtract(&self, rows: &[T], to: &mut [f32]) -> f64 {
        let mut squares = vec![0.0; self.mean.len()];
        for (to, from) in to.chunks_exact_mut(self.mean.len()).zip(rows.chunks_exact(self.mean.len())) {
            for (((to, from), mean), square) in to.iter_mut().zip(from).zip(&self.mean).zip(&mut squares) {
                *to = ((*from).into() - mean) as f32;
                *square += f64::from(*to) * f64::from(*to);
            }
        }
        squares.into_iter().sum()
    }

    /// The error for values that are not finite, or too far from their mean for float32.
    #[must_use]
    pub fn not_finite(&self) -> Error {
        let far = |value: &T| (*value).into().is_nan() || (*value).into().abs() > f64::from(f32::MAX);
        let (at, dimension) = (self.values.iter().position(far).unwrap_or(0), self.dimension());
        Error::NonFinite {
            place: format!("the data: value {} of sample {}", at % dimension, at / dimension),
            hint: "remove such samples, or replace the values".into(),
        }
    }
}

/// The sum of rows.
fn sum<T: Copy + Into<f64>>(rows: &[T], dimension: usize) -> Vec<f64> {
    let mut sums = vec![0.0; dimension];
    for row in rows.chunks_exact(dimension) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += (*value).into());
    }
    sums
}

/// Samples whose mean was subtracted.
#[derive(Clone, Debug, PartialEq)]
pub struct Centred {
    /// The samples less their mean, (n, p).
    pub samples: Tensor,
    /// The mean, of p values.
    pub mean: Vec<f64>,
    /// The mean of |x|^2 of these samples: the trace of their covariance with the divisor n.
    pub variance: f64,
}

impl Centred {
    /// Copies rows, less their mean: differences in float64, rounded to float32 once.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for differences beyond float32.
    pub fn new<T: Copy + Into<f64> + Sync>(rows: Rows<T>) -> Result<Self> {
        let block = ROWS * rows.dimension();
        let mut data = vec![0.0f32; rows.values.len()];
        let blocks = data.par_chunks_mut(block).zip(rows.values.par_chunks(block));
        let squares: Vec<f64> = blocks.map(|(to, from)| rows.subtract(from, to)).collect();
        let variance = squares.into_iter().sum::<f64>() / rows.count() as f64;
        if !variance.is_finite() {
            return Err(rows.not_finite());
        }
        let samples = Tensor::new([rows.count(), rows.dimension()], data);
        Ok(Self { samples, mean: rows.mean, variance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::noise::Purpose;

    fn centred<T: Copy + Into<f64> + Sync>(values: &[T], dimension: usize) -> Result<Centred> {
        Centred::new(Rows::new(values, dimension)?)
    }

    #[test]
    fn rows_of_either_precision_are_centred_as_a_data_set_is() {
        for (count, dimension) in [(1, 3), (5, 1), (37, 11), (2 * ROWS + 5, 3)] {
            let values = Purpose::Images.normals(1, 0, 0, count * dimension);
            let wide: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            let found = centred(&values, dimension).unwrap();
            assert_eq!(centred(&wide, dimension).unwrap(), found);
            let mut data = Dataset::new("x", Tensor::new([count, dimension], values)).unwrap();
            let mean = data.centre();
            assert!(mean.iter().zip(&found.mean).all(|(a, b)| (a - b).abs() < 1e-14));
            assert!(data.samples.data.iter().zip(&found.samples.data).all(|(a, b)| (a - b).abs() < 1e-6));
            let squares: f64 = data.samples.data.iter().map(|value| f64::from(*value).powi(2)).sum();
            assert!((found.variance - squares / count as f64).abs() < 1e-6);
        }
        // A mean that float32 does not hold beside the differences.
        let far: Vec<f64> = (0..10).map(|at| 1e9 + f64::from(at % 2)).collect();
        let found = centred(&far, 1).unwrap();
        assert!(found.samples.data.iter().all(|value| value.abs() == 0.5) && found.variance == 0.25);
    }

    #[test]
    fn values_that_cannot_be_used_are_named() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = centred(&[0.0, 1.0, 2.0, value], 2).unwrap_err();
            assert_eq!(error.to_string(), "non-finite values in the data: value 1 of sample 1");
        }
        assert_eq!(centred(&[0.0, 1e300], 1).unwrap_err().kind(), crate::ErrorKind::NonFinite);
        for (values, dimension) in [(vec![], 2), (vec![1.0f32], 0), (vec![1.0; 3], 2)] {
            assert_eq!(centred(&values, dimension).unwrap_err().kind(), crate::ErrorKind::Argument);
        }
    }
}
