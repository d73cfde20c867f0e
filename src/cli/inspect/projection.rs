//! `downhill inspect projection`: the denoiser beside the exact projection on the data.

use std::path::Path;

use serde_json::Value;

use super::subject::{SubjectArgs, Walk, WalkArgs, Walked, calls};
use crate::cli::parts::ShardArgs;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::error::Result;
use crate::study::projection::{FILES, Projections, projections, results};
use crate::study::results::{File, Results};

/// The default number of steps.
const STEPS: usize = 50;
/// The default model: the paper's experiment with digits.
const USUAL: &str = "ideal:digits";

const HELP: &str = "\
Examples:
  downhill inspect projection -o projection
  downhill inspect projection ideal:cifar/ -n 500 --sigma-max 157 -o projection
  downhill inspect projection google/ddpm-cifar10-32 --data cifar/ -o projection

Along trajectories, the prediction x - sigma eps is compared with the sample nearest to x: the relative error |x0 - \
proj(x)| / dist(x), and nu = sqrt(n) sigma / dist(x). The default MODEL is `ideal:digits`, the paper's experiment with \
digits. A network does not project onto the samples of --data themselves, so its error includes its generalisation.";

/// Measure the relative error of the denoiser against the exact projection on data
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    #[arg(long, value_name = "DATA", help = format!(
        "Data to project onto: {} [default: those of the ideal denoiser, or `digits` where they fit]",
        data::forms()))]
    data: Option<String>,

    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    out: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect projection";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.out.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(Some(USUAL))?;
        let data = subject.expect_data(self.data.as_deref())?;
        let (name, source) = (subject.name.clone(), data.name.clone());
        let walk = Walk {
            subject,
            denoiser: &self.subject,
            data: Some(data),
            args: &self.walk,
            steps: STEPS,
            out: &self.out,
            shard: &self.shard,
            settings: Value::Null,
        };
        let found = walk.run(run, "projections", calls, |ground| {
            let samples = ground.samples()?;
            Ok(projections(ground.denoiser, ground.walk, samples, ground.advance)?.rows())
        })?;
        Ok(found.map_or_else(Results::unfinished, |Walked { rows, levels }| {
            results(&Projections::of_rows(&rows, &levels), &name, &source)
        }))
    }
}
