//! The flags of `downhill moments`.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;

use crate::cli::numbers::{whole, whole_from};
use crate::cli::shard::ShardArg;
use crate::data;
use crate::error::Result;
use crate::nets::inception::Preparation;
use crate::quality::Features;
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  downhill moments X.npy -o moments.npz                      mean and covariance of arrays of any length
  downhill moments 'parts/*.npy' --shard 2/8 -o part-2.npz   the third of eight runs
  downhill moments images/ --features digits -o moments.npz
  downhill moments images/ --features inception.safetensors --shard auto --resume -o part-3.npz
  downhill moments --model -n 50000 --steps 10 --features digits --shard 2/8 -o part-2.npz
  downhill merge part-*.npz -o all.npz && downhill inspect frechet all.npz

A shard is a contiguous range of the samples, and the files of all shards are combined by `downhill merge`, to the \
same bits as a run without shards. Samples are read a few at a time. 8-bit pixels are scaled to 0 to 1, and to -1 to 1 \
for features. Images of `--model` are rounded to 8 bits, as in the PNGs of `downhill sample`, and are not stored.

Every 30 seconds the file is written with the rows that there are; --resume goes on from there. Takers of the merged \
file: `inspect frechet`, `linear pca`, `wiener:FILE`, `gaussian:FILE`, `sequential:FILE`, `pca:FILE,k=5`, and \
pytorch-fid (`mu`, `sigma`).";

const GENERATED: &str = "Generated images";

/// Measure mean and covariance of data or of features, whole or in parts that merge
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[arg(value_name = "DATA", required_unless_present = "generated_by", conflicts_with = "generated_by",
        help = format!("Data: {}", data::forms()))]
    pub data: Option<String>,

    /// Features of images instead of their pixels: `digits` for those of the embedded classifier (28 x 28, grey), or
    /// the weights of InceptionV3, as pytorch-fid and torch-fidelity have them
    #[arg(long, value_name = "digits|FILE")]
    pub features: Option<String>,

    /// The way from images to the input of InceptionV3: that of pytorch-fid, or that of torch-fidelity and TensorFlow
    #[arg(long, value_name = "AS", default_value = "pytorch-fid", requires = "features",
        value_parser = PossibleValuesParser::new(Preparation::NAMES.map(|(name, _)| name)))]
    pub prepare: String,

    /// Measure only a contiguous range of the samples, the I-th of N. `auto` takes I/N from the environment of Slurm,
    /// PBS, Grid Engine, LSF, Kubernetes, CI jobs, MPI or GNU parallel
    #[arg(long, value_name = "I/N|auto")]
    pub shard: Option<ShardArg>,

    /// File for the moments
    #[arg(short, long, value_name = "FILE.npz")]
    pub output: PathBuf,

    /// Go on from the rows that the file holds already
    #[arg(long)]
    pub resume: bool,

    /// Generate the images with a model, instead of reading data; without a name, the embedded network
    #[arg(id = "generated_by", long = "model", value_name = "MODEL", num_args = 0..=1, help_heading = GENERATED)]
    #[expect(clippy::option_option, reason = "a flag with an optional value")]
    pub model: Option<Option<String>>,

    /// Number of images, of all shards together
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "data", help_heading = GENERATED,
        value_parser = whole::<usize>(1..=1_000_000_000))]
    pub count: Option<usize>,

    /// Images per network call
    #[arg(short, long, value_name = "N", conflicts_with = "data", help_heading = GENERATED,
        value_parser = whole::<usize>(1..=4096))]
    pub batch: Option<usize>,

    /// The sampler [default: as in `downhill sample`]
    #[arg(long, conflicts_with = "data", help_heading = GENERATED,
        value_parser = PossibleValuesParser::new(Sampler::ALL.map(Sampler::name)))]
    pub sampler: Option<String>,

    /// Number of steps
    #[arg(long, value_name = "N", conflicts_with = "data", help_heading = GENERATED,
        value_parser = whole_from::<usize>(1))]
    pub steps: Option<usize>,

    /// Schedule of the noise levels
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND", conflicts_with = "data",
        help_heading = GENERATED)]
    pub schedule: Option<ScheduleKind>,

    /// Weight of the newest estimate in `ge`
    #[arg(long, conflicts_with = "data", help_heading = GENERATED)]
    pub gamma: Option<f64>,

    /// Amount of noise in `ddim` and `tcd`
    #[arg(long, conflicts_with = "data", help_heading = GENERATED)]
    pub eta: Option<f64>,

    /// Class of all images, by number or by name, for networks that take class labels
    #[arg(long, value_name = "CLASS", conflicts_with = "data", help_heading = GENERATED)]
    pub class_label: Option<String>,

    /// Seed of all noise [default: 0]
    #[arg(short, long, value_name = "SEED", conflicts_with = "data", help_heading = GENERATED,
        value_parser = whole_from::<u64>(0))]
    pub seed: Option<u64>,
}

impl Args {
    /// The network of features, not on a device yet.
    ///
    /// # Errors
    /// Those of the file.
    pub fn features(&self) -> Result<Option<Features>> {
        match self.features.as_deref() {
            None => Ok(None),
            Some("digits") => Ok(Some(Features::Digits)),
            Some(file) => {
                let preparation = Preparation::NAMES.iter().find(|(name, _)| *name == self.prepare);
                let preparation = preparation.map_or_else(Preparation::default, |(_, preparation)| *preparation);
                Features::inception(Path::new(file), preparation).map(Some)
            }
        }
    }

    /// The settings of the sampler.
    ///
    /// # Errors
    /// None: clap has checked the name.
    pub fn settings(&self) -> Result<Settings> {
        Ok(Settings {
            sampler: self.sampler.as_deref().map(str::parse).transpose()?,
            schedule: self.schedule,
            steps: self.steps,
            gamma: self.gamma,
            eta: self.eta,
            ..Settings::default()
        })
    }
}
