//! How much a gradient-estimation step should lean on the newest eps: quality against gamma, on Gaussians exactly.
//!
//! For data N(0, lambda) along a direction, eps(x, sigma) = sigma x / (lambda + sigma^2) is linear, so a schedule multiplies
//! a state by one number, its amplitude gain. That of the probability flow from sigma to sigma' is
//! `sqrt((lambda + sigma'^2) / (lambda + sigma^2))`. DDIM falls short of it and gamma = 2 goes beyond: on Gaussians the best gamma lies between.

use crate::sample::schedule::Schedule;

/// The sigmas of a schedule's calls and of its end.
#[must_use]
pub fn sigmas(schedule: &Schedule) -> Vec<f64> {
    schedule.levels().iter().map(|level| level.sigma).collect()
}

/// What gradient estimation with `gamma` multiplies the part of a state along a direction of `variance` by, from the
/// first of `sigmas` to the last (Permenter and Yuan 2024, algorithm 2, for this eps).
#[must_use]
pub fn gain(variance: f64, sigmas: &[f64], gamma: f64) -> f64 {
    let mut x = 1.0;
    let mut before: Option<f64> = None;
    for pair in sigmas.windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let eps = sigma * x / (variance + sigma * sigma);
        x += (next - sigma) * before.map_or(eps, |before| gamma * eps + (1.0 - gamma) * before);
        before = Some(eps);
    }
    x
}

/// The gain of the probability flow itself.
#[must_use]
pub fn exact_gain(variance: f64, sigmas: &[f64]) -> f64 {
    match (sigmas.first(), sigmas.last()) {
        (Some(first), Some(last)) => ((variance + last * last) / (variance + first * first)).sqrt(),
        _ => 1.0,
    }
}

/// The Frechet distance between the samples and N(0, diag(`variances`)), over the sum of the variances: exact for both are
/// Gaussian with the same directions. States start with the spread sqrt(1 + sigma^2), as those of networks do.
#[must_use]
pub fn gaussian_distance(variances: &[f64], sigmas: &[f64], gamma: f64) -> f64 {
    let start = sigmas.first().map_or(1.0, |sigma| (1.0 + sigma * sigma).sqrt());
    let apart = |variance: &f64| (gain(*variance, sigmas, gamma).abs() * start - variance.sqrt()).powi(2);
    variances.iter().map(apart).sum::<f64>() / variances.iter().sum::<f64>()
}

/// The gamma in `range` for which [`gaussian_distance`] is least, to 1e-4: a scan, then a golden section.
#[must_use]
pub fn best_gamma(variances: &[f64], sigmas: &[f64], range: (f64, f64)) -> f64 {
    const SCAN: usize = 64;
    let at = |step: usize| range.0 + (range.1 - range.0) * step as f64 / SCAN as f64;
    let distance = |gamma: f64| gaussian_distance(variances, sigmas, gamma);
    let best = (0..=SCAN).min_by(|a, b| distance(at(*a)).total_cmp(&distance(at(*b)))).unwrap_or(0);
    let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(SCAN)));
    let ratio = 0.5 * (5.0f64.sqrt() - 1.0);
    while high - low > 1e-4 {
        let (left, right) = (high - ratio * (high - low), low + ratio * (high - low));
        if distance(left) < distance(right) {
            high = right;
        } else {
            low = left;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::{Denoiser, Level};
    use crate::sample::solvers::descent::{Descent, Noise};
    use crate::sample::walk::{Method, sample};
    use crate::tensor::Tensor;

    /// The paper's grid for CIFAR-10 before its sigmas are snapped to timesteps: from sigma 40, N = 10.
    fn grid() -> Vec<f64> {
        let (high, low): (f64, f64) = (40.0, 0.058_210);
        let log_spaced = (0..10).map(|i| high * (low / high).powf(f64::from(i) / 9.0));
        log_spaced.chain([0.010_000_5]).collect()
    }

    #[test]
    fn gains_on_a_unit_gaussian_are_those_known() {
        let grid = grid();
        for (gamma, expected) in [(1.0, 0.02084), (1.5, 0.02424), (2.0, 0.02728)] {
            let found = gain(1.0, &grid, gamma);
            assert!((found - expected).abs() < 1.5e-5, "gamma {gamma}: {found}");
        }
        assert!((exact_gain(1.0, &grid) - 0.02499).abs() < 1e-5);
        // DDIM's gain has a closed form.
        let product: f64 = grid.windows(2).map(|pair| (1.0 + pair[0] * pair[1]) / (1.0 + pair[0] * pair[0])).product();
        assert!((gain(1.0, &grid, 1.0) - product).abs() < 1e-12);
    }

    #[test]
    fn the_optimum_lies_between_ddim_and_the_papers_choice() {
        let best = best_gamma(&[1.0], &grid(), (1.0, 3.0));
        assert!((best - 1.619).abs() < 0.01, "{best}");
        // One direction can be met exactly.
        assert!(gaussian_distance(&[1.0], &grid(), best) < 1e-7);
        assert!((gain(1.0, &grid(), best) / exact_gain(1.0, &grid()) - 1.0).abs() < 1e-3);
        let many: Vec<f64> = (0..50).map(|i| 0.8f64.powi(i)).collect();
        let best = best_gamma(&many, &grid(), (1.0, 3.0));
        let at = |gamma: f64| gaussian_distance(&many, &grid(), gamma);
        assert!(at(best) < at(best - 0.01) && at(best) < at(best + 0.01) && at(best) < at(1.0) && at(best) < at(2.0));
    }

    /// Data N(0, 1) along the first half of an image, N(0, 0.04) along the rest.
    struct Gaussian;

    const VARIANCES: [f64; 4] = [1.0, 1.0, 0.04, 0.04];

    impl Denoiser for Gaussian {
        fn image_shape(&self) -> [usize; 3] {
            [1, 2, 2]
        }

        fn eps(&mut self, x: &Tensor, levels: &[Level]) -> crate::Result<Tensor> {
            let sigma = Level::sigmas(levels);
            let eps =
                |(at, x): (usize, &f32)| (sigma[0] * f64::from(*x) / (VARIANCES[at % 4] + sigma[0] * sigma[0])) as f32;
            Ok(Tensor::new(x.shape.clone(), x.data.iter().enumerate().map(eps).collect()))
        }
    }

    #[test]
    fn the_sampler_has_the_gains_of_the_formula() {
        let schedule = Schedule::from_sigmas(&grid()).unwrap();
        for gamma in [1.0, 1.62, 2.0, 2.8] {
            let method = Method::new(Descent { gamma, noise: Noise::Mu(0.0) });
            let start = Tensor::new([1, 1, 2, 2], vec![40.0, -20.0, 40.0, 10.0]);
            let mut none = |_| unreachable!("no noise is added");
            let end = sample(&mut Gaussian, &schedule, &method, start.clone(), &mut none, &mut |_| Ok(())).unwrap();
            for (at, variance) in VARIANCES.into_iter().enumerate() {
                let expected = f64::from(start.data[at]) * gain(variance, &sigmas(&schedule), gamma);
                let found = f64::from(end.data[at]);
                assert!((found - expected).abs() < 2e-5 * expected.abs().max(0.1), "{found} against {expected}");
            }
        }
    }
}
