//! `downhill linear transition`: the phase transition of the spiked model.

use std::path::Path;

use serde_json::json;

use crate::cli::args::NumberList;
use crate::cli::numbers::whole;
use crate::cli::parts::ShardArgs;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::error::{Error, Result};
use crate::study::chain::Projector;
use crate::study::results::{File, Results};
use crate::study::transition::{FILES, Settings, curves, measured, results};

const HELP: &str = "\
Examples:
  downhill linear transition -o transition
  downhill linear transition -n 1000 --gammas 0.1,1 --ratios 0.5,1,2,4,8 --draws 50 -o transition

One direction of variance r in white noise of variance 1, n samples of p values. Nadler (2008): below r = sqrt(p/n) \
the leading component carries no signal; above, cos^2 = (1 - g/r^2) / (1 + g/r) and its eigenvalue is (r + 1)(1 + g/r) \
with g = p/n. Near the threshold finite data are smoother than the theory, which is a limit.";

/// Measure the signal-to-noise ratio at which a component finds its direction, against theory
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    /// Samples per data set
    #[arg(short = 'n', long, value_name = "N", default_value = "400", value_parser = whole::<usize>(2..=100_000))]
    samples: usize,

    /// Values over samples, p/n, one curve for each
    #[arg(long, value_name = "G,G,...", default_value = "0.1,0.5,1,2", allow_hyphen_values = true)]
    gammas: NumberList,

    /// Signal-to-noise ratios r
    #[arg(
        long,
        value_name = "R,R,...",
        default_value = "0.1,0.2,0.3,0.4,0.5,0.7,0.85,1,1.2,1.4,1.7,2,3,4,6,10",
        allow_hyphen_values = true
    )]
    ratios: NumberList,

    /// Data sets per point
    #[arg(long, value_name = "N", default_value = "10", value_parser = whole::<usize>(1..=10_000))]
    draws: usize,

    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "linear transition";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let settings = Settings {
            samples: self.samples,
            gammas: positive("gammas", &self.gammas)?,
            ratios: positive("ratios", &self.ratios)?,
            draws: self.draws,
            seed: self.output.seed,
        };
        let engine = run.engine()?;
        let projector = Projector::new(&engine, 1);
        let mut parts = run.parts(
            &self.shard,
            &self.output,
            Some(&engine),
            || json!({ "measurement": settings, "arithmetic": projector.arithmetic() }),
        )?;
        parts.measure("points", settings.points(), |shard| {
            let work = shard.len(settings.points()) as u64;
            run.timed("points", work, "points", |advance| measured(&projector, &settings, shard, advance))
        })?;
        let Some(rows) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        Ok(results(&curves(rows.rows("points")?, &settings), &settings, projector.arithmetic()))
    }
}

/// The distinct numbers of a flag in ascending order, all of them positive.
fn positive(flag: &str, list: &NumberList) -> Result<Vec<f64>> {
    let mut numbers = list.0.clone();
    if let Some(number) = numbers.iter().find(|number| !(number.is_finite() && **number > 0.0)) {
        let what = format!("`{number}` of `--{flag}` is not above 0");
        return Err(Error::argument(what, "give positive numbers, separated by commas"));
    }
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    Ok(numbers)
}
