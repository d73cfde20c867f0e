//! The assumptions of the first paper's theorem, measured: the order in which components leave the small-angle regime
//! (4.1 and 4.2), the mass that `U_t' U_(t+1)` has off its diagonal, and equation 24 beside the product P.
//!
//! Equation 20 replaces `M_t = U_t' U_(t+1)` by the diagonal of its cosines. Component i has left that regime at the
//! first level t at which the entries of row and column i off the diagonal hold more than a given share of their
//! energy. Assumption 4.2 says that components leave in the order of their index from last to first, so that the block
//! of those that have not left stays diagonal.
//!
//! Two sets of spikes in white noise are measured beside the data: one with eigenvalues that fall by halves, where the
//! order should be found, and one with equal eigenvalues, which have no order to find.

mod rows;

use std::borrow::Cow;

use faer::Mat;
use serde::Serialize;
use serde_json::json;

use crate::data::Spiked;
use crate::error::Result;
use crate::noise::seeds;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Heat, Panel, Picture, Series};
use crate::spectral::basis::inner;
use crate::study::Advance;
use crate::study::chain::{Arithmetic, Chain, Coupling, LevelNoise, Projections, Projector};
use crate::study::estimate::Estimate;
use crate::study::parts::{Rows, Shard};
use crate::study::rank::{Interval, bootstrap, chance, spearman};
use crate::study::results::{File, Results};
use crate::tensor::Tensor;

/// The chain and the draws of the study.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// `x_0`, (n, p).
    pub data: &'a Tensor,
    /// `sigma_1` ... `sigma_T`.
    pub sigmas: &'a [f64],
    /// The share of energy off the diagonal at which a component has left the small-angle regime.
    pub mass: f64,
    /// Draws of the noise, seeds `seed`, `seed` + 1, ...
    pub draws: usize,
    pub seed: u64,
}

/// One chain.
#[derive(Clone, Debug, Serialize)]
pub struct Draw {
    /// The level at which each component leaves the small-angle regime; T + 1 if it does not.
    pub leaves: Vec<f64>,
    /// The share of energy of row and column i of `M_t` off the diagonal, (T, k).
    pub masses: Vec<Vec<f64>>,
    /// The share of energy off the diagonal within the block of the components that have not left, for each t; 0 where
    /// fewer than two remain.
    pub within_block: Vec<f64>,
    /// The norm of each row of P in the basis of level 0 over the product of its cosines, in natural logarithm.
    pub excess: Vec<f64>,
    /// The cosine between P and equation 24 as matrices.
    pub cosine: f64,
    /// The same with both in the bases that P maps between, `U_T` and `U_0`: without the turning of `U_T`.
    pub cosine_in_bases: f64,
}

/// The chains of one data set under one coupling.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    pub data: String,
    pub coupling: Coupling,
    pub draws: Vec<Draw>,
    /// The cosine between the mean of P over the draws and equation 24 with the mean cosines.
    pub cosine_of_mean: f64,
    /// |`M_t`| of the first draw at the last step, (k, k).
    #[serde(skip)]
    pub last_overlap: Vec<f64>,
}

impl Case {
    fn over<'a>(&'a self, value: impl Fn(&Draw) -> f64 + 'a) -> Estimate {
        Estimate::of(&self.draws.iter().map(value).collect::<Vec<_>>())
    }

    /// The rank correlation of the index and the level at which a component leaves: negative where the last leave
    /// first.
    fn order(&self, seed: u64) -> (Interval, f64) {
        let leaves: Vec<Vec<f64>> = self.draws.iter().map(|draw| draw.leaves.clone()).collect();
        (bootstrap(&leaves, seed, spearman), chance(&leaves, seed, spearman))
    }
}

/// The measurements of the study.
#[derive(Clone, Debug)]
pub struct Assumptions {
    /// The data under each coupling.
    pub cases: Vec<Case>,
    /// Spikes that fall by halves, and equal ones, under nested noise.
    pub controls: Vec<Case>,
}

/// The number of data sets and couplings that are measured.
pub const CASES: usize = Coupling::ALL.len() + 2;

/// The names of the controls.
const CONTROLS: [&str; 2] = ["spikes that fall by halves", "equal spikes"];

/// Runs the chains of the data called `name`, and of the controls; `advance` counts levels.
///
/// # Errors
/// Those of [`Chain::run`], [`seeds`] and [`Spiked::generate`].
pub fn run(projector: &Projector, settings: &Settings, name: &str, advance: Advance) -> Result<Assumptions> {
    let rows = measured(projector, settings, Shard::WHOLE, advance)?;
    Ok(Assumptions::of_rows(&rows, settings, name, projector.count()))
}

/// A row for each of the [`CASES`] of a run. Draws of a case are not divided among runs: their mean is of matrices.
/// `advance` counts levels.
///
/// # Errors
/// As [`run`].
pub fn measured(projector: &Projector, settings: &Settings, shard: Shard, advance: Advance) -> Result<Rows> {
    let row = |at: usize| Ok(case(projector, settings, at, advance)?.row());
    Ok(Rows::of_each(shard.items(CASES).map(row).collect::<Result<_>>()?))
}

/// The case of a number: of the data under each coupling, then of the controls.
fn case(projector: &Projector, settings: &Settings, at: usize, advance: Advance) -> Result<Case> {
    if let Some(coupling) = Coupling::ALL.get(at) {
        let data = |_: u64| -> Result<Cow<Tensor>> { Ok(Cow::Borrowed(settings.data)) };
        return measure(projector, settings, &data, String::new(), *coupling, advance);
    }
    let [samples, dimension] = [settings.data.shape[0], settings.data.shape[1]];
    let k = projector.count();
    // The noise of the last level, on the scale of the spikes.
    let total: f64 = settings.sigmas.iter().map(|sigma| sigma * sigma).sum();
    let spikes: Vec<f64> = if at == Coupling::ALL.len() {
        (0..k).map(|i| 4.0 * total * 0.5f64.powi(i as i32)).collect()
    } else {
        vec![8.0 * total; k]
    };
    // Other samples for each draw: the gaps of one sample are an order, too.
    let data = |seed: u64| -> Result<Cow<Tensor>> {
        let model = Spiked { samples, dimension, spikes: spikes.clone(), noise: 0.0, seed };
        Ok(Cow::Owned(model.generate()?.samples))
    };
    measure(projector, settings, &data, String::new(), Coupling::Nested, advance)
}

fn measure<'a>(
    projector: &Projector,
    settings: &Settings,
    data: &dyn Fn(u64) -> Result<Cow<'a, Tensor>>,
    name: String,
    coupling: Coupling,
    advance: Advance,
) -> Result<Case> {
    let mut draws = Vec::new();
    let mut mean = Mean::default();
    let mut last_overlap = Vec::new();
    for seed in seeds(settings.seed, settings.draws as u64)? {
        let data = data(seed)?;
        let chain = Chain { data: &data, sigmas: settings.sigmas, coupling, noise: LevelNoise::Seeded(seed) };
        let found = chain.run(projector, false, advance)?;
        mean.add(&found);
        if let (true, Some(overlap)) = (last_overlap.is_empty(), found.overlaps.last()) {
            last_overlap = overlap.row_iter().flat_map(|row| row.iter().map(|v| v.abs()).collect::<Vec<_>>()).collect();
        }
        draws.push(Draw::of(&found, settings.mass));
    }
    Ok(Case { data: name, coupling, draws, cosine_of_mean: mean.cosine(), last_overlap })
}

/// The logarithm of the product of each component's cosines.
fn log_cosines(found: &Projections) -> Vec<f64> {
    (0..found.count()).map(|i| found.adjacent.iter().map(|row| row[i].ln()).sum()).collect()
}

impl Draw {
    fn of(found: &Projections, mass: f64) -> Self {
        let (k, steps) = (found.count(), found.overlaps.len());
        let masses: Vec<Vec<f64>> = found.overlaps.iter().map(off_diagonal).collect();
        let left = |i: usize| (0..steps).find(|t| masses[*t][i] > mass).map_or(steps + 1, |t| t + 1);
        let leaves: Vec<usize> = (0..k).map(left).collect();
        let within = |(t, overlap): (usize, &Mat<f64>)| {
            let kept: Vec<usize> = (0..k).filter(|i| leaves[*i] > t + 1).collect();
            let (mut off, mut all) = (0.0, 0.0);
            for i in &kept {
                for j in &kept {
                    let square = overlap[(*i, *j)].powi(2);
                    all += square;
                    off += if i == j { 0.0 } else { square };
                }
            }
            if kept.len() < 2 { 0.0 } else { off / all }
        };
        let within_block = found.overlaps.iter().enumerate().map(within).collect();
        let inner_product = &found.partial[steps];
        let logs = log_cosines(found);
        let row = |i: usize| inner_product.row(i).iter().map(|value| value * value).sum::<f64>().sqrt().ln();
        let excess = (0..k).map(|i| row(i) + found.log_norm[steps] - logs[i]).collect();
        let diagonal = direction(&logs);
        let turn = inner(found.last(), found.first());
        let seen = inner_product * turn;
        Self {
            leaves: leaves.into_iter().map(|level| level as f64).collect(),
            masses,
            within_block,
            excess,
            cosine: (0..k).map(|i| diagonal[i] * seen[(i, i)]).sum(),
            cosine_in_bases: (0..k).map(|i| diagonal[i] * inner_product[(i, i)]).sum(),
        }
    }
}

/// The share of energy of row and column i off the diagonal.
fn off_diagonal(overlap: &Mat<f64>) -> Vec<f64> {
    let k = overlap.nrows();
    let share = |i: usize| {
        let own = overlap[(i, i)].powi(2);
        let others = (0..k).filter(|j| *j != i).map(|j| overlap[(i, j)].powi(2) + overlap[(j, i)].powi(2));
        let off = 0.5 * others.sum::<f64>();
        if own + off > 0.0 { off / (own + off) } else { 0.0 }
    };
    (0..k).map(share).collect()
}

/// The vector of these logarithms, of length 1.
fn direction(logs: &[f64]) -> Vec<f64> {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let values: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    values.into_iter().map(|value| value / norm).collect()
}

/// The mean over draws of P, as `U_0` times a matrix (k, p), on a common scale.
#[derive(Default)]
struct Mean {
    /// Each draw: the matrix over its norm, and the logarithm of that.
    terms: Vec<(Mat<f64>, f64)>,
    first: Option<Mat<f64>>,
    logs: Vec<Vec<f64>>,
}

impl Mean {
    fn add(&mut self, found: &Projections) {
        let steps = found.overlaps.len();
        self.terms.push((&found.partial[steps] * found.last().transpose(), found.log_norm[steps]));
        self.logs.push(log_cosines(found));
        self.first.get_or_insert_with(|| found.first().to_owned());
    }

    /// The cosine between the mean and `diag(product of mean cosines) U_0'`.
    fn cosine(&self) -> f64 {
        let (Some(first), Some((term, _))) = (&self.first, self.terms.first()) else { return f64::NAN };
        let most = self.terms.iter().map(|(_, log)| *log).fold(f64::NEG_INFINITY, f64::max);
        let mut sum = Mat::<f64>::zeros(term.nrows(), term.ncols());
        for (term, log) in &self.terms {
            sum += term * faer::Scale((log - most).exp());
        }
        let mean_log = |i: usize| self.logs.iter().map(|logs| logs[i]).sum::<f64>() / self.logs.len() as f64;
        let diagonal = direction(&(0..term.nrows()).map(mean_log).collect::<Vec<_>>());
        let seen = &sum * first;
        let along: f64 = diagonal.iter().enumerate().map(|(i, value)| value * seen[(i, i)]).sum();
        along / sum.norm_l2()
    }
}

/// The files of the study.
pub const FILES: &[File] = &[LEAVES, MASSES, BLOCK, TABLE, ORDER, PLOT];
const LEAVES: File = File::new("leaves.npy", "levels at which components leave, T + 1 for never, (cases, draws, k)");
const MASSES: File =
    File::new("off_diagonal.npy", "share of energy of row and column i of U_t' U_(t+1), (cases, draws, T, k)");
const BLOCK: File = File::new("within_block.npy", "the same within the block that has not left, (cases, draws, T)");
const TABLE: File = File::new("assumptions.csv", "one row per case and component");
const ORDER: File = File::new("order.csv", "the order of leaving, and equation 24, per case");
const PLOT: File = File::new("assumptions", "levels of leaving, mass off the diagonal, equation 24");

/// The results of the study on the data called `data`, computed in `arithmetic`.
#[must_use]
pub fn results(found: &Assumptions, settings: &Settings, data: &str, arithmetic: Arithmetic) -> Results {
    let all: Vec<&Case> = found.cases.iter().chain(&found.controls).collect();
    let draws = || all.iter().flat_map(|case| &case.draws);
    let (steps, k) = (settings.sigmas.len(), draws().next().map_or(0, |draw| draw.leaves.len()));
    let shape = [all.len(), settings.draws];
    let mut table = Table::new(&[
        "data",
        "coupling",
        "component",
        "leaves",
        "half_width_95",
        "never",
        "excess",
        "excess_half_width_95",
    ]);
    let mut order = Table::new(&[
        "data",
        "coupling",
        "draws",
        "rank_correlation",
        "low",
        "high",
        "chance",
        "off_diagonal_within_block",
        "cosine_eq24",
        "half_width_95",
        "cosine_in_bases",
        "cosine_of_mean",
    ]);
    let mut results = Results::default();
    for case in &all {
        for i in 0..k {
            let (leaves, excess) = (case.over(|draw| draw.leaves[i]), case.over(|draw| draw.excess[i]));
            let never = case.draws.iter().filter(|draw| draw.leaves[i] > steps as f64).count();
            table.row(&[
                &case.data,
                &case.coupling,
                &i,
                &leaves.mean,
                &leaves.half_width,
                &never,
                &excess.mean,
                &excess.half_width,
            ]);
        }
        let (rank, by_chance) = case.order(settings.seed);
        let block = case.over(|draw| draw.within_block.iter().copied().fold(0.0, f64::max));
        let (cosine, in_bases) = (case.over(|draw| draw.cosine), case.over(|draw| draw.cosine_in_bases));
        order.row(&[
            &case.data,
            &case.coupling,
            &case.draws.len(),
            &rank.mean,
            &rank.low,
            &rank.high,
            &by_chance,
            &block.mean,
            &cosine.mean,
            &cosine.half_width,
            &in_bases.mean,
            &case.cosine_of_mean,
        ]);
        results.note(format!(
            "{}, {}: rank correlation of index and level of leaving {:.2} (95 % {:.2} to {:.2}; chance {:.3}); P has a \
             cosine of {:.3} +- {:.3} with equation 24, {:.3} in its own bases; {} draws",
            case.data,
            case.coupling,
            rank.mean,
            rank.low,
            rank.high,
            by_chance,
            cosine.mean,
            cosine.half_width,
            in_bases.mean,
            case.draws.len()
        ));
    }
    results
        .numbers(LEAVES, &[shape[0], shape[1], k], &draws().flat_map(|draw| draw.leaves.clone()).collect::<Vec<_>>())
        .numbers(
            MASSES,
            &[shape[0], shape[1], steps, k],
            &draws().flat_map(|draw| draw.masses.concat()).collect::<Vec<_>>(),
        )
        .numbers(
            BLOCK,
            &[shape[0], shape[1], steps],
            &draws().flat_map(|draw| draw.within_block.clone()).collect::<Vec<_>>(),
        )
        .table(TABLE, table)
        .table(ORDER, order)
        .plot(PLOT, picture(found, settings, data))
        .set(
            "assumptions",
            json!({
                "sigmas": settings.sigmas, "components": k, "draws": settings.draws, "seed": settings.seed,
                "mass": settings.mass, "arithmetic": arithmetic, "cases": all,
            }),
        );
    results
}

fn picture(found: &Assumptions, settings: &Settings, data: &str) -> Picture {
    let steps = settings.sigmas.len();
    let mut panels: Vec<Panel> = Vec::new();
    let title = format!("Level of leaving (share off the diagonal above {})", settings.mass);
    let mut leaving = Figure::new(&title, Axis::linear("component i"), Axis::linear("level t"));
    let mut eq24 = Figure::new(
        "Row norms of P over the products of cosines (equation 24)",
        Axis::linear("component i"),
        Axis::linear("ln |P_i| − Σ ln c_i"),
    );
    for (at, case) in found.cases.iter().chain(&found.controls).enumerate() {
        let k = case.draws.first().map_or(0, |draw| draw.leaves.len());
        let is_control = at >= found.cases.len();
        let name = if is_control { case.data.clone() } else { case.coupling.to_string() };
        let series = |value: &dyn Fn(&Draw, usize) -> f64| {
            let estimates: Vec<Estimate> = (0..k).map(|i| case.over(|draw| value(draw, i))).collect();
            let points = estimates.iter().enumerate().map(|(i, one)| (i as f64, one.mean)).collect();
            let series = if is_control { Series::dashed(&name, points) } else { Series::line(&name, points) };
            let band = estimates.iter().map(Estimate::band).collect();
            let series = series.colour(Colour::Cycle(at));
            if case.draws.len() > 1 && !is_control { series.band(band) } else { series }
        };
        leaving = leaving.with(series(&|draw, i| draw.leaves[i]));
        eq24 = eq24.with(series(&|draw, i| draw.excess[i]));
    }
    let never = vec![(0.0, (steps + 1) as f64), (1.0, (steps + 1) as f64)];
    panels.push(leaving.with(Series::dashed("never: T + 1", never).colour(Colour::Grey)).into());
    panels.push(eq24.into());
    for case in &found.cases {
        let k = case.draws.first().map_or(0, |draw| draw.leaves.len());
        let title = format!("Share off the diagonal, {}, mean of {} draws", case.coupling, case.draws.len());
        let axes = Figure::new(&title, Axis::linear("level t"), Axis::linear("of row and column i").over(0.0, 1.0));
        let figure = (0..k).fold(axes, |figure, i| {
            let mean = |t: usize| ((t + 1) as f64, case.over(|draw| draw.masses[t][i]).mean);
            figure.with(Series::line("", (0..steps).map(mean).collect()).colour(Colour::shade_of(i, k)))
        });
        panels.push(figure.with_shades("component i", 0.0, (k.max(2) - 1) as f64).into());
    }
    if let Some(case) = found.cases.first() {
        let k = case.draws.first().map_or(0, |draw| draw.leaves.len());
        let title = format!("|U_t′ U_(t+1)| at t = {}, {}", steps.saturating_sub(1), case.coupling);
        let heat = Heat::matrix(&title, k, k, case.last_overlap.clone());
        panels.push(Heat { colours: Axis::linear("|cosine|").over(0.0, 1.0), ..heat }.into());
    }
    Picture::new(&format!("Assumptions of the theorem on {data}, {} draws", settings.draws), 2, panels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::chain::Leading;

    /// A chain whose basis of two columns in three values turns by these angles per step: the first out of the plane,
    /// the two into each other.
    fn chain(out: f64, into: f64, steps: u32) -> Projections {
        let mut found = Projections::default();
        for t in 0..=steps {
            let (a, b) = (f64::from(t) * out, f64::from(t) * into);
            let first = [a.cos() * b.cos(), b.sin(), a.sin() * b.cos()];
            let second = [-a.cos() * b.sin(), b.cos(), -a.sin() * b.sin()];
            let vectors = Mat::from_fn(3, 2, |i, j| if j == 0 { first[i] } else { second[i] });
            found.push(Leading { values: vec![2.0, 1.0], vectors }, false);
        }
        found
    }

    #[test]
    fn equation_24_holds_where_components_do_not_mix() {
        let draw = Draw::of(&chain(0.1, 0.0, 10), 0.05);
        assert!(draw.excess.iter().all(|excess| excess.abs() < 1e-9), "{draw:?}");
        assert!((draw.cosine_in_bases - 1.0).abs() < 1e-9 && draw.cosine < 0.95, "{draw:?}");
        assert_eq!(draw.leaves, [11.0, 11.0]);
        assert!(draw.within_block.iter().all(|share| *share < 1e-12));
    }

    #[test]
    fn components_that_mix_leave_together() {
        let angle = 0.4f64;
        let draw = Draw::of(&chain(0.0, angle, 3), 0.05);
        assert_eq!(draw.leaves, [1.0, 1.0]);
        assert!((draw.masses[0][0] - angle.sin().powi(2)).abs() < 1e-9, "{draw:?}");
        assert!(draw.excess.iter().all(|excess| (excess + 3.0 * angle.cos().ln()).abs() < 1e-9), "{draw:?}");
    }

    #[test]
    fn the_mean_of_one_draw_is_its_own() {
        let found = chain(0.2, 0.1, 5);
        let mut mean = Mean::default();
        mean.add(&found);
        assert!((mean.cosine() - Draw::of(&found, 0.05).cosine).abs() < 1e-9);
    }
}
