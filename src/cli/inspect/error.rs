//! `downhill inspect error`: how well the denoiser finds the noise that was added to images.

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use super::panels::{across, histogram, median, over_sigma, table};
use super::subject::{Subject, SubjectArgs};
use crate::cli::args::Global;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::error::{Error, Result};
use crate::report::Console;
use crate::report::plot::{Axis, Picture};
use crate::study::norms::errors_on_images;
use crate::study::statistics::Summary;
use crate::tensor::Tensor;

const FILES: [&str; 3] = ["errors.npy", "errors.csv", "errors"];
const BINS: usize = 40;

const EXAMPLES: &str = "\
Examples:
  downhill inspect error -o error
  downhill inspect error google/ddpm-cifar10-32 --data cifar-test/ -n 64 --levels 100 -o error
  downhill inspect error pca:digits,k=32 -o error

Noise w is added to images k that the model has not seen, x = k + sigma w, and |eps(x, sigma) - w| /
sqrt(n) is measured: 0 where the denoiser finds all of the noise, 1 where it finds none. The folder
gets errors.npy (levels, images), errors.csv, errors.svg, errors.png and report.json. The network of
digits was not trained on `digits`; `pca:digits` and the like were made of them.";

/// Measure |eps - noise| / sqrt(n) on noised images, against sigma
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// Images to add noise to: an `.npy` (N,...), an IDX file or a folder of images [default: `digits` where they fit]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,

    /// Images, evenly from the data
    #[arg(short = 'n', long, default_value_t = 48, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    count: usize,

    /// Noise levels, even in log sigma
    #[arg(long, value_name = "N", default_value_t = 25, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(2..=10_000))]
    levels: usize,

    #[command(flatten)]
    out: OutputArgs,
}

/// Runs `downhill inspect error`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("inspect error", &args.out.output, &FILES, global, console)?;
    let subject = Subject::open(&args.subject, None)?;
    let data = subject.expect_data(args.data.as_deref())?;
    if args.count > data.count() {
        let what = format!("`--count {}`, and `{}` holds {} images", args.count, data.name, data.count());
        return Err(Error::argument(what, "take fewer images"));
    }
    let picks = (0..args.count).map(|at| at * data.count() / args.count);
    let [channels, height, width] = subject.image;
    let values = picks.flat_map(|at| data.samples.item(at).iter().copied()).collect();
    let images = Tensor::new([args.count, channels, height, width], values);
    let levels = subject.levels(args.levels);
    let name = subject.name.clone();
    let engine = run.engine()?;
    let (mut denoiser, batch) = subject.ready(&engine, &mut run, args.count)?;
    let bar = run.progress("errors", (levels.len() * args.count) as u64);
    let advance = |done| bar.advance(done);
    let errors = errors_on_images(denoiser.as_mut(), &images, &levels, batch, args.out.seed, &advance)?;
    drop(bar);
    run.clock.lap("calls");

    let last = errors.levels.len() - 1;
    let of = |level: usize| Summary::of(errors.at(level).iter().copied());
    run.report
        .set("data", json!({ "source": data.name, "images": args.count }))
        .set("seed", args.out.seed)
        .set("error_at_most_noise", json!(of(0)))
        .set("error_at_least_noise", json!(of(last)));
    run.folder.numbers(FILES[0], &[errors.levels.len(), errors.images], &errors.values)?;
    run.folder.table(FILES[1], &table(&[("error", &errors)]))?;
    let label = "‖ε(x, σ) − ε‖ / √n";
    // What no noise explains, such as an image outside the span of a projection, weighs without bound at little noise.
    let scale = if of(0).most.max(of(last).most) > 3.0 { Axis::log(label) } else { Axis::linear(label) };
    let curve =
        over_sigma("Median, 5 % to 95 %", scale).with(median("", &errors)).with(across("no noise found", &errors, 1.0));
    let heat = histogram("Images at each level", label, &errors, BINS);
    let title = format!("Error of {name} on noised {}", data.name);
    run.folder.picture(FILES[2], &Picture::new(&title, 2, vec![curve.into(), heat.into()]))?;
    let (most, least) = (&errors.levels[0], &errors.levels[last]);
    console.note(&format!(
        "median {:.3} at sigma {:.4}, {:.3} at sigma {:.4}",
        of(last).median,
        least.sigma,
        of(0).median,
        most.sigma
    ));
    run.finish()
}
