//! Linear inverse problems, y = A x + noise, with a denoiser as what is known of images: x is restored by a walk down
//! the noise levels that is made to fit y.
//!
//! * [`Method::Project`] projects x0 on {A x = y}, or draws it there under noise: alternating projections on the data
//!   and on the measurement (DDNM; Wang et al., 2023).
//! * [`Method::Ddrm`] takes its own step for each mode of A (Kawar et al., 2022).
//! * [`Method::Dps`] takes a step along the gradient of the distance of A x0(x) from y (Chung et al., 2023).
//! * [`Method::PiGdm`] adds the score of y under N(A x0, r^2 A A' + s^2) (Song et al., 2023), or under
//!   N(A x0, sigma^2 A J A' + s^2), the covariance of x0 by Tweedie's second formula, along conjugate gradients (Rozet
//!   et al., 2024).
//!
//! J' is the transposed Jacobian of x0 ([`crate::denoise::vjp`]). [`Method::Project`] and [`Method::PiGdm`] are
//! denoisers themselves, [`Guided`], so that every sampler walks them.

mod guided;
mod measurement;
mod operator;
mod pull;
mod quality;
mod spec;
mod walk;

pub use guided::Guided;
pub use measurement::Measurement;
pub use operator::{LEAST_SHARE, MOST_VALUES, Operator};
pub use quality::{Psnr, Quality, psnr, quality};
pub use spec::{FORMS, OperatorSpec};
pub use walk::{Restoration, sample};

use crate::error::{Error, Result};

/// The usual eta of DDRM, and its `eta_b`, as in Kawar et al.
pub const USUAL_ETA: f64 = 0.85;
/// The usual length of all steps of DPS together, over the largest singular value: 1000 steps of 1 in Chung et al.
pub const USUAL_LENGTH: f64 = 1000.0;
/// The usual variance of the data for projections, as in Song et al.: r^2 = sigma^2 / (1 + sigma^2).
pub const USUAL_VARIANCE: f64 = 1.0;
/// The usual number of products with J' of a step of [`Method::PiGdm`].
pub const USUAL_PRODUCTS: usize = 2;
/// The most of them.
pub const MOST_PRODUCTS: usize = 1000;

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
    /// Steps along the gradient of the distance from the measurement, after those of the sampler.
    Dps {
        /// The length of a step, over the largest singular value of the operator. No step is longer than that to where
        /// the distance, if it were linear, is as long as its noise.
        step: f64,
    },
    /// The guidance of pseudo-inverses.
    PiGdm {
        /// The covariance of x0.
        covariance: Covariance,
    },
}

/// The usual length of one of `steps` steps of [`Method::Dps`]: that of Chung et al. for 1000 steps, and in fewer as
/// far.
#[must_use]
pub fn usual_step(steps: usize) -> f64 {
    USUAL_LENGTH / steps.max(1) as f64
}

/// The covariance of x0 given a state, for [`Method::PiGdm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Covariance {
    /// r^2 in all directions, of a variance of the data as in [`Method::Project`]. Where x0 varies more than that,
    /// steps overshoot, and the walk diverges.
    Isotropic(f64),
    /// sigma^2 J, by that many products with J: conjugate gradients, preconditioned by the isotropic covariance of data
    /// of [`USUAL_VARIANCE`]. With one product, the pull is that of [`Covariance::Isotropic`] with the length that a
    /// line search finds: r^2 is the variance of x0 along the pull. With as many as A has different directions, the
    /// pull is exact for Gaussian data.
    Jacobian(usize),
}

impl Method {
    /// The guidance of pseudo-inverses without a variance to choose.
    pub const PI_GDM: Self = Self::PiGdm { covariance: Covariance::Jacobian(USUAL_PRODUCTS) };

    /// The names of the methods.
    pub const NAMES: [&str; 4] = ["project", "ddrm", "dps", "pigdm"];

    /// The method of a name with its usual settings for that many steps.
    ///
    /// # Errors
    /// [`Error::Argument`] for another name.
    pub fn usual(name: &str, steps: usize) -> Result<Self> {
        match name {
            "project" => Ok(Self::Project { variance: USUAL_VARIANCE }),
            "ddrm" => Ok(Self::Ddrm { eta: USUAL_ETA }),
            "dps" => Ok(Self::Dps { step: usual_step(steps) }),
            "pigdm" => Ok(Self::PI_GDM),
            _ => {
                let what = format!("`{name}` is not a method of restoration");
                Err(Error::argument(what, format!("the methods are {}", Self::NAMES.join(", "))))
            }
        }
    }

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
        let above = "a number above 0".to_owned();
        let (field, value, fits, range) = match self {
            Self::Project { variance } | Self::PiGdm { covariance: Covariance::Isotropic(variance) } => {
                ("variance", variance, variance > 0.0, above)
            }
            Self::PiGdm { covariance: Covariance::Jacobian(products) } => {
                let fits = (1..=MOST_PRODUCTS).contains(&products);
                ("products", products as f64, fits, format!("a number from 1 to {MOST_PRODUCTS}"))
            }
            Self::Ddrm { eta } => ("eta", eta, (0.0..=1.0).contains(&eta), "a number from 0 to 1".to_owned()),
            Self::Dps { step } => ("step_size", step, step > 0.0, above),
        };
        if fits && value.is_finite() {
            return Ok(());
        }
        Err(Error::argument(format!("`{field}` of {value}"), format!("give {range}")))
    }

    /// r^2: the variance of data of `variance`, a value of them, under noise of a level.
    #[must_use]
    pub fn spread(variance: f64, sigma: f64) -> f64 {
        if sigma.is_infinite() { variance } else { variance * sigma * sigma / (variance + sigma * sigma) }
    }
}
