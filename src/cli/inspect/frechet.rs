//! `downhill inspect frechet`: the distance of one set of images from another.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::study::{Study, StudyRun};
use crate::data::{self, Pixels, Source};
use crate::error::{Error, Result};
use crate::formats::check_writable;
use crate::quality::sliced::{DIRECTIONS, Directions};
use crate::quality::{Extractor, Moments, Statistics, frechet, sliced};
use crate::report::columns::Lines;
use crate::study::results::{File, Results};
use crate::tensor::Tensor;

const EXAMPLES: &str = "\
Examples:
  downhill sample -n 512 -o samples.npz && downhill inspect frechet samples.npz
  downhill inspect frechet images/ --against other.npz
  downhill inspect frechet samples.npz --save-statistics samples-statistics.npz
  downhill inspect frechet a-statistics.npz --against b-statistics.npz

Features are those of the embedded classifier of digits, so images are 28 x 28 and grey. Statistics are `mu` and \
`sigma`, as pytorch-fid saves and reads them; two files of statistics may be of any features, such as Inception's. \
Distances between sets of different sizes are not comparable: the smaller set scores worse by chance alone.";

/// Measure the distance of a set of images from the data: Frechet and sliced Wasserstein
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[arg(value_name = "SAMPLES",
        help = format!("Images, or an `.npz` of their statistics: {}; an `.npy` is in -1..1", data::forms()))]
    samples: String,

    /// The images to compare them with, in the same forms
    #[arg(long, value_name = "DATA", default_value = "digits")]
    against: String,

    /// Save the mean and the covariance of the samples' features, as pytorch-fid does
    #[arg(long, value_name = "FILE.npz")]
    save_statistics: Option<PathBuf>,

    /// Seed of the directions of the sliced distance
    #[arg(short, long, value_name = "SEED", default_value = "0")]
    seed: u64,
}

/// A side of the comparison.
struct Side {
    statistics: Statistics,
    /// The features and the pixels of images, where there are any.
    images: Option<(Tensor, Tensor)>,
}

impl Study for Args {
    const NAME: &'static str = "inspect frechet";
    const FILES: &'static [File] = &[];

    fn folder(&self) -> Option<&Path> {
        None
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        self.save_statistics.as_ref().map_or(Ok(()), check_writable)?;
        let (first, second) = (Loaded::read(&self.samples)?, Loaded::read(&self.against)?);
        let needs_engine = [&first, &second].iter().any(|loaded| matches!(loaded, Loaded::Images(_)));
        let engine = if needs_engine { Some(run.engine()?) } else { None };
        let extractor = engine.as_ref().map(|engine| Extractor::new(run.compiler(engine))).transpose()?;
        let (first, second) = (first.side(extractor.as_ref())?, second.side(extractor.as_ref())?);
        let distance = frechet::distance(&first.statistics, &second.statistics)?;
        if let Some(file) = &self.save_statistics {
            first.statistics.write(file)?;
        }
        let mut results = Results::default();
        let mut said = Lines::default();
        said.add("Frechet distance", format!("{distance:.4}"));
        results.set("frechet", distance).set("features", first.statistics.dimension());
        if let (Some(a), Some(b)) = (&first.images, &second.images) {
            let between = |a: &Tensor, b: &Tensor, seed: u64| -> Result<f64> {
                let directions = Directions::new(a.stride(), DIRECTIONS, seed);
                Ok(sliced::distance(&directions.slice(a)?, &directions.slice(b)?))
            };
            let features = between(&a.0, &b.0, self.seed)?;
            let pixels = between(&a.1, &b.1, self.seed.wrapping_add(1))?;
            said.add("sliced Wasserstein", format!("{features:.4} of features, {pixels:.4} of pixels"));
            said.add("images", format!("{} against {}", a.0.shape[0], b.0.shape[0]));
            results
                .set("sliced_wasserstein", json!({ "features": features, "pixels": pixels, "directions": DIRECTIONS }))
                .set("images", json!([a.0.shape[0], b.0.shape[0]]));
        }
        results.set("sources", json!([self.samples, self.against])).text = Some(said.to_string());
        Ok(results)
    }
}

/// A side that was read.
enum Loaded {
    /// Rows of pixels in -1..1.
    Images(Tensor),
    Statistics(Statistics),
}

impl Loaded {
    /// Images, unless the file holds statistics.
    fn read(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if holds_statistics(path) {
            return Statistics::read(path).map(Self::Statistics);
        }
        Ok(Self::Images(Source::parse(text)?.load(Pixels::Signed)?.samples))
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
