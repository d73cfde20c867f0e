//! Gradient estimation under a metric, from which the weight of the newest eps follows, separately in each direction.
//!
//! The estimate `eps_bar` of a step is the one nearest to the estimates of this step and of the one before, eps and
//! `eps_before`, that is, the one that minimises
//!
//! ```text
//! sum over directions q of   a (q' (e - eps))^2 + 2 b (q' (e - eps)) (q' (e - eps_before)) + c (q' (e - eps_before))^2
//! ```
//!
//! for a positive definite metric [[a, b], [b, c]] of the two errors, and an orthonormal basis of directions. It is
//! gamma eps + (1 - gamma) `eps_before` with gamma = (a + b) / (a + 2b + c) along each direction (Permenter and Yuan,
//! ICML 2024, section 4, where the metric is the same in all directions).
//!
//! The best metric is the inverse covariance of the errors, which follows from the data. Along a direction in which
//! they have variance lambda, the exact path is x ~ sqrt(lambda + sigma^2), so that eps(sigma) = sigma / sqrt(lambda +
//! sigma^2) up to a constant, and the exact step uses the mean of eps over the step. Both errors are then known, and
//! with them the metric and its gamma (see [`gamma_of`]). With steps of ratio r = sigma'/sigma it is
//!
//! ```text
//! (1 + r + r^2) / (r (1 + r))   where the data have no extent, normal to them: 2.4 for the paper's 10 steps
//! 1 + r/2                       where noise is small beside them, along them: 1.2
//! ```
//!
//! The paper's 2 is in between.

use faer::{Col, Mat};

use super::super::walk::{Estimate, Oracle, Position, Solver, Stepper, Update, combine};
use crate::{Error, Result, tensor::Tensor};

/// The largest gamma: a step to sigma 0 would extrapolate without bound where the data have no extent.
const LARGEST_GAMMA: f64 = 8.0;

/// Variances of data along directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name in reports.
    pub name: String,
    along: Along,
}

#[derive(Clone, Debug, PartialEq)]
enum Along {
    /// One variance for all directions.
    All(f64),
    /// A variance per value of an image.
    Values(Vec<f64>),
    /// Orthonormal directions as columns (p, k), and all directions orthogonal to these.
    Directions { directions: Mat<f64>, variances: Vec<f64>, rest: f64 },
}

/// Returns the weight of the newest eps under the metric [[a, b], [b, c]] of its error and that of the eps before.
///
/// # Errors
/// [`Error::Argument`] unless it is positive definite.
pub fn gamma_of_pair(a: f64, b: f64, c: f64) -> Result<f64> {
    if a > 0.0 && c > 0.0 && a * c > b * b && (a + c).is_finite() {
        return Ok((a + b) / (a + 2.0 * b + c));
    }
    let what = format!("the metric [[{a}, {b}], [{b}, {c}]] is not positive definite");
    Err(Error::argument(what, "A and C are above 0, and A C above B squared; 2,-1.3333,1 gives gamma 2"))
}

/// Returns the weight of eps at `sigma`, beside that at `before`, for a step down to `next` along a direction in which
/// the data have variance `lambda`. The step is then exact for a Gaussian.
#[must_use]
pub fn gamma_of(lambda: f64, before: f64, sigma: f64, next: f64) -> f64 {
    // 1 - eps, over lambda, which does not cancel where eps is nearly 1 in all three places.
    let root = |s: f64| (lambda + s * s).sqrt();
    let short = |s: f64| 1.0 / ((root(s) + s) * root(s));
    let mean = (1.0 / (root(sigma) + sigma) + 1.0 / (root(next) + next)) / (root(sigma) + root(next));
    let gamma = (short(before) - mean) / (short(before) - short(sigma));
    if gamma.is_nan() { 1.0 } else { gamma.clamp(-LARGEST_GAMMA, LARGEST_GAMMA) }
}

impl Metric {
    /// One variance for all directions.
    #[must_use]
    pub fn uniform(name: String, variance: f64) -> Self {
        Self { name, along: Along::All(variance) }
    }

    /// A variance per value of an image.
    #[must_use]
    pub fn diagonal(name: String, variances: Vec<f64>) -> Self {
        Self { name, along: Along::Values(variances) }
    }

    /// A variance per orthonormal direction, the columns of `directions` (values of an image, directions), and `rest`
    /// for all directions orthogonal to these.
    ///
    /// # Errors
    /// [`Error::Argument`] unless there is one variance per direction.
    pub fn principal(name: String, directions: Mat<f64>, variances: Vec<f64>, rest: f64) -> Result<Self> {
        if directions.ncols() != variances.len() {
            let what = format!("{} variances for {} directions", variances.len(), directions.ncols());
            return Err(Error::argument(what, "a metric has one variance per direction"));
        }
        Ok(Self { name, along: Along::Directions { directions, variances, rest } })
    }

    /// Returns the number of values of an image, if the metric fixes it.
    #[must_use]
    pub fn dimension(&self) -> Option<usize> {
        match &self.along {
            Along::All(_) => None,
            Along::Values(variances) => Some(variances.len()),
            Along::Directions { directions, .. } => Some(directions.nrows()),
        }
    }

    /// gamma eps + (1 - gamma) before, for one image.
    fn average(&self, eps: &[f32], before: &[f32], gamma: &dyn Fn(f64) -> f64) -> Vec<f32> {
        let pairs = || eps.iter().zip(before).map(|(eps, before)| (f64::from(*eps), f64::from(*before)));
        let moved = |gamma: f64, (eps, before): (f64, f64)| (gamma * eps + (1.0 - gamma) * before) as f32;
        match &self.along {
            Along::All(variance) => {
                let gamma = gamma(*variance);
                pairs().map(|pair| moved(gamma, pair)).collect()
            }
            Along::Values(variances) => {
                pairs().zip(variances).map(|(pair, variance)| moved(gamma(*variance), pair)).collect()
            }
            Along::Directions { directions, variances, rest } => {
                let rest = gamma(*rest);
                let change: Col<f64> = pairs().map(|(eps, before)| eps - before).collect();
                let mut parts = directions.transpose() * &change;
                parts.iter_mut().zip(variances).for_each(|(part, variance)| *part *= gamma(*variance) - rest);
                let more = directions * &parts;
                let all = pairs().zip(more.iter());
                all.map(|((eps, before), more)| (rest * eps + (1.0 - rest) * before + more) as f32).collect()
            }
        }
    }
}

impl Solver for Metric {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State::new(self.clone()))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("metric", self.name.clone())]
    }
}

#[derive(Clone)]
struct State {
    metric: Metric,
    /// The estimate of the step before, and its sigma.
    before: Option<(f64, Tensor)>,
}

impl State {
    fn new(metric: Metric) -> Self {
        Self { metric, before: None }
    }
}

impl Stepper for State {
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let (sigma, next) = (position.step().from.sigma, position.step().to.sigma);
        let Estimate { raw, eps, x0 } = oracle.estimate(&x, position.step().from)?;
        if sigma.is_infinite() {
            let x = combine(&[(1.0, &x0), (next, &eps)]);
            return Ok(Update { eps: raw, x0, x });
        }
        let average = match &self.before {
            Some((before, last)) if *before > sigma && sigma > next => {
                let gamma = |variance: f64| gamma_of(variance, *before, sigma, next);
                let images = (0..x.shape[0]).flat_map(|at| self.metric.average(eps.item(at), last.item(at), &gamma));
                Tensor::new(x.shape.clone(), images.collect())
            }
            _ => eps.clone(),
        };
        let x0 = combine(&[(1.0, &x), (-sigma, &average)]);
        let x = combine(&[(1.0, &x), (next - sigma, &average)]);
        self.before = Some((sigma, eps));
        Ok(Update { eps: raw, x0, x })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_follows_from_the_metric() {
        assert!((gamma_of_pair(2.0, -4.0 / 3.0, 1.0).unwrap() - 2.0).abs() < 1e-12, "the paper's");
        assert_eq!(gamma_of_pair(1.0, 0.0, 1.0).unwrap(), 0.5);
        assert_eq!(gamma_of_pair(3.0, 0.0, 1.0).unwrap(), 0.75);
        for (a, b, c) in [(1.0, 1.0, 1.0), (-1.0, 0.0, 1.0), (1.0, 0.0, 0.0), (f64::NAN, 0.0, 1.0)] {
            assert!(gamma_of_pair(a, b, c).is_err(), "{a} {b} {c}");
        }
    }

    /// The errors of both estimates, as of a Gaussian, weighed by their inverse covariance: the formula of the pair
    /// gives the same gamma as the one of the direction. The covariance has rank one; a little is added to invert it.
    #[test]
    fn the_pair_of_a_direction_is_the_inverse_covariance_of_its_errors() {
        for (lambda, before, sigma, next) in [(1.0, 2.0, 1.0, 0.5), (0.1, 3.0, 1.0, 0.4), (25.0, 8.0, 5.0, 3.0)] {
            let eps = |s: f64| s / (lambda + s * s).sqrt();
            let root = |s: f64| (lambda + s * s).sqrt();
            let target = (root(sigma) - root(next)) / (sigma - next);
            let (newest, older) = (eps(sigma) - target, eps(before) - target);
            let ridge = 1e-9 * (newest * newest + older * older);
            let (a, b, c) = (older * older + ridge, -newest * older, newest * newest + ridge);
            let expected = gamma_of_pair(a, b, c).unwrap();
            let found = gamma_of(lambda, before, sigma, next);
            assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
        }
    }

    #[test]
    fn directions_without_extent_lean_furthest_on_the_newest() {
        let ratio = 0.48f64;
        let gamma = |lambda: f64| gamma_of(lambda, 1.0 / ratio, 1.0, ratio);
        let normal = (1.0 + ratio + ratio * ratio) / (ratio * (1.0 + ratio));
        assert!((gamma(0.0) - normal).abs() < 1e-12 && (gamma(1e-12) - normal).abs() < 1e-9, "{}", gamma(0.0));
        assert!((gamma(1e12) - (1.0 + ratio / 2.0)).abs() < 1e-5, "{}", gamma(1e12));
        let falling: Vec<f64> = (-40..40).map(|at| gamma(10f64.powf(f64::from(at) / 10.0))).collect();
        assert!(falling.windows(2).all(|pair| pair[0] >= pair[1] - 1e-9), "{falling:?}");
        assert_eq!(gamma_of(0.0, 2.0, 1.0, 0.0), LARGEST_GAMMA);
    }
}
