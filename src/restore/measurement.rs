//! Measurements, and how far images are from them, mode by mode.

use super::Operator;
use crate::error::{Error, Result};
use crate::noise::Purpose;
use crate::tensor::Tensor;

/// Measurements of the images of a run: y = A x + noise.
#[derive(Clone, Debug)]
pub struct Measurement {
    operator: Operator,
    /// The standard deviation of the noise, 0 for none.
    noise: f64,
    /// The modes of each measurement ([`Operator::measured_modes`]).
    modes: Vec<Vec<f64>>,
    /// The measurements.
    values: Vec<Vec<f64>>,
}

impl Measurement {
    /// Measurements `y`, (n, ..) of the shape that the operator gives, under noise of a standard deviation.
    ///
    /// # Errors
    /// [`Error::Argument`] for another shape, for values that are not finite, and for a deviation below 0.
    pub fn new(operator: Operator, y: &Tensor, noise: f64) -> Result<Self> {
        let expected = operator.measured_shape();
        let count = y.shape.first().copied().unwrap_or(0);
        if count == 0 || y.shape[1..] != expected[..] {
            let what = format!("measurements of shape {:?} for an operator that gives {expected:?}", y.shape);
            return Err(Error::argument(what, "a measurement is (images, ...) with the shape that the operator gives"));
        }
        if !(noise >= 0.0 && noise.is_finite() && y.is_finite()) {
            let what = format!("measurements with noise of {noise}, or with values that are not finite");
            return Err(Error::argument(what, "give finite numbers, and a standard deviation of at least 0"));
        }
        let values: Vec<Vec<f64>> =
            (0..count).map(|at| y.item(at).iter().map(|value| f64::from(*value)).collect()).collect();
        let modes = values.iter().map(|values| operator.measured_modes(values)).collect();
        Ok(Self { operator, noise, modes, values })
    }

    /// Measurements of `images`, (n, c, h, w), under noise of a standard deviation; `seed` fixes the noise, image by
    /// image.
    ///
    /// # Errors
    /// As [`Measurement::new`].
    pub fn of_images(operator: Operator, images: &Tensor, noise: f64, seed: u64) -> Result<Self> {
        let mut y = Vec::new();
        for at in 0..images.shape[0] {
            let exact = operator.apply(&images.item(at).iter().map(|value| f64::from(*value)).collect::<Vec<_>>());
            let normals = Purpose::Measurements.normals(seed, at as u64, 0, exact.len());
            y.extend(exact.iter().zip(normals).map(|(value, normal)| (value + noise * f64::from(normal)) as f32));
        }
        let shape = [&[images.shape[0]], &operator.measured_shape()[..]].concat();
        Self::new(operator, &Tensor::new(shape, y), noise)
    }

    /// The measurements of some of the images.
    #[must_use]
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self { modes: self.modes[range.clone()].to_vec(), values: self.values[range].to_vec(), ..self.clone() }
    }

    /// The operator.
    #[must_use]
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// The standard deviation of the noise.
    #[must_use]
    pub fn noise(&self) -> f64 {
        self.noise
    }

    /// The number of measurements.
    #[must_use]
    pub fn count(&self) -> usize {
        self.modes.len()
    }

    /// The pseudo-inverse of each measurement, (n, c, h, w).
    #[must_use]
    pub fn pseudo_inverse(&self) -> Tensor {
        let [channels, height, width] = self.operator.image_shape();
        let images = self.values.iter().flat_map(|y| self.operator.pseudo_inverse(y));
        Tensor::new([self.count(), channels, height, width], images.map(|value| value as f32).collect::<Vec<_>>())
    }

    /// The root mean square of y - A x over the measured values of measurement `which`, for an image x. Missing pixels
    /// of a mask do not count.
    #[must_use]
    pub fn misfit(&self, which: usize, x: &[f32]) -> f64 {
        let x: Vec<f64> = x.iter().map(|value| f64::from(*value)).collect();
        let (modes, found) = (&self.modes[which], self.operator.modes(&x));
        let apart = modes.iter().zip(&found).zip(self.operator.singular_values());
        let apart = apart.filter(|(_, s)| **s > 0.0).map(|((y, c), s)| (y - s * c).powi(2));
        (apart.sum::<f64>() / self.operator.rank().max(1) as f64).sqrt()
    }

    /// Moves the modes of x0 to their mean under N(x0, spread) given measurement `which`: on {A x = y} without noise.
    pub(super) fn draw_to(&self, which: usize, x0: &mut [f64], spread: f64) {
        let of_noise = if self.noise == 0.0 { 0.0 } else { self.noise * self.noise / spread.max(f64::MIN_POSITIVE) };
        for ((c, y), s) in x0.iter_mut().zip(&self.modes[which]).zip(self.operator.singular_values()) {
            if *s > 0.0 {
                *c += s / (s * s + of_noise) * (y - s * *c);
            }
        }
    }

    /// y - A x0 by modes, 0 where nothing is measured.
    pub(super) fn apart(&self, which: usize, x0: &[f64]) -> Vec<f64> {
        let modes = x0.iter().zip(&self.modes[which]).zip(self.operator.singular_values());
        modes.map(|((c, y), s)| if *s > 0.0 { y - s * c } else { 0.0 }).collect()
    }

    /// Measurement `which` by modes ([`Operator::measured_modes`]).
    #[must_use]
    pub fn modes(&self, which: usize) -> &[f64] {
        &self.modes[which]
    }

    /// The expected length of the noise over the measured modes.
    pub(super) fn noise_length(&self) -> f64 {
        self.noise * (self.operator.rank() as f64).sqrt()
    }

    /// A' (y - A x0) by modes, and the length of y - A x0.
    pub(super) fn residual(&self, which: usize, x0: &[f64]) -> (Vec<f64>, f64) {
        let apart = self.apart(which, x0);
        let length = apart.iter().map(|value| value * value).sum::<f64>().sqrt();
        (apart.iter().zip(self.operator.singular_values()).map(|(apart, s)| apart * s).collect(), length)
    }

    /// The modes of an image of float32.
    pub(super) fn modes_of(&self, x: &[f32]) -> Vec<f64> {
        self.operator.modes(&x.iter().map(|value| f64::from(*value)).collect::<Vec<_>>())
    }
}
