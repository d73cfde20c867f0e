//! `downhill inspect constancy`: does the gradient keep its direction?

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use super::panels::{across, median, over_sigma, table};
use super::subject::{Subject, SubjectArgs, WalkArgs};
use crate::cli::args::Global;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::error::Result;
use crate::report::Console;
use crate::report::plot::{Axis, Colour, Picture, Series};
use crate::study::constancy::{Constancy, FRACTIONS, constancy, share_below};
use crate::study::norms::ByLevel;
use crate::study::statistics::Summary;

const FILES: [&str; 4] = ["along_trajectories.npy", "along_segments.npy", "constancy.csv", "constancy"];
const STEPS: usize = 20;
/// Turns below this count as none.
const SMALL: f64 = 0.1;

const EXAMPLES: &str = "\
Examples:
  downhill inspect constancy -o constancy
  downhill inspect constancy ideal:digits --steps 50 -o constancy
  downhill inspect constancy --steps 10 --schedule paper --sampler ge -o constancy

Gradient estimation assumes that the gradient of the distance, eps up to its length, hardly turns from
step to step, and not at all between x and its projection. The turn |u - v| of unit vectors u and v is
measured from each answer to the next, and from each answer to those on the segment from x to
x - sigma eps, at a fraction of sigma. With data (`--data`, or those of an ideal denoiser) the turn of
the exact gradient x - proj(x) is measured too. The folder gets along_trajectories.npy (steps, images),
along_segments.npy (fractions, levels, images), constancy.csv, constancy.svg, constancy.png, report.json.";

/// Measure how much the gradient turns along trajectories, and between x and its projection
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// Data to project on exactly [default: those of the ideal denoiser]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,

    /// Segments of a trajectory
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    segments: usize,

    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    out: OutputArgs,
}

/// Runs `downhill inspect constancy`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("inspect constancy", &args.out.output, &FILES, global, console)?;
    let subject = Subject::open(&args.subject, None)?;
    let data = subject.data(args.data.as_deref())?;
    let way = subject.way(&args.walk, STEPS)?;
    let (name, mean, least) = (subject.name.clone(), subject.mean.clone(), subject.sigma_range().0);
    let engine = run.engine()?;
    let samples = data.map(|data| {
        let mean = data.mean();
        Neighbours::new(&engine, data, mean)
    });
    let samples = samples.transpose()?;
    let (mut denoiser, batch) = subject.ready(&engine, &mut run, args.walk.count)?;
    let walk = way.trajectories(args.walk.count, batch, args.out.seed, mean.as_deref());
    let bar = run.progress("turns", Constancy::calls(&walk, args.segments));
    let advance = |done| bar.advance(done);
    let found = constancy(denoiser.as_mut(), &walk, samples.as_ref(), args.segments, least, &advance)?;
    drop(bar);
    run.clock.lap("trajectories");

    let share = |values: &ByLevel| share_below(&values.values, SMALL);
    let tell = |values: &ByLevel| json!({ "share_below_0.1": share(values), "turn": Summary::of(values.values.iter().copied()) });
    let segments: Vec<_> = FRACTIONS.iter().zip(&found.along_segments).collect();
    run.report
        .set("data", json!(samples.as_ref().map(|samples| &samples.data().name)))
        .set("trajectories", way.json(&args.walk))
        .set("seed", args.out.seed)
        .set("along_trajectories", tell(&found.along_trajectories))
        .set("exact", json!(found.exact.as_ref().map(tell)))
        .set(
            "along_segments",
            json!(
                segments
                    .iter()
                    .map(|(at, values)| json!({ "fraction": at, "turns": tell(values) }))
                    .collect::<Vec<_>>()
            ),
        );
    let along = &found.along_trajectories;
    run.folder.numbers(FILES[0], &[along.levels.len(), along.images], &along.values)?;
    let levels = found.along_segments[0].levels.len();
    let all: Vec<f64> = found.along_segments.iter().flat_map(|values| values.values.iter().copied()).collect();
    run.folder.numbers(FILES[1], &[FRACTIONS.len(), levels, along.images], &all)?;
    let mut columns = vec![("turn", along)];
    columns.extend(found.exact.as_ref().map(|exact| ("exact_turn", exact)));
    run.folder.table(FILES[2], &table(&columns))?;

    let turn = || Axis::linear("turn |u − v|");
    let mut trajectories = over_sigma("From one step to the next", turn()).with(median("denoiser", along));
    if let Some(exact) = &found.exact {
        trajectories = trajectories.with(Series { colour: Colour::Cycle(1), ..median("exact projection", exact) });
    }
    let trajectories = trajectories.with(across("0.1", along, SMALL));
    let mut towards = over_sigma("From x towards its projection", turn());
    for (at, (fraction, values)) in segments.iter().enumerate() {
        towards = towards.with(
            Series { band: None, ..median(&format!("{fraction} of the way left"), values) }.colour(Colour::Cycle(at)),
        );
    }
    let towards = towards.with(across("0.1", along, SMALL));
    let title = format!("How much the gradient of {name} turns, {} steps", way.schedule.steps().len());
    run.folder.picture(FILES[3], &Picture::new(&title, 2, vec![trajectories.into(), towards.into()]))?;
    console.note(&format!("{:.0} % of steps turn by less than {SMALL}", 100.0 * share(along)));
    if let Some(exact) = &found.exact {
        console.note(&format!("{:.0} % of steps of the exact gradient", 100.0 * share(exact)));
    }
    let halfway = &found.along_segments[1];
    console.note(&format!("{:.0} % of segments, halfway to the projection", 100.0 * share(halfway)));
    run.finish()
}
