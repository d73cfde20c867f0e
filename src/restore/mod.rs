//! Linear inverse problems, y = A x + noise, with a denoiser as what is known of images: x is restored by a walk down
//! the noise levels that is made to fit y.
//!
//! * [`Method::Project`] projects x0 on {A x = y}, or draws it there under noise: alternating projections on the data
//!   and on the measurement (DDNM; Wang et al., 2023).
//! * [`Method::Ddrm`] takes its own step for each mode of A (Kawar et al., 2022).
//! * [`Method::Dps`] takes a step along the gradient of the distance of A x0(x) from y (Chung et al., 2023).
//! * [`Method::PiGdm`] adds the score of y under N(A x0, r^2 A A' + s^2) (Song et al., 2023).
//!
//! J' is the transposed Jacobian of x0 ([`crate::denoise::vjp`]). [`Method::Project`] and [`Method::PiGdm`] are
//! denoisers themselves, [`Guided`], so that every sampler walks them.

mod guided;
mod operator;
mod quality;
mod spec;
mod walk;

pub use guided::Guided;
pub use operator::{LEAST_SHARE, MOST_VALUES, Operator};
pub use quality::{Psnr, Quality, psnr, quality};
pub use spec::{FORMS, OperatorSpec};
pub use walk::{Restoration, sample};

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The usual eta of DDRM, and its `eta_b`, as in Kawar et al.
pub const USUAL_ETA: f64 = 0.85;
/// The usual step of DPS, in units of the gradient of |A x0 - y|, as in Chung et al.
pub const USUAL_STEP: f64 = 1.0;
/// The usual variance of the data.
pub const USUAL_VARIANCE: f64 = 1.0;

/// The way in which a walk is made to fit a measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Projections. Where the measurement has noise, x0 is moved by its mean under N(x0, r^2) given y, with r^2 the
    /// variance of data of `variance` under noise of the level: `sigma^2 variance / (sigma^2 + variance)`. Without
    /// noise, the end meets the measurement.
    Project {
        /// The variance of a value of the data.
        variance: f64,
    },
    /// The spectral steps of DDRM. They are the sampler.
    Ddrm {
        /// The share of noise in modes that are not measured, or below the noise of the measurement: 0 to 1.
        eta: f64,
    },
    /// Steps along the gradient, after those of the sampler.
    Dps {
        /// The length of a step.
        step: f64,
    },
    /// The guidance of pseudo-inverses.
    PiGdm {
        /// The variance of a value of the data, of which r^2 is made as in [`Method::Project`].
        variance: f64,
    },
}

impl Method {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Project { .. } => "project",
            Self::Ddrm { .. } => "ddrm",
            Self::Dps { .. } => "dps",
            Self::PiGdm { .. } => "pigdm",
        }
    }

    /// Returns `true` if a step takes a product with the transposed Jacobian.
    #[must_use]
    pub fn pulls_back(self) -> bool {
        matches!(self, Self::Dps { .. } | Self::PiGdm { .. })
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(self) -> Result<()> {
        let (field, value, fits) = match self {
            Self::Project { variance } | Self::PiGdm { variance } => ("variance", variance, variance > 0.0),
            Self::Ddrm { eta } => ("eta", eta, (0.0..=1.0).contains(&eta)),
            Self::Dps { step } => ("step_size", step, step > 0.0),
        };
        if fits && value.is_finite() {
            return Ok(());
        }
        let range = if field == "eta" { "a number from 0 to 1" } else { "a number above 0" };
        Err(Error::argument(format!("`{field}` of {value}"), format!("give {range}")))
    }

    /// r^2: the variance of data of `variance`, a value of them, under noise of a level.
    #[must_use]
    pub fn spread(variance: f64, sigma: f64) -> f64 {
        if sigma.is_infinite() { variance } else { variance * sigma * sigma / (variance + sigma * sigma) }
    }
}

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
    fn draw_to(&self, which: usize, x0: &mut [f64], spread: f64) {
        let of_noise = if self.noise == 0.0 { 0.0 } else { self.noise * self.noise / spread.max(f64::MIN_POSITIVE) };
        for ((c, y), s) in x0.iter_mut().zip(&self.modes[which]).zip(self.operator.singular_values()) {
            if *s > 0.0 {
                *c += s / (s * s + of_noise) * (y - s * *c);
            }
        }
    }

    /// A' (spread A A' + noise^2)^-1 (y - A x0), mode by mode.
    fn pull(&self, which: usize, x0: &[f64], spread: f64) -> Vec<f64> {
        let modes = x0.iter().zip(&self.modes[which]).zip(self.operator.singular_values());
        modes
            .map(|((c, y), s)| {
                let variance = spread * s * s + self.noise * self.noise;
                if *s > 0.0 && variance > 0.0 { s / variance * (y - s * c) } else { 0.0 }
            })
            .collect()
    }

    /// A' (y - A x0) by modes, and the length of y - A x0.
    fn residual(&self, which: usize, x0: &[f64]) -> (Vec<f64>, f64) {
        let modes = x0.iter().zip(&self.modes[which]).zip(self.operator.singular_values());
        let apart: Vec<f64> = modes.clone().map(|((c, y), s)| if *s > 0.0 { y - s * c } else { 0.0 }).collect();
        let length = apart.iter().map(|value| value * value).sum::<f64>().sqrt();
        (apart.iter().zip(self.operator.singular_values()).map(|(apart, s)| apart * s).collect(), length)
    }

    /// The modes of an image of float32.
    fn modes_of(&self, x: &[f32]) -> Vec<f64> {
        self.operator.modes(&x.iter().map(|value| f64::from(*value)).collect::<Vec<_>>())
    }
}
