//! Mean and covariance, in float64, of rows that arrive a few at a time.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, get_global_parallelism};

use super::Statistics;
use crate::error::{Error, Result};

/// Features from which on the rows are kept as long as there are at most half as many of them: the Frechet distance is
/// then one of small matrices.
const MANY: usize = 512;

/// Sums over rows of `dimension` values, relative to a point near their mean: the first row. Relative to zero, the
/// covariance of values with a large mean would be the small difference of large numbers.
#[derive(Clone, Debug)]
pub struct Moments {
    dimension: usize,
    count: usize,
    about: Vec<f64>,
    sums: Vec<f64>,
    /// Sums of products, a symmetric matrix.
    products: Mat<f64>,
    /// The rows themselves, as long as they are few.
    rows: Option<Vec<f32>>,
}

impl Moments {
    /// Creates sums over no rows.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self {
            dimension,
            count: 0,
            about: vec![0.0; dimension],
            sums: vec![0.0; dimension],
            products: Mat::zeros(dimension, dimension),
            rows: (dimension >= MANY).then(Vec::new),
        }
    }

    /// The number of rows added so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds the rows that `rows` holds one after the other.
    ///
    /// # Panics
    /// Panics if the length of `rows` is not a multiple of the dimension.
    pub fn add(&mut self, rows: &[f32]) {
        assert!(rows.len().is_multiple_of(self.dimension), "{} values in rows of {}", rows.len(), self.dimension);
        if self.count == 0 {
            self.about = rows.iter().take(self.dimension).map(|value| f64::from(*value)).collect();
            self.about.resize(self.dimension, 0.0);
        }
        let count = rows.len() / self.dimension;
        let block = Mat::from_fn(count, self.dimension, |row, column| {
            f64::from(rows[row * self.dimension + column]) - self.about[column]
        });
        for (column, sum) in self.sums.iter_mut().enumerate() {
            *sum += block.col(column).iter().sum::<f64>();
        }
        matmul(&mut self.products, Accum::Add, block.transpose(), &block, 1.0, get_global_parallelism());
        self.count += count;
        match &mut self.rows {
            Some(kept) if self.count <= self.dimension / 2 => kept.extend_from_slice(rows),
            _ => self.rows = None,
        }
    }

    /// The deviations from the mean over sqrt(n - 1), where the rows are few.
    fn factor(&self, mean: &[f64]) -> Option<Mat<f64>> {
        let rows = self.rows.as_ref()?;
        let scale = (self.count as f64 - 1.0).sqrt().recip();
        Some(Mat::from_fn(self.count, self.dimension, |row, column| {
            (f64::from(rows[row * self.dimension + column]) - mean[column]) * scale
        }))
    }

    /// Returns the mean and the unbiased covariance (over n - 1, as `np.cov` does).
    ///
    /// # Errors
    /// [`Error::Argument`] for fewer than two rows; [`Error::NonFinite`] if a row held NaN or infinity.
    pub fn statistics(&self) -> Result<Statistics> {
        if self.count < 2 {
            let what = format!("the covariance of {} samples", self.count);
            return Err(Error::argument(what, "statistics need at least two samples"));
        }
        let count = self.count as f64;
        let offset: Vec<f64> = self.sums.iter().map(|sum| sum / count).collect();
        let covariance = Mat::from_fn(self.dimension, self.dimension, |i, j| {
            let product = f64::midpoint(self.products[(i, j)], self.products[(j, i)]);
            (product - count * offset[i] * offset[j]) / (count - 1.0)
        });
        let mean: Vec<f64> = self.about.iter().zip(&offset).map(|(about, offset)| about + offset).collect();
        let factor = self.factor(&mean);
        Ok(Statistics { factor, ..Statistics::new(mean, covariance)? })
    }
}

/// Returns the statistics of rows that are all in memory.
///
/// # Errors
/// Those of [`Moments::statistics`].
pub fn of_rows(rows: &[f32], dimension: usize) -> Result<Statistics> {
    let mut moments = Moments::new(dimension);
    moments.add(rows);
    moments.statistics()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_definition() {
        let rows: Vec<f32> = (0..60u8).map(|i| 1000.0 + (f32::from(i) * 0.7).sin()).collect();
        let whole = of_rows(&rows, 3).unwrap();
        let mut parts = Moments::new(3);
        for range in [0..3, 3..33, 33..60] {
            parts.add(&rows[range]);
        }
        let parts = parts.statistics().unwrap();
        let mean = |column: usize| (0..20).map(|row| f64::from(rows[row * 3 + column])).sum::<f64>() / 20.0;
        for i in 0..3 {
            assert!((whole.mean[i] - mean(i)).abs() < 1e-10);
            for j in 0..3 {
                let deviation = |row: usize, column: usize| f64::from(rows[row * 3 + column]) - mean(column);
                let expected = (0..20).map(|row| deviation(row, i) * deviation(row, j)).sum::<f64>() / 19.0;
                assert!((whole.covariance[(i, j)] - expected).abs() < 1e-12);
                assert!((parts.covariance[(i, j)] - expected).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn too_few_rows_and_what_is_no_number_are_refused() {
        assert_eq!(of_rows(&[1.0, 2.0], 2).unwrap_err().kind(), crate::ErrorKind::Argument);
        assert_eq!(of_rows(&[1.0, 2.0, f32::NAN, 1.0], 2).unwrap_err().kind(), crate::ErrorKind::NonFinite);
    }
}
