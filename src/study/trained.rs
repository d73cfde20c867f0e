//! A linear denoiser that is trained by gradient descent, beside its closed form, and the chains that both walk.
//!
//! A matrix W for each noise level s predicts x0 from x = x0 + s xi and minimises E |W x - x0|^2. Its optimum is the
//! Wiener filter S (S + s^2)^-1 for a second moment S. From W = 0, descent by the exact gradient with rate r has after
//! n iterations
//!
//! ```text
//! W_n = S (S + s^2)^-1 (I - (I - r (S + s^2))^n)
//! ```
//!
//! and so finds the directions of large variance first. Training draws samples and noise; the mean of the second half
//! of its iterates is taken (Polyak and Juditsky 1992). Everything is in the coordinates of the leading principal
//! components, in float64.

use faer::Mat;
use rand::RngExt;
use serde::Serialize;
use serde_json::json;

use super::Advance;
use super::chain::participation_ratio;
use super::estimate::Estimate;
use super::gains::{self, Spacing};
use super::results::{File, Results};
use crate::error::Result;
use crate::noise::{Purpose, seeds};
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};

/// The settings of the study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The spacing of noise levels, their number, and the first.
    pub spacing: Spacing,
    pub steps: usize,
    pub sigma_max: f64,
    /// Iterations of training at each level.
    pub iterations: usize,
    /// Samples per iteration.
    pub batch: usize,
    /// The learning rate, over 1 / (largest variance + s^2).
    pub rate: f64,
    /// Trainings, from seeds `seed`, `seed` + 1, ...
    pub runs: u64,
    pub seed: u64,
}

/// The denoisers of one level.
#[derive(Clone, Debug, Serialize)]
pub struct Level {
    pub sigma: f64,
    /// |W - optimum| / |optimum| of descent by the exact gradient, and by the formula for its iterates.
    pub exact: f64,
    pub formula: f64,
    /// The same of trainings.
    pub trained: Estimate,
}

/// The chain of one set of denoisers.
#[derive(Clone, Debug, Serialize)]
pub struct Walked {
    pub name: String,
    /// The gain along each principal component.
    pub gains: Vec<f64>,
    /// The effective number of modes of white noise that went through.
    pub effective_modes: f64,
    /// The norm of the chain off its diagonal, over that of the diagonal.
    pub off_diagonal: f64,
}

/// The measurements of the study.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The variances of the coordinates, largest first.
    pub variances: Vec<f64>,
    pub levels: Vec<Level>,
    /// The closed form, descent by the exact gradient, and each training.
    pub chains: Vec<Walked>,
    /// |W - optimum| / |optimum| over the iterations at the level in the middle: by the exact gradient, and in the
    /// first training.
    pub progress: Vec<(usize, f64, f64)>,
}

/// Iterations of all levels and runs: the units that `advance` counts.
#[must_use]
pub fn work(settings: &Settings) -> u64 {
    (settings.steps * settings.iterations) as u64 * (settings.runs + 1)
}

/// Points of the curve over iterations.
const POINTS: usize = 60;
/// The foot of the axis of distances.
const LEAST_DISTANCE: f64 = 1e-6;
/// Iterations per unit of progress.
const UNIT: usize = 100;

/// Trains denoisers on `coordinates`, (k, n): centred samples along their leading principal components.
///
/// # Errors
/// [`crate::Error::Argument`] for invalid levels, and those of [`seeds`].
pub fn run(coordinates: &Mat<f64>, settings: &Settings, advance: Advance) -> Result<Trained> {
    let (k, n) = (coordinates.nrows(), coordinates.ncols());
    let moment = coordinates * coordinates.transpose() * faer::Scale((n as f64).recip());
    let variances: Vec<f64> = (0..k).map(|i| moment[(i, i)]).collect();
    let largest = variances.iter().copied().fold(0.0, f64::max);
    let sigmas = settings.spacing.sigmas(settings.steps, settings.sigma_max)?;
    let called = &sigmas[..settings.steps];
    let seeds = seeds(settings.seed, settings.runs)?;
    let middle = settings.steps / 2;
    let mut levels = Vec::new();
    let mut filters: Vec<Vec<Mat<f64>>> = vec![Vec::new(); seeds.len() + 2];
    let mut progress = Vec::new();
    for (index, sigma) in called.iter().enumerate() {
        let noise = sigma * sigma;
        // In these coordinates the moment is diagonal up to rounding.
        let optimum = diagonal(variances.iter().map(|variance| variance / (variance + noise)));
        let apart = |filter: &Mat<f64>| (filter - &optimum).norm_l2() / optimum.norm_l2();
        let rate = settings.rate / (largest + noise);
        let mut curves: [Vec<(usize, f64)>; 2] = [Vec::new(), Vec::new()];
        let stride = (settings.iterations / POINTS).max(1);
        let mut watch = |curve: usize, iteration: usize, filter: &Mat<f64>| {
            if index == middle && iteration.is_multiple_of(stride) {
                curves[curve].push((iteration, apart(filter)));
            }
        };
        let exact =
            descended(&moment, noise, rate, settings.iterations, &mut |at, filter| watch(0, at, filter), advance);
        let left = |variance: f64| (1.0 - rate * (variance + noise)).powi(settings.iterations as i32);
        let formula =
            diagonal(variances.iter().map(|variance| variance / (variance + noise) * (1.0 - left(*variance))));
        let mut errors = Vec::new();
        for (at, seed) in seeds.iter().enumerate() {
            let mut watched = |iteration: usize, filter: &Mat<f64>| {
                if at == 0 {
                    watch(1, iteration, filter);
                }
            };
            let place = Place { seed: *seed, level: index as u32, sigma: *sigma, rate };
            let filter = trained(coordinates, settings, &place, &mut watched, advance);
            errors.push(apart(&filter));
            filters[at + 2].push(filter);
        }
        let [by_gradient, by_training] = curves;
        progress
            .extend(by_gradient.iter().zip(&by_training).map(|((at, exact), (_, trained))| (*at, *exact, *trained)));
        levels.push(Level {
            sigma: *sigma,
            exact: apart(&exact),
            formula: apart(&formula),
            trained: Estimate::of(&errors),
        });
        filters[0].push(optimum);
        filters[1].push(exact);
    }
    let names = ["closed form".to_owned(), "gradient descent".to_owned()].into_iter();
    let names = names.chain(seeds.iter().map(|seed| format!("trained, seed {seed}")));
    let chains = names.zip(&filters).map(|(name, filters)| walked(name, filters, &sigmas)).collect();
    Ok(Trained { variances, levels, chains, progress })
}

fn diagonal(values: impl Iterator<Item = f64>) -> Mat<f64> {
    let values: Vec<f64> = values.collect();
    Mat::from_fn(values.len(), values.len(), |i, j| if i == j { values[i] } else { 0.0 })
}

/// Descent by the exact gradient W (S + s^2) - S, from zero.
fn descended(
    moment: &Mat<f64>,
    noise: f64,
    rate: f64,
    iterations: usize,
    watch: &mut dyn FnMut(usize, &Mat<f64>),
    advance: Advance,
) -> Mat<f64> {
    let k = moment.nrows();
    let noisy = moment + Mat::<f64>::identity(k, k) * faer::Scale(noise);
    let mut filter = Mat::<f64>::zeros(k, k);
    for iteration in 0..iterations {
        watch(iteration, &filter);
        let gradient = &filter * &noisy - moment;
        filter -= gradient * faer::Scale(rate);
        if (iteration + 1).is_multiple_of(UNIT) {
            advance(UNIT as u64);
        }
    }
    filter
}

/// The seed and the level of a training.
struct Place {
    seed: u64,
    level: u32,
    sigma: f64,
    rate: f64,
}

/// Stochastic descent from zero on drawn samples with drawn noise; the mean of the second half of its iterates.
fn trained(
    coordinates: &Mat<f64>,
    settings: &Settings,
    place: &Place,
    watch: &mut dyn FnMut(usize, &Mat<f64>),
    advance: Advance,
) -> Mat<f64> {
    let (k, batch) = (coordinates.nrows(), settings.batch);
    let mut filter = Mat::<f64>::zeros(k, k);
    let mut sum = Mat::<f64>::zeros(k, k);
    let kept = settings.iterations - settings.iterations / 2;
    for iteration in 0..settings.iterations {
        watch(iteration, &filter);
        let index = iteration as u64;
        let mut choice = Purpose::TrainingSamples.stream(place.seed, index, place.level);
        let picks: Vec<usize> = (0..batch).map(|_| choice.random_range(0..coordinates.ncols())).collect();
        let drawn = Purpose::TrainingNoise.normals(place.seed, index, place.level, batch * k);
        let clean = Mat::from_fn(k, batch, |i, j| coordinates[(i, picks[j])]);
        let noisy = Mat::from_fn(k, batch, |i, j| clean[(i, j)] + place.sigma * f64::from(drawn[j * k + i]));
        let error = &filter * &noisy - &clean;
        filter -= error * noisy.transpose() * faer::Scale(place.rate / batch as f64);
        if iteration >= settings.iterations / 2 {
            sum += &filter;
        }
        if (iteration + 1).is_multiple_of(UNIT) {
            advance(UNIT as u64);
        }
    }
    sum * faer::Scale((kept as f64).recip())
}

/// DDIM with these filters: x' = (I + (r / s - 1) (I - W)) x from each level s to the next one r.
fn walked(name: String, filters: &[Mat<f64>], sigmas: &[f64]) -> Walked {
    let k = filters.first().map_or(0, Mat::nrows);
    let identity = Mat::<f64>::identity(k, k);
    let mut chain = identity.clone();
    for (filter, pair) in filters.iter().zip(sigmas.windows(2)) {
        let step = &identity + (&identity - filter) * faer::Scale(pair[1] / pair[0] - 1.0);
        chain = step * chain;
    }
    let gains: Vec<f64> = (0..k).map(|i| chain[(i, i)]).collect();
    let on: f64 = gains.iter().map(|gain| gain * gain).sum();
    let energies: Vec<f64> = chain.row_iter().map(|row| row.iter().map(|value| value * value).sum()).collect();
    let all: f64 = energies.iter().sum();
    Walked {
        name,
        gains,
        effective_modes: participation_ratio(&energies),
        off_diagonal: ((all - on).max(0.0) / on).sqrt(),
    }
}

/// The files of the study.
pub const FILES: &[File] = &[VARIANCES, GAINS, LEVELS, CHAINS, PLOT];
const VARIANCES: File = File::new("eigenvalues.npy", "(k)");
const GAINS: File = File::new("gains.npy", "closed form, gradient descent, trainings, (chains, k)");
const LEVELS: File = File::new("levels.csv", "distances of the filters from their optimum, per level");
const CHAINS: File = File::new("chains.csv", "effective modes of each chain");
const PLOT: File = File::new("trained", "filters and gains beside the closed form");

/// The results of the study on the data called `data`.
#[must_use]
pub fn results(found: &Trained, settings: &Settings, data: &str) -> Results {
    let k = found.variances.len();
    let mut levels = Table::new(&["sigma", "gradient_descent", "its_formula", "trained", "half_width_95", "trainings"]);
    for Level { sigma, exact, formula, trained } in &found.levels {
        levels.row(&[sigma, exact, formula, &trained.mean, &trained.half_width, &trained.count]);
    }
    let mut chains = Table::new(&["chain", "effective_modes", "off_diagonal", "worst_gain_error"]);
    let exact = &found.chains[0];
    let worst =
        |chain: &Walked| chain.gains.iter().zip(&exact.gains).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
    for chain in &found.chains {
        chains.row(&[&chain.name, &chain.effective_modes, &chain.off_diagonal, &worst(chain)]);
    }
    let trained = &found.chains[2..];
    let modes = Estimate::of(&trained.iter().map(|chain| chain.effective_modes).collect::<Vec<_>>());
    let errors = Estimate::of(&trained.iter().map(worst).collect::<Vec<_>>());
    let farthest = found.levels.iter().map(|level| level.trained.mean).fold(0.0, f64::max);
    let mut results = Results::default();
    results
        .numbers(VARIANCES, &[k], &found.variances)
        .numbers(
            GAINS,
            &[found.chains.len(), k],
            &found.chains.iter().flat_map(|chain| chain.gains.clone()).collect::<Vec<_>>(),
        )
        .table(LEVELS, levels)
        .table(CHAINS, chains)
        .plot(PLOT, picture(found, settings, data))
        .set("settings", json!(settings))
        .set("levels", json!(found.levels))
        .set("chains", json!(found.chains))
        .note(format!(
            "trained filters are within {farthest:.3} of the Wiener filter (relative, largest of {} levels, mean of {} \
             trainings)",
            found.levels.len(),
            trained.len()
        ))
        .note(format!(
            "effective modes of {k}: {:.2} +- {:.2} trained (95 %), {:.2} in closed form; gains within {:.3} +- {:.3}",
            modes.mean, modes.half_width, exact.effective_modes, errors.mean, errors.half_width
        ));
    results
}

fn picture(found: &Trained, settings: &Settings, data: &str) -> Picture {
    let indexed = |values: &[f64]| values.iter().enumerate().map(|(at, value)| (at as f64, *value)).collect::<Vec<_>>();
    let distance = "|W − optimum| / |optimum|";
    let over = |value: &dyn Fn(&Level) -> f64| found.levels.iter().map(|level| (level.sigma, value(level))).collect();
    // An interval of few trainings reaches below 0, where the axis has no place; exact filters are beyond its foot.
    let band = |level: &Level| {
        let (low, high) = level.trained.band();
        (low.max(0.1 * level.trained.mean), high)
    };
    let y = Axis::log(distance).over(LEAST_DISTANCE, 2.0);
    let levels: Panel = Figure::new("Filters after training", Axis::log("σ"), y.clone())
        .with(
            Series::line(&format!("trained, mean of {}", settings.runs), over(&|level| level.trained.mean))
                .band(found.levels.iter().map(band).collect()),
        )
        .with(Series::points("exact gradient", over(&|level| level.exact)).colour(Colour::Cycle(1)))
        .with(Series::dashed("formula of its iterates", over(&|level| level.formula)).colour(Colour::Cycle(1)))
        .into();
    let sigma = found.levels.get(settings.steps / 2).map_or(f64::NAN, |level| level.sigma);
    let curve = |value: &dyn Fn(&(usize, f64, f64)) -> f64| {
        found.progress.iter().map(|point| ((point.0 + 1) as f64, value(point))).collect()
    };
    let title = format!("Over iterations, σ = {sigma:.2}");
    let progress: Panel = Figure::new(&title, Axis::log("iteration"), y)
        .with(Series::line("trained, last iterate", curve(&|point| point.2)))
        .with(Series::line("exact gradient", curve(&|point| point.1)).colour(Colour::Cycle(1)))
        .into();
    let flow: Vec<f64> =
        found.variances.iter().map(|variance| gains::flow(*variance, settings.sigma_max, 0.0)).collect();
    let title = format!("Gains of the chain, T = {}", settings.steps);
    let mut gained = Figure::new(&title, Axis::linear("component"), Axis::log("gain"));
    for (at, chain) in found.chains.iter().enumerate() {
        let colour = Colour::Cycle(at.min(2));
        let series = match at {
            0 => Series::line(&chain.name, indexed(&chain.gains)),
            1 => Series::dashed(&chain.name, indexed(&chain.gains)),
            2 => Series::points("trained", indexed(&chain.gains)),
            _ => Series::points("", indexed(&chain.gains)),
        };
        gained = gained.with(series.colour(colour));
    }
    let gained = gained.with(Series::dashed("probability flow", indexed(&flow)).colour(Colour::Black));
    let title = format!("Linear denoisers of {data}, {} iterations of {}", settings.iterations, settings.batch);
    Picture::new(&title, 3, vec![levels, progress, gained.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            spacing: Spacing::Exponential,
            steps: 4,
            sigma_max: 6.0,
            iterations: 600,
            batch: 16,
            rate: 0.3,
            runs: 2,
            seed: 3,
        }
    }

    /// Orthogonal coordinates of variances 4, 1 and 0.25.
    fn coordinates() -> Mat<f64> {
        let n = 64;
        let wave = |i: usize, j: usize| (std::f64::consts::TAU * (i + 1) as f64 * j as f64 / n as f64).cos();
        Mat::from_fn(3, n, |i, j| 2f64.powi(1 - i as i32) * 2f64.sqrt() * wave(i, j))
    }

    #[test]
    fn descent_is_its_formula_and_training_comes_near() {
        let found = run(&coordinates(), &settings(), &|_| {}).unwrap();
        assert!(found.variances.iter().zip([4.0, 1.0, 0.25]).all(|(a, b)| (a - b).abs() < 1e-12));
        for level in &found.levels {
            assert!((level.exact - level.formula).abs() < 1e-9, "{level:?}");
            assert!(level.trained.mean < 0.3, "{level:?}");
        }
        // The chain of the closed form is DDIM with the Wiener filter.
        let sigmas = Spacing::Exponential.sigmas(4, 6.0).unwrap();
        for (gain, variance) in found.chains[0].gains.iter().zip(&found.variances) {
            assert!((gain - gains::ddim(*variance, &sigmas)).abs() < 1e-12);
        }
        assert_eq!(found.chains.len(), 4);
    }

    #[test]
    fn more_iterations_come_nearer_and_none_is_far() {
        let error = |iterations: usize| {
            let found = run(&coordinates(), &Settings { iterations, ..settings() }, &|_| {}).unwrap();
            found.levels.iter().map(|level| level.trained.mean).fold(0.0, f64::max)
        };
        let (few, many) = (error(20), error(2000));
        assert!(few > 0.3 && many < 0.2 * few, "{few}, {many}");
    }
}
