//! `downhill inspect norms`: how long the denoiser's answers are along its trajectories.

use serde_json::json;

use super::panels::{across, histogram, median, over_sigma, table};
use super::subject::{Subject, SubjectArgs, WalkArgs};
use crate::cli::args::Global;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::error::Result;
use crate::report::Console;
use crate::report::plot::{Axis, Picture};
use crate::study::norms::along_trajectories;
use crate::study::statistics::Summary;

const FILES: [&str; 3] = ["norms.npy", "norms.csv", "norms"];
/// Steps of a trajectory where nobody says.
const STEPS: usize = 50;
const BINS: usize = 40;

const EXAMPLES: &str = "\
Examples:
  downhill inspect norms -o norms
  downhill inspect norms google/ddpm-cifar10-32 -n 64 --steps 100 -o norms
  downhill inspect norms wiener:digits -o norms

If a denoiser's answer is the noise in its image, |eps| / sqrt(n) is near 1 (Permenter and Yuan 2024).
The folder gets norms.npy (steps, images), norms.csv (mean, median, 5 % and 95 % a level), norms.svg and
norms.png (the histogram of each level), and report.json. MODEL: nothing is the network of digits.";

/// Measure |eps| / sqrt(n) along trajectories, as a histogram over t
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    out: OutputArgs,
}

/// Runs `downhill inspect norms`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("inspect norms", &args.out.output, &FILES, global, console)?;
    let subject = Subject::open(&args.subject, None)?;
    let way = subject.way(&args.walk, STEPS)?;
    let (name, mean) = (subject.name.clone(), subject.mean.clone());
    let engine = run.engine()?;
    let (mut denoiser, batch) = subject.ready(&engine, &mut run, args.walk.count)?;
    let walk = way.trajectories(args.walk.count, batch, args.out.seed, mean.as_deref());
    let bar = run.progress("norms", walk.calls());
    let norms = along_trajectories(denoiser.as_mut(), &walk, &|done| bar.advance(done))?;
    drop(bar);
    run.clock.lap("trajectories");

    let summary = Summary::of(norms.values.iter().copied());
    run.report.set("trajectories", way.json(&args.walk)).set("seed", args.out.seed).set("norms", json!(summary));
    run.folder.numbers(FILES[0], &[norms.levels.len(), norms.images], &norms.values)?;
    run.folder.table(FILES[1], &table(&[("norm", &norms)]))?;
    let heat = histogram("Along trajectories", "‖ε‖ / √n", &norms, BINS);
    let curve = over_sigma("Median, 5 % to 95 %", Axis::linear("‖ε‖ / √n"))
        .with(median("", &norms))
        .with(across("", &norms, 1.0));
    let title = format!("Norm of the answers of {name}");
    run.folder.picture(FILES[2], &Picture::new(&title, 2, vec![heat.into(), curve.into()]))?;
    console.note(&format!("median {:.3}, 5 % below {:.3}, 5 % above {:.3}", summary.median, summary.low, summary.high));
    run.finish()
}
