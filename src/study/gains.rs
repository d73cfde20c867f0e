//! Closed forms of linear chains on a Gaussian of covariance Sigma, mode by mode: the factor by which the part of a
//! state along an eigenvector of variance lambda changes from the first noise level of a schedule to the last.
//!
//! | chain | gain | |
//! |---|---|---|
//! | DDIM with the Wiener filter | [`ddim`] | a product over the steps |
//! | the same in the limit of many steps | [`flow`] | the probability flow: from Sigma + s^2 I to exactly Sigma |
//! | sequential estimates | [`sequential`] | telescopes: the square of the flow's, for any steps |
//! | projections on population components | 1, or 0 | independent of the steps |

use crate::Result;
use crate::sample::schedule::{Schedule, ScheduleKind};
use crate::sample::settings::Settings;

/// The last sigma of a range above 0, over the first.
const SPAN: f64 = 1e-4;

/// The gain of DDIM with the Wiener filter over falling `sigmas`: the product of `(lambda + s r) / (lambda + s^2)` for
/// each level s and the next one r.
#[must_use]
pub fn ddim(lambda: f64, sigmas: &[f64]) -> f64 {
    sigmas.windows(2).map(|pair| (lambda + pair[0] * pair[1]) / (lambda + pair[0] * pair[0])).product()
}

/// The gain of the probability flow between two levels, which takes a variance of lambda + from^2 to lambda + to^2.
#[must_use]
pub fn flow(lambda: f64, from: f64, to: f64) -> f64 {
    ((lambda + to * to) / (lambda + from * from)).sqrt()
}

/// The gain of a chain of minimum-mean-square-error estimates, each of the next level.
#[must_use]
pub fn sequential(lambda: f64, from: f64, to: f64) -> f64 {
    (lambda + to * to) / (lambda + from * from)
}

/// The spacing of noise levels between the first one and 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// Even in the logarithm, down to 1e-4 of the first, then 0.
    Exponential,
    /// Even in the seventh root (Karras et al. 2022), down to 1e-4 of the first, then 0.
    Karras,
    /// Even in sigma.
    Linear,
    /// Even in sigma^2: each step removes the same variance, as in the linear-diffusion paper.
    Variance,
}

impl Spacing {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Exponential, Self::Karras, Self::Linear, Self::Variance];

    /// `steps` + 1 levels, falling from `first` to 0.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for zero steps, or a `first` that is not a noise level.
    pub fn sigmas(self, steps: usize, first: f64) -> Result<Vec<f64>> {
        let kind = match self {
            Self::Exponential => ScheduleKind::Exponential,
            Self::Karras => ScheduleKind::Karras,
            Self::Linear | Self::Variance => {
                let share = |at: usize| at as f64 / steps as f64;
                let place = |share: f64| if self == Self::Linear { share } else { share.sqrt() };
                let sigmas: Vec<f64> = (0..=steps).rev().map(|at| first * place(share(at))).collect();
                Schedule::from_sigmas(&sigmas)?;
                return Ok(sigmas);
            }
        };
        let settings = Settings { schedule: Some(kind), steps: Some(steps), ..Settings::default() };
        let levels = settings.on_sigmas((first, SPAN * first))?.schedule.levels();
        Ok(levels.iter().map(|level| level.sigma).collect())
    }
}

impl std::fmt::Display for Spacing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exponential => "exponential",
            Self::Karras => "karras",
            Self::Linear => "linear",
            Self::Variance => "variance",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacings_fall_from_the_first_level_to_none() {
        for spacing in Spacing::ALL {
            for steps in [1, 2, 40] {
                let sigmas = spacing.sigmas(steps, 3.0).unwrap();
                assert_eq!(sigmas.len(), steps + 1, "{spacing}");
                assert!((sigmas[0] - 3.0).abs() < 1e-12 && sigmas[steps] == 0.0, "{spacing}: {sigmas:?}");
                assert!(sigmas.windows(2).all(|pair| pair[0] > pair[1]), "{spacing}: {sigmas:?}");
            }
            assert_eq!(spacing.sigmas(3, -1.0).unwrap_err().kind(), crate::ErrorKind::Argument);
            assert_eq!(spacing.sigmas(0, 1.0).unwrap_err().kind(), crate::ErrorKind::Argument);
        }
        let even = Spacing::Variance.sigmas(4, 2.0).unwrap();
        assert!(even.windows(2).all(|pair| (pair[0] * pair[0] - pair[1] * pair[1] - 1.0).abs() < 1e-12));
    }

    #[test]
    fn many_steps_tend_to_the_flow_and_few_fall_short_of_it() {
        for lambda in [4.0, 0.3] {
            let gain = |steps| ddim(lambda, &Spacing::Karras.sigmas(steps, 5.0).unwrap());
            let limit = flow(lambda, 5.0, 0.0);
            assert!((gain(20_000) / limit - 1.0).abs() < 1e-3, "{}, {limit}", gain(20_000));
            // The error of a method of first order halves where steps double.
            let errors = [1000, 2000].map(|steps| limit - gain(steps));
            assert!(errors[1] > 0.0 && (errors[0] / errors[1] - 2.0).abs() < 0.05, "{errors:?}");
            assert!((sequential(lambda, 5.0, 0.0) - limit * limit).abs() < 1e-15);
        }
        // Without variance nothing is left, whatever the way.
        assert_eq!((ddim(0.0, &[2.0, 1.0, 0.0]), flow(0.0, 2.0, 0.0), sequential(0.0, 2.0, 0.0)), (0.0, 0.0, 0.0));
    }
}
