//! Mean and covariance of features, and the files that hold them, in pytorch-fid's format.

use std::path::Path;

use faer::Mat;

use crate::error::{Error, Result};
use crate::formats::npz;
use crate::input::ask;
use crate::moments::Moments;

/// The mean and the covariance of a set of features: the input of the Frechet distance.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    pub mean: Vec<f64>,
    /// The covariance, symmetric.
    pub covariance: Mat<f64>,
    /// A matrix F of few rows with `covariance` = F'F, where the statistics are those of few samples of many features.
    pub factor: Option<Mat<f64>>,
}

impl Statistics {
    /// Combines a mean and its covariance.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if they hold NaN or infinity.
    pub fn new(mean: Vec<f64>, covariance: Mat<f64>) -> Result<Self> {
        let count = mean.len();
        let entries = (0..count).flat_map(|row| (0..count).map(move |column| (row, column)));
        if mean.iter().all(|value| value.is_finite()) && entries.into_iter().all(|at| covariance[at].is_finite()) {
            return Ok(Self { mean, covariance, factor: None });
        }
        let hint = "look for samples that are NaN or infinite".to_owned();
        Err(Error::NonFinite { place: "the statistics of features".to_owned(), hint })
    }

    /// The mean and the covariance, over n - 1, of moments of all rows.
    ///
    /// # Errors
    /// Those of [`Moments::covariance`]; [`Error::NonFinite`].
    pub fn of(moments: &Moments) -> Result<Self> {
        let covariance = moments.covariance(1)?;
        Self::new(moments.mean()?, covariance)
    }

    /// The length of a feature vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// Reads `mu` (d) and `sigma` (d, d) from an `.npz`, as pytorch-fid and the authors of the TTUR paper save them.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for another file or other arrays; [`Error::NonFinite`].
    pub fn read(path: &Path) -> Result<Self> {
        let mut arrays = npz::read(path, &["mu", "sigma"])?;
        let (sigma, mu) = (arrays.remove(1), arrays.remove(0));
        let dimension = mu.values.len();
        if mu.shape != [dimension] || dimension == 0 || sigma.shape != [dimension, dimension] {
            return Err(Error::bad_file_hint(
                path,
                format!("`mu` has shape {:?} and `sigma` {:?}", mu.shape, sigma.shape),
                "statistics are `mu` of shape (d) and `sigma` of shape (d, d)",
            ));
        }
        ask(path, size_of_val(sigma.values.as_slice()) as u64)?;
        let at = |row: usize, column: usize| sigma.values[row * dimension + column];
        let covariance =
            Mat::from_fn(dimension, dimension, |row, column| f64::midpoint(at(row, column), at(column, row)));
        Self::new(mu.values, covariance)
    }

    /// Writes the statistics in float64, for [`Statistics::read`] and pytorch-fid.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn write(&self, path: &Path) -> Result<()> {
        let count = self.dimension();
        let rows: Vec<f64> =
            (0..count).flat_map(|row| (0..count).map(move |column| self.covariance[(row, column)])).collect();
        npz::write(path, &[("mu", &[count], &self.mean), ("sigma", &[count, count], &rows)])
    }
}
