//! `downhill linear energy`: which modes a linear chain generates.

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use super::product::expect_components;
use super::sigmas::MOST_STEPS;
use crate::cli::args::{Global, NumberList};
use crate::cli::study::{DataArgs, OutputArgs, StudyRun, Usual};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};
use crate::report::{Console, Table};
use crate::study::chain::{Coupling, Projector, Schedule};
use crate::study::energy::{self, Case, Energies};
use crate::study::estimate::Estimate;

const EXAMPLES: &str = "\
Examples:
  downhill linear energy -o energy
  downhill linear energy --data spiked:n=1500,p=300,spikes=5/4/3/2/1 -k 5 --variance 1 -o energy
  downhill linear energy --steps 10,40,120,480 --draws 5 -o energy

The energy of generated samples along each component u_i of the data, over their sum (equation 26), against i, for
several numbers of steps T, three ways in which noise hangs together across levels (nested, fresh, shared), and
three schedules: the same variance each step for a given total; 1/T each step, as in the paper's proof; variances
that fall geometrically, so that the chain converges faster. energy.csv holds them with the effective number of
modes (participation ratio), and the variances of modes when noise is injected at each step beside equation 25.

Only fresh noise of a fixed total concentrates as T grows. Near-ties among eigenvalues may crown a neighbour of the
first component: the report names the winners. The mean is taken off the data unless --no-center leaves it in.";

/// Measure which modes a linear chain generates (equations 25 and 26, figure 6)
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    /// Numbers of steps T
    #[arg(long, value_name = "T,T,...", default_value = "10,40,120", allow_hyphen_values = true)]
    steps: NumberList,

    /// Variance of all noise together, for the schedules that have it fixed
    #[arg(long, value_name = "V", default_value = "0.3", allow_negative_numbers = true)]
    variance: f64,

    /// Variance of a step over that of the step before, in the geometric schedule
    #[arg(long, value_name = "R", default_value = "0.8", allow_negative_numbers = true)]
    ratio: f64,

    /// Components kept at each level
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    components: usize,

    /// Draws of the noise
    #[arg(long, value_name = "N", default_value = "3", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    draws: usize,

    #[command(flatten)]
    output: OutputArgs,
}

const FILES: [&str; 7] =
    ["energy.npy", "injected.npy", "energy.csv", "modes.csv", "energy", "participation", "injected"];
const USUAL: Usual = Usual { samples: 300, centred: true };

/// A case with what each draw of its noise gave.
struct Measured {
    case: Case,
    draws: Vec<Energies>,
}

impl Measured {
    /// Mean and uncertainty over draws of something of each component.
    fn over(&self, values: impl Fn(&Energies) -> &[f64]) -> Vec<Estimate> {
        let count = self.draws.first().map_or(0, |draw| values(draw).len());
        (0..count).map(|i| Estimate::of(&self.draws.iter().map(|draw| values(draw)[i]).collect::<Vec<_>>())).collect()
    }

    fn participation(&self) -> Estimate {
        Estimate::of(&self.draws.iter().map(|draw| draw.participation).collect::<Vec<_>>())
    }
}

/// Runs `downhill linear energy`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("linear energy", &args.output.output, &FILES, global, console)?;
    let steps = step_counts(&args.steps)?;
    let kinds = kinds(args)?;
    let data = args.data.load(USUAL, console)?;
    expect_components(args.components, data.dimension())?;
    run.clock.lap("data");
    let engine = run.engine()?;
    let projector = Projector::new(&engine, args.components);
    let levels: usize = steps.iter().map(|steps| steps + 1).sum();
    let bar = run.progress("levels", (kinds.len() * levels * args.draws) as u64);
    let mut found = Vec::new();
    for (coupling, schedule) in kinds {
        for steps in steps.iter().copied() {
            let case = Case { coupling, schedule, steps };
            let seeds = (0..args.draws as u64).map(|draw| args.output.seed + draw);
            let draw = |seed| energy::run(&projector, &data.samples, case, seed, &|levels| bar.advance(levels));
            found.push(Measured { case, draws: seeds.map(draw).collect::<Result<Vec<_>>>()? });
        }
    }
    drop(bar);
    run.clock.lap_with("chains", format!("{} levels", found.len() / steps.len() * levels * args.draws));

    let shape = [found.len(), args.draws, args.components];
    let all = |values: fn(&Energies) -> &[f64]| {
        found.iter().flat_map(|case| &case.draws).flat_map(values).copied().collect::<Vec<f64>>()
    };
    let folder = &mut run.folder;
    folder.numbers("energy.npy", &shape, &all(|draw| &draw.energy))?;
    folder.numbers("injected.npy", &shape, &all(|draw| &draw.injected))?;
    folder.table("energy.csv", &energy_table(&found))?;
    folder.table("modes.csv", &mode_table(&found))?;
    folder.picture("energy", &energy_picture(&found, &data))?;
    folder.picture("participation", &participation_picture(&found, &data))?;
    folder.picture("injected", &injected_picture(&found, &data))?;
    run.report
        .set("data", args.data.json(&data, USUAL))
        .set(
            "settings",
            json!({
                "steps": steps, "variance": args.variance, "ratio": args.ratio, "components": args.components,
                "draws": args.draws, "seed": args.output.seed, "arithmetic": projector.arithmetic(),
            }),
        )
        .set("cases", found.iter().map(case_json).collect::<Vec<_>>());
    run.finish()
}

/// Every coupling under every schedule.
fn kinds(args: &Args) -> Result<Vec<(Coupling, Schedule)>> {
    for (flag, value) in [("variance", args.variance), ("ratio", args.ratio)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::argument(format!("`--{flag} {value}` is not above 0"), "give a positive number"));
        }
    }
    let constant = Schedule::Constant { variance: args.variance };
    let geometric = Schedule::Geometric { variance: args.variance, ratio: args.ratio };
    let all = |schedule| Coupling::ALL.map(|coupling| (coupling, schedule));
    Ok([constant, Schedule::Inverse, geometric].map(all).concat())
}

fn step_counts(list: &NumberList) -> Result<Vec<usize>> {
    let whole = |number: &f64| {
        let fits = number.fract() == 0.0 && (1.0..=MOST_STEPS as f64).contains(number);
        if fits {
            return Ok(*number as usize);
        }
        let what = format!("`{number}` of `--steps` is no number of steps");
        Err(Error::argument(what, format!("give whole numbers from 1 to {MOST_STEPS}")))
    };
    let mut steps = list.0.iter().map(whole).collect::<Result<Vec<_>>>()?;
    steps.sort_unstable();
    steps.dedup();
    Ok(steps)
}

fn case_json(measured: &Measured) -> serde_json::Value {
    json!({
        "case": measured.case,
        "participation": measured.participation(),
        "winners": measured.draws.iter().map(|draw| draw.winner).collect::<Vec<_>>(),
        "draws": measured.draws,
    })
}

fn energy_table(found: &[Measured]) -> Table {
    let mut table = Table::new(&[
        "coupling",
        "schedule",
        "steps",
        "component",
        "energy",
        "half_width_95",
        "sampled",
        "injected",
        "injected_eq25",
    ]);
    for measured in found {
        let Case { coupling, schedule, steps } = measured.case;
        let mean = |values: fn(&Energies) -> &[f64]| measured.over(values);
        let (sampled, injected) = (mean(|draw| &draw.sampled), mean(|draw| &draw.injected));
        let theory = mean(|draw| &draw.injected_theory);
        for (i, energy) in mean(|draw| &draw.energy).into_iter().enumerate() {
            let (sampled, injected, theory) = (sampled[i].mean, injected[i].mean, theory[i].mean);
            table.row(&[
                &coupling,
                &schedule,
                &steps,
                &i,
                &energy.mean,
                &energy.half_width,
                &sampled,
                &injected,
                &theory,
            ]);
        }
    }
    table
}

fn mode_table(found: &[Measured]) -> Table {
    let columns = ["coupling", "schedule", "steps", "effective_modes", "half_width_95", "log_norm", "winners"];
    let mut table = Table::new(&columns);
    for measured in found {
        let Case { coupling, schedule, steps } = measured.case;
        let modes = measured.participation();
        let norm = Estimate::of(&measured.draws.iter().map(|draw| draw.log_norm).collect::<Vec<_>>()).mean;
        let winners: Vec<String> = measured.draws.iter().map(|draw| draw.winner.to_string()).collect();
        table.row(&[&coupling, &schedule, &steps, &modes.mean, &modes.half_width, &norm, &winners.join(" ")]);
    }
    table
}

/// The cases of each coupling and schedule, in their order.
fn groups(found: &[Measured]) -> Vec<&[Measured]> {
    found.chunk_by(|a, b| (a.case.coupling, a.case.schedule) == (b.case.coupling, b.case.schedule)).collect()
}

fn energy_picture(found: &[Measured], data: &Dataset) -> Picture {
    let panel = |group: &[Measured]| -> Panel {
        let Case { coupling, schedule, .. } = group[0].case;
        let title = format!("{coupling}, {schedule}");
        let axes =
            Figure::new(&title, Axis::linear("component i"), Axis::linear("energy, over the sum").over(-0.03, 1.03));
        group
            .iter()
            .enumerate()
            .fold(axes, |figure, (at, measured)| {
                let energies = measured.over(|draw| &draw.energy);
                let points = energies.iter().enumerate().map(|(i, energy)| (i as f64, energy.mean)).collect();
                let band = energies.iter().map(Estimate::band).collect();
                let colour = Colour::shade_of(at, group.len());
                figure.with(Series::line(&format!("T = {}", measured.case.steps), points).band(band).colour(colour))
            })
            .into()
    };
    let title = format!("Energy of generated samples along each component, {}", data.name);
    Picture::new(&title, 3, groups(found).into_iter().map(panel).collect())
}

fn participation_picture(found: &[Measured], data: &Dataset) -> Picture {
    let axes = Figure::new(
        &format!("Effective number of modes, {}", data.name),
        Axis::log("steps T"),
        Axis::linear("participation ratio of energies"),
    );
    let figure = groups(found).into_iter().enumerate().fold(axes, |figure, (at, group)| {
        let Case { coupling, schedule, .. } = group[0].case;
        let modes: Vec<Estimate> = group.iter().map(Measured::participation).collect();
        let points = group.iter().zip(&modes).map(|(case, modes)| (case.case.steps as f64, modes.mean)).collect();
        let band = modes.iter().map(Estimate::band).collect();
        figure.with(Series::line(&format!("{coupling}, {schedule}"), points).band(band).colour(Colour::Cycle(at)))
    });
    figure.into()
}

fn injected_picture(found: &[Measured], data: &Dataset) -> Picture {
    let panel = |group: &&[Measured]| -> Panel {
        let Case { coupling, schedule, .. } = group[0].case;
        let title = format!("{coupling}, {schedule}");
        let axes = Figure::new(&title, Axis::linear("component i"), Axis::log("variance of the mode"));
        let figure = group.iter().enumerate().fold(axes, |figure, (at, measured)| {
            let curve = |values: Vec<Estimate>| {
                values.into_iter().enumerate().map(|(i, value)| (i as f64, value.mean)).collect::<Vec<_>>()
            };
            let colour = Colour::shade_of(at, group.len());
            let steps = measured.case.steps;
            figure
                .with(
                    Series::points(&format!("T = {steps}"), curve(measured.over(|draw| &draw.injected))).colour(colour),
                )
                .with(Series::dashed("equation 25", curve(measured.over(|draw| &draw.injected_theory))).colour(colour))
        });
        figure.into()
    };
    let title = format!("With noise injected at each step: measured, and equation 25 from mean cosines, {}", data.name);
    Picture::new(&title, 3, groups(found).iter().map(panel).collect())
}
