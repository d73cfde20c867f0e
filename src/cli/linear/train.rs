//! `downhill linear train`: a linear denoiser by gradient descent, beside its closed form.

use std::path::Path;

use super::sigmas::expect_components;
use crate::cli::numbers::whole;
use crate::cli::parts::{Refused, refused};
use crate::cli::study::{DataArgs, OutputArgs, Study, StudyRun, Usual, help};
use crate::denoise::closed_form::linear::Linear;
use crate::error::{Error, Result};
use crate::spectral::operator::columns_of;
use crate::study::gains::Spacing;
use crate::study::results::{File, Results};
use crate::study::trained::{FILES, Settings, results, run as measure, work};

const HELP: &str = "\
Examples:
  downhill linear train -o train
  downhill linear train --iterations 20000 --runs 5 -o train
  downhill linear train --data power-law:n=2000,p=100 -o train

At each noise level s of a chain, a matrix W is trained to predict x0 from x0 + s xi by stochastic gradient descent \
on drawn samples and noise, from W = 0; the mean of the second half of its iterates is kept. It is compared with \
descent by the exact gradient, whose iterates have a closed form, and with the optimum, the Wiener filter. DDIM then \
walks with all three: the gain of each component, and the effective number of modes of white noise that went through.

Samples are centred and in the coordinates of their leading principal components, which changes nothing else.";

/// Train a linear denoiser by gradient descent, beside its closed form
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    /// Number of leading components
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "32",
        value_parser = whole::<usize>(1..=1024))]
    components: usize,

    /// Steps, T: noise levels at which a denoiser is trained
    #[arg(long, value_name = "T", default_value = "10", value_parser = whole::<usize>(1..=1000))]
    steps: usize,

    /// First noise level [default: ten times the spread of the data]
    #[arg(long, value_name = "SIGMA")]
    sigma_max: Option<f64>,

    /// Iterations of each training
    #[arg(long, value_name = "N", default_value = "4000", value_parser = whole::<usize>(2..=10_000_000))]
    iterations: usize,

    /// Samples per iteration
    #[arg(long, value_name = "N", default_value = "64", value_parser = whole::<usize>(1..=100_000))]
    batch: usize,

    /// Learning rate, over 1 / (largest variance + s^2)
    #[arg(long, value_name = "R", default_value = "0.2")]
    rate: f64,

    /// Number of trainings, from --seed on
    #[arg(long, value_name = "N", default_value = "3", value_parser = whole::<u64>(1..=1000))]
    runs: u64,

    #[command(flatten)]
    output: OutputArgs,

    #[arg(long = "shard", id = "shard", hide = true, value_name = "I/N|auto",
        value_parser = refused("each iteration of its training follows from the one before"))]
    _shard: Option<Refused>,
}

const USUAL: Usual = Usual { samples: usize::MAX, centred: true };
/// The first level over the root of the total variance.
const START: f64 = 10.0;

impl Study for Args {
    const NAME: &'static str = "linear train";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            let what = format!("`--rate {}` does not converge", self.rate);
            return Err(Error::argument(what, "give a number above 0 and up to 1"));
        }
        let data = self.data.load(USUAL, run)?;
        expect_components(self.components, data.dimension())?;
        let filter = Linear::wiener(&data, &vec![0.0; data.dimension()], [data.dimension(), 1, 1])?;
        let (variances, directions) = filter.spectrum();
        let total: f64 = variances.iter().sum();
        let directions = directions.subcols(0, self.components.min(directions.ncols()));
        let coordinates = directions.transpose() * columns_of(&data.samples);
        let settings = Settings {
            spacing: Spacing::Exponential,
            steps: self.steps,
            sigma_max: self.sigma_max.unwrap_or(START * if total > 0.0 { total.sqrt() } else { 1.0 }),
            iterations: self.iterations,
            batch: self.batch,
            rate: self.rate,
            runs: self.runs,
            seed: self.output.seed,
        };
        run.clock.lap("spectrum");
        let found =
            run.timed("iterations", work(&settings), "training", |advance| measure(&coordinates, &settings, advance))?;
        Ok(results(&found, &settings, &data.name))
    }
}
