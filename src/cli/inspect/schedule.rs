//! `downhill inspect schedule`: the guarantee of an error model for a schedule.

use std::path::{Path, PathBuf};

use crate::cli::args::{ErrorModelArg, NumberList, denoiser_help};
use crate::cli::numbers::whole_from;
use crate::cli::parts::{Refused, refused};
use crate::cli::study::{Study, StudyRun, help};
use crate::denoise::closed_form::ClosedForm;
use crate::error::Result;
use crate::model::Model;
use crate::sample::admissible::ErrorModel;
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::Settings;
use crate::study::promise::{FILES, Promise};
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill inspect schedule --error-model 0.05,2 --steps 10
  downhill inspect schedule --error-model 0.05,2 --schedule admissible -o schedule
  downhill inspect schedule ideal:digits --error-model errors/error-model.json --sigmas 40,10,2,0.5

An error model (ETA, NU) says: where the distance to the data is sqrt(n) sigma within a factor NU, the denoiser's eps \
is off by at most ETA times the distance. A schedule that starts at that distance is admissible if DDIM, which is \
gradient descent with steps beta = 1 - sigma'/sigma, then stays within the factor to the end (Permenter and Yuan \
2024). Steps of one length are admissible up to beta* = c / (ETA + c) with c = 1 - NU^(-1/N). Distances are relative \
to the one at the start. Without -o the results are printed only.";

/// Check whether a schedule is admissible for an error model, and what that guarantees
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[arg(help = denoiser_help())]
    model: Option<String>,

    /// `ETA,NU`, or a file written by `downhill inspect error-model`
    #[arg(long, value_name = "ETA,NU|FILE", allow_hyphen_values = true)]
    error_model: ErrorModelArg,

    /// Steps [default: 10, or the fewest that `admissible` needs; 50 for closed forms]
    #[arg(long, value_name = "N", value_parser = whole_from::<usize>(1))]
    steps: Option<usize>,

    /// Spacing of the noise levels [default: `paper`, for closed forms `exponential`]
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND")]
    schedule: Option<ScheduleKind>,

    /// First sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA")]
    sigma_max: Option<f64>,

    /// Last sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA")]
    sigma_min: Option<f64>,

    /// N + 1 decreasing timesteps instead of a schedule
    #[arg(long, value_name = "A,...,Z", allow_hyphen_values = true)]
    timesteps: Option<NumberList>,

    /// N + 1 decreasing sigmas instead of a schedule
    #[arg(long, value_name = "A,...,Z", allow_hyphen_values = true)]
    sigmas: Option<NumberList>,

    /// Folder for the results
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[arg(long = "shard", id = "shard", hide = true, value_name = "I/N|auto",
        value_parser = refused("it calls no denoiser"))]
    _shard: Option<Refused>,
}

impl Study for Args {
    const NAME: &'static str = "inspect schedule";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        self.output.as_deref()
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let model = self.error_model.read()?;
        run.report.set("model", self.model.as_deref().unwrap_or("digits"));
        Ok(Promise::new(model, self.sigmas(&model)?)?.results())
    }
}

impl Args {
    /// The levels, first to last.
    fn sigmas(&self, model: &ErrorModel) -> Result<Vec<f64>> {
        let admissible = self.schedule == Some(ScheduleKind::Admissible);
        let settings = Settings {
            schedule: self.schedule,
            steps: self.steps,
            sigma_max: self.sigma_max,
            sigma_min: self.sigma_min,
            timesteps: self.timesteps.clone().map(|list| list.0),
            sigmas: self.sigmas.clone().map(|list| list.0),
            error_model: admissible.then_some(*model),
            ..Settings::default()
        };
        let schedule = if let Some(form) = self.model.as_deref().map_or(Ok(None), ClosedForm::open)? {
            settings.on_sigmas(form.sigma_range())?.schedule
        } else {
            let model = Model::open_or_embedded(self.model.as_deref())?;
            let settings = Settings { sampler: Some(Sampler::Ge), ..settings };
            model.course(&settings)?.schedule
        };
        Ok(schedule.levels().iter().map(|level| level.sigma).collect())
    }
}
