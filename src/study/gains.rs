//! Closed forms of linear chains on a Gaussian of covariance Sigma, mode by mode: the factor by which the part of a
//! state along an eigenvector of variance lambda changes from the first noise level of a schedule to the last.
//!
//! | chain | gain | |
//! |---|---|---|
//! | DDIM with the Wiener filter | [`ddim`] | a product over the steps |
//! | DPM-Solver++ 2M with the Wiener filter | [`dpm_2m`] | a product of 2 x 2 matrices over the steps |
//! | DDIM in the limit of many steps | [`flow`] | the probability flow: from Sigma + s^2 I to exactly Sigma |
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

/// The steps from which on diffusers takes the last one with order 2 too, unless it ends at 0.
const MANY_STEPS: usize = 15;

/// The gain of DPM-Solver++ 2M (Lu et al. 2022, algorithm 2) with the Wiener filter over falling `sigmas`. With the
/// prediction `m_i = lambda / (lambda + s_i^2) g_i` of a gain `g_i`, q the next level over this one and h its negative
/// logarithm, a step is
///
/// ```text
/// g_(i+1) = q g_i + (1 - q) (m_i + h_i / (2 h_(i-1)) (m_i - m_(i-1)))
/// ```
///
/// linear in `(g_i, m_(i-1))`. The first step, the last one of fewer than fifteen, and one to 0 have no second term: of
/// the order 1, they are steps of DDIM.
#[must_use]
pub fn dpm_2m(lambda: f64, sigmas: &[f64]) -> f64 {
    let steps = sigmas.len().saturating_sub(1);
    let (mut gain, mut before) = (1.0, None);
    for (at, pair) in sigmas.windows(2).enumerate() {
        let (from, to) = (pair[0], pair[1]);
        let (share, width) = (to / from, (from / to).ln());
        let prediction = lambda / (lambda + from * from) * gain;
        let is_plain = at + 1 == steps && (to == 0.0 || steps < MANY_STEPS);
        let extrapolated = match before {
            Some((last, last_width)) if !is_plain => prediction + 0.5 * width / last_width * (prediction - last),
            _ => prediction,
        };
        gain = share * gain + (1.0 - share) * extrapolated;
        before = Some((prediction, width));
    }
    gain
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
        // Half the steps, four times the error: the second order.
        let sigmas = |steps: i32| (0..=steps).map(move |at| 5.0 * 0.02f64.powf(f64::from(at) / f64::from(steps)));
        for lambda in [4.0, 0.3] {
            let limit = flow(lambda, 5.0, 0.1);
            let error = |steps| (dpm_2m(lambda, &sigmas(steps).collect::<Vec<_>>()) / limit - 1.0).abs();
            let order = (error(200) / error(400)).log2();
            assert!((order - 2.0).abs() < 0.1 && error(400) < 1e-4, "{order}, {}", error(400));
        }
        // Two steps to 0: both are DDIM's.
        assert!((dpm_2m(0.7, &[3.0, 1.0, 0.0]) - ddim(0.7, &[3.0, 1.0, 0.0])).abs() < 1e-15);
        // Without variance nothing is left, whatever the way.
        assert_eq!((ddim(0.0, &[2.0, 1.0, 0.0]), flow(0.0, 2.0, 0.0), sequential(0.0, 2.0, 0.0)), (0.0, 0.0, 0.0));
    }
}
