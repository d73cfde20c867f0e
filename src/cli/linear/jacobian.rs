//! `downhill linear jacobian`: the leading eigenvectors of a denoiser's Jacobian along its trajectories.

use std::path::Path;

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::cli::inspect::subject::SubjectArgs;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::denoise::jacobian::{Differences, Jacobian};
use crate::error::{Error, Result};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::Settings as Sampling;
use crate::spectral::Settings;
use crate::study::jacobian::{FILES, Found, places, turning};
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill linear jacobian -o jacobian
  downhill linear jacobian -n 8 -k 12 --steps 20 -o jacobian
  downhill linear jacobian -n 1 --whole -o jacobian
  downhill linear jacobian ideal:digits --sigma-max 20 -o jacobian

At each level of a DDIM trajectory, J is the Jacobian of x0(x, sigma) = x - sigma eps(x, sigma) at the state x; u_i \
are the leading eigenvectors of (J + J') / 2, and the plot shows the sine of the angle between u_i and its counterpart \
at the end of the trajectory. Products with J are exact for networks (forward-mode tangents) and central differences \
for closed forms.

Products with J' are not available, so the symmetric part is diagonalised in the Krylov space of J, in blocks, until \
the part of J u_i outside of it is below --tolerance; --whole forms J from as many products as an image has values, \
and is exact. The asymmetry |J - J'| / |J + J'| is reported.

The slope of component i is that of its sine over sigma, from the end to where it first passes 1/2. Its rank \
correlation with i, the mean over samples, comes with a 95 % interval by bootstrap.";

/// Follow the leading eigenvectors of a denoiser's Jacobian along sampling trajectories
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// Number of trajectories
    #[arg(short = 'n', long, value_name = "N", default_value = "4", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    count: usize,

    /// Eigenvectors, by eigenvalue, largest first
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    components: usize,

    /// Steps per trajectory
    #[arg(long, value_name = "N", default_value = "12", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(2..=1000))]
    steps: usize,

    /// Spacing of the noise levels [default: `loglinear`]
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND")]
    schedule: Option<ScheduleKind>,

    /// First sigma of a schedule that has a range [default: 40, for closed forms by their data]
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    sigma_max: Option<f64>,

    /// Last sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    sigma_min: Option<f64>,

    /// Vectors multiplied at once
    #[arg(long, value_name = "N", default_value = "16", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    block: usize,

    /// The norm of J times an eigenvector outside the basis, over the largest eigenvalue
    #[arg(long, value_name = "R", default_value = "0.01", allow_negative_numbers = true)]
    tolerance: f64,

    /// Maximum number of blocks of a basis
    #[arg(long, value_name = "N", default_value = "16", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    most_blocks: usize,

    /// Form the whole Jacobian: exact, for as many products as an image has values
    #[arg(long)]
    whole: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// The most noise of a network's trajectory: the paper's.
const SIGMA_MAX: f64 = 40.0;
/// The most values of an image whose whole Jacobian is formed: 0.5 GiB in float64.
const LARGEST_WHOLE: usize = 8192;

impl Study for Args {
    const NAME: &'static str = "linear jacobian";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(None)?;
        let dimension: usize = subject.image.iter().product();
        let settings = self.settings(dimension)?;
        let trails = subject.trails(self.sampling(subject.mean.is_some()), self.count, self.steps)?;
        let (name, differences) = (subject.name.clone(), subject.difference_step());
        let engine = run.engine()?;
        let (mut denoiser, batch) = self.subject.ready(subject, &engine, run, self.count)?;
        let seed = self.output.seed;
        let walks = trails.from_seed(seed, batch);
        let paths = run.timed("trajectories", walks.calls(), "trajectories", |advance| {
            places(denoiser.as_mut(), &walks, advance)
        })?;
        run.report.set("trajectories", trails.json()).set("seed", seed);

        let exact;
        let by_differences;
        let (jacobian, products): (&dyn Jacobian, _) = if let Some(step) = &differences {
            by_differences = Differences::new(denoiser.as_mut(), step);
            (&by_differences, "central differences")
        } else {
            // The network's memory is free again before its tangents take theirs.
            drop(denoiser);
            exact = self.subject.open(None)?.jacobian(self.subject.compiler(&engine, run), self.block)?;
            (&exact, "exact")
        };
        let work = paths.iter().map(|path| path.len() as u64).sum();
        let turnings = run.timed("eigenvectors", work, "eigenvectors", |advance| {
            paths.iter().map(|path| turning(jacobian, path, &settings, self.whole, advance)).collect()
        })?;
        let found = Found { sigmas: paths[0].iter().map(|place| place.level.sigma).collect(), turnings };
        let described =
            json!({ "products": products, "made": found.products(), "whole": self.whole, "settings": settings });
        Ok(found.results(&name, dimension, described, seed))
    }
}

impl Args {
    /// The settings of the solver for images of `dimension` values.
    fn settings(&self, dimension: usize) -> Result<Settings> {
        let settings = Settings {
            tolerance: self.tolerance,
            block: Some(self.block.min(dimension)),
            most_applications: self.most_blocks,
            seed: self.output.seed,
            ..Settings::new(self.components)
        };
        settings.check(dimension)?;
        if self.whole && dimension > LARGEST_WHOLE {
            let what = format!("a whole Jacobian of {dimension} x {dimension} values is too large");
            return Err(Error::argument(what, "omit `--whole`"));
        }
        Ok(settings)
    }

    /// The settings of the trajectories of a closed form, or of a network.
    fn sampling(&self, is_closed_form: bool) -> Sampling {
        let usual_sigma = (!is_closed_form && self.schedule.is_none()).then_some(SIGMA_MAX);
        Sampling {
            sampler: Some(Sampler::Ddim),
            schedule: Some(self.schedule.unwrap_or(ScheduleKind::LogLinear)),
            steps: Some(self.steps),
            sigma_max: self.sigma_max.or(usual_sigma),
            sigma_min: self.sigma_min,
            ..Sampling::default()
        }
    }
}
