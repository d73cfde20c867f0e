//! `downhill linear environments`: how far a Jacobian predicts its denoiser, and which states share one.

use std::path::Path;

use crate::cli::inspect::subject::SubjectArgs;
use crate::cli::numbers::whole;
use crate::cli::parts::{Refused, refused};
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::denoise::jacobian::{Differences, Place};
use crate::error::{Error, Result};
use crate::kernels::Engine;
use crate::sample::samplers::Sampler;
use crate::sample::settings::Settings as Sampling;
use crate::study::environments::{Environments, FILES, Settings, explore, linearise, predictions, results, work};
use crate::study::jacobian::{levels, places};
use crate::study::results::{File, Results};
use crate::study::subject::Subject;

const HELP: &str = "\
Examples:
  downhill linear environments -o environments
  downhill linear environments -n 32 --tolerance 0.05 -o environments
  downhill linear environments ideal:digits -o environments

At the states of DDIM trajectories, J is the Jacobian of x0(x, sigma) = x - sigma eps(x, sigma). The linearised \
environment of a state x along a unit direction v ends at the least distance r where r J v misses x0(x + r v) - x0(x) \
by --tolerance of its length; radii are in units of the length of the noise, sigma sqrt(n), up to 4. Directions are \
random, towards the state's own prediction, and towards the nearest other state. A state shares the environment of \
another if the other's J predicts it within the tolerance.

The same is measured on the Wiener filter of --data: it is linear, and all states share one environment.";

/// Measure how far the Jacobian of a denoiser predicts it, and which states share a Jacobian
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// Number of trajectories
    #[arg(short = 'n', long, value_name = "N", default_value = "16", value_parser = whole::<usize>(2..=1000))]
    count: usize,

    #[arg(long, value_name = "DATA", help = format!(
        "Data of the Wiener filter beside it: {} [default: those of a closed form, or `digits` where they fit]",
        data::forms()))]
    data: Option<String>,

    /// Omit the Wiener filter
    #[arg(long)]
    no_controls: bool,

    /// Steps per trajectory
    #[arg(long, value_name = "N", default_value = "9", value_parser = whole::<usize>(2..=1000))]
    steps: usize,

    /// Error of a linearisation at which an environment ends
    #[arg(long, value_name = "E", default_value = "0.1")]
    tolerance: f64,

    /// Random directions per state
    #[arg(long, value_name = "N", default_value = "3", value_parser = whole::<usize>(1..=1000))]
    directions: usize,

    /// Vectors multiplied at once
    #[arg(long, value_name = "N", default_value = "16", value_parser = whole::<usize>(1..=1024))]
    block: usize,

    #[command(flatten)]
    output: OutputArgs,

    #[arg(long = "shard", id = "shard", hide = true, value_name = "I/N|auto",
        value_parser = refused("every state is compared with all others of its level"))]
    _shard: Option<Refused>,
}

/// The most noise of a network's trajectory: the paper's.
const SIGMA_MAX: f64 = 40.0;

impl Study for Args {
    const NAME: &'static str = "linear environments";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        if !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            let what = format!("`--tolerance {}` is not a share between 0 and 1", self.tolerance);
            return Err(Error::argument(what, "give a number such as 0.1"));
        }
        let subject = self.subject.open(None)?;
        let name = subject.name.clone();
        let (least, most) = subject.sigma_range();
        let most = if subject.mean.is_none() { most.min(SIGMA_MAX) } else { most };
        let sampling = Sampling {
            sampler: Some(Sampler::Ddim),
            sigmas: Some(levels(most, least, self.steps)),
            ..Sampling::default()
        };
        let trails = subject.trails(sampling, self.count, self.steps)?;
        let null = if self.no_controls { None } else { subject.wiener(self.data.as_deref())? };
        let differences = subject.difference_step();
        let engine = run.engine()?;
        let (mut denoiser, batch) = self.subject.ready(subject, &engine, run, self.count)?;
        let seed = self.output.seed;
        let walks = trails.from_seed(seed, batch);
        let paths = run.timed("trajectories", walks.calls(), "trajectories", |advance| {
            places(denoiser.as_mut(), &walks, advance)
        })?;
        run.report.set("trajectories", trails.json()).set("seed", seed);
        let settings = Settings { tolerance: self.tolerance, directions: self.directions, batch, seed };
        let found = if differences.is_some() {
            drop(denoiser);
            self.of_closed_form(run, &engine, self.subject.open(None)?, &paths, &settings)?
        } else {
            let known = predictions(denoiser.as_mut(), &paths, batch)?;
            // Network and tangents are in memory one after the other.
            drop(denoiser);
            let jacobian = self.subject.open(None)?.jacobian(self.subject.compiler(&engine, run), self.block)?;
            let linearised = run.timed("linearisations", work(&paths), "linearisations", |advance| {
                linearise(&jacobian, &paths, known, &settings, advance)
            })?;
            drop(jacobian);
            let (mut denoiser, _) = self.subject.ready(self.subject.open(None)?, &engine, run, self.count)?;
            run.timed("distances", work(&paths), "distances", |advance| {
                explore(denoiser.as_mut(), &paths, &linearised, &settings, advance)
            })?
        };
        let null = match null {
            Some(null) => {
                let name = null.name.clone();
                Some((name, self.of_closed_form(run, &engine, null, &paths, &settings)?))
            }
            None => None,
        };
        let null = null.as_ref().map(|(name, found)| (name.as_str(), found));
        Ok(results(&found, null, &settings, &name))
    }
}

impl Args {
    /// The environments of a closed form at the states of `paths`.
    fn of_closed_form(
        &self,
        run: &mut StudyRun,
        engine: &Engine,
        subject: Subject,
        paths: &[Vec<Place>],
        settings: &Settings,
    ) -> Result<Environments> {
        let Some(step) = subject.difference_step() else {
            let what = format!("`{}` is not a closed form", subject.name);
            return Err(Error::argument(what, "give data of a Wiener filter"));
        };
        let ready =
            subject.ready(self.subject.compiler(engine, run), self.subject.batch, self.count, &mut |_| Ok(()))?;
        let mut denoiser = ready.denoiser;
        let known = predictions(denoiser.as_mut(), paths, settings.batch)?;
        let linearised = run.timed("linearisations", work(paths), "linearisations", |advance| {
            linearise(&Differences::new(denoiser.as_mut(), &step), paths, known, settings, advance)
        })?;
        run.timed("distances", work(paths), "distances", |advance| {
            explore(denoiser.as_mut(), paths, &linearised, settings, advance)
        })
    }
}
