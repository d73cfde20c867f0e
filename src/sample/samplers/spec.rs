//! The columns of the table of samplers: the contents of a sampler's file.

use std::sync::Arc;

use super::super::config_fields::{Fields, FinalSigma, Spacing};
use super::super::schedule::{Schedule, ScheduleKind, Successor};
use super::super::sigma_grids::SigmaRule;
use super::super::walk::Solver;
use crate::denoise::diffusion::{NoiseTable, PredictionType};
use crate::{Error, Result};

/// Everything that is known about a sampler before it runs.
pub struct Spec {
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// The order of its steps with default settings.
    pub order: usize,
    /// Its network calls.
    pub calls: Calls,
    /// The source, for a list of samplers.
    pub source: &'static str,
    /// The class of diffusers that it implements, if there is one.
    pub class: Option<&'static str>,
    /// The classes of diffusers whose folders it samples by default.
    pub folders: &'static [&'static str],
    /// The noise levels that its class has where a folder's file does not name them.
    pub levels: Levels,
    /// N where it is not given.
    pub steps: usize,
    /// `timestep_spacing` where a folder's file does not name it.
    pub spacing: Spacing,
    /// Its noise levels.
    pub grid: Grid,
    /// The kind of schedule where none is given; `None` for the one that the folder's file describes.
    pub kind: Option<ScheduleKind>,
    /// The kind of schedule that serves it best in few steps, where samplers are compared at equal calls.
    pub short_kind: ScheduleKind,
    /// The level that its last step ends at.
    pub end: EndRule,
    /// The noise of its start state.
    pub start: StartRule,
    /// `true` if it can start at pure noise, where sigma is infinite. Otherwise a model without signal at its last
    /// timestep has a little of it there, as in diffusers' schedulers that step in sigma.
    pub pure_noise: bool,
    /// The steps that are walked of a whole schedule when a number of the last ones is asked for: [`last_steps`], but
    /// for samplers that begin in another way.
    pub begun: fn(&Request, Schedule, usize) -> Result<Schedule>,
    /// Clipping of its predictions of x0.
    pub clip: ClipRule,
    /// The parameters that it takes: the names of fields of [`Parameters`].
    pub parameters: &'static [&'static str],
    /// Makes its solver for the whole schedule, of which the last steps may be walked alone. Fields of a folder's file
    /// that are not supported for its class are refused by name.
    pub solver: fn(&Request, &Schedule) -> Result<Arc<dyn Solver>>,
}

/// Network calls of a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Those of a step.
    pub per_step: usize,
    /// Those of the last step.
    pub last: usize,
    /// Those that starting takes in addition.
    pub start: usize,
}

impl Calls {
    /// One call per step.
    pub const ONE: Self = Self { per_step: 1, last: 1, start: 0 };
    /// Two calls per step but for the last.
    pub const TWO: Self = Self { per_step: 2, last: 1, start: 0 };

    /// Returns the largest number of steps that take at most `calls` calls, at least 1.
    #[must_use]
    pub fn steps_within(self, calls: usize) -> usize {
        1 + calls.saturating_sub(self.start + self.last) / self.per_step
    }

    /// Returns the number of calls of `steps` steps, at least 1.
    #[must_use]
    pub fn of_steps(self, steps: usize) -> usize {
        self.start + self.per_step * steps.saturating_sub(1) + self.last
    }
}

/// The noise levels that a class of diffusers has by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// Betas linear from 0.0001 to 0.02: those of DDPM.
    Ddpm,
    /// Betas linear from 0.00085 to 0.012: those of k-diffusion's samplers.
    Narrow,
    /// Betas even in the root from 0.00085 to 0.012: those of Stable Diffusion.
    Latent,
    /// Sines of angles, as in `IPNDMScheduler`.
    Angle,
    /// Flow matching.
    Flow,
    /// Those of Karras et al. (2022).
    Edm,
    /// Those of Song et al. (2021), by scores.
    Score,
    /// Those of consistency models.
    Consistency,
}

/// The noise levels of a sampler on diffusers' spacings.
#[derive(Clone, Copy)]
pub enum Grid {
    /// Those of the spacing's timesteps.
    Timesteps(Successor),
    /// Those of diffusers' schedulers that step in sigma.
    Sigmas(SigmaRule),
    /// Its own, for [`ScheduleKind::Own`].
    Own(fn(&Request) -> Result<Schedule>),
}

/// The level that the last step ends at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndRule {
    /// `set_alpha_to_one` decides between no noise and timestep 0; the value is its default.
    SetAlphaToOne(bool),
    /// `final_sigmas_type` decides between no noise and timestep 0.
    FinalSigma,
    /// Without noise.
    Clean,
    /// At timestep 0.
    First,
}

impl EndRule {
    /// Returns `true` if the last step ends without noise. `set_alpha_to_one` is the value in the folder's file.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for a `final_sigmas_type` that diffusers does not have.
    pub fn is_clean(self, set_alpha_to_one: Option<bool>, fields: &Fields) -> Result<bool> {
        match self {
            Self::SetAlphaToOne(default) => Ok(set_alpha_to_one.unwrap_or(default)),
            Self::FinalSigma => Ok(FinalSigma::read(fields)? == FinalSigma::Zero),
            Self::Clean => Ok(true),
            Self::First => Ok(false),
        }
    }
}

/// The noise of the start state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRule {
    /// As much as makes z = sqrt(alpha bar) x the noise itself.
    UnitZ,
    /// sigma of it, but with the `leading` spacing, which starts as [`StartRule::UnitZ`].
    SigmaUnlessLeading,
    /// sigma of it.
    Sigma,
}

/// Clipping of predictions of x0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipRule {
    /// The class has no such field and does not clip. Where clipping is asked for, eps is derived again.
    Never,
    /// The same, but for dynamic thresholding, where `thresholding` asks for it.
    Thresholding,
    /// `clip_sample` decides.
    Field {
        /// Its default.
        default: bool,
        /// `true` if eps is derived again from the clipped x0.
        rederive_eps: bool,
        /// `true` if the class has dynamic thresholding, too.
        thresholds: bool,
    },
}

impl ClipRule {
    /// Returns `true` if `thresholding` has a say.
    #[must_use]
    pub fn thresholds(self) -> bool {
        matches!(self, Self::Thresholding | Self::Field { thresholds: true, .. })
    }

    /// Returns `true` if eps is derived again from the clipped x0.
    #[must_use]
    pub fn rederives_eps(self) -> bool {
        match self {
            Self::Never | Self::Thresholding => true,
            Self::Field { rederive_eps, .. } => rederive_eps,
        }
    }
}

/// The parameters of some samplers that a caller may give.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parameters {
    /// The weight of the newest eps in gradient estimation.
    pub gamma: Option<f64>,
    /// The share of noise in gradient estimation, from 0 to below 1.
    pub mu: Option<f64>,
    /// The share of noise in samplers that have `eta`, from 0 to 1.
    pub eta: Option<f64>,
}

impl Parameters {
    /// Returns those that are given, by name.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        let all = [("gamma", self.gamma), ("mu", self.mu), ("eta", self.eta)];
        all.into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name)
    }
}

/// The inputs from which a sampler makes its grid and its solver.
pub struct Request<'a> {
    /// The folder's scheduler configuration.
    pub fields: &'a Fields,
    /// The quantity that the network predicts.
    pub prediction: PredictionType,
    /// `true` if the network gives channels of a variance.
    pub learns_variance: bool,
    /// The model's noise levels.
    pub table: &'a NoiseTable,
    /// N, asked for or the default.
    pub steps: usize,
    /// The kind of schedule; `None` for listed levels.
    pub kind: Option<ScheduleKind>,
    /// The parameters that the caller gives.
    pub parameters: Parameters,
    /// The share of the training timesteps that a separate grid is made of: 1, but for latent consistency models from
    /// an image, which take all N steps in the last part.
    pub strength: f64,
}

/// Returns the last steps of a schedule, `kept` of them.
///
/// # Errors
/// None; the signature is that of a column.
pub fn last_steps(_: &Request, schedule: Schedule, kept: usize) -> Result<Schedule> {
    Ok(schedule.last(kept))
}

/// Checks the value of a parameter.
///
/// # Errors
/// [`Error::Argument`] naming it, unless `fits`.
pub fn in_range(parameter: &str, value: f64, fits: bool, range: &str) -> Result<f64> {
    if fits { Ok(value) } else { Err(Error::argument(format!("`{parameter}` of {value} is out of range"), range)) }
}
