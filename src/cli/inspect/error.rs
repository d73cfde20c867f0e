//! `downhill inspect error`: the noise that the denoiser finds in noised images.

use std::path::Path;

use serde_json::json;

use super::subject::{SubjectArgs, images};
use crate::cli::numbers::whole;
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::error::Result;
use crate::study::error::{FILES, OnImages, errors_on_images, results};
use crate::study::parts::Rows;
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill inspect error -o error
  downhill inspect error google/ddpm-cifar10-32 --data cifar-test/ -n 64 --levels 100 -o error
  downhill inspect error pca:digits-train,k=32 --data digits-held-out -o error

Noise w is added to images k, x = k + sigma w, and |eps(x, sigma) - w| / sqrt(n) is measured: 0 where the \
denoiser finds all of the noise, 1 where it finds none. The embedded network was trained on `digits-train`, the \
first 8,000 digits, and has not seen `digits-held-out`, the last 2,000; `pca:digits` and the other closed forms are \
made from the data that they name. Errors on images that a model was made from are training errors: pass others as \
--data.";

/// Measure |eps - noise| / sqrt(n) on noised images, against sigma
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    #[arg(long, value_name = "DATA",
        help = format!("Images to add noise to: {} [default: `digits` where they fit; for the embedded network \
            `digits-held-out`]", data::forms()))]
    data: Option<String>,

    /// Number of images, evenly spaced in the data
    #[arg(short = 'n', long, default_value_t = 200, value_parser = whole::<usize>(1..=1_000_000))]
    count: usize,

    /// Number of noise levels, evenly spaced in log sigma
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = whole::<usize>(2..=10_000))]
    levels: usize,

    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    out: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect error";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.out.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(None)?;
        let data = subject.expect_data(self.data.as_deref())?;
        let images = images(&subject, &data, "count", self.count)?;
        let levels = subject.levels(self.levels);
        let name = subject.name.clone();
        let engine = run.engine()?;
        run.report.set("model", subject.json()).set("seed", self.out.seed);
        let mut parts = run.parts(&self.shard, &self.out, Some(&engine), || {
            json!({
                "subject": self.subject.settings(&subject), "data": data_settings(&data), "count": self.count,
                "levels": self.levels,
            })
        })?;
        parts.measure("images", self.count, |shard| {
            let (mut denoiser, batch) = self.subject.ready(subject, &engine, run, shard.len(self.count))?;
            let on = OnImages { images: &images, levels: &levels, batch, seed: self.out.seed, shard };
            run.timed("errors", on.calls(), "calls", |advance| {
                Ok(Rows::of(&[&errors_on_images(denoiser.as_mut(), &on, advance)?]))
            })
        })?;
        let Some(found) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let errors = found.rows("images")?.by_level(0, &levels);
        Ok(results(&errors, &name, &data.name))
    }
}
