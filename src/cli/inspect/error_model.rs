//! `downhill inspect error-model`: eta and nu of a denoiser, for `inspect schedule` and `sample --error-model`.

use std::path::Path;

use serde_json::Value;

use super::subject::{SubjectArgs, Walk, WalkArgs, Walked};
use crate::cli::parts::ShardArgs;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::error::{Error, Result};
use crate::study::error_model::{FILES, calls, points, results, rows};
use crate::study::results::{File, Results};

/// The default number of steps.
const STEPS: usize = 20;

const HELP: &str = "\
Examples:
  downhill inspect error-model -o errors
  downhill inspect schedule --error-model errors/error-model.json --steps 20
  downhill sample --sampler ddim --error-model errors/error-model.json --steps 20
  downhill inspect error-model ideal:digits -o errors

The assumption (Permenter and Yuan 2024): where sqrt(n) sigma is the distance to the data within a factor nu, |sigma \
eps - (x - proj(x))| is at most eta times the distance. It is measured along trajectories, also at half to twice their \
noise. The projection is on the samples of --data (or of an ideal denoiser); without data it is the end of the \
trajectory, which would be the projection if the theory were exact. For each nu, the least eta that covers --share of \
the points is found; the pair with the largest ln nu / eta, which admits the longest descent, goes to \
error-model.json.";

/// Fit (eta, nu) of the relative-error assumption on trajectories
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    #[arg(long, value_name = "DATA", help = format!(
        "Data for the exact projection: {} [default: those of the ideal denoiser, or the ends of trajectories]",
        data::forms()))]
    data: Option<String>,

    /// Fraction of the points that the model covers, above 0 and at most 1
    #[arg(long, default_value_t = 0.95)]
    share: f64,

    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    out: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect error-model";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.out.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err(Error::argument(format!("`--share` of {}", self.share), "`share` is above 0 and at most 1"));
        }
        let subject = self.subject.open(None)?;
        let data = subject.data(self.data.as_deref())?;
        let (name, range) = (subject.name.clone(), subject.sigma_range());
        let source = data.as_ref().map(|data| data.name.clone());
        let walk = Walk {
            subject,
            denoiser: &self.subject,
            data,
            args: &self.walk,
            steps: STEPS,
            out: &self.out,
            shard: &self.shard,
            settings: Value::Null,
        };
        let found = walk.run(run, "errors", calls, |ground| {
            rows(ground.denoiser, ground.walk, ground.samples, range, ground.advance)
        })?;
        Ok(found.map_or_else(Results::unfinished, |Walked { rows, .. }| {
            results(&points(&rows), self.share, &name, source.as_deref())
        }))
    }
}
