//! The phase transition of the spiked model: the cosine of the leading component with the one direction of signal, and
//! its eigenvalue, against the signal-to-noise ratio, measured and by [`nadler`].

use serde_json::json;

use super::Advance;
use super::chain::{Arithmetic, Projector};
use super::estimate::Estimate;
use super::nadler;
use super::parts::{Rows, Shard};
use super::results::{File, Results};
use crate::data::Spiked;
use crate::error::Result;
use crate::noise::seeds;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::tensor::Tensor;

/// The settings of the study; the noise has variance 1.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Settings {
    /// Samples, n.
    pub samples: usize,
    /// Values over samples, p / n, one curve each.
    pub gammas: Vec<f64>,
    /// Signal-to-noise ratios, in ascending order.
    pub ratios: Vec<f64>,
    /// Data sets for each point, seeds `seed`, `seed` + 1, ...
    pub draws: usize,
    pub seed: u64,
}

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Point {
    /// p / n, with p rounded to a whole number.
    pub gamma: f64,
    pub ratio: f64,
    pub cos_squared: Estimate,
    pub eigenvalue: Estimate,
    /// The same by theory.
    pub cos_squared_theory: f64,
    pub eigenvalue_theory: f64,
}

impl Settings {
    /// The points, of one curve after the other.
    #[must_use]
    pub fn points(&self) -> usize {
        self.gammas.len() * self.ratios.len()
    }

    /// The values per sample of a curve.
    fn dimension(&self, gamma: f64) -> usize {
        ((gamma * self.samples as f64).round() as usize).max(1)
    }
}

/// Measures every point, one vector per curve; `advance` counts points.
///
/// # Errors
/// Those of [`seeds`], of [`Spiked::generate`] and of [`Projector::leading`].
pub fn run(projector: &Projector, settings: &Settings, advance: Advance) -> Result<Vec<Vec<Point>>> {
    Ok(curves(&measured(projector, settings, Shard::WHOLE, advance)?, settings))
}

/// A row for each point of a run: the squared cosine of every draw, then the eigenvalues; `advance` counts points.
/// Draws are not divided among runs: those of a point are computed several at a time.
///
/// # Errors
/// As [`run`].
pub fn measured(projector: &Projector, settings: &Settings, shard: Shard, advance: Advance) -> Result<Rows> {
    let point = |at: usize| {
        let (gamma, ratio) = (at / settings.ratios.len(), at % settings.ratios.len());
        let dimension = settings.dimension(settings.gammas[gamma]);
        let row = measure(projector, settings, dimension, settings.ratios[ratio]);
        advance(1);
        row
    };
    Ok(Rows::of_each(shard.items(settings.points()).map(point).collect::<Result<_>>()?))
}

/// The curves, from the rows of all points.
#[must_use]
pub fn curves(rows: &Rows, settings: &Settings) -> Vec<Vec<Point>> {
    let samples = settings.samples;
    let point = |at: usize| {
        let (cosines, values) = rows.row(at).split_at(settings.draws);
        let gamma = settings.dimension(settings.gammas[at / settings.ratios.len()]) as f64 / samples as f64;
        let ratio = settings.ratios[at % settings.ratios.len()];
        Point {
            gamma,
            ratio,
            cos_squared: Estimate::of(cosines),
            eigenvalue: Estimate::of(values),
            cos_squared_theory: nadler::cos_squared(ratio, gamma),
            eigenvalue_theory: nadler::eigenvalue(ratio, gamma),
        }
    };
    let points: Vec<Point> = (0..settings.points()).map(point).collect();
    points.chunks(settings.ratios.len().max(1)).map(<[Point]>::to_vec).collect()
}

fn measure(projector: &Projector, settings: &Settings, dimension: usize, ratio: f64) -> Result<Vec<f64>> {
    let samples = settings.samples;
    let (mut cosines, mut values) = (Vec::new(), Vec::new());
    let seeds = seeds(settings.seed, settings.draws as u64)?;
    for seeds in seeds.chunks(projector.batch([samples, dimension])) {
        let model = |seed: &u64| Spiked { samples, dimension, spikes: vec![ratio], noise: 1.0, seed: *seed };
        let models: Vec<Spiked> = seeds.iter().map(model).collect();
        let sets = models.iter().map(|model| Ok(model.generate()?.samples)).collect::<Result<Vec<Tensor>>>()?;
        for (model, leading) in models.iter().zip(projector.leading(&sets)?) {
            let direction = model.directions()?.remove(0);
            let pairs = leading.vectors.col(0).iter().zip(&direction);
            cosines.push(pairs.map(|(a, b)| a * b).sum::<f64>().powi(2));
            values.push(leading.values[0]);
        }
    }
    cosines.extend(values);
    Ok(cosines)
}

/// The files of the study.
pub const FILES: &[File] = &[TABLE, PLOT];
const TABLE: File = File::new("transition.csv", "one row per point, measured and in theory");
const PLOT: File = File::new("transition", "both over the signal-to-noise ratio");

/// The results of the study, computed in `arithmetic`.
#[must_use]
pub fn results(curves: &[Vec<Point>], settings: &Settings, arithmetic: Arithmetic) -> Results {
    let mut results = Results::default();
    results
        .table(TABLE, table(settings, curves))
        .plot(PLOT, picture(curves))
        .set("settings", json!(settings))
        .set("arithmetic", json!(arithmetic))
        .set("curves", json!(curves));
    results
}

fn table(settings: &Settings, curves: &[Vec<Point>]) -> Table {
    let mut table = Table::new(&[
        "gamma",
        "samples",
        "ratio",
        "draws",
        "cos_squared",
        "cos_squared_error",
        "cos_squared_theory",
        "eigenvalue",
        "eigenvalue_error",
        "eigenvalue_theory",
    ]);
    for point in curves.iter().flatten() {
        let (cos, value) = (point.cos_squared, point.eigenvalue);
        table.row(&[
            &point.gamma,
            &settings.samples,
            &point.ratio,
            &settings.draws,
            &cos.mean,
            &cos.standard_error,
            &point.cos_squared_theory,
            &value.mean,
            &value.standard_error,
            &point.eigenvalue_theory,
        ]);
    }
    table
}

fn picture(curves: &[Vec<Point>]) -> Picture {
    let x = || Axis::log("signal-to-noise ratio r");
    let cosines =
        Figure::new("Leading component", x(), Axis::linear("cos² of the angle to the signal").over(-0.03, 1.03));
    let values = Figure::new("Leading eigenvalue", x(), Axis::log("eigenvalue over that of the noise"));
    let add = |figure: Figure, pick: fn(&Point) -> Estimate, theory: fn(f64, f64) -> f64| {
        curves.iter().enumerate().fold(figure, |figure, (at, curve)| {
            let gamma = curve.first().map_or(0.0, |point| point.gamma);
            let summaries: Vec<(f64, Estimate)> = curve.iter().map(|point| (point.ratio, pick(point))).collect();
            let fine = fine_ratios(curve).into_iter().map(|ratio| (ratio, theory(ratio, gamma))).collect();
            let measured = summaries.iter().map(|(ratio, summary)| (*ratio, summary.mean)).collect();
            let band = summaries.iter().map(|(_, summary)| summary.band()).collect();
            let colour = Colour::Cycle(at);
            figure
                .with(Series::line(&format!("p/n = {gamma:.2}, theory"), fine).colour(colour))
                .with(Series::points("measured", measured).band(band).colour(colour))
        })
    };
    let cosines = add(cosines, |point| point.cos_squared, nadler::cos_squared);
    let values = add(values, |point| point.eigenvalue, nadler::eigenvalue);
    Picture::new(
        "One direction in noise: measured (points, 95 %) and by Nadler (lines)",
        2,
        vec![cosines.into(), values.into()],
    )
}

/// A fine grid over the ratios of a curve.
fn fine_ratios(curve: &[Point]) -> Vec<f64> {
    const STEPS: i32 = 300;
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else { return Vec::new() };
    let (low, high) = (first.ratio.ln(), last.ratio.ln());
    (0..=STEPS).map(|at| (low + (high - low) * f64::from(at) / f64::from(STEPS)).exp()).collect()
}
