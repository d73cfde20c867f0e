//! `downhill inspect frechet`: the distance of one set of images from another.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::captioned::read_lines;
use super::cells::FeatureArgs;
use crate::cli::numbers::whole_from;
use crate::cli::parts::{Refused, refused};
use crate::cli::stream::{self, is_stream, output_name};
use crate::cli::study::{Study, StudyRun};
use crate::data;
use crate::error::{Error, Result};
use crate::quality::Features;
use crate::study::compare::clip::Clip;
use crate::study::frechet::{Images, compare};
use crate::study::results::{File, Results};

const EXAMPLES: &str = "\
Examples:
  downhill sample -n 512 -o samples.npz && downhill inspect frechet samples.npz
  downhill inspect frechet images/ --against other.npz
  downhill inspect frechet samples.npz --save-statistics samples-statistics.npz
  downhill inspect frechet a-statistics.npz --against b-statistics.npz
  downhill moments images/ --features digits -o all.npz && downhill inspect frechet all.npz
  downhill inspect frechet images/ --features inception.safetensors --against cifar10-statistics.npz
  downhill inspect frechet images/ --clip clip-vit-base-patch16/ --captions captions.txt

Features are those of the embedded classifier of digits, so images are 28 x 28 and grey; with the weights of \
InceptionV3 (`--features`) images are of any size. Statistics are `mu` and `sigma`, as pytorch-fid saves and reads \
them; two files of statistics may be of any features. Those of a data set are made once and kept: \
`downhill inspect frechet DATA --features FILE --save-statistics FILE.npz`. \
Distances between sets of different sizes are not comparable: the smaller set scores worse by chance alone.";

/// Measure the distance of a set of images from the data: Frechet and sliced Wasserstein
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[arg(value_name = "SAMPLES",
        help = format!("Images, or an `.npz` of their statistics: {}; an `.npy` is in -1..1", data::forms()))]
    samples: String,

    /// The images to compare them with, in the same forms: usually the digits
    #[arg(long, value_name = "DATA")]
    against: Option<String>,

    #[command(flatten)]
    features: FeatureArgs,

    /// Folder of a CLIP model (transformers' `CLIPModel` and its tokenizer): the score of images and their captions
    #[arg(long, value_name = "DIR", requires = "captions")]
    clip: Option<PathBuf>,

    /// Captions of the samples, one per line
    #[arg(long, value_name = "FILE", requires = "clip")]
    captions: Option<PathBuf>,

    /// Save the mean and the covariance of the samples' features, as pytorch-fid does; `-` for standard output
    #[arg(long, value_name = "FILE.npz")]
    save_statistics: Option<PathBuf>,

    /// Seed of the directions of the sliced distance
    #[arg(short, long, value_name = "SEED", default_value = "0", value_parser = whole_from::<u64>(0))]
    seed: u64,

    #[arg(long = "shard", id = "shard", hide = true, value_name = "I/N|auto",
        value_parser = refused("features of all images go into one distance"))]
    _shard: Option<Refused>,
}

impl Study for Args {
    const NAME: &'static str = "inspect frechet";
    const FILES: &'static [File] = &[];

    fn folder(&self) -> Option<&Path> {
        None
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        self.save_statistics.as_ref().map_or(Ok(()), |file| stream::check_writable(file))?;
        let features = self.features.open()?;
        let is_digits = matches!(features, Features::Digits);
        let against = match &self.against {
            Some(against) => Some(against.as_str()),
            None if is_digits && self.clip.is_none() => Some("digits"),
            None if is_digits => None,
            None if self.save_statistics.is_some() => None,
            None => {
                let what = "there is nothing to compare the samples with";
                return Err(Error::argument(what, "give `--against DATA`, or `--save-statistics FILE.npz` alone"));
            }
        };
        let (first, second) = (Images::read(&self.samples)?, against.map(Images::read).transpose()?);
        if let Some(second) = &second {
            first.expect_alike(second, &features)?;
        }
        let clip = self.clip(&first)?;
        let mut shapes = Vec::new();
        for images in [Some(&first), second.as_ref()].into_iter().flatten() {
            // Two files of statistics may be of any features, and so may images that are only scored by CLIP.
            let is_scored_alone = clip.is_some() && second.is_none() && self.save_statistics.is_none();
            let known = !is_scored_alone && (images.needs_device() || self.features.file.is_some());
            shapes.push(if known { images.check(&features)? } else { None });
        }
        let scores_alone = clip.is_some() && second.is_none() && self.save_statistics.is_none();
        let needs_engine = clip.is_some() || shapes.iter().any(Option::is_some);
        let engine = if needs_engine { Some(run.engine()?) } else { None };
        let score = match (&clip, &engine, &first) {
            (Some((clip, captions)), Some(engine), Images::Pixels(images)) => {
                Some(clip.score(run.compiler(engine), images, captions)?)
            }
            _ => None,
        };
        if let (true, Some(score)) = (scores_alone, &score) {
            let mut results = Results::default();
            score.add_to(&mut results);
            return Ok(results);
        }
        let mut measured = Vec::new();
        for (images, shape) in [Some(first), second].into_iter().flatten().zip(shapes) {
            let extractor = match (&engine, shape) {
                (Some(engine), Some(shape)) => Some(features.on(run.compiler(engine), shape)?),
                _ => None,
            };
            measured.push(images.measured(extractor.as_ref())?);
        }
        run.report.set("features_of", features.json());
        if let Some(file) = &self.save_statistics {
            stream::write(file, |file| measured[0].statistics.write(file))?;
        }
        let [first, second] = &measured[..] else {
            let mut results = Results::default();
            let file = self.save_statistics.as_deref().map(output_name).unwrap_or_default();
            results.note(format_args!("the statistics of `{}` are in `{file}`", self.samples));
            if let Some(score) = &score {
                score.add_to(&mut results);
            }
            return Ok(results);
        };
        let mut results = compare(first, second, self.seed, !is_digits)?;
        results.set("sources", json!([self.samples, against]));
        if let Some(score) = &score {
            score.add_to(&mut results);
        }
        if self.save_statistics.as_deref().is_some_and(is_stream) {
            results.text = None;
        }
        Ok(results)
    }
}

impl Args {
    /// The CLIP model and the captions of the samples, which are checked against each other.
    fn clip(&self, samples: &Images) -> Result<Option<(Clip, Vec<String>)>> {
        let (Some(folder), Some(captions)) = (&self.clip, &self.captions) else { return Ok(None) };
        let Images::Pixels(images) = samples else {
            let what = format!("`{}` holds statistics, which have no captions", self.samples);
            return Err(Error::argument(what, "give the images themselves"));
        };
        let clip = Clip::open(folder)?;
        let captions = read_lines(captions)?;
        clip.check(images, &captions)?;
        Ok(Some((clip, captions)))
    }
}
