//! `downhill inspect projection`: the denoiser beside the exact projection on the data.

use serde_json::json;

use super::panels::{across, dots, median, over_sigma, table};
use super::subject::{Subject, SubjectArgs, WalkArgs};
use crate::cli::args::Global;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::error::Result;
use crate::report::Console;
use crate::report::plot::{Axis, Colour, Picture, Series};
use crate::study::projection::projections;
use crate::study::statistics::Summary;

const FILES: [&str; 5] = ["relative_error.npy", "nu.npy", "end_distance.npy", "projection.csv", "projection"];
const STEPS: usize = 50;
const USUAL: &str = "ideal:digits";

const EXAMPLES: &str = "\
Examples:
  downhill inspect projection -o projection
  downhill inspect projection ideal:cifar/ -n 500 --sigma-max 157 -o projection
  downhill inspect projection google/ddpm-cifar10-32 --data cifar/ -o projection

Along trajectories, the prediction x - sigma eps is held against the sample nearest to x: the relative
error |x0 - proj(x)| / dist(x), and nu = sqrt(n) sigma / dist(x). MODEL: nothing is `ideal:digits`, the
paper's experiment with digits. A network's projection is not on the samples of `--data` themselves, so
its error counts what it has generalised. The folder gets relative_error.npy and nu.npy (steps, images),
end_distance.npy (over sqrt(n)), projection.csv, projection.svg, projection.png and report.json.";

/// Measure the relative error of the denoiser against the exact projection on data
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// The data to project on [default: those of the ideal denoiser, or `digits` where they fit]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,

    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    out: OutputArgs,
}

/// Runs `downhill inspect projection`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("inspect projection", &args.out.output, &FILES, global, console)?;
    let subject = Subject::open(&args.subject, Some(USUAL))?;
    let data = subject.expect_data(args.data.as_deref())?;
    let way = subject.way(&args.walk, STEPS)?;
    let (name, own_mean) = (subject.name.clone(), subject.mean.clone());
    let engine = run.engine()?;
    let source = data.name.clone();
    let mean = data.mean();
    let samples = Neighbours::new(&engine, data, mean)?;
    let (mut denoiser, batch) = subject.ready(&engine, &mut run, args.walk.count)?;
    let walk = way.trajectories(args.walk.count, batch, args.out.seed, own_mean.as_deref());
    let bar = run.progress("projections", walk.calls());
    let found = projections(denoiser.as_mut(), &walk, &samples, &|done| bar.advance(done))?;
    drop(bar);
    run.clock.lap("trajectories");

    let (error, nu) = (&found.relative_error, &found.nu);
    let medians: Vec<f64> =
        (0..error.levels.len()).map(|at| Summary::of(error.at(at).iter().copied()).median).collect();
    let worst = Summary::of(error.values.iter().copied());
    let ends = Summary::of(found.ends.iter().copied());
    let hump = (0..medians.len()).max_by(|a, b| medians[*a].total_cmp(&medians[*b])).unwrap_or(0);
    run.report
        .set("data", source.as_str())
        .set("trajectories", way.json(&args.walk))
        .set("seed", args.out.seed)
        .set("relative_error", json!(worst))
        .set("largest_median", json!({ "relative_error": medians[hump], "sigma": error.levels[hump].sigma }))
        .set("first_median", medians[0])
        .set("last_median", medians[medians.len() - 1])
        .set("nu", json!(Summary::of(nu.values.iter().copied())))
        .set("end_distance", json!(ends));
    let shape = [error.levels.len(), error.images];
    run.folder.numbers(FILES[0], &shape, &error.values)?;
    run.folder.numbers(FILES[1], &shape, &nu.values)?;
    run.folder.numbers(FILES[2], &[found.ends.len()], &found.ends)?;
    run.folder.table(FILES[3], &table(&[("relative_error", error), ("nu", nu)]))?;
    let one = error.levels.iter().enumerate().map(|(at, level)| (level.sigma, error.at(at)[0])).collect();
    let errors = over_sigma("Relative error", Axis::linear("‖prediction − projection‖ / distance"))
        .with(dots("a trajectory's step", error))
        .with(median("median, 5 % to 95 %", error))
        .with(Series::line("one trajectory", one).colour(Colour::Cycle(1)));
    let ratios = over_sigma("Noise over distance", Axis::linear("√n σ / distance"))
        .with(dots("", nu))
        .with(median("median, 5 % to 95 %", nu))
        .with(across("", nu, 1.0));
    let title = format!("{name} beside the projection on {source}");
    run.folder.picture(FILES[4], &Picture::new(&title, 2, vec![errors.into(), ratios.into()]))?;
    console.note(&format!(
        "relative error: median {:.4} at sigma {:.3}, where it is largest; {:.4} at the first step, {:.4} at the last",
        medians[hump],
        error.levels[hump].sigma,
        medians[0],
        medians[medians.len() - 1]
    ));
    console.note(&format!("ends are {:.2e} sqrt(n) from the data at most", ends.most));
    run.finish()
}
