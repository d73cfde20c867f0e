//! The turning of components as noise grows: the sine of the angle between `u_i` at level t and at level 0 (figures 2
//! and 3 of the paper), over several draws of the noise, beside theory.

use serde_json::json;

use super::Advance;
use super::chain::{Arithmetic, Chain, Coupling, LevelNoise, Projector};
use super::estimate::Estimate;
use super::nadler;
use super::parts::{Rows, Shard};
use super::results::{File, Results};
use crate::error::Result;
use crate::noise::seeds;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::spectral::basis::eigen;
use crate::spectral::host::{gram, second_moment};
use crate::spectral::principal::LARGEST_MATRIX;
use crate::tensor::Tensor;

/// The chain and the draws of the study.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// `x_0`, (n, p).
    pub data: &'a Tensor,
    /// `sigma_1` ... `sigma_T`.
    pub sigmas: &'a [f64],
    pub coupling: Coupling,
    /// Draws of the noise, seeds `seed`, `seed` + 1, ...
    pub draws: usize,
    pub seed: u64,
}

/// The measured angles, and theory; levels t from 0 to T, components i from 0 to k - 1.
#[derive(Clone, Debug)]
pub struct Angles {
    /// Sines, (draws, T + 1, k).
    pub sines: Vec<Vec<Vec<f64>>>,
    /// Mean and uncertainty over draws, (T + 1, k).
    pub summary: Vec<Vec<Estimate>>,
    /// By Nadler's formula for each component alone, its eigenvalue at level 0 the signal, (T + 1, k).
    pub nadler: Vec<Vec<f64>>,
    /// By the expansion for little noise over the whole spectrum, at most 1, (T + 1, k).
    pub expansion: Vec<Vec<f64>>,
    /// Leading eigenvalues at level 0.
    pub values: Vec<f64>,
    /// Variance of all noise at each level.
    pub variances: Vec<f64>,
}

/// Runs the chain for each draw; `advance` counts levels.
///
/// # Errors
/// Those of [`Chain::run`] and of [`seeds`].
pub fn run(projector: &Projector, settings: &Settings, advance: Advance) -> Result<Angles> {
    summarised(&draws(projector, settings, Shard::WHOLE, advance)?, projector.count(), settings)
}

/// A row for each draw of a run: the sines, (T + 1, k), and the leading eigenvalues at level 0. `advance` counts
/// levels.
///
/// # Errors
/// Those of [`Chain::run`] and of [`seeds`].
pub fn draws(projector: &Projector, settings: &Settings, shard: Shard, advance: Advance) -> Result<Rows> {
    let Settings { data, sigmas, coupling, .. } = *settings;
    let seeds = seeds(settings.seed, settings.draws as u64)?;
    let draw = |at: usize| {
        let noise = LevelNoise::Seeded(seeds[at]);
        let found = Chain { data, sigmas, coupling, noise }.run(projector, false, advance)?;
        let sines = found.to_first.iter().flatten().map(|cosine| (1.0 - cosine * cosine).max(0.0).sqrt());
        Ok(sines.chain(found.values.iter().take(1).flatten().copied()).collect())
    };
    Ok(Rows::of_each(shard.items(settings.draws).map(draw).collect::<Result<_>>()?))
}

/// The angles of `count` components, from the [`draws`] of all runs.
///
/// # Errors
/// Those of the eigenproblem of the data.
pub fn summarised(draws: &Rows, count: usize, settings: &Settings) -> Result<Angles> {
    let Settings { data, sigmas, .. } = *settings;
    let (samples, dimension) = (data.shape[0], data.shape[1]);
    let sines = |at: usize| draws.row(at)[..(sigmas.len() + 1) * count].chunks(count).map(<[f64]>::to_vec).collect();
    let sines: Vec<Vec<Vec<f64>>> = (0..draws.count()).map(sines).collect();
    let values = draws.row(draws.count() - 1)[(sigmas.len() + 1) * count..].to_vec();
    let spectrum = spectrum(data, &values)?;
    let mut variance = 0.0;
    let steps = sigmas.iter().map(|sigma| {
        variance += sigma * sigma;
        variance
    });
    let variances: Vec<f64> = std::iter::once(0.0).chain(steps).collect();
    let gamma = dimension as f64 / samples as f64;
    let components = 0..count;
    let table = |entry: &dyn Fn(usize, f64, usize) -> f64| -> Vec<Vec<f64>> {
        let row = |(t, variance): (usize, &f64)| components.clone().map(|i| entry(t, *variance, i)).collect();
        variances.iter().enumerate().map(row).collect()
    };
    let nadler = table(&|_, variance, i| (1.0 - nadler::cos_squared(values[i] / variance, gamma)).sqrt());
    let expansion =
        table(&|_, variance, i| nadler::small_noise_sine_squared(&spectrum, i, variance, samples).sqrt().min(1.0));
    let over_draws = |t: usize, i: usize| Estimate::of(&sines.iter().map(|draw| draw[t][i]).collect::<Vec<_>>());
    let summary = (0..variances.len()).map(|t| components.clone().map(|i| over_draws(t, i)).collect()).collect();
    Ok(Angles { sines, summary, nadler, expansion, values, variances })
}

/// All p eigenvalues of x'x / n, including those that are zero up to rounding. For data too large for a matrix, the
/// leading ones, and zeros for the rest.
fn spectrum(data: &Tensor, leading: &[f64]) -> Result<Vec<f64>> {
    let (samples, dimension) = (data.shape[0], data.shape[1]);
    let mut values = if dimension <= samples.min(LARGEST_MATRIX) {
        eigen(second_moment(data).as_ref())?.0
    } else if samples <= LARGEST_MATRIX {
        eigen(gram(data).as_ref())?.0
    } else {
        leading.to_vec()
    };
    values.resize(dimension, 0.0);
    Ok(values)
}

/// The files of the study.
pub const FILES: &[File] = &[SINES, MEAN, NADLER, EXPANSION, TABLE, PLOT];
const SINES: File = File::new("sines.npy", "(draws, T+1, k)");
const MEAN: File = File::new("mean.npy", "their mean, (T+1, k)");
const NADLER: File = File::new("nadler.npy", "Nadler's formula, (T+1, k)");
const EXPANSION: File = File::new("expansion.npy", "the expansion for little noise, (T+1, k)");
const TABLE: File = File::new("angles.csv", "all of these in rows");
const PLOT: File = File::new("angles", "sines over levels, measured and in theory");
/// Components that are shown beside theory.
const SHOWN: usize = 4;

/// The results of the study on the data called `data`, computed in `arithmetic`.
#[must_use]
pub fn results(found: &Angles, settings: &Settings, data: &str, arithmetic: Arithmetic) -> Results {
    let (levels, k) = (found.summary.len(), found.values.len());
    let means: Vec<f64> = found.summary.iter().flatten().map(|summary| summary.mean).collect();
    let gaps: Vec<f64> = found.values.windows(2).map(|pair| pair[0] / pair[1]).collect();
    let last = json!({
        "mean": found.summary.last(), "nadler": found.nadler.last(), "expansion": found.expansion.last(),
    });
    let mut results = Results::default();
    results
        .numbers(SINES, &[settings.draws, levels, k], &found.sines.concat().concat())
        .numbers(MEAN, &[levels, k], &means)
        .numbers(NADLER, &[levels, k], &found.nadler.concat())
        .numbers(EXPANSION, &[levels, k], &found.expansion.concat())
        .table(TABLE, table(found))
        .plot(PLOT, picture(found, data, &settings.coupling.to_string()))
        .set(
            "angles",
            json!({
                "coupling": settings.coupling, "sigmas": settings.sigmas, "components": k, "draws": settings.draws,
                "seed": settings.seed, "arithmetic": arithmetic,
                "eigenvalues": found.values, "ratio_to_next": gaps, "last": last,
            }),
        );
    results
}

fn table(found: &Angles) -> Table {
    let mut table = Table::new(&["level", "variance", "component", "sine", "half_width_95", "nadler", "expansion"]);
    for (t, row) in found.summary.iter().enumerate() {
        for (i, summary) in row.iter().enumerate() {
            let (nadler, expansion) = (found.nadler[t][i], found.expansion[t][i]);
            table.row(&[&t, &found.variances[t], &i, &summary.mean, &summary.half_width, &nadler, &expansion]);
        }
    }
    table
}

fn picture(found: &Angles, data: &str, coupling: &str) -> Picture {
    let k = found.values.len();
    let axes = |title: &str| {
        let x = Axis::linear("variance of the noise at level t, s_t²");
        Figure::new(title, x, Axis::linear("sin of the angle to level 0").over(0.0, 1.02))
    };
    let over = |values: Vec<f64>| found.variances.iter().copied().zip(values).collect::<Vec<_>>();
    let curve = |rows: &[Vec<f64>], i: usize| over(rows.iter().map(|row| row[i]).collect());
    let mean = |i: usize| over(found.summary.iter().map(|row| row[i].mean).collect());
    let band = |i: usize| found.summary.iter().map(|row| row[i].band()).collect::<Vec<_>>();
    let (draws, levels) = (found.sines.len(), found.variances.len());
    let title = format!("Measured, {draws} draws, 95 % band of the mean");
    let measured = (0..k).fold(axes(&title), |figure, i| {
        figure.with(Series::line("", mean(i)).band(band(i)).colour(Colour::shade_of(i, k)))
    });
    let mut shown: Vec<usize> = (0..SHOWN).map(|at| at * (k - 1) / (SHOWN - 1)).collect();
    shown.dedup();
    let listed: Vec<String> = shown.iter().map(ToString::to_string).collect();
    let title = format!("Beside theory, i = {} of {k}", listed.join(", "));
    let theory = shown.iter().enumerate().fold(axes(&title), |figure, (at, i)| {
        let colour = Colour::shade_of(*i, k);
        let name = |text: &str| if at == 0 { text.to_owned() } else { String::new() };
        figure
            .with(Series::line(&name("Nadler"), curve(&found.nadler, *i)).colour(colour))
            .with(Series::dashed(&name("small noise"), curve(&found.expansion, *i)).colour(colour))
            .with(Series::points(&name("measured"), mean(*i)).band(band(*i)).colour(colour))
    });
    let most = (k.max(2) - 1) as f64;
    let title = format!("Components of {data} under {coupling} noise, {levels} levels");
    let panels = vec![
        measured.with_shades("component i", 0.0, most).into(),
        theory.with_shades("component i", 0.0, most).into(),
    ];
    Picture::new(&title, 2, panels)
}
