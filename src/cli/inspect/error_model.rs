//! `downhill inspect error-model`: eta and nu of a denoiser, for `inspect schedule` and `sample --error-model`.

use serde_json::json;

use super::panels::over_sigma;
use super::subject::{Subject, SubjectArgs, WalkArgs};
use crate::cli::args::Global;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::error::{Error, Result};
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::report::{Console, Table};
use crate::study::error_model::{FACTORS, Point, calls, curve, fit, measure};
use crate::study::statistics::Summary;

const FILES: [&str; 4] = ["points.npy", "curve.csv", "error-model.json", "error-model"];
const STEPS: usize = 20;

const EXAMPLES: &str = "\
Examples:
  downhill inspect error-model -o errors
  downhill inspect schedule --error-model errors/error-model.json --steps 20
  downhill sample --sampler ddim --error-model errors/error-model.json --steps 20
  downhill inspect error-model ideal:digits -o errors

The assumption (Permenter and Yuan 2024): where sqrt(n) sigma is the distance to the data within a
factor nu, |sigma eps - (x - proj(x))| is eta times the distance at most. It is measured along
trajectories, also at half to twice their noise. The projection is that on the samples of `--data` (or
of an ideal denoiser); without data it is where the trajectory ends, which is where the projection would
be if the theory held. For each nu the least eta that covers the share `--share` of the points is found,
and the pair that leads furthest down, by ln nu / eta, is written to error-model.json. The folder gets
points.npy (points, 4: sigma, its factor, sqrt(n) sigma / dist, error), curve.csv (nu, eta),
error-model.svg, error-model.png and report.json.";

/// Fit (eta, nu) of the relative-error assumption on trajectories
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// Data to project on exactly [default: those of the ideal denoiser; else the trajectories' ends]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,

    /// The share of the points that the model covers, above 0 to 1
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true)]
    share: f64,

    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    out: OutputArgs,
}

/// Runs `downhill inspect error-model`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    if !(args.share > 0.0 && args.share <= 1.0) {
        return Err(Error::argument(format!("`--share` of {}", args.share), "a share is above 0 and at most 1"));
    }
    let mut run = StudyRun::begin("inspect error-model", &args.out.output, &FILES, global, console)?;
    let subject = Subject::open(&args.subject, None)?;
    let data = subject.data(args.data.as_deref())?;
    let way = subject.way(&args.walk, STEPS)?;
    let (name, mean, range) = (subject.name.clone(), subject.mean.clone(), subject.sigma_range());
    let engine = run.engine()?;
    let samples = data.map(|data| {
        let mean = data.mean();
        Neighbours::new(&engine, data, mean)
    });
    let samples = samples.transpose()?;
    let (mut denoiser, batch) = subject.ready(&engine, &mut run, args.walk.count)?;
    let walk = way.trajectories(args.walk.count, batch, args.out.seed, mean.as_deref());
    let bar = run.progress("errors", calls(&walk));
    let points = measure(denoiser.as_mut(), &walk, samples.as_ref(), range, &|done| bar.advance(done))?;
    drop(bar);
    run.clock.lap("trajectories");

    let curve = curve(&points, args.share);
    let model = fit(&curve);
    let own = || points.iter().filter(|point| point.factor == 1.0);
    let against = samples.as_ref().map_or("ends of trajectories", |samples| samples.data().name.as_str());
    run.report
        .set("projection_on", against)
        .set("trajectories", way.json(&args.walk))
        .set("seed", args.out.seed)
        .set("share", args.share)
        .set("factors", json!(FACTORS))
        .set("points", points.len())
        .set("error_model", json!(model))
        .set("error_on_trajectories", json!(Summary::of(own().map(|point| point.error))))
        .set("ratio_on_trajectories", json!(Summary::of(own().map(|point| point.ratio))));
    let rows: Vec<f64> =
        points.iter().flat_map(|point| [point.sigma, point.factor, point.ratio, point.error]).collect();
    run.folder.numbers(FILES[0], &[points.len(), 4], &rows)?;
    let mut table = Table::new(&["nu", "eta"]);
    for (nu, eta) in &curve {
        table.row(&[nu, eta]);
    }
    run.folder.table(FILES[1], &table)?;
    if let Some(model) = &model {
        let text = json!({ "eta": model.eta(), "nu": model.nu(), "model": name, "share": args.share });
        run.folder.text(FILES[2], &format!("{text:#}\n"))?;
    }
    run.folder
        .picture(FILES[3], &picture(&points, &curve, model.as_ref(), &format!("{name}, projected on {against}")))?;
    match model {
        Some(model) => {
            console.note(&format!("eta {:.4}, nu {:.4}: {} points", model.eta(), model.nu(), points.len()));
            let steps = [5, 10, 20, 50].map(|steps| format!("{steps}: {:.3}", model.longest_constant_step(steps)));
            console.note(&format!("longest admissible constant step of N steps: {}", steps.join(", ")));
        }
        None => console.warning("no error model: errors are as large as the distance itself, whatever nu is"),
    }
    run.finish()
}

fn picture(
    points: &[Point],
    curve: &[(f64, f64)],
    model: Option<&crate::sample::admissible::ErrorModel>,
    title: &str,
) -> Picture {
    let of = |is_own: bool| points.iter().filter(move |point| (point.factor == 1.0) == is_own);
    let misjudged = |is_own: bool| of(is_own).map(|point| (point.ratio, point.error)).collect::<Vec<_>>();
    let both = |pairs: &[(f64, f64)]| -> Vec<(f64, f64)> {
        pairs.iter().rev().map(|(nu, eta)| (nu.recip(), *eta)).chain(pairs.iter().copied()).collect()
    };
    let mut errors = Figure::new("The assumption", Axis::log("√n σ / distance"), Axis::linear("error / distance"))
        .with(Series::points("at other noise", misjudged(false)).colour(Colour::Grey))
        .with(Series::points("on trajectories", misjudged(true)).colour(Colour::Cycle(0)))
        .with(Series::line("η for each ν", both(curve)).colour(Colour::Cycle(2)));
    if let Some(model) = model {
        let (low, high, eta) = (model.nu().recip(), model.nu(), model.eta());
        let frame = vec![(low, 0.0), (low, eta), (high, eta), (high, 0.0)];
        errors = errors.with(Series::line(&format!("η = {eta:.3}, ν = {high:.3}"), frame).colour(Colour::Cycle(1)));
    }
    let over = over_sigma("Over noise", Axis::linear("error / distance"))
        .with(
            Series::points("at other noise", of(false).map(|point| (point.sigma, point.error)).collect())
                .colour(Colour::Grey),
        )
        .with(Series::points("on trajectories", of(true).map(|point| (point.sigma, point.error)).collect()));
    Picture::new(title, 2, vec![errors.into(), over.into()])
}
