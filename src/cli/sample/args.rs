//! The flags of `downhill sample`.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::conditions::ConditionArgs;
use super::inpaint::InpaintArgs;
use crate::cli::args::{Dtype, ErrorModelArg, LONGEST_SIDE, NumberList, Prediction, Size, denoiser_help};
use crate::cli::changes::ChangeArgs;
use crate::cli::numbers::{whole, whole_from};
use crate::cli::shard::ShardArg;
use crate::error::Result;
use crate::model::Sampling;
use crate::noise::Generator;
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::Settings;
use crate::study::metric_spec::MetricSpec;

/// The most images of a run, so that lists of them stay small.
const MOST_IMAGES: u64 = 1_000_000;

const EXAMPLES: &str = "\
Examples:
  downhill sample                                   16 handwritten digits to samples.png
  downhill sample -n 64 -s 7 -o digits/%05d.png     one file per image
  downhill sample google/ddpm-cifar10-32 --sampler ddim --steps 50
  downhill sample DIR -n 50000 -o 0.npz --shard 0/4     a quarter of the images: 0, 4, 8, ...
  downhill sample DIR --init-noise z.npy --timesteps 999,749,499,249,0 --save-samples out.npy
  downhill sample DIR --sigmas 40,10,2.5,0.6,0.1 --init x.npy --save-path path.npy
  downhill sample DIR -p 'a photograph of an astronaut' --sampler ge --steps 10 -o astronaut.png
  downhill sample DIR --prompts prompts.txt -n 2 -o out/%05d.png   two images per prompt
  downhill sample DIR -p 'the same in oil' --init-image photo.jpg --strength 0.6 -o oil.png
  downhill sample DIR -p 'a red door' --init-image house.png --mask door.png -o repainted.png
  downhill sample --init-image five.png --mask half.png --inpaint repaint --steps 50 -o filled.png
  downhill sample model.safetensors -p 'a lighthouse'   a single file of Stable Diffusion
  downhill sample DIR -p 'a fox' --lora style.safetensors:0.8 --lora detail.safetensors
  downhill sample pca:digits,k=32                   from the span of 32 principal components
  downhill sample --metric pca:digits               gradient estimation, gamma from the data
  downhill sample --sampler ddim --error-model 0.05,2   the fewest steps that an error model admits
  downhill sample pca:digits,k=8,n=500,noise=fresh --steps 20   from 500 noisy samples per level

`pca:DATA[,k=N]` (projection onto N principal components, 32 by default), `wiener:DATA`, `gaussian:DATA` or \
`wiener:mean=M.npy,cov=C.npy` (Gaussian posterior mean), `mixture:DATA,k=K[,rank=R,seed=S]` (of K Gaussians, one per \
cluster), `ideal:DATA` (weighted mean of all samples) and `local:DATA,patch=P[,boundary=padded|circular|fixed,n=N]` \
(each pixel the weighted mean of patches) are denoisers in closed form. `sequential:DATA` estimates the next level of \
the schedule instead of the clean image; `--sampler ddim` then follows the chain of these estimates. With \
`noise=nested|fresh|shared` (and `seed=S`), the components of `pca` at each level are those of noisy samples: noise \
added step by step, independent noise per level, or one draw scaled to each level; `n=M` uses the first M samples. \
8-bit pixels are scaled to -1 to 1.

Closed forms do not have timesteps. Their default is DDIM on the schedule `exponential`: N log-spaced sigmas, then 0. \
The first sigma is 10 r, where r is the root mean square distance of the data from their mean (r / sqrt(N) for `pca`, \
r / sqrt(32) for `sequential`), and the last one before 0 is r / 1000. States start around the mean.

Image i of seed s is the same image in any batch, count and shard.";

const SCHEDULE: &str = "Schedule";
const START: &str = "Start";
const OUTPUT: &str = "Output";

/// Sample images from a model
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Args {
    #[arg(help = denoiser_help())]
    pub model: Option<String>,

    /// Number of images [default: 16, or as many as the start file holds]
    #[arg(short = 'n', long, value_parser = whole::<usize>(1..=MOST_IMAGES))]
    pub count: Option<usize>,

    /// Images per network call; the batch does not change the images [default: 16, or as many as fit in 1 GiB]
    #[arg(short, long, value_parser = whole::<usize>(1..=MOST_IMAGES))]
    pub batch: Option<usize>,

    /// Precision of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    pub dtype: Dtype,

    /// Quantity that the network predicts, instead of that of the model's files
    #[arg(long, value_enum, value_name = "QUANTITY", hide_short_help = true)]
    pub prediction: Option<Prediction>,

    /// Height and width of the images in pixels [default: for pipelines with `--init-image` the size of that image,
    /// each side rounded down to a multiple of the autoencoder's factor, usually 8; otherwise the size that the model
    /// was trained on]
    #[arg(long, value_name = "HxW", conflicts_with_all = ["init_noise", "init"])]
    pub size: Option<Size>,

    /// Width of the images in pixels
    #[arg(short = 'W', long, value_name = "PIXELS", conflicts_with_all = ["size", "init_noise", "init"],
        value_parser = side())]
    pub width: Option<usize>,

    /// Height of the images in pixels
    #[arg(short = 'H', long, value_name = "PIXELS", conflicts_with_all = ["size", "init_noise", "init"],
        value_parser = side())]
    pub height: Option<usize>,

    #[command(flatten)]
    pub changes: ChangeArgs,

    #[command(flatten)]
    pub conditions: ConditionArgs,

    /// The sampler; `list` prints one line for each [default: that of the model's scheduler, `ge` for DDPM's and
    /// DDIM's]
    #[arg(long, value_parser = choice(), help_heading = SCHEDULE)]
    pub sampler: Option<Choice>,

    /// Weight of the newest estimate in `ge`, at least 0: below 1 averages, above 1 extrapolates [default: 2]
    #[arg(long, help_heading = SCHEDULE)]
    pub gamma: Option<f64>,

    /// Derive the gamma of `ge` from a metric: `A,B,C` for the covariance [[A, B], [B, C]] of the errors of the current
    /// and the previous estimate, or the variances of data: `identity:DATA`, `diagonal:DATA`, `pca:DATA[,k=N]`
    #[arg(long, value_name = "METRIC", allow_hyphen_values = true, help_heading = SCHEDULE)]
    pub metric: Option<MetricSpec>,

    /// Variances of DDIM's steps, as `downhill inspect variances` writes them: Analytic-DDIM
    #[arg(long, value_name = "FILE", help_heading = SCHEDULE)]
    pub variances: Option<PathBuf>,

    /// Amount of noise in `ge`, at least 0 and below 1 [default: 0]
    #[arg(long, help_heading = SCHEDULE)]
    pub mu: Option<f64>,

    /// Amount of noise in `ddim` and `tcd`, 0 to 1 [default: 0; 0.3 for `tcd`]
    #[arg(long, help_heading = SCHEDULE)]
    pub eta: Option<f64>,

    /// Number of steps [default: depends on the sampler, see `--sampler list`]
    #[arg(long, value_name = "N", help_heading = SCHEDULE,
        value_parser = whole_from::<usize>(1))]
    pub steps: Option<usize>,

    /// Schedule of the noise levels [default: `paper` for `ge`, otherwise that of the model's scheduler]
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND", help_heading = SCHEDULE)]
    pub schedule: Option<ScheduleKind>,

    /// First sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", help_heading = SCHEDULE)]
    pub sigma_max: Option<f64>,

    /// Last sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", help_heading = SCHEDULE)]
    pub sigma_min: Option<f64>,

    /// `ETA,NU` of the relative-error assumption, or a file written by `downhill inspect error-model`: selects the
    /// schedule `admissible`, with the fewest steps to the last sigma, or with `--steps` steps
    #[arg(long, value_name = "ETA,NU|FILE", help_heading = SCHEDULE)]
    pub error_model: Option<ErrorModelArg>,

    /// N + 1 decreasing timesteps for N steps, instead of a schedule; the last one is the final level
    #[arg(long, value_name = "A,...,Z", allow_hyphen_values = true, help_heading = SCHEDULE)]
    pub timesteps: Option<NumberList>,

    /// N + 1 decreasing sigmas for N steps, instead of a schedule, in the scale x = x0 + sigma eps
    #[arg(long, value_name = "A,...,Z", allow_hyphen_values = true, help_heading = SCHEDULE)]
    pub sigmas: Option<NumberList>,

    /// Clip each prediction of x0 [default: follow the model's scheduler]
    #[arg(long, conflicts_with = "no_clip", help_heading = SCHEDULE)]
    pub clip: bool,

    /// Do not clip predictions
    #[arg(long, help_heading = SCHEDULE)]
    pub no_clip: bool,

    /// Seed of all noise [default: 0]
    #[arg(short, long, help_heading = START, value_parser = whole_from::<u64>(0))]
    pub seed: Option<u64>,

    /// Random number generator: `philox`, or `torch` for `torch.Generator("cpu")` [default: philox]
    #[arg(long, value_name = "GENERATOR", help_heading = START)]
    pub rng: Option<Generator>,

    /// Standard normals (N,C,H,W) to start from, instead of seeded noise
    #[arg(long, value_name = "FILE.npy", conflicts_with = "init", help_heading = START)]
    pub init_noise: Option<PathBuf>,

    /// Start state x (N,C,H,W) at the first sigma, in the scale x = x0 + sigma eps
    #[arg(long, value_name = "FILE.npy", help_heading = START)]
    pub init: Option<PathBuf>,

    /// Start from this image under noise; see `--strength`. PNG, JPEG, WebP, BMP, GIF or TIFF by its content, upright
    /// and over white as viewers show it. An image of another size than that of the run is scaled, with a note; see
    /// `--size`
    #[arg(long, value_name = "FILE", help_heading = START)]
    pub init_image: Option<PathBuf>,

    /// Fraction of the steps to take, above 0 and at most 1; 1 ignores the image [default: 0.8; with `--mask` 1, which
    /// begins at noise and keeps the black part]
    #[arg(long, value_name = "S", requires = "init_image", help_heading = START)]
    pub strength: Option<f64>,

    /// Take the steps above this sigma at once, by the closed form of the Gaussian of the data: fewer calls
    #[arg(long, value_name = "SIGMA", conflicts_with_all = ["init", "init_image"], help_heading = START)]
    pub analytic_start: Option<f64>,

    #[arg(long, value_name = "DATA", requires = "analytic_start", help_heading = START,
        help = format!("Data of that Gaussian: {} [default: `digits` where they fit; for the embedded network \
            `digits-train`]", crate::data::forms()))]
    pub analytic_data: Option<String>,

    #[command(flatten)]
    pub inpainting: InpaintArgs,

    /// Output: `x.png` for a grid, `dir/%05d.png` for one file per image, `x.npz` for a uint8 array, `-` for standard
    /// output [default: samples.png]
    #[arg(short, long, value_name = "PATH", help_heading = OUTPUT)]
    pub output: Option<String>,

    /// Format of `-o -`: `png` for a grid, `npz` for a uint8 array [default: png]
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true, hide_short_help = true,
        help_heading = OUTPUT)]
    pub format: Option<StreamFormat>,

    /// Write the final samples as float32 (N,C,H,W) in the scale of the model, neither clipped nor quantised
    #[arg(long, value_name = "FILE.npy", help_heading = OUTPUT)]
    pub save_samples: Option<PathBuf>,

    /// Write the images as float32 (N,C,H,W) in 0..1, not quantised
    #[arg(long, value_name = "FILE.npy", help_heading = OUTPUT)]
    pub save_images: Option<PathBuf>,

    /// Write the predictions of x0, one grid per step
    #[arg(long, value_name = "DIR", help_heading = OUTPUT)]
    pub save_steps: Option<PathBuf>,

    /// Write the predictions of x0 as one contact sheet: a row per image, a column per step
    #[arg(long, value_name = "FILE.png", help_heading = OUTPUT)]
    pub steps_sheet: Option<PathBuf>,

    /// Write the predictions of x0 as an animated PNG, a frame per step
    #[arg(long, value_name = "FILE.png", help_heading = OUTPUT)]
    pub steps_animation: Option<PathBuf>,

    /// Write the state after each step as float32 (steps,N,C,H,W): z for timesteps, x for grids of sigma
    #[arg(long, value_name = "FILE.npy", help_heading = OUTPUT)]
    pub save_path: Option<PathBuf>,

    /// Sample only the images I, I+N, I+2N, ..., over all prompts; `auto` takes both from the environment of SLURM,
    /// PBS, Grid Engine, LSF, Kubernetes, CI jobs, MPI or GNU parallel
    #[arg(long, value_name = "I/N|auto", help_heading = OUTPUT)]
    pub shard: Option<ShardArg>,

    /// Skip images whose files exist and are complete (with `-o dir/%05d.png`)
    #[arg(long, help_heading = OUTPUT)]
    pub resume: bool,

    /// When a value is not finite, name the first operation of the network that produced one
    #[arg(long, hide_short_help = true, help_heading = OUTPUT)]
    pub trace_nonfinite: bool,

    /// Print the time of each part of the run
    #[arg(long, hide_short_help = true, help_heading = OUTPUT)]
    pub timings: bool,
}

/// The formats of images on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StreamFormat {
    /// A grid
    Png,
    /// A uint8 array
    Npz,
}

fn side() -> impl TypedValueParser<Value = usize> {
    whole(1..=LONGEST_SIDE as u64)
}

/// A sampler, or a request for the list of samplers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This sampler.
    Of(Sampler),
    /// The list of all samplers.
    List,
}

/// Reads the name of a sampler, or `list`.
fn choice() -> impl TypedValueParser<Value = Choice> {
    let names = Sampler::ALL.iter().map(|sampler| sampler.name()).chain(["list"]);
    PossibleValuesParser::new(names).try_map(|name| match name.as_str() {
        "list" => Ok(Choice::List),
        name => name.parse().map(Choice::Of),
    })
}

impl Args {
    /// Adds images, batch and noise of the flags to a run.
    pub fn describe<'a>(&self, mut sampling: Sampling<'a>) -> Sampling<'a> {
        if let Some(count) = self.count {
            sampling = sampling.count(count);
        }
        if let Some(batch) = self.batch {
            sampling = sampling.batch(batch);
        }
        sampling
            .seed(self.seed.unwrap_or(0))
            .generator(self.rng.unwrap_or_default())
            .keep_predictions(self.save_steps.is_some() || self.steps_sheet.is_some() || self.steps_animation.is_some())
            .keep_path(self.save_path.is_some())
            .trace_nonfinite(self.trace_nonfinite)
    }

    /// The settings of the sampler.
    ///
    /// # Errors
    /// Those of [`ErrorModelArg::read`].
    pub fn settings(&self) -> Result<Settings> {
        Ok(Settings {
            sampler: match self.sampler {
                Some(Choice::Of(sampler)) => Some(sampler),
                Some(Choice::List) | None => None,
            },
            schedule: self.schedule,
            steps: self.steps,
            gamma: self.gamma,
            mu: self.mu,
            eta: self.eta,
            clip: (self.clip || self.no_clip).then_some(self.clip),
            sigma_max: self.sigma_max,
            sigma_min: self.sigma_min,
            timesteps: self.timesteps.clone().map(|list| list.0),
            sigmas: self.sigmas.clone().map(|list| list.0),
            strength: self.strength,
            analytic_start: self.analytic_start,
            error_model: self.error_model.as_ref().map(ErrorModelArg::read).transpose()?,
        })
    }
}
