//! `downhill inspect frechet`: the distance of one set of images from another.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::study::{Study, StudyRun};
use crate::data;
use crate::error::Result;
use crate::formats::check_writable;
use crate::quality::Extractor;
use crate::study::frechet::{Images, compare};
use crate::study::results::{File, Results};

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

impl Study for Args {
    const NAME: &'static str = "inspect frechet";
    const FILES: &'static [File] = &[];

    fn folder(&self) -> Option<&Path> {
        None
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        self.save_statistics.as_ref().map_or(Ok(()), check_writable)?;
        let (first, second) = (Images::read(&self.samples)?, Images::read(&self.against)?);
        let needs_engine = [&first, &second].iter().any(|images| images.needs_device());
        let engine = if needs_engine { Some(run.engine()?) } else { None };
        let extractor = engine.as_ref().map(|engine| Extractor::new(run.compiler(engine))).transpose()?;
        let (first, second) = (first.measured(extractor.as_ref())?, second.measured(extractor.as_ref())?);
        if let Some(file) = &self.save_statistics {
            first.statistics.write(file)?;
        }
        let mut results = compare(&first, &second, self.seed)?;
        results.set("sources", json!([self.samples, self.against]));
        Ok(results)
    }
}
