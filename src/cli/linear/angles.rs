//! `downhill linear angles`: how components turn as noise grows.

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use super::product::expect_components;
use super::sigmas::{CouplingFlag, StepArgs};
use crate::cli::args::Global;
use crate::cli::study::{DataArgs, OutputArgs, StudyRun, Usual};
use crate::error::Result;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::report::{Console, Table};
use crate::study::angles::{self, Angles, Settings};
use crate::study::chain::Projector;

const EXAMPLES: &str = "\
Examples:
  downhill linear angles -o angles
  downhill linear angles --coupling fresh --variance 4 --steps 40 --draws 20 -o angles
  downhill linear angles --data spiked:n=1500,p=300,spikes=5/4/3/2/1 -k 5 -o angles

The sine of the angle between component i at level t and at level 0, against t, dark to bright by i: the mean
over draws of the noise with its 95 % band, and beside it Nadler's curve (each component alone, its eigenvalue
the signal) and the expansion for little noise over the whole spectrum. A component whose neighbour is near
turns sooner than its index says: look at the gaps in the report.

The mean is taken off the data unless --no-center leaves it in; then it is component 0, and hardly turns.";

/// Measure how components turn as noise grows (figures 2 and 3 of the paper)
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    steps: StepArgs,

    /// How the noise of different levels hangs together
    #[arg(long, value_enum, value_name = "COUPLING", default_value = "nested")]
    coupling: CouplingFlag,

    /// Components followed
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    components: usize,

    /// Draws of the noise
    #[arg(long, value_name = "N", default_value = "5", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    draws: usize,

    #[command(flatten)]
    output: OutputArgs,
}

const FILES: [&str; 6] = ["sines.npy", "mean.npy", "nadler.npy", "expansion.npy", "angles.csv", "angles"];
const USUAL: Usual = Usual { samples: 1000, centred: true };
/// Components that are shown beside theory.
const SHOWN: usize = 4;

/// Runs `downhill linear angles`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("linear angles", &args.output.output, &FILES, global, console)?;
    let data = args.data.load(USUAL, console)?;
    expect_components(args.components, data.dimension())?;
    let sigmas = args.steps.sigmas(None)?;
    run.clock.lap("data");
    let engine = run.engine()?;
    let projector = Projector::new(&engine, args.components);
    let settings = Settings {
        data: &data.samples,
        sigmas: &sigmas,
        coupling: args.coupling.into(),
        draws: args.draws,
        seed: args.output.seed,
    };
    let bar = run.progress("levels", (args.draws * (sigmas.len() + 1)) as u64);
    let found = angles::run(&projector, &settings, &|levels| bar.advance(levels))?;
    drop(bar);
    run.clock.lap("angles");

    let (levels, k) = (sigmas.len() + 1, args.components);
    let folder = &mut run.folder;
    folder.numbers("sines.npy", &[args.draws, levels, k], &found.sines.concat().concat())?;
    let means: Vec<f64> = found.summary.iter().flatten().map(|summary| summary.mean).collect();
    folder.numbers("mean.npy", &[levels, k], &means)?;
    folder.numbers("nadler.npy", &[levels, k], &found.nadler.concat())?;
    folder.numbers("expansion.npy", &[levels, k], &found.expansion.concat())?;
    folder.table("angles.csv", &table(&found))?;
    folder.picture("angles", &picture(&found, &data.name, &settings.coupling.to_string()))?;
    let gaps: Vec<f64> = found.values.windows(2).map(|pair| pair[0] / pair[1]).collect();
    run.report.set("data", args.data.json(&data, USUAL)).set(
        "angles",
        json!({
            "coupling": settings.coupling, "sigmas": sigmas, "components": k, "draws": args.draws,
            "seed": args.output.seed, "arithmetic": projector.arithmetic(),
            "eigenvalues": found.values, "ratio_to_next": gaps,
            "last": { "mean": found.summary.last(), "nadler": found.nadler.last(), "expansion": found.expansion.last() },
        }),
    );
    run.finish()
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
        Figure::new(title, Axis::linear("level t"), Axis::linear("sin of the angle to level 0").over(0.0, 1.02))
    };
    let curve =
        |rows: &[Vec<f64>], i: usize| rows.iter().enumerate().map(|(t, row)| (t as f64, row[i])).collect::<Vec<_>>();
    let mean = |i: usize| found.summary.iter().enumerate().map(|(t, row)| (t as f64, row[i].mean)).collect::<Vec<_>>();
    let band = |i: usize| found.summary.iter().map(|row| row[i].band()).collect::<Vec<_>>();
    let measured = (0..k).fold(axes("Measured, 95 % band"), |figure, i| {
        figure.with(Series::line("", mean(i)).band(band(i)).colour(Colour::shade_of(i, k)))
    });
    let mut shown: Vec<usize> = (0..SHOWN).map(|at| at * (k - 1) / (SHOWN - 1)).collect();
    shown.dedup();
    let theory = shown.iter().enumerate().fold(axes("Beside theory"), |figure, (at, i)| {
        let colour = Colour::shade_of(*i, k);
        let name = |text: &str| if at == 0 { text.to_owned() } else { String::new() };
        figure
            .with(Series::line(&name("Nadler"), curve(&found.nadler, *i)).colour(colour))
            .with(Series::dashed(&name("small noise"), curve(&found.expansion, *i)).colour(colour))
            .with(Series::points(&name("measured"), mean(*i)).band(band(*i)).colour(colour))
    });
    let most = (k.max(2) - 1) as f64;
    let title = format!("Components of {data} under {coupling} noise");
    let panels = vec![
        measured.with_shades("component i", 0.0, most).into(),
        theory.with_shades("component i", 0.0, most).into(),
    ];
    Picture::new(&title, 2, panels)
}
