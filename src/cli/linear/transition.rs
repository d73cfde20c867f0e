//! `downhill linear transition`: the phase transition of the spiked model.

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::cli::args::{Global, NumberList};
use crate::cli::study::{OutputArgs, StudyRun};
use crate::error::{Error, Result};
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::report::{Console, Table};
use crate::study::chain::Projector;
use crate::study::estimate::Estimate;
use crate::study::transition::{self, Point, Settings};

const EXAMPLES: &str = "\
Examples:
  downhill linear transition -o transition
  downhill linear transition -n 1000 --gammas 0.1,1 --ratios 0.5,1,2,4,8 --draws 50 -o transition

One direction of variance r in white noise of variance 1, n samples of p values. Nadler (2008): below r = sqrt(p/n)
the leading component is of no use; above, cos^2 = (1 - g/r^2) / (1 + g/r) and its eigenvalue is (r + 1)(1 + g/r)
with g = p/n. Near the threshold finite data are smoother than theory, which is of the limit.";

/// Measure when a component knows its direction at all, against theory
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Samples of a data set
    #[arg(short = 'n', long, value_name = "N", default_value = "400", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(2..=100_000))]
    samples: usize,

    /// Values over samples, p/n, one curve each
    #[arg(long, value_name = "G,G,...", default_value = "0.1,0.5,1,2", allow_hyphen_values = true)]
    gammas: NumberList,

    /// Signal-to-noise ratios r
    #[arg(
        long,
        value_name = "R,R,...",
        default_value = "0.1,0.2,0.3,0.4,0.5,0.7,0.85,1,1.2,1.4,1.7,2,3,4,6,10",
        allow_hyphen_values = true
    )]
    ratios: NumberList,

    /// Data sets for each point
    #[arg(long, value_name = "N", default_value = "10", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    draws: usize,

    #[command(flatten)]
    output: OutputArgs,
}

const FILES: [&str; 2] = ["transition.csv", "transition"];

/// Runs `downhill linear transition`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("linear transition", &args.output.output, &FILES, global, console)?;
    let settings = Settings {
        samples: args.samples,
        gammas: positive("gammas", &args.gammas)?,
        ratios: positive("ratios", &args.ratios)?,
        draws: args.draws,
        seed: args.output.seed,
    };
    let engine = run.engine()?;
    let projector = Projector::new(&engine, 1);
    let bar = run.progress("points", (settings.gammas.len() * settings.ratios.len()) as u64);
    let curves = transition::run(&projector, &settings, &|points| bar.advance(points))?;
    drop(bar);
    run.clock.lap("points");
    run.folder.table("transition.csv", &table(&settings, &curves))?;
    run.folder.picture("transition", &picture(&curves))?;
    run.report
        .set("settings", serde_json::to_value(&settings).unwrap_or_default())
        .set("arithmetic", json!(projector.arithmetic()))
        .set("curves", serde_json::to_value(&curves).unwrap_or_default());
    run.finish()
}

/// The numbers of a flag in ascending order, if they can be ratios.
fn positive(flag: &str, list: &NumberList) -> Result<Vec<f64>> {
    let mut numbers = list.0.clone();
    if let Some(number) = numbers.iter().find(|number| !(number.is_finite() && **number > 0.0)) {
        let what = format!("`{number}` of `--{flag}` is not above 0");
        return Err(Error::argument(what, "give positive numbers with commas between them"));
    }
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    Ok(numbers)
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
    let cosines = add(cosines, |point| point.cos_squared, crate::study::nadler::cos_squared);
    let values = add(values, |point| point.eigenvalue, crate::study::nadler::eigenvalue);
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
