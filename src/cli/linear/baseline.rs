//! `downhill linear baseline`: chains that do not collapse, and their closed forms.

use std::path::Path;

use super::sigmas::expect_components;
use crate::cli::numbers::whole;
use crate::cli::parts::{Refused, refused};
use crate::cli::study::{DataArgs, OutputArgs, Study, StudyRun, Usual, help};
use crate::denoise::closed_form::linear::Linear;
use crate::error::Result;
use crate::study::baseline::{FILES, Settings, baseline, results, work};
use crate::study::gains::Spacing;
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill linear baseline -o baseline
  downhill linear baseline --data X.npy -k 8 --steps 5,50,500 -o baseline

Each chain is walked by DDIM from the first level to 0, over levels even in the logarithm (exponential), in the \
seventh root (karras), in sigma (linear) and in sigma^2 (variance):
  wiener      the posterior mean of the data's Gaussian; gain of a mode of variance v: the product of (v + s r) / (v + \
s^2), with a level s and the next one r; in the limit sqrt(v / (v + S^2)), which takes the Gaussian under noise back \
to itself
  sequential  the posterior mean of the next level; v / (v + S^2), for any steps
  projection  on the leading K population components; 1 for them and 0 for all others

8-bit pixels are scaled to 0 to 1.";

/// The most steps for which closed forms are worth checking.
const MOST_STEPS: u64 = 10_000;
/// All samples, around their mean.
const USUAL: Usual = Usual { samples: usize::MAX, centred: true };
/// The first level, over the root mean square distance of the data from their mean.
const START: f64 = 10.0;
/// The default number of modes, unless the data have fewer values.
const USUAL_MODES: usize = 32;

/// Compare chains that preserve the data's spectrum with their closed forms
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    /// Leading modes, and components of the projection [default: 32, or all]
    #[arg(short = 'k', long, value_name = "K", value_parser = whole::<usize>(1..=100_000))]
    modes: Option<usize>,

    /// Numbers of steps, separated by commas
    #[arg(long, value_name = "T,...", value_delimiter = ',', default_value = "10,40,120",
        value_parser = whole::<usize>(1..=MOST_STEPS))]
    steps: Vec<usize>,

    /// The first level of noise [default: 10 times the data's root mean square distance from their mean]
    #[arg(long, value_name = "S")]
    sigma_max: Option<f64>,

    /// Number of states to draw from the Gaussian under noise and to denoise with the Wiener filter; 0 for none
    #[arg(long, value_name = "M", default_value = "64", value_parser = whole::<usize>(0..=1_000_000))]
    draws: usize,

    #[command(flatten)]
    output: OutputArgs,

    #[arg(long = "shard", id = "shard", hide = true, value_name = "I/N|auto",
        value_parser = refused("its chains are closed forms"))]
    _shard: Option<Refused>,
}

impl Study for Args {
    const NAME: &'static str = "linear baseline";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let data = self.data.load(USUAL, run)?;
        let modes = self.modes.unwrap_or(USUAL_MODES.min(data.dimension()));
        expect_components(modes, data.dimension())?;
        let filter = Linear::wiener(&data, &vec![0.0; data.dimension()], [data.dimension(), 1, 1])?;
        let total: f64 = filter.spectrum().0.iter().sum();
        let distance = if total > 0.0 { total.sqrt() } else { 1.0 };
        let settings = Settings {
            modes,
            steps: self.steps.clone(),
            spacings: Spacing::ALL.to_vec(),
            sigma_max: self.sigma_max.unwrap_or(START * distance),
            draws: self.draws,
            seed: self.output.seed,
        };
        // A bad first level is refused before the work.
        Spacing::Linear.sigmas(1, settings.sigma_max)?;
        run.clock.lap("spectrum");
        let found = run.timed("chains", work(&settings), "chains", |advance| baseline(&filter, &settings, advance))?;
        Ok(results(&found, &settings, total))
    }
}
