//! Restorations without a network, to hold others against: the pseudo-inverse, the mean of the data, and the posterior
//! mean of a Gaussian with the mean and the covariance of the data (the Wiener filter).

use faer::Mat;
use faer::linalg::solvers::Solve;

use crate::error::{Error, Result};
use crate::restore::{MOST_VALUES, Measurement};
use crate::tensor::Tensor;

/// The share of the trace that is added to a covariance that has no inverse, as without noise.
const RIDGE: f64 = 1e-10;

/// Data that are known beforehand.
#[derive(Clone, Debug)]
pub struct Prior {
    mean: Vec<f64>,
    centred: Vec<Vec<f64>>,
}

impl Prior {
    /// `images`, (n, c, h, w), at least two.
    #[must_use]
    pub fn new(images: &Tensor) -> Self {
        let (count, len) = (images.shape[0].max(1), images.stride());
        let mut mean = vec![0.0; len];
        for image in images.data.chunks(len.max(1)) {
            mean.iter_mut().zip(image).for_each(|(sum, value)| *sum += f64::from(*value) / count as f64);
        }
        let apart = |image: &[f32]| image.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean).collect();
        let centred = images.data.chunks(len.max(1)).map(apart).collect();
        Self { mean, centred }
    }

    /// The restorations of each measurement by name, (n, c, h, w) each. The posterior mean is left out for images of
    /// more than [`MOST_VALUES`] values.
    ///
    /// # Errors
    /// [`Error::Argument`] for a covariance without a decomposition.
    pub fn restorations(&self, measurement: &Measurement) -> Result<Vec<(&'static str, Tensor)>> {
        let count = measurement.count();
        let [channels, height, width] = measurement.operator().image_shape();
        let shape = [count, channels, height, width];
        let means = (0..count).flat_map(|_| self.mean.iter().map(|value| *value as f32)).collect::<Vec<_>>();
        let mut found = vec![("mean of the data", Tensor::new(shape, means))];
        if self.mean.len() <= MOST_VALUES {
            let images = self.posterior_means(measurement)?;
            let values = images.into_iter().flatten().map(|value| value as f32).collect::<Vec<_>>();
            found.push(("Wiener filter", Tensor::new(shape, values)));
        }
        Ok(found)
    }

    /// m + C A' (A C A' + s^2)^-1 (y - A m) for each measurement, by the modes of A.
    fn posterior_means(&self, measurement: &Measurement) -> Result<Vec<Vec<f64>>> {
        let operator = measurement.operator();
        let (len, values) = (self.mean.len(), operator.singular_values());
        let rows: Vec<Vec<f64>> = self.centred.iter().map(|image| operator.modes(image)).collect();
        let measured: Vec<usize> = (0..len).filter(|mode| values[*mode] > 0.0).collect();
        let all = Mat::from_fn(rows.len(), len, |row, mode| rows[row][mode]);
        let seen = Mat::from_fn(rows.len(), measured.len(), |row, at| rows[row][measured[at]] * values[measured[at]]);
        let share = (rows.len() as f64).recip();
        let spread = seen.transpose() * &seen;
        let trace: f64 = (0..measured.len()).map(|at| spread[(at, at)] * share).sum();
        let added = measurement.noise().powi(2) + RIDGE * trace;
        let spread = Mat::from_fn(measured.len(), measured.len(), |i, j| {
            spread[(i, j)] * share + if i == j { added } else { 0.0 }
        });
        let factor = spread.llt(faer::Side::Lower).map_err(|_| {
            let what = "the covariance of the measurements of the data has no decomposition";
            Error::argument(what, "give more noise, or more data")
        })?;
        let centre = operator.modes(&self.mean);
        let apart = Mat::from_fn(measured.len(), measurement.count(), |at, which| {
            let mode = measured[at];
            measurement.modes(which)[mode] - values[mode] * centre[mode]
        });
        // C A' w, without the whole of C.
        let moved = all.transpose() * (&seen * factor.solve(&apart));
        let image = |which: usize| {
            let modes: Vec<f64> = (0..len).map(|mode| centre[mode] + share * moved[(mode, which)]).collect();
            operator.image(&modes)
        };
        Ok((0..measurement.count()).map(image).collect())
    }
}
