//! The mean and the covariance of features, and the files they lie in: those of pytorch-fid.

use std::path::Path;

use faer::Mat;

use crate::error::{Error, Result};
use crate::formats::npz;

/// What the Frechet distance knows of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    pub mean: Vec<f64>,
    /// Symmetric.
    pub covariance: Mat<f64>,
}

impl Statistics {
    /// A mean and its covariance.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for NaN or infinity in them.
    pub fn new(mean: Vec<f64>, covariance: Mat<f64>) -> Result<Self> {
        let count = mean.len();
        let entries = (0..count).flat_map(|row| (0..count).map(move |column| (row, column)));
        if mean.iter().all(|value| value.is_finite()) && entries.into_iter().all(|at| covariance[at].is_finite()) {
            return Ok(Self { mean, covariance });
        }
        let hint = "look for samples that are no numbers".to_owned();
        Err(Error::NonFinite { place: "the statistics of features".to_owned(), hint })
    }

    /// Values of a feature vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// Reads `mu` (d) and `sigma` (d, d) from an `.npz`, as pytorch-fid and the TTUR authors save them.
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
                "statistics are `mu` of d values and `sigma` of (d, d)",
            ));
        }
        let at = |row: usize, column: usize| sigma.values[row * dimension + column];
        let covariance =
            Mat::from_fn(dimension, dimension, |row, column| f64::midpoint(at(row, column), at(column, row)));
        Self::new(mu.values, covariance)
    }

    /// Writes them so that [`Statistics::read`] and pytorch-fid read them: float64.
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
