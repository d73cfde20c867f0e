//! `downhill inspect norms`: the norm of the denoiser's eps along its trajectories.

use std::path::Path;

use serde_json::Value;

use super::subject::{SubjectArgs, Walk, WalkArgs, Walked, calls};
use crate::cli::parts::ShardArgs;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::error::Result;
use crate::study::norms::{FILES, along_trajectories, results};
use crate::study::parts::Rows;
use crate::study::results::{File, Results};

/// The default number of steps.
const STEPS: usize = 50;

const HELP: &str = "\
Examples:
  downhill inspect norms -o norms
  downhill inspect norms google/ddpm-cifar10-32 -n 64 --steps 100 -o norms
  downhill inspect norms wiener:digits -o norms

If the eps of a denoiser is the noise in its image, |eps| / sqrt(n) is near 1 (Permenter and Yuan 2024).";

/// Measure |eps| / sqrt(n) along trajectories, as a histogram over t
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    out: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect norms";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.out.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(None)?;
        let name = subject.name.clone();
        let walk = Walk {
            subject,
            denoiser: &self.subject,
            data: None,
            args: &self.walk,
            steps: STEPS,
            out: &self.out,
            shard: &self.shard,
            settings: Value::Null,
        };
        let found = walk.run(run, "norms", calls, |ground| {
            Ok(Rows::of(&[&along_trajectories(ground.denoiser, ground.walk, ground.advance)?]))
        })?;
        Ok(found.map_or_else(Results::unfinished, |Walked { rows, levels }| results(&rows.by_level(0, &levels), &name)))
    }
}
