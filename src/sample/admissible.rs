//! Admissible schedules, which keep DDIM where its denoiser can be trusted: the theorem of Permenter and Yuan (ICML
//! 2024).
//!
//! The relative-error assumption: where the distance to the data K is sqrt(n) sigma within a factor nu, the estimate of
//! the denoiser differs from the gradient of half the squared distance by at most eta times the distance.
//!
//! ```text
//! (1/nu) dist(x) <= sqrt(n) sigma <= nu dist(x)   implies   |sigma eps(x, sigma) - grad f(x)| <= eta dist(x)
//! ```
//!
//! A step of DDIM is gradient descent of length beta = 1 - sigma'/sigma. Under the assumption it multiplies the
//! distance by at least 1 - beta (1 + eta) and at most 1 - beta (1 - eta). A schedule that starts at dist = sqrt(n)
//! sigma is *admissible* if these bounds never leave the range of the assumption.

use crate::{Error, Result};

/// The relative tolerance of comparisons, so that the largest admissible step is admissible.
const SLACK: f64 = 1e-9;

/// The most steps of a schedule.
const MOST_STEPS: usize = 100_000;

/// The two numbers of the relative-error assumption.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Numbers")]
pub struct ErrorModel {
    eta: f64,
    nu: f64,
}

/// The unchecked numbers of an error model, as read from a file.
#[derive(serde::Deserialize)]
struct Numbers {
    eta: f64,
    nu: f64,
}

impl TryFrom<Numbers> for ErrorModel {
    type Error = Error;

    fn try_from(numbers: Numbers) -> Result<Self> {
        Self::new(numbers.eta, numbers.nu)
    }
}

/// The bounds on the distance after a step. Distances are relative to the start, sqrt(n) sigma of the first level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepBound {
    /// The length of the step in gradient descent, beta = 1 - sigma'/sigma.
    pub beta: f64,
    /// sigma' over the first sigma: the distance for a denoiser without error.
    pub sigma_ratio: f64,
    /// The lower bound on the distance.
    pub least: f64,
    /// The upper bound on the distance.
    pub most: f64,
    /// `true` if both bounds are within the range of the assumption.
    pub is_admissible: bool,
}

impl ErrorModel {
    /// Creates an error model. `eta` is the error over the distance, from 0 to below 1; `nu` is the factor by which the
    /// noise level may misjudge the distance, at least 1.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers out of range.
    pub fn new(eta: f64, nu: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&eta) {
            let hint = "eta is the error of the denoiser over the distance to the data, from 0 to below 1";
            return Err(Error::argument(format!("an error model of eta {eta}"), hint));
        }
        if !(nu.is_finite() && nu >= 1.0) {
            let hint = "nu is the factor by which the noise level may misjudge the distance, 1 or more";
            return Err(Error::argument(format!("an error model of nu {nu}"), hint));
        }
        Ok(Self { eta, nu })
    }

    /// The error over the distance.
    #[must_use]
    pub fn eta(&self) -> f64 {
        self.eta
    }

    /// The factor by which the noise level may misjudge the distance.
    #[must_use]
    pub fn nu(&self) -> f64 {
        self.nu
    }

    /// The bounds after each step of `sigmas`, N + 1 falling levels, by the products of the theorem:
    ///
    /// ```text
    /// (1/nu) prod (1 + beta_i (eta - 1))  <=  prod (1 - beta_i)  <=  nu prod (1 - beta_i (eta + 1))
    /// ```
    ///
    /// After a step so long that any smaller distance is possible, `least` is 0.
    ///
    /// # Errors
    /// [`Error::Argument`] for fewer than two levels, one that rises, and one before the last that is not above 0.
    pub fn bounds(&self, sigmas: &[f64]) -> Result<Vec<StepBound>> {
        let mut before = StepBound { beta: 0.0, sigma_ratio: 1.0, least: 1.0, most: 1.0, is_admissible: true };
        let steps = steps(sigmas)?.into_iter().map(|kept| {
            let beta = 1.0 - kept;
            let sigma_ratio = before.sigma_ratio * kept;
            let least = before.least * (1.0 - beta * (1.0 + self.eta)).max(0.0);
            let most = before.most * (1.0 - beta * (1.0 - self.eta));
            let holds = most <= self.nu * sigma_ratio * (1.0 + SLACK) && sigma_ratio <= self.nu * least * (1.0 + SLACK);
            before = StepBound { beta, sigma_ratio, least, most, is_admissible: holds };
            before
        });
        Ok(steps.collect())
    }

    /// Returns `true` if a schedule of these levels is admissible, by the products of [`ErrorModel::bounds`].
    ///
    /// # Errors
    /// As [`ErrorModel::bounds`].
    pub fn admits(&self, sigmas: &[f64]) -> Result<bool> {
        Ok(self.bounds(sigmas)?.iter().all(|step| step.is_admissible))
    }

    /// The share of the range of nu that a schedule of these levels uses, in closed form. Up to 1, the schedule is
    /// admissible.
    ///
    /// With r = eta (sigma/sigma' - 1), and divided by sigma, the theorem requires that the product of 1 + r is at most
    /// nu and that of 1 - r at least 1 / nu. The second product falls from step to step, so its last value decides, and
    /// it implies the first condition, since 1 + r <= 1 / (1 - r). The condition is therefore that the sum of -ln(1 -
    /// r) is at most ln nu. The share is their quotient.
    ///
    /// # Errors
    /// As [`ErrorModel::bounds`].
    pub fn share_used(&self, sigmas: &[f64]) -> Result<f64> {
        let steps = steps(sigmas)?;
        if self.eta == 0.0 {
            return Ok(0.0);
        }
        let used: f64 = steps.into_iter().map(|kept| -(1.0 - self.eta * (1.0 / kept - 1.0)).max(0.0).ln()).sum();
        Ok(if used == 0.0 { 0.0 } else { used / self.nu.ln() })
    }

    /// The largest admissible length of `steps` equal steps: beta = c / (eta + c) with c = 1 - nu^(-1/N).
    #[must_use]
    pub fn longest_constant_step(&self, steps: usize) -> f64 {
        if self.eta == 0.0 {
            return 1.0;
        }
        let c = -(-self.nu.ln() / steps.max(1) as f64).exp_m1();
        c / (self.eta + c)
    }

    /// The least number of steps from `high` down to `low`; `None` if no number of steps reaches it.
    #[must_use]
    pub fn fewest_steps(&self, high: f64, low: f64) -> Option<usize> {
        let reaches = |steps: &usize| self.deepest_constant_ratio(*steps) <= low / high * (1.0 + SLACK);
        let above = (0..MOST_STEPS.ilog2()).map(|power| 1usize << power).find(reaches)?;
        let (mut short, mut enough) = (above / 2, above);
        while enough - short > 1 {
            let middle = usize::midpoint(short, enough);
            if reaches(&middle) { enough = middle } else { short = middle }
        }
        Some(enough)
    }

    /// The schedule of longest equal steps from `high` to `low`, both above 0. With a number of `steps`, none is longer
    /// than admissible, so the last may end above `low`. Without one, the schedule has the least number of steps that
    /// reaches `low`.
    ///
    /// Equal steps lead furthest: the share of the range of nu that a step to sigma' = sigma / u uses (see
    /// [`ErrorModel::share_used`]) is convex in ln u, and the sum of ln u is the depth of the schedule.
    ///
    /// # Errors
    /// [`Error::Argument`] for an invalid range or number of steps, and if no number of steps reaches `low`.
    pub fn longest_steps(&self, high: f64, low: f64, steps: Option<usize>) -> Result<Vec<f64>> {
        if !(low > 0.0 && low < high && high.is_finite()) {
            let hint = "sigma falls from a number to a smaller one above 0";
            return Err(Error::argument(format!("an admissible schedule from sigma {high} to {low}"), hint));
        }
        let steps = match steps {
            Some(steps) if (1..=MOST_STEPS).contains(&steps) => steps,
            Some(steps) => {
                let what = format!("an admissible schedule of {steps} steps");
                return Err(Error::argument(what, format!("`steps` takes 1 to {MOST_STEPS}")));
            }
            None => self.fewest_steps(high, low).ok_or_else(|| {
                let least = high * self.nu.powf(-self.eta.recip());
                let what = format!("no admissible schedule leads from sigma {high:.4} to {low:.4}");
                let hint = format!(
                    "with eta {:.4} and nu {:.4}, every schedule ends above sigma {least:.4}; with `steps`, it goes as \
                     far as N steps lead",
                    self.eta, self.nu
                );
                Error::argument(what, hint)
            })?,
        };
        let kept = (1.0 - self.longest_constant_step(steps)).max((low / high).powf((steps as f64).recip()));
        Ok((0..=steps).map(|step| high * kept.powf(step as f64)).collect())
    }

    /// The last sigma over the first, after `steps` equal steps of the largest admissible length. More steps lead
    /// further, to nu^(-1/eta) in the limit.
    #[must_use]
    pub fn deepest_constant_ratio(&self, steps: usize) -> f64 {
        (1.0 - self.longest_constant_step(steps)).powf(steps as f64)
    }
}

/// sigma'/sigma of each step.
fn steps(sigmas: &[f64]) -> Result<Vec<f64>> {
    let hint = "a schedule of N steps has N + 1 falling levels, of which only the last may be 0";
    let is_falling =
        sigmas.windows(2).all(|pair| pair[0] > 0.0 && pair[0].is_finite() && (0.0..=pair[0]).contains(&pair[1]));
    if sigmas.len() < 2 || !is_falling {
        return Err(Error::argument(format!("a schedule of the {} levels {sigmas:?}", sigmas.len()), hint));
    }
    Ok(sigmas.windows(2).map(|pair| pair[1] / pair[0]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(beta: f64, steps: usize) -> Vec<f64> {
        (0..=steps).map(|step| 40.0 * (1.0 - beta).powf(step as f64)).collect()
    }

    /// The paper's schedule, 40 to its last step, is admissible for nu = 2 only at these eta.
    #[test]
    fn the_papers_steps_are_admissible_for_small_errors() {
        for (steps, beta, eta) in [(5, 0.785, 0.035), (10, 0.516, 0.063), (20, 0.303, 0.078), (50, 0.138, 0.086)] {
            let least = ErrorModel::new(eta, 2.0).unwrap().longest_constant_step(steps);
            assert!((least - beta).abs() < 0.01, "{steps} steps: {least}, expected {beta}");
        }
    }

    #[test]
    fn many_steps_reach_the_limit() {
        let model = ErrorModel::new(0.1, 2.0).unwrap();
        let ratio = model.deepest_constant_ratio(1_000_000);
        assert!((ratio / 2f64.powf(-10.0) - 1.0).abs() < 1e-4, "{ratio}");
        let sigmas = constant(model.longest_constant_step(20_000), 20_000);
        let most = model.bounds(&sigmas).unwrap().last().unwrap().most;
        assert!((most / 1.953e-3 - 1.0).abs() < 1e-2, "nu^(-(1 - eta) / eta): {most}");
        assert!(model.deepest_constant_ratio(10) > model.deepest_constant_ratio(20), "more steps lead further");
    }

    #[test]
    fn a_perfect_denoiser_admits_everything() {
        let model = ErrorModel::new(0.0, 1.0).unwrap();
        assert!(model.admits(&[40.0, 1.0, 0.0]).unwrap());
        assert_eq!((model.share_used(&[40.0, 0.0]).unwrap(), model.longest_constant_step(3)), (0.0, 1.0));
        let careless = ErrorModel::new(0.1, 4.0).unwrap();
        assert!(!careless.admits(&[40.0, 30.0, 0.0]).unwrap(), "any error at all is infinite beside no noise");
        assert!(careless.share_used(&[40.0, 30.0, 0.0]).unwrap().is_infinite());
    }

    #[test]
    fn the_longest_steps_are_admissible_and_the_fewest() {
        let model = ErrorModel::new(0.05, 2.0).unwrap();
        let sigmas = model.longest_steps(40.0, 0.01, None).unwrap();
        let fewest = sigmas.len() - 1;
        assert!(model.admits(&sigmas).unwrap() && (sigmas[fewest] / 0.01 - 1.0).abs() < 1e-9, "{sigmas:?}");
        assert!(model.deepest_constant_ratio(fewest - 1) > 0.01 / 40.0, "{fewest} steps are the fewest");
        // Too few steps lead less far, and more than needed are shorter.
        let few = model.longest_steps(40.0, 0.01, Some(fewest - 1)).unwrap();
        assert!(model.admits(&few).unwrap() && few[fewest - 1] > 0.0101, "{few:?}");
        let many = model.longest_steps(40.0, 0.01, Some(3 * fewest)).unwrap();
        assert!(model.admits(&many).unwrap() && (many[3 * fewest] / 0.01 - 1.0).abs() < 1e-9);
        // nu^(-1/eta) is 2^-5 here.
        let careless = ErrorModel::new(0.2, 2.0).unwrap();
        let refusal = careless.longest_steps(40.0, 0.01, None).unwrap_err();
        assert!(refusal.hint().unwrap().contains("above sigma 1.2500"), "{refusal}");
        assert_eq!(careless.fewest_steps(40.0, 0.01), None);
        assert_eq!(ErrorModel::new(0.0, 1.0).unwrap().longest_steps(40.0, 0.01, None).unwrap().len(), 2);
    }

    #[test]
    fn a_model_in_a_file_is_checked() {
        let model: ErrorModel = serde_json::from_str(r#"{ "eta": 0.1, "nu": 2, "points": 7 }"#).unwrap();
        assert_eq!(model, ErrorModel::new(0.1, 2.0).unwrap());
        assert!(serde_json::from_str::<ErrorModel>(r#"{ "eta": 1.5, "nu": 2 }"#).is_err());
    }

    #[test]
    fn what_is_no_schedule_or_no_model_is_refused() {
        let model = ErrorModel::new(0.1, 2.0).unwrap();
        for sigmas in
            [&[][..], &[1.0], &[1.0, 2.0], &[1.0, 0.0, 0.0], &[1.0, f64::NAN], &[f64::INFINITY, 1.0], &[1.0, -1.0]]
        {
            assert!(matches!(model.bounds(sigmas), Err(Error::Argument { .. })), "{sigmas:?}");
        }
        for (eta, nu) in [(1.0, 2.0), (-0.1, 2.0), (f64::NAN, 2.0), (0.1, 0.9), (0.1, f64::INFINITY)] {
            assert!(matches!(ErrorModel::new(eta, nu), Err(Error::Argument { .. })), "{eta} {nu}");
        }
    }
}
