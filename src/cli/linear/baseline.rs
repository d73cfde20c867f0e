//! `downhill linear baseline`: the chains that do not collapse, against their closed forms.

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::study::{DataArgs, OutputArgs, StudyRun, Usual};
use crate::denoise::closed_form::linear::Linear;
use crate::error::{Error, Result};
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::report::{Console, Table};
use crate::study::baseline::{Baseline, Chain, Draws, Gains, Settings, baseline, work};
use crate::study::gains::Spacing;

const EXAMPLES: &str = "\
Examples:
  downhill linear baseline -o baseline
  downhill linear baseline --data X.npy -k 8 --steps 5,50,500 -o baseline

Each chain is walked by DDIM from the first level to 0, over levels even in the logarithm
(exponential), in the seventh root (karras), in sigma (linear) and in sigma^2 (variance):
  wiener      the posterior mean of the data's Gaussian; gain of a mode of variance v:
              the product of (v + s r) / (v + s^2), s a level and r the next; in the limit
              sqrt(v / (v + S^2)), which takes the Gaussian under noise back to itself
  sequential  the posterior mean of the next level; v / (v + S^2), whatever the steps
  projection  on the leading K population components; 1 for them and 0 for all others

The folder gets eigenvalues.npy (K), gains.npy and formulas.npy (3 chains, 4 spacings, T, K), gains.csv
with errors and participation ratios, draws.csv, gains.svg and .png, report.json. Bytes of images
count as 0 to 1.";

/// More steps than the closed forms are worth checking over.
const MOST_STEPS: u64 = 10_000;
/// All samples, around their mean.
const USUAL: Usual = Usual { samples: usize::MAX, centred: true };
/// The first level, over the root mean square distance of the data from their mean.
const START: f64 = 10.0;

/// Walk the chains that keep the data's spectrum, against their closed forms
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    /// Leading modes to look at, and components of the projection [default: 32, or all]
    #[arg(short = 'k', long, value_name = "K", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    modes: Option<usize>,

    /// Numbers of steps
    #[arg(long, value_name = "T,...", value_delimiter = ',', default_value = "10,40,120", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_STEPS))]
    steps: Vec<usize>,

    /// The first level of noise [default: 10 times the data's root mean square distance from their mean]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    sigma_max: Option<f64>,

    /// States drawn from the Gaussian under noise, and walked back with the Wiener filter; 0 for none
    #[arg(long, value_name = "M", default_value = "64", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(0..=1_000_000))]
    draws: usize,

    #[command(flatten)]
    output: OutputArgs,
}

/// Modes where nobody says how many, unless the data have fewer values.
const USUAL_MODES: usize = 32;

/// Runs `downhill linear baseline`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let files = ["eigenvalues.npy", "gains.npy", "formulas.npy", "gains.csv", "draws.csv", "gains"];
    let mut run = StudyRun::begin("linear baseline", &args.output.output, &files, global, console)?;
    let data = args.data.load(USUAL, console)?;
    let modes = args.modes.unwrap_or(USUAL_MODES.min(data.dimension()));
    if modes > data.dimension() {
        let what = format!("`-k {modes}` asks for more modes than the {} values of a sample", data.dimension());
        return Err(Error::argument(what, format!("give `-k` a number from 1 to {}", data.dimension())));
    }
    run.clock.lap("data");
    let filter = Linear::wiener(&data, &vec![0.0; data.dimension()], [data.dimension(), 1, 1])?;
    let total: f64 = filter.spectrum().0.iter().sum();
    let distance = if total > 0.0 { total.sqrt() } else { 1.0 };
    let settings = Settings {
        modes,
        steps: args.steps.clone(),
        spacings: Spacing::ALL.to_vec(),
        sigma_max: args.sigma_max.unwrap_or(START * distance),
        draws: args.draws,
        seed: args.output.seed,
    };
    // What cannot be a schedule is refused before the work.
    Spacing::Linear.sigmas(1, settings.sigma_max)?;
    run.clock.lap("spectrum");
    let bar = run.progress("chains", work(&settings));
    let found = baseline(&filter, &settings, &|calls| bar.advance(calls))?;
    drop(bar);
    run.clock.lap("chains");

    let modes = found.variances.len();
    run.folder.numbers("eigenvalues.npy", &[modes], &found.variances)?;
    let shape = [Chain::ALL.len(), settings.spacings.len(), settings.steps.len(), modes];
    let all = |of: fn(&Gains) -> &Vec<f64>| found.chains.iter().flat_map(|gains| of(gains).clone()).collect::<Vec<_>>();
    run.folder.numbers("gains.npy", &shape, &all(|gains| &gains.measured))?;
    run.folder.numbers("formulas.npy", &shape, &all(|gains| &gains.formula))?;
    run.folder.table("gains.csv", &table(&found))?;
    if let Some(draws) = &found.draws {
        run.folder.table("draws.csv", &drawn(draws))?;
    }
    run.folder.picture("gains", &picture(&found, &settings))?;
    run.report
        .set("data", args.data.json(&data, USUAL))
        .set("settings", json!(settings))
        .set("total_variance", total)
        .set("chains", json!(found.chains))
        .set("draws", json!(found.draws));
    say(&found, console);
    run.finish()
}

fn say(found: &Baseline, console: Console) {
    for chain in Chain::ALL {
        let rows = || found.chains.iter().filter(|gains| gains.chain == chain);
        let worst = rows().map(|gains| gains.worst_error).fold(0.0, f64::max);
        let least = rows().map(|gains| gains.participation).fold(f64::INFINITY, f64::min);
        let most = rows().map(|gains| gains.participation).fold(0.0, f64::max);
        let schedules = rows().count();
        console.note(&format!(
            "{chain}: gains within {worst:.1e} of the closed form over {schedules} schedules, {least:.2} to {most:.2} effective \
             modes of {}",
            found.variances.len()
        ));
    }
    if let Some(draws) = &found.draws {
        console.note(&format!(
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

fn drawn(draws: &Draws) -> Table {
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
    let others = [Chain::Sequential, Chain::Projection].map(|chain| (chain, spacing, format!("{chain}, any levels")));
    for (at, (chain, spacing, name)) in kinds.chain(others).enumerate() {
        let rows = found.chains.iter().filter(|gains| gains.chain == chain && gains.spacing == spacing);
        let points: Vec<(f64, f64)> = rows.map(|gains| (gains.steps as f64, gains.participation)).collect();
        effective = effective
            .with(Series::line(&name, points.clone()).colour(Colour::Cycle(at)))
            .with(Series::points("", points).colour(Colour::Cycle(at)));
    }
    Picture::new("", 2, vec![modes.into(), effective.into()])
}
