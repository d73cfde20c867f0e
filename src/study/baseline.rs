//! The baselines of linear diffusion: the chains that do not collapse, through the ordinary sampler, against closed
//! forms.
//!
//! A reviewer's counterpoint is that the usual optimal linear denoiser is the Wiener filter, whose probability flow
//! takes noise to exactly the Gaussian of the data. It is walked here with DDIM, beside projections on population
//! components and the chain of sequential estimates. Each chain is linear and diagonal in the eigenvectors of the
//! covariance, so one state with a part along each mode shows every gain.

use faer::{Col, Mat};
use serde::Serialize;
use serde_json::json;

use super::Advance;
use super::chain::participation_ratio;
use super::gains::{self, Spacing};
use super::results::{File, Results};
use crate::Result;
use crate::denoise::Denoiser;
use crate::denoise::closed_form::linear::Linear;
use crate::denoise::closed_form::sequential::Sequential;
use crate::noise::Purpose;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::sample::samplers::Sampler;
use crate::sample::settings::{Course, Settings as Sampling};
use crate::sample::walk::sample;
use crate::tensor::Tensor;

/// Draws per batch.
const BATCH: usize = 16;

/// A denoiser, and the sampler that walks with it: DDIM unless another is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chain {
    /// The posterior mean of the Gaussian.
    Wiener,
    /// The same, with the steps of DPM-Solver++ 2M.
    Dpm,
    /// The posterior mean of the next level.
    Sequential,
    /// The projection on the leading population components.
    Projection,
}

impl Chain {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Wiener, Self::Dpm, Self::Sequential, Self::Projection];

    /// The denoiser, of the Gaussian that `filter` is the Wiener filter of.
    fn denoiser(self, filter: &Linear, modes: usize) -> Box<dyn Denoiser> {
        match self {
            Self::Wiener | Self::Dpm => Box::new(filter.clone()),
            Self::Sequential => Box::new(Sequential::new(filter.clone())),
            Self::Projection => Box::new(filter.leading(modes)),
        }
    }

    /// The gain of a mode of variance lambda in closed form; `kept` where a projection keeps it.
    fn gain(self, lambda: f64, kept: bool, sigmas: &[f64]) -> f64 {
        let (first, last) = (sigmas[0], sigmas[sigmas.len() - 1]);
        match self {
            Self::Wiener => gains::ddim(lambda, sigmas),
            Self::Dpm => gains::dpm_2m(lambda, sigmas),
            Self::Sequential => gains::sequential(lambda, first, last),
            Self::Projection => f64::from(u8::from(kept)),
        }
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Wiener => "wiener",
            Self::Dpm => "wiener, dpm++2m",
            Self::Sequential => "sequential",
            Self::Projection => "projection",
        })
    }
}

/// The chains and their schedules.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The number of leading modes that are measured, and that the projection keeps.
    pub modes: usize,
    /// Numbers of steps.
    pub steps: Vec<usize>,
    /// The spacings of levels.
    pub spacings: Vec<Spacing>,
    /// The first level.
    pub sigma_max: f64,
    /// States drawn from the Gaussian under noise and sampled back to the data.
    pub draws: usize,
    /// The seed of the draws.
    pub seed: u64,
}

/// A chain over one schedule.
#[derive(Clone, Debug, Serialize)]
pub struct Gains {
    /// The denoiser.
    pub chain: Chain,
    /// The spacing of levels, and the number of steps.
    pub spacing: Spacing,
    pub steps: usize,
    /// The gain of each mode, (modes).
    #[serde(skip)]
    pub measured: Vec<f64>,
    /// The same in closed form.
    #[serde(skip)]
    pub formula: Vec<f64>,
    /// max |measured - formula|, and over the formula where that is above zero.
    pub worst_error: f64,
    pub worst_relative_error: f64,
    /// The norm of the end outside the modes of the start, over that within them.
    pub outside: f64,
    /// The effective number of modes of white noise that goes through the chain.
    pub participation: f64,
    pub participation_formula: f64,
    /// Least and largest variance of a mode over that of the data, where the start has lambda + s^2.
    pub variance_ratio: (f64, f64),
}

/// Draws of the Gaussian under noise, walked back with the Wiener filter.
#[derive(Clone, Debug, Serialize)]
pub struct Draws {
    /// The schedule.
    pub spacing: Spacing,
    pub steps: usize,
    pub draws: usize,
    /// Variance of the ends along each mode over lambda, (modes), and the same in closed form.
    #[serde(skip)]
    pub ratio: Vec<f64>,
    #[serde(skip)]
    pub formula: Vec<f64>,
    /// Means over the modes, and the standard error of the first.
    pub mean_ratio: f64,
    pub mean_formula: f64,
    pub standard_error: f64,
}

/// The gains of all chains.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// Variances of the modes, largest first.
    pub variances: Vec<f64>,
    /// The probability flow's gain of each.
    pub flow: Vec<f64>,
    /// Every chain over every schedule.
    pub chains: Vec<Gains>,
    /// The Wiener chain on draws, over the first spacing with the most steps; `None` without draws.
    pub draws: Option<Draws>,
}

/// Denoiser calls for single images: the units that `advance` counts.
#[must_use]
pub fn work(settings: &Settings) -> u64 {
    let steps: usize = settings.steps.iter().sum();
    let most = settings.steps.iter().copied().max().unwrap_or(0);
    (Chain::ALL.len() * settings.spacings.len() * steps + settings.draws * most) as u64
}

/// Walks every chain over every schedule.
///
/// # Errors
/// [`crate::Error::Argument`] for invalid schedules, and those of [`sample`].
pub fn baseline(filter: &Linear, settings: &Settings, advance: Advance) -> Result<Baseline> {
    let (variances, directions) = filter.spectrum();
    let modes = settings.modes.min(variances.len());
    let variances = variances[..modes].to_vec();
    let directions = directions.subcols(0, modes).to_owned();
    let mut chains = Vec::new();
    for chain in Chain::ALL {
        for spacing in &settings.spacings {
            for steps in &settings.steps {
                let sigmas = spacing.sigmas(*steps, settings.sigma_max)?;
                let (measured, outside) = walked(chain, filter, directions.as_ref(), &sigmas)?;
                advance(*steps as u64);
                let formula: Vec<f64> = variances.iter().map(|lambda| chain.gain(*lambda, true, &sigmas)).collect();
                chains.push(Gains::new((chain, *spacing, *steps), measured, formula, outside, &variances, sigmas[0]));
            }
        }
    }
    let flow = variances.iter().map(|lambda| gains::flow(*lambda, settings.sigma_max, 0.0)).collect();
    let draws = match (settings.spacings.first(), settings.steps.iter().max()) {
        (Some(spacing), Some(steps)) if settings.draws > 0 => {
            let sigmas = spacing.sigmas(*steps, settings.sigma_max)?;
            Some(drawn(filter, settings, (*spacing, *steps), modes, &sigmas, advance)?)
        }
        _ => None,
    };
    Ok(Baseline { variances, flow, chains, draws })
}

/// The gains of the leading `modes` of DDIM with the Wiener filter down `sigmas`, through the sampler.
///
/// # Errors
/// Those of [`sample`] and [`crate::Error::Argument`] for invalid schedules.
pub fn walked_gains(filter: &Linear, modes: usize, sigmas: &[f64]) -> Result<Vec<f64>> {
    let directions = filter.spectrum().1.subcols(0, modes).to_owned();
    Ok(walked(Chain::Wiener, filter, directions.as_ref(), sigmas)?.0)
}

/// The gain along each of `directions`, and the norm outside them over the norm within.
fn walked(chain: Chain, filter: &Linear, directions: faer::MatRef<f64>, sigmas: &[f64]) -> Result<(Vec<f64>, f64)> {
    let image = filter.image_shape();
    let mean = filter.mean();
    // One part along each mode, with alternating signs, so that no mode hides another.
    let part = |mode: usize| if mode.is_multiple_of(2) { sigmas[0] } else { -sigmas[0] };
    let start = directions * Col::from_fn(directions.ncols(), part);
    let x = (0..start.nrows()).map(|at| (mean[at] + start[at]) as f32).collect();
    let mut denoiser = chain.denoiser(filter, directions.ncols());
    let sampler = if chain == Chain::Dpm { Sampler::DpmPlusPlus2m } else { Sampler::Ddim };
    let end = walk(denoiser.as_mut(), sampler, sigmas, Tensor::new([1, image[0], image[1], image[2]], x))?;
    let end = Col::from_fn(start.nrows(), |at| f64::from(end.data[at]) - mean[at]);
    let along = directions.transpose() * &end;
    let within = directions * &along;
    let outside = (&end - &within).norm_l2() / within.norm_l2().max(f64::MIN_POSITIVE);
    Ok(((0..along.nrows()).map(|mode| along[mode] / part(mode)).collect(), outside))
}

/// `x` at the end of the walk down `sigmas`.
fn walk(denoiser: &mut dyn Denoiser, sampler: Sampler, sigmas: &[f64], x: Tensor) -> Result<Tensor> {
    let settings = Sampling { sampler: Some(sampler), sigmas: Some(sigmas.to_vec()), ..Sampling::default() };
    let Course { schedule, method, .. } = settings.on_sigmas((sigmas[0], sigmas[0] * f64::EPSILON))?;
    let shape = x.shape.clone();
    sample(denoiser, &schedule, &method, x, &mut |_| Ok(Tensor::zeros(shape.clone())), &mut |_| Ok(()))
}

fn drawn(
    filter: &Linear,
    settings: &Settings,
    (spacing, steps): (Spacing, usize),
    modes: usize,
    sigmas: &[f64],
    advance: Advance,
) -> Result<Draws> {
    let (variances, directions) = filter.spectrum();
    let (image, mean) = (filter.image_shape(), filter.mean());
    let dimension = mean.nrows();
    let mut denoiser = filter.clone();
    let mut squares = vec![0.0; modes];
    for first in (0..settings.draws).step_by(BATCH) {
        let count = BATCH.min(settings.draws - first);
        let mut x = Vec::with_capacity(count * dimension);
        for draw in first..first + count {
            let factors = Purpose::GaussianDraws.normals(settings.seed, draw as u64, 0, variances.len());
            let factors =
                Col::from_fn(variances.len(), |mode| variances[mode].max(0.0).sqrt() * f64::from(factors[mode]));
            let clean = directions * factors;
            let noise = Purpose::GaussianNoise.normals(settings.seed, draw as u64, 0, dimension);
            x.extend((0..dimension).map(|at| (mean[at] + clean[at] + sigmas[0] * f64::from(noise[at])) as f32));
        }
        let end = walk(&mut denoiser, Sampler::Ddim, sigmas, Tensor::new([count, image[0], image[1], image[2]], x))?;
        let ends = Mat::from_fn(dimension, count, |at, draw| f64::from(end.item(draw)[at]) - mean[at]);
        let along = directions.subcols(0, modes).transpose() * &ends;
        for (mode, square) in squares.iter_mut().enumerate() {
            *square += along.row(mode).iter().map(|value| value * value).sum::<f64>();
        }
        advance((count * steps) as u64);
    }
    let kept: Vec<usize> = (0..modes).filter(|mode| variances[*mode] > 0.0).collect();
    let ratio: Vec<f64> = kept.iter().map(|mode| squares[*mode] / settings.draws as f64 / variances[*mode]).collect();
    let formula: Vec<f64> = kept.iter().map(|mode| variance_ratio(variances[*mode], sigmas)).collect();
    let mean_of = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (mean_ratio, mean_formula) = (mean_of(&ratio), mean_of(&formula));
    // A square of a normal has twice its variance's square.
    let standard_error = (2.0 * mean_of(&formula.iter().map(|value| value * value).collect::<Vec<_>>())
        / (settings.draws * kept.len().max(1)) as f64)
        .sqrt();
    let draws = settings.draws;
    Ok(Draws { spacing, steps, draws, ratio, formula, mean_ratio, mean_formula, standard_error })
}

/// The variance of a mode at the end of DDIM over lambda, from lambda + s^2.
fn variance_ratio(lambda: f64, sigmas: &[f64]) -> f64 {
    gains::ddim(lambda, sigmas).powi(2) * (lambda + sigmas[0] * sigmas[0]) / lambda
}

/// The effective number of modes of white noise under these gains.
fn participation(gains: &[f64]) -> f64 {
    participation_ratio(&gains.iter().map(|gain| gain * gain).collect::<Vec<_>>())
}

impl Gains {
    fn new(
        (chain, spacing, steps): (Chain, Spacing, usize),
        measured: Vec<f64>,
        formula: Vec<f64>,
        outside: f64,
        variances: &[f64],
        sigma_max: f64,
    ) -> Self {
        let pairs = || measured.iter().zip(&formula);
        let worst_error = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let above = pairs().filter(|(_, formula)| **formula > 0.0);
        let worst_relative_error = above.map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
        let ratios = measured.iter().zip(variances).filter(|(_, lambda)| **lambda > 0.0);
        let ratios = ratios.map(|(gain, lambda)| gain * gain * (lambda + sigma_max * sigma_max) / lambda);
        let variance_ratio =
            ratios.fold((f64::INFINITY, 0.0f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
        Self {
            participation: participation(&measured),
            participation_formula: participation(&formula),
            chain,
            spacing,
            steps,
            measured,
            formula,
            worst_error,
            worst_relative_error,
            outside,
            variance_ratio,
        }
    }
}

/// The files of the study.
pub const FILES: &[File] = &[VALUES, GAINS, FORMULAS, TABLE, DRAWS, PLOT];
const VALUES: File = File::new("eigenvalues.npy", "(K)");
const GAINS: File = File::new("gains.npy", "(4 chains, 4 spacings, T, K)");
const FORMULAS: File = File::new("formulas.npy", "the same in closed form");
const TABLE: File = File::new("gains.csv", "errors and participation ratios");
const DRAWS: File = File::new("draws.csv", "variances of the walked draws");
const PLOT: File = File::new("gains", "gains over modes, effective modes over T");

/// The results of the study; `total` is the total variance of the data.
#[must_use]
pub fn results(found: &Baseline, settings: &Settings, total: f64) -> Results {
    let modes = found.variances.len();
    let shape = [Chain::ALL.len(), settings.spacings.len(), settings.steps.len(), modes];
    let all = |of: fn(&Gains) -> &Vec<f64>| found.chains.iter().flat_map(|gains| of(gains).clone()).collect::<Vec<_>>();
    let mut results = Results::default();
    results
        .numbers(VALUES, &[modes], &found.variances)
        .numbers(GAINS, &shape, &all(|gains| &gains.measured))
        .numbers(FORMULAS, &shape, &all(|gains| &gains.formula))
        .table(TABLE, table(found));
    if let Some(draws) = &found.draws {
        results.table(DRAWS, draw_table(draws));
    }
    results
        .plot(PLOT, picture(found, settings))
        .set("settings", json!(settings))
        .set("total_variance", total)
        .set("chains", json!(found.chains))
        .set("draws", json!(found.draws));
    say(found, &mut results);
    results
}

fn say(found: &Baseline, results: &mut Results) {
    for chain in Chain::ALL {
        let rows = || found.chains.iter().filter(|gains| gains.chain == chain);
        let worst = rows().map(|gains| gains.worst_error).fold(0.0, f64::max);
        let least = rows().map(|gains| gains.participation).fold(f64::INFINITY, f64::min);
        let most = rows().map(|gains| gains.participation).fold(0.0, f64::max);
        let schedules = rows().count();
        results.note(format!(
            "{chain}: gains within {worst:.1e} of the closed form over {schedules} schedules, {least:.2} to {most:.2} \
             effective modes of {}",
            found.variances.len()
        ));
    }
    if let Some(draws) = &found.draws {
        results.note(format!(
            "wiener, {} draws over {} steps: variance over that of the data {:.3} +- {:.3}, {:.3} in closed form",
            draws.draws, draws.steps, draws.mean_ratio, draws.standard_error, draws.mean_formula
        ));
    }
}

fn table(found: &Baseline) -> Table {
    let mut table = Table::new(&[
        "chain",
        "spacing",
        "steps",
        "worst_error",
        "worst_relative_error",
        "outside",
        "participation",
        "participation_formula",
        "least_variance_ratio",
        "largest_variance_ratio",
    ]);
    for gains in &found.chains {
        table.row(&[
            &gains.chain,
            &gains.spacing,
            &gains.steps,
            &gains.worst_error,
            &gains.worst_relative_error,
            &gains.outside,
            &gains.participation,
            &gains.participation_formula,
            &gains.variance_ratio.0,
            &gains.variance_ratio.1,
        ]);
    }
    table
}

fn draw_table(draws: &Draws) -> Table {
    let mut table = Table::new(&["mode", "variance_ratio", "formula"]);
    for (mode, (ratio, formula)) in draws.ratio.iter().zip(&draws.formula).enumerate() {
        table.row(&[&mode, ratio, formula]);
    }
    table
}

/// Gains against the index of the mode, and effective modes against the number of steps.
fn picture(found: &Baseline, settings: &Settings) -> Picture {
    let indexed = |values: &[f64]| values.iter().enumerate().map(|(at, value)| (at as f64, *value)).collect::<Vec<_>>();
    let spacing = settings.spacings[0];
    let title = format!("Gains of modes, {spacing} levels: points walked, curves in closed form");
    let mut modes = Figure::new(&title, Axis::linear("mode, by variance"), Axis::log("gain"));
    for (at, steps) in settings.steps.iter().enumerate() {
        let of = |chain: Chain| {
            found
                .chains
                .iter()
                .find(move |gains| gains.chain == chain && gains.spacing == spacing && gains.steps == *steps)
        };
        if let Some(gains) = of(Chain::Wiener) {
            let colour = Colour::Cycle(at);
            modes = modes
                .with(Series::line(&format!("Wiener, T = {steps}"), indexed(&gains.formula)).colour(colour))
                .with(Series::points("", indexed(&gains.measured)).colour(colour));
        }
        if let Some(gains) = of(Chain::Dpm) {
            let colour = Colour::Cycle(at);
            modes = modes
                .with(Series::dashed(&format!("DPM++ 2M, T = {steps}"), indexed(&gains.formula)).colour(colour))
                .with(Series::points("", indexed(&gains.measured)).colour(colour));
        }
        let is_last = at + 1 == settings.steps.len();
        for (chain, name) in [(Chain::Sequential, "sequential, any T"), (Chain::Projection, "projection, any T")] {
            if let Some(gains) = of(chain).filter(|_| is_last) {
                let colour = Colour::Cycle(settings.steps.len() + usize::from(chain == Chain::Projection));
                modes = modes
                    .with(Series::line(name, indexed(&gains.formula)).colour(colour))
                    .with(Series::points("", indexed(&gains.measured)).colour(colour));
            }
        }
    }
    modes = modes.with(Series::dashed("probability flow", indexed(&found.flow)).colour(Colour::Black));

    let mut effective = Figure::new(
        "Effective modes of white noise that went through",
        Axis::log("steps T"),
        Axis::linear("participation ratio of energies"),
    );
    // Spacings make a difference to the Wiener chain alone.
    let kinds = settings.spacings.iter().map(|spacing| (Chain::Wiener, *spacing, format!("Wiener, {spacing}")));
    let kinds = kinds.chain([(Chain::Dpm, spacing, format!("Wiener, DPM++ 2M, {spacing}"))]);
    let others = [Chain::Sequential, Chain::Projection].map(|chain| (chain, spacing, format!("{chain}, any levels")));
    for (at, (chain, spacing, name)) in kinds.chain(others).enumerate() {
        let rows = found.chains.iter().filter(|gains| gains.chain == chain && gains.spacing == spacing);
        let points: Vec<(f64, f64)> = rows.map(|gains| (gains.steps as f64, gains.participation)).collect();
        // Colours that the first panel does not have for something else.
        let first = settings.steps.len();
        let colour = match chain {
            Chain::Sequential => Colour::Cycle(first),
            Chain::Projection => Colour::Cycle(first + 1),
            Chain::Wiener | Chain::Dpm => Colour::Cycle(first + 2 + at),
        };
        effective = effective
            .with(Series::line(&name, points.clone()).colour(colour))
            .with(Series::points("", points).colour(colour));
    }
    Picture::new("", 2, vec![modes.into(), effective.into()])
}
