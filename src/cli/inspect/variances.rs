//! `downhill inspect variances`: the statistics of Analytic-DDIM, for `--variances`.

use std::path::Path;

use serde_json::json;

use super::subject::{SubjectArgs, images};
use crate::cli::numbers::whole;
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::error::Result;
use crate::study::error::OnImages;
use crate::study::parts::Rows;
use crate::study::results::{File, Results};
use crate::study::variances::{FILES, results, squares_on_images};

const HELP: &str = "\
Examples:
  downhill inspect variances -o variances
  downhill inspect variances ddim_cifar10.ckpt --data cifar10-train/ -n 10000 --levels 1000 -o variances
  downhill sample --sampler ddim --variances variances/variances.json --steps 10
  downhill inspect compare --variances variances/variances.json -o quality

Analytic-DDIM (Bao et al. 2022) takes DDIM's steps with the variance that is optimal for the denoiser. It follows from \
Gamma, the mean of eps squared over noised data: sigma^2 (1 - Gamma) is the variance of x0 given x. The images are \
those that the model was trained on, in -1..1.";

/// Estimate the second moment of eps on noised images, for Analytic-DDIM
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    #[arg(long, value_name = "DATA",
        help = format!("Images to add noise to: {} [default: `digits` where they fit; for the embedded network \
            `digits-train`]", data::forms()))]
    data: Option<String>,

    /// Number of images, evenly spaced in the data
    #[arg(short = 'n', long, default_value_t = 200, value_parser = whole::<usize>(2..=1_000_000))]
    count: usize,

    /// Number of noise levels, evenly spaced in log sigma; between them variances are interpolated
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = whole::<usize>(2..=10_000))]
    levels: usize,

    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    out: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect variances";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.out.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(None)?;
        let data = subject.expect_training_data(self.data.as_deref())?;
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
            run.timed("squares", on.calls(), "calls", |advance| {
                Ok(Rows::of(&[&squares_on_images(denoiser.as_mut(), &on, advance)?]))
            })
        })?;
        let Some(found) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let squares = found.rows("images")?.by_level(0, &levels);
        results(&squares, &name, &data.name)
    }
}
