//! Mean and covariance, in float64, of rows that arrive a few at a time: those of [`crate::moments`], and the rows
//! themselves where they are few.

use faer::Mat;

use super::Statistics;
use crate::error::{Error, Result};
use crate::moments::{Description, Moments as Tree};

/// Features from which on the rows are kept as long as there are at most half as many of them: the Frechet distance is
/// then one of small matrices.
const MANY: usize = 512;

/// The moments of rows whose number is known.
#[derive(Clone, Debug)]
pub struct Moments {
    tree: Tree,
    /// The rows themselves, as long as they are few.
    rows: Option<Vec<f32>>,
}

impl Moments {
    /// Creates the moments of `count` rows of `dimension` values, none of which is there yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for rows of no values or too many.
    pub fn new(dimension: usize, count: usize) -> Result<Self> {
        let tree = Tree::whole(Description::of_rows(count, &[dimension]))?;
        Ok(Self { tree, rows: (dimension >= MANY && count <= dimension / 2).then(Vec::new) })
    }

    /// The number of rows added so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tree.next_row()
    }

    /// Adds the rows that `rows` holds one after the other.
    ///
    /// # Panics
    /// Panics if the length of `rows` is not a multiple of the dimension, or if there are more rows than were said.
    pub fn add(&mut self, rows: &[f32]) {
        self.tree.add(rows);
        if let Some(kept) = &mut self.rows {
            kept.extend_from_slice(rows);
        }
    }

    /// Returns the mean and the unbiased covariance (over n - 1, as `np.cov` does).
    ///
    /// # Errors
    /// [`Error::Argument`] for fewer than two rows, and for fewer than were said; [`Error::NonFinite`] if a row held
    /// NaN or infinity.
    pub fn statistics(&self) -> Result<Statistics> {
        if self.count() < 2 {
            let what = format!("the covariance of {} samples", self.count());
            return Err(Error::argument(what, "statistics need at least two samples"));
        }
        let statistics = Statistics::of(&self.tree)?;
        let factor = self.factor(&statistics.mean);
        Ok(Statistics { factor, ..statistics })
    }

    /// The deviations from the mean over sqrt(n - 1), where the rows are few.
    fn factor(&self, mean: &[f64]) -> Option<Mat<f64>> {
        let (rows, dimension) = (self.rows.as_ref()?, mean.len());
        let scale = (self.count() as f64 - 1.0).sqrt().recip();
        Some(Mat::from_fn(self.count(), dimension, |row, column| {
            (f64::from(rows[row * dimension + column]) - mean[column]) * scale
        }))
    }
}

/// Returns the statistics of rows that are all in memory.
///
/// # Errors
/// Those of [`Moments::new`] and of [`Moments::statistics`].
pub fn of_rows(rows: &[f32], dimension: usize) -> Result<Statistics> {
    let mut moments = Moments::new(dimension, rows.len() / dimension.max(1))?;
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
        let mut parts = Moments::new(3, 20).unwrap();
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
