//! `downhill linear schedule`: the noise schedules that are best for a spectrum, beside the usual ones.

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::study::{DataArgs, OutputArgs, StudyRun, Usual};
use crate::denoise::closed_form::linear::Linear;
use crate::error::{Error, Result};
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::report::{Console, Table};
use crate::study::best::{Best, Settings, best, threshold, work};
use crate::study::gains::Spacing;

const EXAMPLES: &str = "\
Examples:
  downhill linear schedule -o schedule
  downhill linear schedule --data spiked:n=1500,p=300,spikes=5/4/3/2/1,noise=0 -k 5 -T 40 -o schedule

Two questions, each answered by minimising a closed form, and measured beside the usual schedules:
  concentration  which levels of noise leave most of the energy on the first component, where a chain
                 of projections on K components has fresh noise on the samples at each level?
  recovery       which levels let DDIM with the Wiener filter come nearest to the probability flow,
                 which takes noise back to all of the spectrum? The mean of -ln(gain / gain of the flow)
                 over K modes is least. `geodesic` is its limit for many steps: steps of equal length
                 in the metric sum of v / (v + s^2)^2 over the variances v.
The usual schedules are even in the logarithm (exponential), in the seventh root (karras), in sigma
(linear) and in sigma^2 (variance).

The folder gets eigenvalues.npy (K); concentration_levels.npy (5, T), concentration.csv and
energies.npy (5, 2, K: in closed form, measured); recovery_levels.npy (6, T+1), recovery.csv and
over_flow.npy (6, 2, K); kept.csv, what projections keep against the noise; schedule.svg and .png;
report.json. A larger T, more samples and repeats take longer in proportion.";

const FILES: [&str; 9] = [
    "eigenvalues.npy",
    "concentration_levels.npy",
    "concentration.csv",
    "energies.npy",
    "recovery_levels.npy",
    "recovery.csv",
    "over_flow.npy",
    "kept.csv",
    "schedule",
];
/// Enough of the digits for a chain in seconds, around their mean.
const USUAL: Usual = Usual { samples: 2000, centred: true };
/// The first level of sampling, over the root mean square distance of the data from their mean.
const START: f64 = 10.0;
/// The variance of the highest level of a chain, over that at which the first component is lost.
const TRACKED: f64 = 0.5;
/// Directions drawn in the panel of what is kept.
const DRAWN: usize = 6;

/// Find the noise schedules that are best for a spectrum
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    /// Components of a projection, and modes to recover [default: 16, or all]
    #[arg(short = 'k', long, value_name = "K", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    modes: Option<usize>,

    /// Steps of each schedule
    #[arg(short = 'T', long, value_name = "T", default_value = "20", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    steps: usize,

    /// The first level of sampling [default: 10 times the data's root mean square distance from their mean]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    sigma_max: Option<f64>,

    /// The highest level of a chain of projections [default: half the variance at which the first component is lost]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    chain_sigma_max: Option<f64>,

    /// Chains that each schedule is measured by, with noise of their own
    #[arg(long, value_name = "R", default_value = "2", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    repeats: usize,

    /// Levels of noise at which the share that projections keep is measured
    #[arg(long, value_name = "N", default_value = "12", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    probes: usize,

    #[command(flatten)]
    output: OutputArgs,
}

/// Modes where nobody says how many, unless the data have fewer values.
const USUAL_MODES: usize = 16;

/// Runs `downhill linear schedule`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("linear schedule", &args.output.output, &FILES, global, console)?;
    let data = args.data.load(USUAL, console)?;
    let (samples, dimension) = (data.count(), data.dimension());
    let modes = args.modes.unwrap_or(USUAL_MODES.min(dimension));
    if modes > dimension {
        let what = format!("`-k {modes}` asks for more modes than the {dimension} values of a sample");
        return Err(Error::argument(what, format!("give `-k` a number from 1 to {dimension}")));
    }
    for sigma in [args.sigma_max, args.chain_sigma_max].into_iter().flatten() {
        Spacing::Linear.sigmas(1, sigma)?;
    }
    run.clock.lap("data");
    let filter = Linear::wiener(&data, &vec![0.0; dimension], [dimension, 1, 1])?;
    let variances = filter.spectrum().0;
    let total: f64 = variances.iter().sum();
    let Some(largest) = variances.first().copied().filter(|largest| *largest > 0.0) else {
        let what = format!("the samples of `{}` are all alike: there is no spectrum", data.name);
        return Err(Error::bad_file_hint(&data.name, what, "give data that vary"));
    };
    let settings = Settings {
        modes,
        steps: args.steps,
        chain_sigma_max: args.chain_sigma_max.unwrap_or(threshold(largest, samples, dimension) * TRACKED.sqrt()),
        sigma_max: args.sigma_max.unwrap_or(START * total.sqrt()),
        repeats: args.repeats,
        probes: args.probes,
        seed: args.output.seed,
    };
    run.clock.lap("spectrum");
    let engine = run.engine()?;
    let bar = run.progress("schedules", work(&settings));
    let found = best(&engine, &data.samples, &filter, &settings, &|levels| bar.advance(levels))?;
    drop(bar);
    run.clock.lap("schedules");

    let modes = found.variances.len();
    let folder = &mut run.folder;
    folder.numbers("eigenvalues.npy", &[modes], &found.variances)?;
    let (chains, walks) = (found.concentrated.len(), found.recovered.len());
    let levels: Vec<f64> = found.concentrated.iter().flat_map(|one| one.levels.clone()).collect();
    folder.numbers("concentration_levels.npy", &[chains, settings.steps], &levels)?;
    let energies = found.concentrated.iter().flat_map(|one| [one.energies.clone(), one.measured_energies.clone()]);
    folder.numbers("energies.npy", &[chains, 2, modes], &energies.flatten().collect::<Vec<_>>())?;
    let levels: Vec<f64> = found.recovered.iter().flat_map(|one| one.levels.clone()).collect();
    folder.numbers("recovery_levels.npy", &[walks, settings.steps + 1], &levels)?;
    let gains = found.recovered.iter().flat_map(|one| [one.over_flow.clone(), one.measured_over_flow.clone()]);
    folder.numbers("over_flow.npy", &[walks, 2, modes], &gains.flatten().collect::<Vec<_>>())?;
    write_tables(folder, &found)?;
    folder.picture("schedule", &picture(&found))?;
    run.report
        .set("data", args.data.json(&data, USUAL))
        .set("settings", json!(settings))
        .set("threshold_of_the_first", threshold(largest, samples, dimension))
        .set("concentration", json!(found.concentrated))
        .set("recovery", json!(found.recovered))
        .set("kept", json!(found.probes));
    say(&found, console);
    run.finish()
}

fn write_tables(folder: &mut crate::report::Folder, found: &Best) -> Result<()> {
    let mut table = Table::new(&[
        "schedule",
        "share_of_first",
        "measured",
        "standard_deviation",
        "participation",
        "measured_participation",
        "lowest_level",
        "highest_level",
    ]);
    for one in &found.concentrated {
        let (low, high) = (one.levels[0], one.levels[one.levels.len() - 1]);
        table.row(&[
            &one.name,
            &one.share,
            &one.measured_share,
            &one.measured_deviation,
            &one.participation,
            &one.measured_participation,
            &low,
            &high,
        ]);
    }
    folder.table("concentration.csv", &table)?;
    let mut table = Table::new(&["schedule", "shortfall", "measured", "least_variance_ratio", "worst_error"]);
    for one in &found.recovered {
        table.row(&[&one.name, &one.shortfall, &one.measured_shortfall, &one.least_variance_ratio, &one.worst_error]);
    }
    folder.table("recovery.csv", &table)?;
    let mut table = Table::new(&["sigma", "mode", "squared_cosine", "measured"]);
    for probe in &found.probes {
        for (mode, (formula, measured)) in probe.formula.iter().zip(&probe.measured).enumerate() {
            table.row(&[&probe.sigma, &mode, formula, measured]);
        }
    }
    folder.table("kept.csv", &table)
}

fn say(found: &Best, console: Console) {
    for one in &found.concentrated {
        let (name, share, measured) = (&one.name, one.share, one.measured_share);
        let (modes, levels) = (one.measured_participation, &one.levels);
        let (low, high) = (levels[0], levels[levels.len() - 1]);
        console.note(&format!(
            "concentration, {name}: {measured:.3} of the energy on the first of {modes:.2} modes ({share:.3} in closed form), \
             levels {low:.3} to {high:.3}"
        ));
    }
    for one in &found.recovered {
        let (name, shortfall, measured) = (&one.name, one.shortfall, one.measured_shortfall);
        let ratio = one.least_variance_ratio;
        console.note(&format!(
            "recovery, {name}: gains fall short of the flow by {measured:.4} ({shortfall:.4} in closed form), least \
             variance {ratio:.3} of the data's"
        ));
    }
}

/// Levels and energies of the chains, levels and gains of the walks, and what projections keep.
fn picture(found: &Best) -> Picture {
    let from = |first: usize, values: &[f64]| {
        values.iter().enumerate().map(|(at, value)| ((first + at) as f64, *value)).collect::<Vec<_>>()
    };
    let mut levels = Figure::new("Concentration: levels", Axis::linear("level t"), Axis::linear("noise s_t"));
    let mut energies = Figure::new(
        "Energy on each component: points measured, curves in closed form",
        Axis::linear("component"),
        Axis::log("share of the energy").over(1e-6, 1.2),
    );
    for (at, one) in found.concentrated.iter().enumerate() {
        let colour = Colour::Cycle(at);
        levels = levels.with(Series::line(&one.name, from(1, &one.levels)).colour(colour));
        energies = energies
            .with(Series::line(&one.name, from(0, &one.energies)).colour(colour))
            .with(Series::points("", from(0, &one.measured_energies)).colour(colour));
    }
    let mut noises = Figure::new("Recovery: levels", Axis::linear("steps done"), Axis::log("noise"));
    let mut gains = Figure::new(
        "Gain over that of the flow: points measured, curves in closed form",
        Axis::linear("mode"),
        Axis::linear("gain / gain of the flow"),
    );
    for (at, one) in found.recovered.iter().enumerate() {
        let colour = Colour::Cycle(at);
        // The limit is often too near to the best to be seen beside it.
        let draw = if one.name == "geodesic" { Series::dashed } else { Series::line };
        noises = noises.with(draw(&one.name, from(0, &one.levels)).colour(colour));
        gains = gains
            .with(draw(&one.name, from(0, &one.over_flow)).colour(colour))
            .with(Series::points("", from(0, &one.measured_over_flow)).colour(colour));
    }
    let drawn = found.variances.len().min(DRAWN);
    let mut kept = Figure::new(
        "What a projection keeps: points measured, curves in closed form",
        Axis::linear("noise"),
        Axis::linear("squared cosine"),
    );
    for mode in 0..drawn {
        let colour = Colour::shade_of(mode, drawn);
        let along = |of: &dyn Fn(&crate::study::best::Probe) -> f64| {
            found.probes.iter().map(|probe| (probe.sigma, of(probe))).collect::<Vec<_>>()
        };
        kept = kept
            .with(Series::line("", along(&|probe| probe.formula[mode])).colour(colour))
            .with(Series::points("", along(&|probe| probe.measured[mode])).colour(colour));
    }
    let kept = kept.with_shades("component", 0.0, drawn.saturating_sub(1) as f64);
    Picture::new("", 2, vec![levels.into(), energies.into(), noises.into(), gains.into(), kept.into()])
}
