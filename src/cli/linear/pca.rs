//! `downhill linear pca`: the principal components of data.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::device::{self, adapter_json, family_text};
use crate::cli::timing::Stopwatch;
use crate::data::{Dataset, Pixels, Source};
use crate::error::{Error, Result};
use crate::formats::{check_writable, npy};
use crate::kernels::selftest;
use crate::report::{Console, Report};
use crate::spectral::{Components, Route, Settings, principal_components};
use crate::tensor::Tensor;

const EXAMPLES: &str = "\
Examples:
  downhill linear pca --data digits -k 32 --center -o components
  downhill linear pca --data X.npy -k 8 -o components
  downhill linear pca --data images/ -k 8 --route matrix-free -o components

The folder gets eigenvalues.npy (k), those of X'X / n, largest first; eigenvectors.npy (k, p), one a
row; mean.npy (p) with --center; report.json with residuals, route and timings. Without --center the
mean of the data is usually the first component. Bytes of images count as 0 to 1.";

/// Find the principal components of data
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// `digits`, an `.npy` of shape (N,...), an IDX file (gzip or not) or a folder of images
    #[arg(long, value_name = "DATA")]
    data: String,

    /// Components, by eigenvalue, largest first
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    components: usize,

    /// Take the mean off the data first
    #[arg(long, visible_alias = "centre")]
    center: bool,

    /// Folder for the results
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// Residual |A v - lambda v| to reach, over the largest eigenvalue
    #[arg(long, value_name = "R", default_value = "1e-5", allow_negative_numbers = true)]
    tolerance: f64,

    /// Seed of the vectors that a solver begins with
    #[arg(short, long, value_name = "SEED", default_value = "0")]
    seed: u64,

    /// The way to the components, instead of the cheapest one
    #[arg(long, value_enum, value_name = "ROUTE")]
    route: Option<RouteFlag>,
}

/// The values of `--route`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RouteFlag {
    /// By the matrix of second moments, p x p
    Moment,
    /// By the matrix of inner products of samples, n x n
    Gram,
    /// By products with the data alone, on the device
    MatrixFree,
}

impl From<RouteFlag> for Route {
    fn from(flag: RouteFlag) -> Self {
        match flag {
            RouteFlag::Moment => Self::Moment,
            RouteFlag::Gram => Self::Gram,
            RouteFlag::MatrixFree => Self::MatrixFree,
        }
    }
}

/// Runs `downhill linear pca`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let files = Files::new(&args.output);
    files.check_writable()?;
    let mut report = Report::new("linear pca");
    let mut clock = Stopwatch::start();
    let mut data = Source::parse(&args.data)?.load(Pixels::Unit)?;
    let settings =
        Settings { tolerance: args.tolerance, seed: args.seed, ..Settings::new(asked_of(&data, args.components)?) };
    settings.check(data.dimension())?;
    let mean = args.center.then(|| data.centre());
    clock.lap("data");
    let engine = device::open(global, console)?;
    selftest::ensure(&engine)?;
    clock.lap("adapter");
    let found = principal_components(&engine, &data.samples, &settings, args.route.map(Route::from))?;
    clock.lap("components");

    let outputs = files.write(&found, mean)?;
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set(
            "data",
            json!({
                "source": data.name,
                "samples": data.count(),
                "sample_shape": data.sample_shape,
                "centred": args.center,
            }),
        )
        .set("components", serde_json::to_value(&found).unwrap_or_default())
        .set("timings", clock.json(&[]))
        .set("outputs", outputs);
    report.write(&files.report)?;
    if let Some(file) = &global.json {
        report.write(file)?;
    }
    say(&found, console);
    Ok(())
}

/// The components asked for, where the data have as many.
fn asked_of(data: &Dataset, components: usize) -> Result<usize> {
    let dimension = data.dimension();
    if components <= dimension {
        return Ok(components);
    }
    let what = format!("`-k {components}` asks for more components than the {dimension} values of a sample");
    Err(Error::argument(what, format!("give `-k` a number from 1 to {dimension}")))
}

fn say(found: &Components, console: Console) {
    let spectrum = &found.spectrum;
    console.detail(&format!(
        "{} by the {}: {} products with vectors, {:.2} s",
        spectrum.solver,
        found.route,
        spectrum.applied_vectors,
        found.prepare_seconds + found.solve_seconds
    ));
    let worst = spectrum.worst_residual();
    if !spectrum.converged || worst > spectrum.settings.tolerance {
        console.warning(&format!(
            "a residual of {worst:.1e} stayed above the tolerance of {:.1e}",
            spectrum.settings.tolerance
        ));
    }
}

/// What is written.
struct Files {
    eigenvalues: PathBuf,
    eigenvectors: PathBuf,
    mean: PathBuf,
    report: PathBuf,
}

impl Files {
    fn new(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        Self {
            eigenvalues: file("eigenvalues.npy"),
            eigenvectors: file("eigenvectors.npy"),
            mean: file("mean.npy"),
            report: file("report.json"),
        }
    }

    fn check_writable(&self) -> Result<()> {
        [&self.eigenvalues, &self.eigenvectors, &self.mean, &self.report].into_iter().try_for_each(check_writable)
    }

    /// Writes the arrays; answers their names.
    fn write(&self, found: &Components, mean: Option<Vec<f64>>) -> Result<Vec<String>> {
        let numbers =
            |values: &[f64]| Tensor::new([values.len()], values.iter().map(|value| *value as f32).collect::<Vec<_>>());
        npy::write(&self.eigenvalues, &numbers(&found.spectrum.values))?;
        npy::write(&self.eigenvectors, &found.spectrum.vectors)?;
        let mut outputs = vec![&self.eigenvalues, &self.eigenvectors];
        if let Some(mean) = mean {
            npy::write(&self.mean, &numbers(&mean))?;
            outputs.push(&self.mean);
        }
        Ok(outputs.into_iter().map(|file| file.display().to_string()).collect())
    }
}
