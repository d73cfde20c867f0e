//! `downhill inspect frechet`: how far one set of images is from another.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::args::{Dtype, Global};
use crate::cli::device::{self, adapter_json, family_text};
use crate::cli::table::Lines;
use crate::data::{Pixels, Source};
use crate::error::{Error, Result};
use crate::formats::check_writable;
use crate::graph::Compiler;
use crate::kernels::{Engine, selftest};
use crate::quality::sliced::{DIRECTIONS, Directions};
use crate::quality::{Extractor, Moments, Statistics, frechet, sliced};
use crate::report::{Console, Report, print_stdout};
use crate::tensor::Tensor;

const EXAMPLES: &str = "\
Examples:
  downhill sample -n 512 -o samples.npz && downhill inspect frechet samples.npz
  downhill inspect frechet images/ --against other.npz
  downhill inspect frechet samples.npz --save-statistics samples-statistics.npz
  downhill inspect frechet a-statistics.npz --against b-statistics.npz

Features are those of the embedded classifier of digits, so images are 28 x 28 and grey. Statistics are `mu` and `sigma`, as
pytorch-fid saves and reads them; between two files of them any features will do, Inception's too. Distances of sets of
different sizes do not compare: the smaller one scores worse by chance alone.";

/// Measure how far a set of images is from the data: Frechet and sliced Wasserstein distance
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Images: an `.npz` of `downhill sample`, a folder, an `.npy` in -1..1, an IDX file, `digits`; or an `.npz` of statistics
    #[arg(value_name = "SAMPLES")]
    samples: String,

    /// What they are held against, in the same forms
    #[arg(long, value_name = "DATA", default_value = "digits")]
    against: String,

    /// Keep mean and covariance of the samples' features, as pytorch-fid does
    #[arg(long, value_name = "FILE.npz")]
    save_statistics: Option<PathBuf>,

    /// Seed of the directions of the sliced distance
    #[arg(short, long, value_name = "SEED", default_value = "0")]
    seed: u64,
}

/// A side of the comparison.
struct Side {
    statistics: Statistics,
    /// Where there are images: their number, their features and their pixels.
    images: Option<(Tensor, Tensor)>,
}

/// Runs `downhill inspect frechet`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    args.save_statistics.as_ref().map_or(Ok(()), check_writable)?;
    let mut report = Report::new("inspect frechet");
    let (first, second) = (Loaded::read(&args.samples)?, Loaded::read(&args.against)?);
    let needs_engine = [&first, &second].iter().any(|loaded| matches!(loaded, Loaded::Images(_)));
    let engine = if needs_engine {
        let engine = device::open(global, console)?;
        selftest::ensure(&engine)?;
        report.set("adapter", adapter_json(&engine.gpu.adapter)).set("family", family_text(engine.family));
        Some(engine)
    } else {
        None
    };
    let extractor = engine
        .as_ref()
        .map(|engine: &Engine| Extractor::new(Compiler::new(engine, Dtype::F32.options(global))))
        .transpose()?;
    let (first, second) = (first.side(extractor.as_ref())?, second.side(extractor.as_ref())?);
    let distance = frechet::distance(&first.statistics, &second.statistics)?;
    if let Some(file) = &args.save_statistics {
        first.statistics.write(file)?;
    }
    let mut said = Lines::default();
    said.add("Frechet distance", format!("{distance:.4}"));
    report.set("frechet", distance).set("features", first.statistics.dimension());
    if let (Some(a), Some(b)) = (&first.images, &second.images) {
        let between = |a: &Tensor, b: &Tensor, seed: u64| -> Result<f64> {
            let directions = Directions::new(a.stride(), DIRECTIONS, seed);
            Ok(sliced::distance(&directions.slice(a)?, &directions.slice(b)?))
        };
        let features = between(&a.0, &b.0, args.seed)?;
        let pixels = between(&a.1, &b.1, args.seed.wrapping_add(1))?;
        said.add("sliced Wasserstein", format!("{features:.4} of features, {pixels:.4} of pixels"));
        said.add("images", format!("{} against {}", a.0.shape[0], b.0.shape[0]));
        report
            .set("sliced_wasserstein", json!({ "features": features, "pixels": pixels, "directions": DIRECTIONS }))
            .set("images", json!([a.0.shape[0], b.0.shape[0]]));
    }
    report.set("sources", json!([args.samples, args.against]));
    global.json.as_ref().map_or(Ok(()), |file| report.write(file))?;
    print_stdout(&said.to_string())
}

/// What was named.
enum Loaded {
    /// Rows of pixels in -1..1.
    Images(Tensor),
    Statistics(Statistics),
}

impl Loaded {
    /// Images, unless the file holds statistics.
    fn read(text: &str) -> Result<Self> {
        let source = Source::parse(text)?;
        if let Source::Npz(path) = &source
            && holds_statistics(path)
        {
            return Statistics::read(path).map(Self::Statistics);
        }
        Ok(Self::Images(source.load(Pixels::Signed)?.samples))
    }

    fn side(self, extractor: Option<&Extractor>) -> Result<Side> {
        match (self, extractor) {
            (Self::Statistics(statistics), _) => Ok(Side { statistics, images: None }),
            (Self::Images(pixels), Some(extractor)) => {
                let features = extractor.of(&pixels)?.features;
                let mut moments = Moments::new(extractor.dimension());
                moments.add(&features.data);
                Ok(Side { statistics: moments.statistics()?, images: Some((features, pixels)) })
            }
            (Self::Images(_), None) => Err(Error::argument("images without a device", "name images or statistics")),
        }
    }
}

fn holds_statistics(path: &Path) -> bool {
    crate::formats::npz::read(path, &["mu"]).is_ok()
}
