//! The best weight gamma of the newest eps in gradient estimation: quality against gamma, on Gaussians exactly.
//!
//! For data N(0, lambda) along a direction, eps(x, sigma) = sigma x / (lambda + sigma^2) is linear, so a schedule
//! multiplies a state by one number, its amplitude gain. That of the probability flow from sigma to sigma' is
//! `sqrt((lambda + sigma'^2) / (lambda + sigma^2))`. DDIM falls short of it and gamma = 2 goes beyond: on Gaussians the
//! best gamma lies between.

use serde_json::json;

use super::compare::table::Spread;
use super::compare::{Cell, Measured, Score};
use super::estimate::Estimate;
use super::results::{File, Results};
use crate::Result;
use crate::data::Dataset;
use crate::noise::seeds;
use crate::quality::moments::of_rows;
use crate::report::Table;
use crate::report::columns::Lines;
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};
use crate::sample::schedule::Schedule;
use crate::spectral::basis::eigen;

/// The sigmas of a schedule's calls and of its end.
#[must_use]
pub fn sigmas(schedule: &Schedule) -> Vec<f64> {
    schedule.levels().iter().map(|level| level.sigma).collect()
}

/// The factor by which gradient estimation with `gamma` multiplies the part of a state along a direction of `variance`,
/// from the first of `sigmas` to the last (Permenter and Yuan 2024, algorithm 2, for this eps).
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

/// The Frechet distance between the samples and N(0, diag(`variances`)), over the sum of the variances: exact, since
/// both are Gaussian with the same directions. States start with the spread sqrt(1 + sigma^2), as those of networks do.
#[must_use]
pub fn gaussian_distance(variances: &[f64], sigmas: &[f64], gamma: f64) -> f64 {
    let start = sigmas.first().map_or(1.0, |sigma| (1.0 + sigma * sigma).sqrt());
    let apart = |variance: &f64| (gain(*variance, sigmas, gamma).abs() * start - variance.sqrt()).powi(2);
    variances.iter().map(apart).sum::<f64>() / variances.iter().sum::<f64>()
}

/// The gamma in `range` for which [`gaussian_distance`] is least, to 1e-4: a scan, then a golden section.
#[must_use]
pub fn best_gamma(variances: &[f64], sigmas: &[f64], range: (f64, f64)) -> f64 {
    least_distance(range, 64, |gamma| gaussian_distance(variances, sigmas, gamma))
}

/// The gamma in `range` for which `distance` is least, to 1e-4: a scan of `points` intervals, then a golden section.
pub(super) fn least_distance(range: (f64, f64), points: usize, distance: impl Fn(f64) -> f64) -> f64 {
    let at = |step: usize| range.0 + (range.1 - range.0) * step as f64 / points as f64;
    let best = (0..=points).min_by(|a, b| distance(at(*a)).total_cmp(&distance(at(*b)))).unwrap_or(0);
    let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(points)));
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

/// The files of the study.
pub const FILES: &[File] = &[TABLE, GAUSSIANS, PLOT];
const TABLE: File = File::new("gamma.csv", "distances of the network's samples for each gamma");
const GAUSSIANS: File = File::new("gaussian.csv", "the same on Gaussians, exactly");
const PLOT: File = File::new("gamma", "distances over gamma");

/// Gammas at which the curves of Gaussians are drawn.
const FINE: usize = 201;
/// The least value of their axis: one direction can be met exactly.
const LEAST: f64 = 1e-6;

/// The settings of a sweep over gamma.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Network calls.
    pub steps: Vec<usize>,
    /// Weights of the newest eps.
    pub gammas: Vec<f64>,
    /// Images per seed and cell.
    pub images: usize,
    /// The number of seeds, and the first of them.
    pub seeds: u64,
    pub first_seed: u64,
    /// The sigmas of each number of calls.
    pub grids: Vec<Vec<f64>>,
}

/// A Gaussian with its name.
#[derive(Clone, Debug)]
pub struct Gaussian {
    pub name: &'static str,
    /// Variances along its directions.
    pub variances: Vec<f64>,
}

impl Gaussian {
    /// A Gaussian of unit variance, and one of the covariance of `data`.
    ///
    /// # Errors
    /// Those of [`of_rows`] and of the eigenproblem.
    pub fn pair(data: &Dataset) -> Result<[Self; 2]> {
        let covariance = of_rows(&data.samples.data, data.dimension())?.covariance;
        let (values, _) = eigen(covariance.as_ref())?;
        let variances = values.into_iter().map(|value| value.max(0.0)).collect();
        Ok([Self { name: "unit variance", variances: vec![1.0] }, Self { name: "the data's covariance", variances }])
    }
}

impl Settings {
    /// The cells of the sweep: those of each number of calls, of each gamma, of each seed.
    ///
    /// # Errors
    /// Those of [`seeds`].
    pub fn cells(&self) -> Result<Vec<Cell>> {
        let seeds = seeds(self.first_seed, self.seeds)?;
        let of = &|calls: usize, gamma: f64| seeds.iter().map(move |seed| Self::cell(calls, gamma, *seed));
        Ok(self.steps.iter().flat_map(|calls| self.gammas.iter().flat_map(move |gamma| of(*calls, *gamma))).collect())
    }

    /// A cell of gradient estimation with this gamma.
    #[must_use]
    pub fn cell(calls: usize, gamma: f64, seed: u64) -> Cell {
        Cell { gamma: Some(gamma), ..Cell::ge(calls, seed) }
    }

    /// The least and the largest gamma, apart.
    fn range(&self) -> (f64, f64) {
        let low = self.gammas.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.gammas.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low < high { (low, high) } else { (1.0, 3.0) }
    }
}

/// The gamma of the least distance.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Best {
    /// The mean over seeds of the gamma at which a parabola through the least of the distances and its neighbours is
    /// least, and its interval.
    pub gamma: Estimate,
    /// Seeds whose least distance is at an end of the gammas: the optimum may be beyond.
    pub at_an_end: usize,
}

impl Best {
    /// From the distances of each seed at each of the rising `gammas`.
    #[must_use]
    pub fn of(gammas: &[f64], seeds: &[Vec<f64>]) -> Self {
        let found: Vec<(f64, bool)> = seeds.iter().map(|distances| least(gammas, distances)).collect();
        Self {
            gamma: Estimate::of(&found.iter().map(|(gamma, _)| *gamma).collect::<Vec<_>>()),
            at_an_end: found.iter().filter(|(_, is_end)| *is_end).count(),
        }
    }

    /// The gamma in words.
    fn text(&self) -> String {
        let Estimate { mean, half_width, count, .. } = self.gamma;
        let within = if count < 2 { "one seed, no interval".to_owned() } else { format!("+- {half_width:.2}, 95 %") };
        let end = match self.at_an_end {
            0 => String::new(),
            seeds => format!("; at an end of the gammas for {seeds} of {count} seeds"),
        };
        format!("{mean:.2} ({within}{end})")
    }
}

/// The place of the least value between rising `places`, by a parabola through it and its neighbours, and whether it is
/// the first or the last.
fn least(places: &[f64], values: &[f64]) -> (f64, bool) {
    let at = (0..values.len()).min_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or(0);
    if at == 0 || at + 1 >= values.len() {
        return (places[at], true);
    }
    let (left, right) = (places[at] - places[at - 1], places[at + 1] - places[at]);
    let (rise, fall) = (values[at + 1] - values[at], values[at - 1] - values[at]);
    let curvature = rise * left + fall * right;
    let shift = if curvature > 0.0 { 0.5 * (fall * right * right - rise * left * left) / curvature } else { 0.0 };
    (places[at] + shift, false)
}

/// The distance of pixels, which is known where the data are images, as they are here.
fn pixels(score: &Score) -> f64 {
    score.sliced_pixels.unwrap_or(f64::NAN)
}

/// The scores of a network's samples over seeds, (calls, gammas).
struct Sweep {
    frechet: Vec<Vec<Spread>>,
    sliced: Vec<Vec<Spread>>,
    /// The best gamma for each number of calls, by the Frechet distance of features and by pixels.
    best: Vec<(Best, Best)>,
    floor: Option<f64>,
}

impl Sweep {
    /// From the scores of [`Settings::cells`].
    fn new(settings: &Settings, measured: &Measured) -> Self {
        let spreads = |figure: &dyn Fn(&Score) -> f64| -> Vec<Vec<Spread>> {
            let of_seeds = measured.scores.chunks(settings.seeds as usize);
            let flat: Vec<Spread> =
                of_seeds.map(|scores| Spread::of(&scores.iter().map(figure).collect::<Vec<_>>())).collect();
            flat.chunks(settings.gammas.len()).map(<[Spread]>::to_vec).collect()
        };
        let (seeds, count) = (settings.seeds as usize, settings.gammas.len());
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| settings.gammas[*a].total_cmp(&settings.gammas[*b]));
        let gammas: Vec<f64> = order.iter().map(|at| settings.gammas[*at]).collect();
        let best = |row: &[Score], figure: fn(&Score) -> f64| {
            let of_seed = |seed: usize| order.iter().map(|at| figure(&row[at * seeds + seed])).collect();
            Best::of(&gammas, &(0..seeds).map(of_seed).collect::<Vec<_>>())
        };
        let rows = measured.scores.chunks(seeds * count);
        let best = rows.map(|row| (best(row, |score| score.frechet), best(row, pixels))).collect();
        let floors: Vec<f64> = measured.floor.iter().map(|score| score.frechet).collect();
        Self {
            frechet: spreads(&|score| score.frechet),
            sliced: spreads(&pixels),
            best,
            floor: (!floors.is_empty()).then(|| Spread::of(&floors).mean),
        }
    }

    fn table(&self, settings: &Settings) -> Table {
        let mut table = Table::new(&["calls", "gamma", "frechet", "frechet_deviation", "sliced_pixels"]);
        for (at, calls) in settings.steps.iter().enumerate() {
            for (column, gamma) in settings.gammas.iter().enumerate() {
                let frechet = self.frechet[at][column];
                table.row(&[calls, gamma, &frechet.mean, &frechet.deviation, &self.sliced[at][column].mean]);
            }
        }
        table
    }

    fn say(&self, settings: &Settings, said: &mut Lines) {
        for ((calls, (best, by_pixels)), row) in settings.steps.iter().zip(&self.best).zip(&self.frechet) {
            let figure = |(gamma, spread): (&f64, &Spread)| format!("{gamma}: {:.2}", spread.mean);
            let figures: Vec<_> = settings.gammas.iter().zip(row).map(figure).collect();
            let text = format!(
                "best gamma {}, by pixels {}; Frechet distance at {}",
                best.text(),
                by_pixels.text(),
                figures.join(", ")
            );
            said.add(&format!("network, {calls} calls"), text);
        }
    }

    fn json(&self, settings: &Settings) -> serde_json::Value {
        let rows = settings.steps.iter().zip(&self.best).zip(&self.frechet).map(|((calls, best), row)| {
            let means: Vec<f64> = row.iter().map(|spread| spread.mean).collect();
            json!({ "calls": calls, "best_gamma": best.0, "best_gamma_by_pixels": best.1, "frechet": means })
        });
        json!({
            "gammas": settings.gammas, "images": settings.images, "seeds": settings.seeds, "floor": self.floor,
            "rows": rows.collect::<Vec<_>>(),
        })
    }
}

fn network_panel(settings: &Settings, sweep: &Sweep) -> Panel {
    let mut figure = Figure::new(
        &format!("Network, {} seeds of {} images, one deviation", settings.seeds, settings.images),
        Axis::linear("gamma"),
        Axis::log("Frechet distance"),
    );
    for (at, calls) in settings.steps.iter().enumerate() {
        let points =
            settings.gammas.iter().zip(&sweep.frechet[at]).map(|(gamma, spread)| (*gamma, spread.mean)).collect();
        let band =
            sweep.frechet[at].iter().map(|spread| (spread.mean - spread.deviation, spread.mean + spread.deviation));
        figure =
            figure.with(Series::line(&format!("{calls} calls"), points).colour(Colour::Cycle(at)).band(band.collect()));
    }
    if let Some(floor) = sweep.floor {
        let (low, high) = settings.range();
        figure = figure.with(Series::dashed("data", vec![(low, floor), (high, floor)]).colour(Colour::Grey));
    }
    figure.into()
}

/// The results of a sweep: on Gaussians, and on a network's samples where they were `measured`.
#[must_use]
pub fn results(settings: &Settings, gaussians: &[Gaussian], measured: Option<&Measured>) -> Results {
    let mut results = Results::default();
    let mut panels: Vec<Panel> = Vec::new();
    let mut said = Lines::default();
    if let Some(measured) = measured {
        let sweep = Sweep::new(settings, measured);
        panels.push(network_panel(settings, &sweep));
        results.table(TABLE, sweep.table(settings)).set("network", sweep.json(settings));
        sweep.say(settings, &mut said);
    }
    let range = settings.range();
    let mut optima = Vec::new();
    let mut table = Table::new(&["gaussian", "calls", "gamma", "relative_distance"]);
    for Gaussian { name, variances } in gaussians {
        let mut figure = Figure::new(
            &format!("Gaussian of {name}"),
            Axis::linear("gamma"),
            Axis::log("Frechet distance / variance").over(LEAST, 1.0),
        );
        for (at, (calls, grid)) in settings.steps.iter().zip(&settings.grids).enumerate() {
            let fine = |step: usize| range.0 + (range.1 - range.0) * step as f64 / (FINE - 1) as f64;
            let points: Vec<(f64, f64)> =
                (0..FINE).map(fine).map(|gamma| (gamma, gaussian_distance(variances, grid, gamma))).collect();
            for (gamma, distance) in &points {
                table.row(&[name, calls, gamma, distance]);
            }
            let best = best_gamma(variances, grid, range);
            let at_best = gaussian_distance(variances, grid, best);
            said.add(&format!("Gaussian of {name}, {calls} calls"), format!("best gamma {best:.3}"));
            optima.push(json!({
                "gaussian": name, "calls": calls, "best_gamma": best, "relative_distance": at_best,
            }));
            let colour = Colour::Cycle(at);
            figure = figure
                .with(Series::line(&format!("{calls} calls"), points).colour(colour))
                .with(Series::points("", vec![(best, at_best.max(LEAST))]).colour(colour));
        }
        panels.push(figure.into());
    }
    let title = "Quality against gamma: lower is better, 1 is DDIM";
    results
        .table(GAUSSIANS, table)
        .plot(PLOT, Picture::new(title, panels.len(), panels))
        .set("gaussians", json!(optima))
        .set("levels", json!(settings.grids))
        .text = Some(said.to_string());
    results
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
    fn the_best_of_a_parabola_is_its_vertex() {
        let gammas = [1.0, 1.5, 2.0, 3.0, 4.0];
        let parabola = |vertex: f64| gammas.iter().map(|gamma| 3.0 + (gamma - vertex).powi(2)).collect::<Vec<_>>();
        let best = Best::of(&gammas, &[parabola(1.9), parabola(2.2), parabola(2.5)]);
        assert!((best.gamma.mean - 2.2).abs() < 1e-12 && best.at_an_end == 0, "{best:?}");
        assert!((best.gamma.half_width - 4.303 * 0.3 / 3f64.sqrt()).abs() < 1e-9, "{best:?}");
        let beyond = Best::of(&gammas, &[parabola(7.0)]);
        assert!(beyond.gamma.mean == 4.0 && beyond.at_an_end == 1 && beyond.text().contains("an end"), "{beyond:?}");
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
