//! `downhill inspect local`: a denoiser beside local closed forms, the ideal one and the Gaussian.

use std::path::Path;

use serde_json::json;

use super::subject::{SubjectArgs, WalkArgs, images, noised};
use crate::cli::numbers::whole;
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::denoise::closed_form::ideal::Ideal;
use crate::denoise::closed_form::linear::Linear;
use crate::denoise::closed_form::local::Local;
use crate::denoise::closed_form::{Boundary, LocalOptions};
use crate::error::{Error, Result};
use crate::study::error::OnImages;
use crate::study::local::{FILES, ends, likeness, results};
use crate::study::predictions::{Predictions, Reference, predictions};
use crate::study::results::{File, Results};
use crate::study::trajectories::Trajectories;

/// The default number of steps.
const STEPS: usize = 20;

const HELP: &str = "\
Examples:
  downhill inspect local -o local
  downhill inspect local --patches 3,7,11 --boundary circular --samples 500 -o local
  downhill inspect local local:digits,patch=5,n=200 --samples 200 --patches 3,5,7 -o control

Each `local` closed form has the patches of --data of one side (Kamb and Ganguli 2024). Their predictions of noised \
images are held against the model's, at each noise level, and their samples against the model's samples from the same \
noise by r^2; `best` takes at each level the side that predicts best there. r^2 against samples from other noise is \
what chance makes of it. The cost grows with --samples: on a processor, minutes for a thousand.";

/// Measure how well local closed forms predict a denoiser and its samples, by the side of their patches
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    #[arg(long, value_name = "DATA",
        help = format!("Data of the closed forms: {} [default: `digits` where they fit; for the embedded network \
            `digits-train`]", data::forms()))]
    data: Option<String>,

    #[arg(long, value_name = "DATA",
        help = format!("Data whose images are noised: {} [default: those of --data; without --data and for the \
            embedded network `digits-held-out`]", data::forms()))]
    noised: Option<String>,

    /// Use N samples of the data, evenly spaced
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = whole::<usize>(1..=10_000_000))]
    samples: usize,

    /// Sides of patches in pixels, odd numbers
    #[arg(long, value_name = "P,...", value_delimiter = ',', default_value = "3,5,7,9,13,17,25",
        value_parser = whole::<usize>(1..=10_000))]
    patches: Vec<usize>,

    /// Patches at the edges of images: `padded`, `circular` or `fixed`
    #[arg(long, value_name = "KIND", default_value = "padded", value_parser = str::parse::<Boundary>)]
    boundary: Boundary,

    /// Number of noised images, evenly spaced in the data
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = whole::<usize>(1..=1_000_000))]
    images: usize,

    /// Number of noise levels, evenly spaced in log sigma
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = whole::<usize>(2..=10_000))]
    levels: usize,

    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    out: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect local";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.out.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(None)?;
        let whole = subject.expect_training_data(self.data.as_deref())?;
        let noised = noised(&subject, &whole, self.data.as_deref(), self.noised.as_deref())?;
        let images = images(&subject, &noised, "images", self.images)?;
        let image = subject.image;
        let data = whole.evenly(self.samples);
        let mut options = Vec::new();
        for patch in &self.patches {
            if patch % 2 == 0 {
                let what = format!("`--patches` of {patch} pixels do not have a centre");
                return Err(Error::argument(what, "give odd numbers"));
            }
            options.push(LocalOptions { patch: *patch, boundary: self.boundary, samples: None });
        }
        let (levels, name) = (subject.levels(self.levels), subject.name.clone());
        let trails = self.walk.trails(&subject, STEPS)?;
        let seed = self.out.seed;
        let (of_data, of_noised) = (data_settings(&data), data_settings(&noised));
        run.report.set("trajectories", trails.json()).set("seed", seed).set("noised", noised.name);
        run.report.set(
            "patches",
            json!({ "sides": self.patches, "boundary": self.boundary,
            "samples": data.count() }),
        );
        if data.count() < whole.count() {
            let (used, all) = (data.count(), whole.count());
            run.console.note(&format!("note: patches of {used} of {all} samples; `--samples N` takes another number"));
        }
        let engine = run.engine()?;
        let mut references = Vec::new();
        for options in &options {
            let denoiser = Local::new(&engine, data.clone(), options, image)?;
            references.push(Reference { name: format!("local {}", options.patch), denoiser: Box::new(denoiser) });
        }
        let mut centred = data.clone();
        let mean = centred.centre();
        let (gaussian, source) = (Linear::wiener(&centred, &mean, image)?, data.name.clone());
        let ideal = Ideal::new(&engine, data, mean, image)?;
        references.push(Reference { name: "ideal".to_owned(), denoiser: Box::new(ideal) });
        references.push(Reference { name: "gaussian".to_owned(), denoiser: Box::new(gaussian) });
        run.clock.lap("closed forms");
        run.report.set("model", subject.json());
        let names: Vec<String> = references.iter().map(|reference| reference.name.clone()).collect();
        let mut parts = run.parts(&self.shard, &self.out, Some(&engine), || {
            json!({
                "subject": self.subject.settings(&subject), "data": of_data, "noised": of_noised,
                "images": self.images, "levels": self.levels, "samples": self.samples, "patches": self.patches,
                "boundary": self.boundary, "trajectories": trails.json(),
            })
        })?;
        let most = self.images.max(self.walk.count);
        let (mut denoiser, batch) = self.subject.ready(subject, &engine, run, parts.shard().len(most))?;
        parts.measure("images", self.images, |shard| {
            let on = OnImages { images: &images, levels: &levels, batch, seed, shard };
            let work = on.calls() * (1 + references.len()) as u64;
            run.timed("predictions", work, "calls", |advance| {
                Ok(predictions(denoiser.as_mut(), &mut references, &on, advance)?.rows())
            })
        })?;
        parts.measure("trajectories", self.walk.count, |shard| {
            let walk = Trajectories { shard, ..trails.from_seed(seed, batch) };
            run.timed("samples", (1 + references.len()) as u64 * walk.calls(), "calls", |advance| {
                ends(denoiser.as_mut(), &mut references, &walk, advance)
            })
        })?;
        let Some(found) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let predictions = Predictions::of_rows(found.rows("images")?, &levels, &names);
        // The best reference of each level is known only with the measurements of all runs.
        let (walk, of_all) = (trails.from_seed(seed, batch), found.rows("trajectories")?);
        let likeness = run.timed("samples of the best", walk.calls(), "calls", |advance| {
            likeness(of_all, &mut references, &predictions, self.patches.len(), &walk, advance)
        })?;
        Ok(results(&predictions, &likeness, &self.patches, &name, &source))
    }
}
