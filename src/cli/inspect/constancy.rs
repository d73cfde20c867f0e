//! `downhill inspect constancy`: the changes of direction of the gradient.

use std::path::Path;

use serde_json::json;

use super::subject::{SubjectArgs, Walk, WalkArgs, Walked};
use crate::cli::numbers::whole;
use crate::cli::parts::ShardArgs;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::error::Result;
use crate::study::constancy::{Constancy, FILES, constancy, results};
use crate::study::results::{File, Results};

/// The default number of steps.
const STEPS: usize = 20;

const HELP: &str = "\
Examples:
  downhill inspect constancy -o constancy
  downhill inspect constancy ideal:digits --steps 50 -o constancy
  downhill inspect constancy --steps 10 --schedule paper --sampler ge -o constancy

Gradient estimation assumes that the gradient of the distance, eps up to its length, barely turns from step to step, \
and not at all between x and its projection. The turn |u - v| of unit vectors u and v is measured from each eps to the \
next, and from each eps to those on the segment from x to x - sigma eps, at a fraction of sigma. With data (--data, or \
those of an ideal denoiser) the turn of the exact gradient x - proj(x) is measured too.";

/// Measure how much the gradient turns along trajectories, and between x and its projection
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    #[arg(long, value_name = "DATA",
        help = format!("Data for the exact projection: {} [default: those of the ideal denoiser]", data::forms()))]
    data: Option<String>,

    /// Segments per trajectory
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole::<usize>(1..=1000))]
    segments: usize,

    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    out: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect constancy";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.out.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(None)?;
        let data = subject.data(self.data.as_deref())?;
        let (name, least) = (subject.name.clone(), subject.sigma_range().0);
        let has_data = data.is_some();
        let walk = Walk {
            subject,
            denoiser: &self.subject,
            data,
            args: &self.walk,
            steps: STEPS,
            out: &self.out,
            shard: &self.shard,
            settings: json!({ "segments": self.segments }),
        };
        let found = walk.run(
            run,
            "turns",
            |walk| Constancy::calls(walk, self.segments),
            |ground| {
                let found =
                    constancy(ground.denoiser, ground.walk, ground.samples, self.segments, least, ground.advance)?;
                Ok(found.rows())
            },
        )?;
        Ok(found.map_or_else(Results::unfinished, |Walked { rows, levels }| {
            results(&Constancy::of_rows(&rows, &levels, self.segments, has_data), &name)
        }))
    }
}
