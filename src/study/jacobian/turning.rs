//! The eigenvectors of a Jacobian along one trajectory, and their turning towards its end.

use super::subspaces::{Leading, Turned};
use crate::denoise::jacobian::{Jacobian, JacobianAt, Place};
use crate::error::Result;
use crate::spectral::Settings;
use crate::spectral::arnoldi::{NearlySymmetric, arnoldi, whole};
use crate::study::Advance;

/// The solver of a study.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solver {
    /// Eigenvectors that are followed, k.
    pub components: usize,
    /// Of the Krylov space; `count` is set here.
    pub settings: Settings,
    /// Forms whole matrices.
    pub is_whole: bool,
    /// The sine that errors of the solver may make where eigenvalues are counted as apart.
    pub floor: f64,
}

/// The most values of an image whose whole Jacobian is formed unless a Krylov space is asked for.
pub const USUALLY_WHOLE: usize = 1024;
/// The floor unless another is asked for.
pub const USUAL_FLOOR: f64 = 0.01;
/// Eigenpairs beyond those that are followed, among which a Krylov space looks for a gap.
const SPARE: usize = 16;

impl Solver {
    /// The eigenpairs that are computed of images of `dimension` values: all, or those that are followed and some more.
    #[must_use]
    pub fn count(&self, dimension: usize) -> usize {
        if self.is_whole { dimension } else { (self.components + SPARE).min(dimension) }
    }

    /// The settings for images of `dimension` values.
    pub(super) fn settings_of(&self, dimension: usize) -> Settings {
        Settings { count: self.count(dimension), ..self.settings }
    }

    /// The eigenpairs of the symmetric part at a place.
    ///
    /// # Errors
    /// Those of [`whole`] and [`arnoldi`].
    pub fn solve(&self, jacobian: &dyn Jacobian, place: &Place) -> Result<NearlySymmetric> {
        let dimension: usize = jacobian.image_shape().iter().product();
        let operator = JacobianAt::new(jacobian, place);
        let settings = self.settings_of(dimension);
        if self.is_whole { whole(&operator, &settings) } else { arnoldi(&operator, &settings) }
    }
}

/// The eigenvectors along one trajectory.
#[derive(Clone, Debug)]
pub struct Turning {
    /// The leading k eigenpairs at each place, in the trajectory's order.
    pub found: Vec<NearlySymmetric>,
    /// The angle of the leading subspace of each eigenvector to that at the end, (places, k); `None` where eigenvalues
    /// are too close.
    pub turned: Vec<Vec<Option<Turned>>>,
    /// The sine between single eigenvectors, (places, k).
    pub single: Vec<Vec<f64>>,
    /// The share of each eigenvector in the span of the k at the end, (places, k).
    pub shares: Vec<Vec<f64>>,
    /// The speed at which each turns away from the end (see [`slope`]); NaN where that is not determined.
    pub slopes: Vec<f64>,
}

impl Turning {
    /// The sine of eigenvector i at each place; NaN where it is not determined.
    #[must_use]
    pub fn sines(&self, i: usize) -> Vec<f64> {
        self.each(i, |turned| turned.sine)
    }

    /// A value of eigenvector i at each place; NaN where it is not determined.
    #[must_use]
    pub fn each(&self, i: usize, value: impl Fn(&Turned) -> f64) -> Vec<f64> {
        self.turned.iter().map(|row| row[i].as_ref().map_or(f64::NAN, &value)).collect()
    }

    /// The largest sine of all, and the largest floor; `None` if none is determined.
    #[must_use]
    pub fn largest(&self) -> Option<(f64, f64)> {
        let all: Vec<&Turned> = self.turned.iter().flatten().flatten().collect();
        let most = |value: fn(&Turned) -> f64| all.iter().map(|turned| value(turned)).fold(0.0, f64::max);
        (!all.is_empty()).then(|| (most(|turned| turned.sine), most(|turned| turned.floor)))
    }

    /// The share of the angles before the end that are determined.
    #[must_use]
    pub fn determined(&self) -> f64 {
        let before = &self.turned[..self.turned.len().saturating_sub(1)];
        let all = before.iter().flatten().count();
        before.iter().flatten().flatten().count() as f64 / all.max(1) as f64
    }
}

/// The leading eigenpairs of the symmetric part of `jacobian` at each place of a trajectory, and how they turn.
/// `advance` counts places.
///
/// # Errors
/// Those of the solvers and of the denoiser.
pub fn turning(jacobian: &dyn Jacobian, path: &[Place], solver: &Solver, advance: Advance) -> Result<Turning> {
    let k = solver.components;
    let mut turning =
        Turning { found: Vec::new(), turned: Vec::new(), single: Vec::new(), shares: Vec::new(), slopes: Vec::new() };
    let mut end = None;
    for place in path.iter().rev() {
        let mut found = solver.solve(jacobian, place)?;
        let here = Leading::new(&found, solver.floor);
        let last = end.get_or_insert_with(|| here.clone());
        turning.turned.push((0..k).map(|i| here.turned(last, i)).collect());
        turning.single.push((0..k).map(|i| here.single_sine(last, i)).collect());
        turning.shares.push((0..k).map(|i| here.share(last, i, k)).collect());
        found.keep(k);
        turning.found.push(found);
        advance(1);
    }
    turning.found.reverse();
    turning.turned.reverse();
    turning.single.reverse();
    turning.shares.reverse();
    let sigmas: Vec<f64> = path.iter().map(|place| place.level.sigma).collect();
    turning.slopes =
        (0..k).map(|i| slope(&sigmas, &turning.sines(i), &turning.each(i, |turned| turned.floor))).collect();
    Ok(turning)
}

/// The growth of a sine with the noise, in 1 / sigma: the slope from the origin to where it first passes one half,
/// interpolated in log sigma between the places around, or to its largest value where it never does. For small noise a
/// sine grows in proportion to sigma, and this is the factor; a straight line through a whole curve that soon reaches
/// its bound of 1 would be flat.
///
/// A sine that is not above its `floors` anywhere has slope 0. One that is beyond one half at the first place from the
/// end has that place's 1/2 / sigma, the largest that these levels resolve. Places that are NaN are left out; without
/// any before the end, the slope is NaN.
///
/// All three run towards the end, where the sine is 0.
#[must_use]
pub fn slope(sigmas: &[f64], sines: &[f64], floors: &[f64]) -> f64 {
    const HALF: f64 = 0.5;
    let before = sigmas.len().saturating_sub(1);
    let known = (0..before).rev().filter(|at| sines[*at].is_finite());
    let away: Vec<(f64, f64, f64)> = known.map(|at| (sigmas[at], sines[at], floors[at])).collect();
    let Some((first, sine, _)) = away.first().copied() else { return f64::NAN };
    if away.iter().all(|(_, sine, floor)| sine <= floor) {
        return 0.0;
    }
    if sine >= HALF {
        return HALF / first;
    }
    for pair in away.windows(2) {
        let [(low, before, _), (high, after, _)] = [pair[0], pair[1]];
        if after >= HALF {
            let part = (HALF - before) / (after - before);
            return HALF / (low.ln() * (1.0 - part) + high.ln() * part).exp();
        }
    }
    let most = away.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    most.map_or(0.0, |(sigma, sine, _)| sine / sigma)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_small_noise_whatever_comes_after() {
        let sigmas: Vec<f64> = (0..200).map(|at| 10.0 * 0.95f64.powi(at)).collect();
        let floors = vec![0.0; 200];
        for rate in [0.3, 2.0, 40.0] {
            let sines: Vec<f64> = sigmas.iter().map(|sigma| (rate * sigma).min(1.0)).collect();
            assert!((slope(&sigmas, &sines, &floors) / rate - 1.0).abs() < 0.01, "{rate}");
        }
        assert!((slope(&[4.0, 2.0, 1.0], &[0.4, 0.1, 0.0], &[0.0; 3]) - 0.1).abs() < 1e-12, "never half");
        assert_eq!(slope(&[4.0, 1.0], &[0.0, 0.0], &[0.0; 2]), 0.0);
    }

    #[test]
    fn what_levels_do_not_resolve_is_tied() {
        let sigmas = [4.0, 2.0, 1.0, 0.5];
        let late = |sine: f64| slope(&sigmas, &[1.0, 1.0, sine, 0.0], &[0.0; 4]);
        assert_eq!((late(0.6), late(0.99)), (0.5, 0.5), "both are beyond one half at the first place");
        assert!(late(0.4) < 0.5);
        assert_eq!(slope(&sigmas, &[0.01, 0.02, 0.01, 0.0], &[0.05; 4]), 0.0, "nothing is above its floor");
        assert!(slope(&sigmas, &[f64::NAN, f64::NAN, f64::NAN, 0.0], &[0.0; 4]).is_nan());
        assert_eq!(slope(&sigmas, &[1.0, 0.8, f64::NAN, 0.0], &[0.0; 4]), 0.25);
    }
}
