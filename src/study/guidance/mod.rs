//! Gradient estimation with guidance: the best weight gamma of the newest eps against the scale of the guidance, in
//! closed form for two Gaussians, and measured on guided closed forms.
//!
//! Along a direction in which all data have variance `l_u` and those of a class `l_c`, the guided eps is linear,
//!
//! ```text
//! eps(x, sigma) = sigma ((1 - W) / (l_u + sigma^2) + W / (l_c + sigma^2)) x
//! ```
//!
//! so its probability flow from sigma to sigma' multiplies x by `((l_u + sigma'^2) / (l_u + sigma^2))^((1 - W) / 2)`
//! times `((l_c + sigma'^2) / (l_c + sigma^2))^(W / 2)`. A sampler multiplies it by another number; the best gamma
//! makes them nearest over all directions. There are no data of which guidance is the flow: it is the flow that is met
//! or missed, by the squared distance of the ends.
//!
//! The relative error of section 4.1 of Permenter and Yuan (2024), `|sigma eps - x| / |x|` where the class has no
//! extent, is `|W - 1| l_u / (l_u + sigma^2)`: see [`relative_error`].

mod ends;

use serde_json::json;

use self::ends::FINE;
pub use self::ends::{Distances, distances, ends_of, measure};

use super::estimate::Estimate;
use super::gamma::{Best, least_distance};
use super::results::{File, Results};
use crate::Result;
use crate::data::Dataset;
use crate::quality::moments::of_rows;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};
use crate::spectral::basis::eigen;

/// Variances over the largest one, up to which they are those of no sample.
const ROUNDING: f64 = 1e-10;

/// The variances along a direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// That of all data.
    pub all: f64,
    /// That of the class.
    pub class: f64,
}

/// eps of a guided mode over x, at `sigma`.
#[must_use]
pub fn rate(mode: Mode, scale: f64, sigma: f64) -> f64 {
    let square = sigma * sigma;
    sigma * ((1.0 - scale) / (mode.all + square) + scale / (mode.class + square))
}

/// The factor by which gradient estimation with `gamma` multiplies a guided mode over `sigmas`.
#[must_use]
pub fn gain(mode: Mode, scale: f64, sigmas: &[f64], gamma: f64) -> f64 {
    let mut x = 1.0;
    let mut before: Option<f64> = None;
    for pair in sigmas.windows(2) {
        let eps = rate(mode, scale, pair[0]) * x;
        x += (pair[1] - pair[0]) * before.map_or(eps, |before| gamma * eps + (1.0 - gamma) * before);
        before = Some(eps);
    }
    x
}

/// The factor of the probability flow between two levels.
#[must_use]
pub fn exact_gain(mode: Mode, scale: f64, from: f64, to: f64) -> f64 {
    let ratio = |variance: f64| (variance + to * to) / (variance + from * from);
    if mode.all == mode.class {
        return ratio(mode.all).sqrt();
    }
    ratio(mode.all).powf(0.5 * (1.0 - scale)) * ratio(mode.class).powf(0.5 * scale)
}

/// The gamma for which a step of gradient estimation is exact along a mode: from `before` and `sigma`, the levels of
/// the two estimates on the flow, down to `next`. It is that of [`crate::sample::solvers::metric::gamma_of`] at scale
/// 1.
#[must_use]
pub fn exact_gamma(mode: Mode, scale: f64, before: f64, sigma: f64, next: f64) -> f64 {
    // In units of the state at `sigma`.
    let eps_before = rate(mode, scale, before) * exact_gain(mode, scale, sigma, before);
    let eps = rate(mode, scale, sigma);
    let mean = (1.0 - exact_gain(mode, scale, sigma, next)) / (sigma - next);
    (mean - eps_before) / (eps - eps_before)
}

/// The error |sigma eps - x| / |x| of a guided mode in which the class has no extent, where x is the gradient of half
/// the squared distance to the class.
#[must_use]
pub fn relative_error(all: f64, scale: f64, sigma: f64) -> f64 {
    (scale - 1.0).abs() * all / (all + sigma * sigma)
}

/// The squared distance of the sampler's ends from the flow's over the flow's own square, over modes of one start
/// spread.
#[must_use]
pub fn distance(modes: &[Mode], scale: f64, sigmas: &[f64], gamma: f64) -> f64 {
    let (Some(first), Some(last)) = (sigmas.first(), sigmas.last()) else { return f64::NAN };
    let (mut apart, mut own) = (0.0, 0.0);
    for mode in modes {
        let exact = exact_gain(*mode, scale, *first, *last);
        apart += (gain(*mode, scale, sigmas, gamma) - exact).powi(2);
        own += exact * exact;
    }
    apart / own
}

/// The gamma in `range` for which [`distance`] is least. The gain is a polynomial in gamma, with one least value where
/// the modes are alike: a scan, then a golden section to 1e-4.
#[must_use]
pub fn best_gamma(modes: &[Mode], scale: f64, sigmas: &[f64], range: (f64, f64)) -> f64 {
    least_distance(range, 128, |gamma| distance(modes, scale, sigmas, gamma))
}

/// The modes of two data sets: the principal directions of all data, with the variance of each set along them. The
/// parts of the class's covariance between two directions are left out, which is exact where both covariances commute.
///
/// # Errors
/// Those of [`of_rows`] and of the eigenproblem.
pub fn modes(all: &Dataset, class: &Dataset) -> Result<Vec<Mode>> {
    let of = |data: &Dataset| Ok::<_, crate::Error>(of_rows(&data.samples.data, data.dimension())?.covariance);
    let (of_all, of_class) = (of(all)?, of(class)?);
    let (values, directions) = eigen(of_all.as_ref())?;
    let moved = &of_class * &directions;
    let along = |at: usize| (0..directions.nrows()).map(|row| directions[(row, at)] * moved[(row, at)]).sum::<f64>();
    // Directions in which no sample moves: their variances are rounding, and so is the quotient of these.
    let least = ROUNDING * values.first().copied().unwrap_or(0.0);
    let mode = |(at, value): (usize, f64)| {
        if value > least { Mode { all: value, class: along(at).max(0.0) } } else { Mode { all: 0.0, class: 0.0 } }
    };
    Ok(values.into_iter().enumerate().map(mode).collect())
}

/// The files of the study.
pub const FILES: &[File] = &[TABLE, BEST, PLOT];
const TABLE: File = File::new("distances.csv", "squared distances from the flow's ends for each scale and gamma");
const BEST: File = File::new("guidance.csv", "the best gamma for each scale, in closed form and measured");
const PLOT: File = File::new("guidance", "the best gamma over the scale, and distances over gamma");

/// Groups of images, each of which has its best gamma.
pub const GROUPS: usize = 4;
/// The settings of the study.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The scales W.
    pub scales: Vec<f64>,
    /// Calls of the denoiser.
    pub steps: Vec<usize>,
    /// The sigmas of each number of calls.
    pub grids: Vec<Vec<f64>>,
    /// Weights of the newest eps, rising.
    pub gammas: Vec<f64>,
    /// Images.
    pub images: usize,
    /// The seed of the start states.
    pub seed: u64,
}

impl Settings {
    /// Calls of the denoiser per image and scale.
    #[must_use]
    pub fn calls(&self) -> u64 {
        let steps: usize = self.steps.iter().sum();
        (steps * self.gammas.len() + 2 * FINE * self.steps.len()) as u64
    }

    fn range(&self) -> (f64, f64) {
        match (self.gammas.first(), self.gammas.last()) {
            (Some(low), Some(high)) if low < high => (*low, *high),
            _ => (1.0, 3.0),
        }
    }
}

/// The results: in closed form for `modes`, and as `measured` for each scale on the denoisers called `name`.
#[must_use]
pub fn results(settings: &Settings, modes: &[Mode], measured: &[Distances], name: &str) -> Results {
    let range = settings.range();
    let mut best_table = Table::new(&["scale", "calls", "closed_form", "measured", "half_width", "at_an_end"]);
    let mut table = Table::new(&["scale", "calls", "gamma", "closed_form", "measured"]);
    let (mut rows, mut panels): (Vec<_>, Vec<Panel>) = (Vec::new(), Vec::new());
    let mut over_scale = Figure::new("The best gamma", Axis::linear("scale of guidance"), Axis::linear("gamma"));
    let mut results = Results::default();
    for (at, (calls, grid)) in settings.steps.iter().zip(&settings.grids).enumerate() {
        let mut over_gamma =
            Figure::new(&format!("{calls} calls"), Axis::linear("gamma"), Axis::log("squared distance / square"));
        let (mut closed, mut seen) = (Vec::new(), Vec::new());
        for (index, scale) in settings.scales.iter().enumerate() {
            let best = best_gamma(modes, *scale, grid, range);
            let found = measured.get(index).and_then(|of_scale| of_scale.get(at));
            let fitted = found.map(|groups| Best::of(&settings.gammas, groups));
            let mean = |column: usize| {
                found.map(|groups| groups.iter().map(|row| row[column]).sum::<f64>() / groups.len() as f64)
            };
            let text = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            let estimate: Option<&Estimate> = fitted.as_ref().map(|best| &best.gamma);
            best_table.row(&[
                scale,
                calls,
                &best,
                &text(estimate.map(|gamma| gamma.mean)),
                &text(estimate.map(|gamma| gamma.half_width).filter(|width| width.is_finite())),
                &fitted.as_ref().map_or_else(String::new, |best| best.at_an_end.to_string()),
            ]);
            for (column, gamma) in settings.gammas.iter().enumerate() {
                let exact = distance(modes, *scale, grid, *gamma);
                table.row(&[scale, calls, gamma, &exact, &text(mean(column))]);
            }
            closed.push((*scale, best));
            seen.extend(estimate.map(|gamma| (*scale, gamma.mean)));
            let points = settings.gammas.iter().map(|gamma| (*gamma, distance(modes, *scale, grid, *gamma)));
            over_gamma = over_gamma
                .with(Series::dashed(&format!("{scale}, closed form"), points.collect()).colour(Colour::Cycle(index)));
            if found.is_some() {
                let points: Vec<(f64, f64)> = settings
                    .gammas
                    .iter()
                    .enumerate()
                    .filter_map(|(column, gamma)| Some((*gamma, mean(column)?)))
                    .collect();
                over_gamma =
                    over_gamma.with(Series::points(&format!("{scale}, measured"), points).colour(Colour::Cycle(index)));
            }
            let said = fitted.as_ref().map_or_else(String::new, |best| {
                let Estimate { mean, half_width, count, .. } = best.gamma;
                let end = if best.at_an_end > 0 { ", at an end of the gammas" } else { "" };
                format!(", measured {mean:.2} +- {half_width:.2} over {count} groups of images{end}")
            });
            results.note(format!("scale {scale}, {calls} calls: best gamma {best:.3} in closed form{said}"));
            rows.push(json!({
                "scale": scale, "calls": calls, "closed_form": best,
                "distance_in_closed_form": distance(modes, *scale, grid, best), "measured": fitted,
            }));
        }
        over_scale =
            over_scale.with(Series::line(&format!("{calls} calls, closed form"), closed).colour(Colour::Cycle(at)));
        if !seen.is_empty() {
            over_scale =
                over_scale.with(Series::points(&format!("{calls} calls, measured"), seen).colour(Colour::Cycle(at)));
        }
        panels.push(over_gamma.into());
    }
    panels.insert(0, over_scale.into());
    results
        .set("denoiser", name)
        .set("gammas", json!(settings.gammas))
        .set("images", settings.images)
        .set("grids", json!(settings.grids))
        .set("rows", json!(rows))
        .table(TABLE, table)
        .table(BEST, best_table)
        .plot(PLOT, Picture::new(&format!("Gradient estimation with guidance, {name}"), 2, panels));
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::{Denoiser, Level};
    use crate::sample::solvers::metric::gamma_of;
    use crate::study::parts::{Rows, Shard};
    use crate::study::{gains, gamma};
    use crate::tensor::Tensor;

    const SIGMAS: [f64; 7] = [20.0, 9.0, 4.0, 1.8, 0.8, 0.3, 0.0];
    const NARROW: Mode = Mode { all: 1.0, class: 0.3 };

    #[test]
    fn without_guidance_the_gains_are_those_of_one_gaussian() {
        for scale in [0.0, 1.0] {
            let variance = if scale == 0.0 { NARROW.all } else { NARROW.class };
            for weight in [1.0, 2.0] {
                let found = gain(NARROW, scale, &SIGMAS, weight);
                assert!((found - gamma::gain(variance, &SIGMAS, weight)).abs() < 1e-12);
            }
            assert!((exact_gain(NARROW, scale, 20.0, 0.0) - gains::flow(variance, 20.0, 0.0)).abs() < 1e-12);
            let (found, expected) = (exact_gamma(NARROW, scale, 2.0, 1.0, 0.5), gamma_of(variance, 2.0, 1.0, 0.5));
            assert!((found - expected).abs() < 1e-9, "{found}, {expected}");
        }
        // A class that is all data is not guided, whatever the scale.
        let same = Mode { all: 0.5, class: 0.5 };
        assert!((gain(same, 7.0, &SIGMAS, 2.0) - gamma::gain(0.5, &SIGMAS, 2.0)).abs() < 1e-12);
        assert_eq!(exact_gain(Mode { all: 0.0, class: 0.0 }, 3.0, 2.0, 0.0), 0.0);
    }

    #[test]
    fn many_steps_tend_to_the_flow_of_guidance() {
        for scale in [-1.0, 2.0, 6.0] {
            let error = |steps: i32| {
                let sigmas: Vec<f64> =
                    (0..=steps).map(|at| 20.0 * 0.005f64.powf(f64::from(at) / f64::from(steps))).collect();
                (gain(NARROW, scale, &sigmas, 1.0) / exact_gain(NARROW, scale, 20.0, 0.1) - 1.0).abs()
            };
            assert!(error(4000) < 5e-3, "{scale}: {}", error(4000));
            assert!((error(2000) / error(4000) - 2.0).abs() < 0.05, "{scale}: the first order");
        }
    }

    #[test]
    fn a_step_with_the_exact_gamma_stays_on_the_flow() {
        for (scale, levels) in [(2.5, [4.0, 2.0, 1.0]), (5.0, [0.6, 0.4, 0.1]), (1.5, [9.0, 3.0, 0.0])] {
            let [before, sigma, next] = levels;
            let weight = exact_gamma(NARROW, scale, before, sigma, next);
            let at_before = exact_gain(NARROW, scale, sigma, before);
            let (eps, eps_before) = (rate(NARROW, scale, sigma), rate(NARROW, scale, before) * at_before);
            let end = 1.0 + (next - sigma) * (weight * eps + (1.0 - weight) * eps_before);
            let exact = exact_gain(NARROW, scale, sigma, next);
            assert!((end - exact).abs() < 1e-12, "{scale}: {end}, {exact}");
        }
        // Where noise is far above or far below both variances, the scale does not matter.
        let ratio = 0.5f64;
        for scale in [1.0, 3.0, 8.0] {
            let far = |sigma: f64| exact_gamma(NARROW, scale, sigma / ratio, sigma, sigma * ratio);
            let normal = (1.0 + ratio + ratio * ratio) / (ratio * (1.0 + ratio));
            assert!((far(300.0) - normal).abs() < 1e-3, "{scale}: {}", far(300.0));
            assert!((far(1e-3) - (1.0 + ratio / 2.0)).abs() < 1e-3, "{scale}: {}", far(1e-3));
        }
    }

    /// The guided eps of two independent modes around a mean.
    struct Two {
        modes: [Mode; 2],
        mean: [f64; 2],
        scale: f64,
    }

    impl Denoiser for Two {
        fn image_shape(&self) -> [usize; 3] {
            [1, 1, 2]
        }

        fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
            let sigma = levels[0].sigma;
            let eps = |(at, x): (usize, &f32)| {
                (rate(self.modes[at % 2], self.scale, sigma) * (f64::from(*x) - self.mean[at % 2])) as f32
            };
            Ok(Tensor::new(x.shape.clone(), x.data.iter().enumerate().map(eps).collect()))
        }
    }

    #[test]
    fn runs_that_share_the_images_measure_the_distances_of_one() {
        let modes = [NARROW, Mode { all: 0.5, class: 0.45 }];
        let (mean, gammas) = ([0.4, -2.0], vec![1.0, 1.5, 2.5]);
        let grids = vec![SIGMAS.to_vec(), vec![8.0, 1.0, 0.1]];
        let settings = Settings { scales: vec![3.0], steps: vec![6, 2], grids, gammas, images: 9, seed: 3 };
        let mut two = Two { modes, mean, scale: 3.0 };
        let alone = measure(&mut two, &mean, &settings, 4, &|_| {}).unwrap();
        let runs = [0, 1].map(|index| {
            let images: Vec<usize> = Shard { index, of: 2 }.items(9).collect();
            ends_of(&mut two, &mean, &settings, (&images, 2), &|_| {}).unwrap()
        });
        let all = Rows::together(&runs, 9);
        assert_eq!(distances(&(0..9).map(|at| all.row(at)).collect::<Vec<_>>(), &mean, &settings), alone);
    }

    #[test]
    fn measured_distances_are_those_of_the_formula() {
        let modes = [NARROW, Mode { all: 0.5, class: 0.45 }];
        let settings = Settings {
            scales: vec![1.0, 3.0],
            steps: vec![6],
            grids: vec![SIGMAS.to_vec()],
            gammas: (0..17).map(|at| 1.0 + 0.125 * f64::from(at)).collect(),
            images: 2000,
            seed: 3,
        };
        let measured: Vec<Distances> = settings
            .scales
            .iter()
            .map(|scale| {
                let mut two = Two { modes, mean: [0.4, -2.0], scale: *scale };
                measure(&mut two, &[0.4, -2.0], &settings, 500, &|_| {}).unwrap()
            })
            .collect();
        for (scale, found) in settings.scales.iter().zip(&measured) {
            for (column, weight) in settings.gammas.iter().enumerate() {
                let mean = found[0].iter().map(|row| row[column]).sum::<f64>() / GROUPS as f64;
                let expected = distance(&modes, *scale, &SIGMAS, *weight);
                assert!((mean - expected).abs() < 0.1 * expected + 2e-4, "{scale}, {weight}: {mean}, {expected}");
            }
            let closed = best_gamma(&modes, *scale, &SIGMAS, (1.0, 3.0));
            let best = Best::of(&settings.gammas, &found[0]);
            assert!((best.gamma.mean - closed).abs() < 0.05, "{scale}: {best:?}, {closed}");
        }
        let results = results(&settings, &modes, &measured, "two modes");
        assert_eq!(results.files.len(), FILES.len());
    }

    #[test]
    fn the_error_of_guidance_does_not_vanish_with_the_noise() {
        // As the eps of the mode itself has it, for a class without extent.
        for (all, scale, sigma) in [(2.0, 1.0, 0.5), (2.0, 3.0, 0.5), (0.7, 5.0, 0.01), (0.7, 0.0, 3.0)] {
            let mode = Mode { all, class: 0.0 };
            let error = (sigma * rate(mode, scale, sigma) - 1.0f64).abs();
            assert!((error - relative_error(all, scale, sigma)).abs() < 1e-12);
        }
        assert!((relative_error(1.0, 2.0, 1e-6) - 1.0).abs() < 1e-9, "no error model at scale 2");
    }
}
