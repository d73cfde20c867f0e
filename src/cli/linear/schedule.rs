//! `downhill linear schedule`: the noise schedules that are best for a spectrum, beside the usual ones.

use std::path::Path;

use super::sigmas::expect_components;
use crate::cli::numbers::whole;
use crate::cli::parts::{Refused, refused};
use crate::cli::study::{DataArgs, OutputArgs, Study, StudyRun, Usual, help};
use crate::denoise::closed_form::linear::Linear;
use crate::error::{Error, Result};
use crate::study::best::{FILES, Settings, best, results, threshold, work};
use crate::study::gains::Spacing;
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill linear schedule -o schedule
  downhill linear schedule --data spiked:n=1500,p=300,spikes=5/4/3/2/1,noise=0 -k 5 -T 40 -o schedule

Two problems, each solved by minimising a closed form, and measured beside the usual schedules:
  concentration  the levels of noise that leave most of the energy on the first component, in a chain of projections \
on K components with fresh noise on the samples at each level.
  recovery       the levels with which DDIM with the Wiener filter comes nearest to the probability flow, which takes \
noise back to all of the spectrum: the mean of -ln(gain / gain of the flow) over K modes is least. `geodesic` is its \
limit for many steps: steps of equal length in the metric sum of v / (v + s^2)^2 over the variances v.

The usual schedules are even in the logarithm (exponential), in the seventh root (karras), in sigma (linear) and in \
sigma^2 (variance). The time is proportional to steps, samples and repeats.";

/// Enough of the digits for a chain in seconds, around their mean.
const USUAL: Usual = Usual { samples: 2000, centred: true };
/// The first level of sampling, over the root mean square distance of the data from their mean.
const START: f64 = 10.0;
/// The variance of the highest level of a chain, over that at which the first component is lost.
const TRACKED: f64 = 0.5;
/// The default number of modes, unless the data have fewer values.
const USUAL_MODES: usize = 16;

/// Find the noise schedules that are best for a spectrum
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    /// Components of a projection, and modes to recover [default: 16, or all]
    #[arg(short = 'k', long, value_name = "K", value_parser = whole::<usize>(1..=10_000))]
    modes: Option<usize>,

    /// Steps of each schedule
    #[arg(short = 'T', long, value_name = "T", default_value = "20", value_parser = whole::<usize>(1..=1000))]
    steps: usize,

    /// The first level of sampling [default: 10 times the data's root mean square distance from their mean]
    #[arg(long, value_name = "S")]
    sigma_max: Option<f64>,

    /// The highest level of a chain of projections [default: half the variance at which the first component is lost]
    #[arg(long, value_name = "S")]
    chain_sigma_max: Option<f64>,

    /// Chains with independent noise per schedule
    #[arg(long, value_name = "R", default_value = "2", value_parser = whole::<usize>(1..=1000))]
    repeats: usize,

    /// Levels of noise at which the share that projections keep is measured
    #[arg(long, value_name = "N", default_value = "12", value_parser = whole::<usize>(1..=1000))]
    probes: usize,

    #[command(flatten)]
    output: OutputArgs,

    #[arg(long = "shard", id = "shard", hide = true, value_name = "I/N|auto",
        value_parser = refused("it searches for an optimum, step by step"))]
    _shard: Option<Refused>,
}

impl Study for Args {
    const NAME: &'static str = "linear schedule";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let data = self.data.load(USUAL, run)?;
        let (samples, dimension) = (data.count(), data.dimension());
        let modes = self.modes.unwrap_or(USUAL_MODES.min(dimension));
        expect_components(modes, dimension)?;
        for sigma in [self.sigma_max, self.chain_sigma_max].into_iter().flatten() {
            Spacing::Linear.sigmas(1, sigma)?;
        }
        let filter = Linear::wiener(&data, &vec![0.0; dimension], [dimension, 1, 1])?;
        let variances = filter.spectrum().0;
        let total: f64 = variances.iter().sum();
        let Some(largest) = variances.first().copied().filter(|largest| *largest > 0.0) else {
            let what = format!("the samples of `{}` are all equal: there is no spectrum", data.name);
            return Err(Error::bad_file_hint(&data.name, what, "give data that vary"));
        };
        let first_threshold = threshold(largest, samples, dimension);
        let settings = Settings {
            modes,
            steps: self.steps,
            chain_sigma_max: self.chain_sigma_max.unwrap_or(first_threshold * TRACKED.sqrt()),
            sigma_max: self.sigma_max.unwrap_or(START * total.sqrt()),
            repeats: self.repeats,
            probes: self.probes,
            seed: self.output.seed,
        };
        run.clock.lap("spectrum");
        let engine = run.engine()?;
        let found = run.timed("schedules", work(&settings), "schedules", |advance| {
            best(&engine, &data.samples, &filter, &settings, advance)
        })?;
        Ok(results(&found, &settings, first_threshold))
    }
}
