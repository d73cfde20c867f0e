//! `downhill inspect gaussian`: a denoiser beside the Gaussian, and a mixture of Gaussians, of its data.

use std::path::Path;

use serde_json::json;

use super::subject::{SubjectArgs, WalkArgs, images, noised};
use crate::cli::numbers::whole;
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::denoise::closed_form::ideal::Ideal;
use crate::denoise::closed_form::linear::Linear;
use crate::denoise::closed_form::mixture::Mixture;
use crate::error::{Error, Result};
use crate::study::error::OnImages;
use crate::study::gaussian::{Departure, FILES, departure, results};
use crate::study::predictions::{Predictions, Reference, predictions};
use crate::study::results::{File, Results};
use crate::study::trajectories::Trajectories;

/// The default number of steps.
const STEPS: usize = 50;

const HELP: &str = "\
Examples:
  downhill inspect gaussian -o gaussian
  downhill inspect gaussian google/ddpm-cifar10-32 --data cifar-train/ -o gaussian
  downhill inspect gaussian gaussian:digits -o control                 where everything is explained

The Gaussian has the mean and the covariance of --data; `isotropic` has the mean and the total variance alone, and \
`mixture` is `mixture:DATA,k=K`. Noise is added to images of --noised, and the share |eps' - eps|^2 / |eps|^2 of the \
network's eps that a closed form's eps' does not explain is measured (Wang and Vastola 2023, 2024). Trajectories are \
held against the solution of the Gaussian's probability flow from the same noise; the Gaussian's own denoiser by the \
same steps shows the part of the distance that the steps alone make.";

/// Measure the distance of a denoiser from the Gaussians of its data, over sigma and along trajectories
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

    /// Number of noised images, evenly spaced in the data
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = whole::<usize>(1..=1_000_000))]
    images: usize,

    /// Number of noise levels, evenly spaced in log sigma
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = whole::<usize>(2..=10_000))]
    levels: usize,

    /// Gaussians of the mixture
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = whole::<usize>(1..=1000))]
    components: usize,

    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    out: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect gaussian";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.out.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(None)?;
        let data = subject.expect_training_data(self.data.as_deref())?;
        let noised = noised(&subject, &data, self.data.as_deref(), self.noised.as_deref())?;
        let images = images(&subject, &noised, "images", self.images)?;
        if self.components > data.count() {
            let what = format!("`--components {}`, and `{}` holds {} images", self.components, data.name, data.count());
            return Err(Error::argument(what, "use fewer"));
        }
        let image = subject.image;
        let (levels, name) = (subject.levels(self.levels), subject.name.clone());
        let trails = self.walk.trails(&subject, STEPS)?;
        let seed = self.out.seed;
        let (of_data, of_noised) = (data_settings(&data), data_settings(&noised));
        run.report.set("trajectories", trails.json()).set("seed", seed).set("noised", noised.name);
        let mut centred = data.clone();
        let mean = centred.centre();
        let gaussian = Linear::wiener(&centred, &mean, image)?;
        let spread = gaussian.spectrum().0.iter().sum::<f64>().sqrt();
        let mixture = Mixture::of_clusters(&data, self.components, None, 0, image)?;
        let engine = run.engine()?;
        run.clock.lap("closed forms");
        let of_mixture = format!("mixture of {}", mixture.shares().len());
        let source = data.name.clone();
        let mut references = vec![
            Reference {
                name: "isotropic".to_owned(),
                denoiser: Box::new(Mixture::of_clusters(&data, 1, Some(0), 0, image)?),
            },
            Reference { name: "gaussian".to_owned(), denoiser: Box::new(gaussian.clone()) },
            Reference { name: of_mixture, denoiser: Box::new(mixture) },
            Reference { name: "ideal".to_owned(), denoiser: Box::new(Ideal::new(&engine, data, mean, image)?) },
        ];
        run.report.set("model", subject.json());
        let names: Vec<String> = references.iter().map(|reference| reference.name.clone()).collect();
        let mut parts = run.parts(&self.shard, &self.out, Some(&engine), || {
            json!({
                "subject": self.subject.settings(&subject), "data": of_data, "noised": of_noised,
                "images": self.images, "levels": self.levels, "components": self.components,
                "trajectories": trails.json(),
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
            run.timed("trajectories", 2 * walk.calls(), "calls", |advance| {
                Ok(departure(denoiser.as_mut(), &gaussian, &walk, spread, advance)?.rows())
            })
        })?;
        let Some(found) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let predictions = Predictions::of_rows(found.rows("images")?, &levels, &names);
        let departure = Departure::of_rows(found.rows("trajectories")?, &trails.schedule);
        Ok(results(&predictions, &departure, &name, &source))
    }
}
