//! Schedules: the noise levels that a sampler walks down.

use super::config_fields::Spacing;
use super::grids;
pub use crate::denoise::Level;
use crate::denoise::diffusion::NoiseTable;
use crate::denoise::process::Process;
use crate::{Error, Result, tensor::Tensor};

/// One step: the network is called at `from`, the state ends at `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The level at which the network is called.
    pub from: Level,
    /// The level at which the state ends, with less noise.
    pub to: Level,
}

/// The scale a schedule's states are shown and saved in. Inside the sampler every state is x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Scale {
    /// z = sqrt(alpha bar) x, the model's own: schedules of timesteps.
    #[serde(rename = "vp")]
    VariancePreserving,
    /// x = x0 + sigma eps: grids of sigmas.
    #[serde(rename = "ve")]
    VarianceExploding,
    /// z = (1 - s) x0 + s eps with sigma = s / (1 - s), the model's own: flow matching.
    #[serde(rename = "flow")]
    Flow,
}

impl Scale {
    /// The factor from x at `level` to this scale. At an infinite sigma a state holds the noise itself, in every scale.
    #[must_use]
    pub fn factor(self, level: Level) -> f64 {
        match self {
            _ if level.sigma.is_infinite() => 1.0,
            Self::VariancePreserving => level.alpha_bar().sqrt(),
            Self::VarianceExploding => 1.0,
            Self::Flow => 1.0 / (1.0 + level.sigma),
        }
    }
}

/// Declares [`ScheduleKind`], one kind per line with its name and a short description.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $about:literal;)*) => {
        /// The kinds of schedule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum ScheduleKind {
            $($(#[$doc])* #[doc = $about] #[serde(rename = $name)] $variant,)*
        }

        impl ScheduleKind {
            /// All of them, in the order they are listed.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Returns its name on the command line and in files.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns its short description, for lists.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }
        }
    };
}

kinds! {
    Paper = "paper",
        "The gradient-estimation paper's: N log-spaced sigmas snapped to timesteps, then timestep 0";
    Ddim = "ddim",
        "The paper's DDIM baseline: timesteps evenly from the top, or from the first sigma, to 0";
    Leading = "leading", "diffusers' `leading` spacing: multiples of T/N, and the scheduler's offset";
    Trailing = "trailing", "diffusers' `trailing` spacing: from T - 1 downwards";
    Linspace = "linspace", "diffusers' `linspace` spacing: both ends included";
    Edm = "edm",
        "Karras et al. as the paper's code has it: rho 7 from sigma 80 to 0.002, snapped to timesteps";
    Karras = "karras",
        "Karras et al. on the model's range of sigma: rho 7, not snapped, then sigma 0";
    LogLinear = "loglinear", "Log-spaced sigmas, not snapped";
    Exponential = "exponential",
        "diffusers' `use_exponential_sigmas`: log-spaced sigmas on the model's range, not snapped, then sigma 0";
    Beta = "beta",
        "diffusers' `use_beta_sigmas`: quantiles of a beta distribution on the model's range, not snapped, then \
         sigma 0";
    Admissible = "admissible",
        "The longest steps that an error model admits, log-spaced, not snapped";
    Flow = "flow", "diffusers' integrators on flow matching: even in s, and shifted as the scheduler says";
    Own = "own", "The sampler's own, for samplers that have one";
}

impl ScheduleKind {
    /// Returns the spacing of diffusers that it is, if it is one.
    #[must_use]
    pub fn spacing(self) -> Option<Spacing> {
        match self {
            Self::Leading => Some(Spacing::Leading),
            Self::Trailing => Some(Spacing::Trailing),
            Self::Linspace => Some(Spacing::Linspace),
            Self::Paper
            | Self::Ddim
            | Self::Edm
            | Self::Karras
            | Self::LogLinear
            | Self::Exponential
            | Self::Beta
            | Self::Admissible
            | Self::Flow
            | Self::Own => None,
        }
    }
}

impl std::fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for ScheduleKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| format!("`{kind}`")).collect();
            Error::argument(format!("`{name}` is not a schedule"), format!("the schedules are {}", names.join(", ")))
        })
    }
}

impl From<Spacing> for ScheduleKind {
    fn from(spacing: Spacing) -> Self {
        match spacing {
            Spacing::Leading => Self::Leading,
            Spacing::Trailing => Self::Trailing,
            Spacing::Linspace => Self::Linspace,
        }
    }
}

/// The end of the last of diffusers' timesteps, and of the steps before it: the next timestep, or one at a stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// `DDPMScheduler`: the next timestep of the list, at last the clean image.
    NextThenClean,
    /// The next timestep of the list, at last the scheduler's final alpha.
    NextThenFinal,
    /// `DDIMScheduler`: t - T/N in whole numbers, which is the next timestep only where N divides T (and never with
    /// `linspace`); below 0, the scheduler's final alpha.
    Stride,
}

/// The inputs of a schedule of some [`ScheduleKind`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduleShape {
    /// N, the number of steps.
    pub steps: usize,
    /// The first sigma; none for the kind's own.
    pub sigma_max: Option<f64>,
    /// The last sigma of the log-spaced or Karras part; none for the kind's own.
    pub sigma_min: Option<f64>,
    /// diffusers' `steps_offset`, for `leading`.
    pub steps_offset: usize,
    /// diffusers' `set_alpha_to_one`: the final alpha bar is 1, else that of timestep 0.
    pub set_alpha_to_one: bool,
    /// The end of each step on diffusers' spacings.
    pub successor: Successor,
}

impl ScheduleShape {
    /// Checks that a schedule of `kind` can be made of it.
    ///
    /// # Errors
    /// [`Error::Argument`] for no steps, more steps than timesteps, and a range that `kind` does not take.
    pub(super) fn check(&self, kind: ScheduleKind, table: &NoiseTable) -> Result<()> {
        if self.steps == 0 || self.steps > table.timesteps() {
            let what = format!("a schedule of {} steps on a model of {} timesteps", self.steps, table.timesteps());
            return Err(Error::argument(what, format!("`steps` takes 1 to {}", table.timesteps())));
        }
        if kind.spacing().is_some() {
            refuse(self.sigma_max, "sigma_max", kind.name())?;
            refuse(self.sigma_min, "sigma_min", kind.name())?;
        }
        Ok(())
    }
}

/// The amount of noise in a start state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartNoise {
    /// The amount that makes z = sqrt(alpha bar) x the noise itself: x has the spread sqrt(1 + sigma^2) of an image of
    /// unit variance under noise. With flow matching, z = (1 - s) x.
    UnitZ,
    /// sigma: diffusers' schedulers that step in sigma, except with the `leading` spacing.
    Sigma,
}

/// A descent through noise levels: at least one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    steps: Vec<Step>,
    scale: Scale,
    start: StartNoise,
    /// Steps that were dropped from its beginning.
    skipped: usize,
}

impl Schedule {
    /// The schedule of `kind`. Levels that snap to the same timestep are visited once, so that a snapped kind may have
    /// fewer steps than asked for.
    ///
    /// # Errors
    /// [`Error::Argument`] for no steps, more steps than timesteps, or a sigma outside the model's range.
    pub fn new(kind: ScheduleKind, shape: &ScheduleShape, table: &NoiseTable) -> Result<Self> {
        let &ScheduleShape { steps, sigma_max, sigma_min, .. } = shape;
        shape.check(kind, table)?;
        match kind {
            ScheduleKind::Paper => Self::snapped(grids::paper(table, steps, sigma_max, sigma_min)?, table),
            ScheduleKind::Ddim => {
                refuse(sigma_min, "sigma_min", "ddim")?;
                Self::snapped(grids::ddim(table, steps, sigma_max)?, table)
            }
            ScheduleKind::Edm => Self::snapped(grids::edm(table, steps, sigma_max, sigma_min)?, table),
            ScheduleKind::Karras => Self::from_sigmas(&grids::karras(table, steps, sigma_max, sigma_min)?),
            ScheduleKind::LogLinear => Self::from_sigmas(&grids::log_linear(table, steps, sigma_max, sigma_min)?),
            ScheduleKind::Exponential => Self::from_sigmas(&grids::exponential(table, steps, sigma_max, sigma_min)?),
            ScheduleKind::Beta => Self::from_sigmas(&grids::beta(table, steps, sigma_max, sigma_min)?),
            ScheduleKind::Admissible => Err(no_error_model()),
            ScheduleKind::Flow => Err(not_of_flows()),
            ScheduleKind::Own => Err(no_own_grid()),
            ScheduleKind::Leading => Ok(Self::spaced(grids::leading(table, steps, shape.steps_offset)?, shape, table)),
            ScheduleKind::Trailing => Ok(Self::spaced(grids::trailing(table, steps), shape, table)),
            ScheduleKind::Linspace => Ok(Self::spaced(grids::linspace(table, steps), shape, table)),
        }
    }

    /// An explicit list of timesteps: N + 1 values for N steps, none above the one before, the last is where the state
    /// ends. A last value of -1 is the level that diffusers takes before timestep 0: clean if `set_alpha_to_one`, else
    /// timestep 0 again. A value may be repeated, as diffusers ends on `0, 0` and snapped grids do near 0: that step
    /// calls the network, too. The timesteps of a consistency model are the places of its levels, from 0 for the least
    /// noise.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are fewer than two, one rises, or one is not a timestep of the model.
    pub fn from_timesteps(timesteps: &[f64], set_alpha_to_one: bool, table: &NoiseTable) -> Result<Self> {
        never_rising(timesteps, "timesteps")?;
        // Consistency models number their levels.
        let is_numbered = matches!(table.process(), Process::Consistency { .. });
        let (top, end) = ((table.timesteps() - 1) as f64, timesteps.len() - 1);
        if table.process() != Process::Betas && !is_numbered {
            return Err(Error::argument("`timesteps` for a model without whole timesteps", "list `sigmas` instead"));
        }
        let is_timestep = |t: f64| (0.0..=top).contains(&t) && (t.fract() == 0.0 || !is_numbered);
        let known = |(index, t): (usize, &f64)| is_timestep(*t) || (index == end && *t == -1.0);
        if let Some(t) = timesteps.iter().enumerate().find(|entry| !known(*entry)).map(|(_, t)| t) {
            let hint =
                format!("this model's timesteps are 0 to {top}; only the last may be -1, the scheduler's final level");
            return Err(Error::argument(format!("`timesteps`: {t} is not a timestep of this model"), hint));
        }
        let level = |t: &f64| match *t {
            t if t < 0.0 => before_zero(set_alpha_to_one, table),
            t if is_numbered => Level::at_index(table, t as usize),
            t => Level::at_timestep(table, t),
        };
        Ok(Self::joined(timesteps.iter().map(level).collect(), Scale::VariancePreserving))
    }

    /// An explicit grid of sigmas in the variance-exploding scale: N + 1 values, none above the one before, only the
    /// last may be 0.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are fewer than two, one rises, one is negative, or one before the last is 0.
    pub fn from_sigmas(sigmas: &[f64]) -> Result<Self> {
        never_rising(sigmas, "sigmas")?;
        if let Some(sigma) = sigmas.iter().find(|sigma| **sigma < 0.0) {
            let what = format!("`sigmas`: {sigma} is negative");
            return Err(Error::argument(what, "sigma is a noise level; the last may be 0"));
        }
        if sigmas[..sigmas.len() - 1].contains(&0.0) {
            let what = "`sigmas`: 0 stands before the last value, and no network is called without noise";
            return Err(Error::argument(what, "sigma is a noise level; the last may be 0"));
        }
        let levels = sigmas.iter().map(|sigma| Level::at_sigma(*sigma)).collect();
        Ok(Self::joined(levels, Scale::VarianceExploding))
    }

    /// Timesteps that a grid snapped to, from the first to the last.
    fn snapped(mut timesteps: Vec<usize>, table: &NoiseTable) -> Result<Self> {
        timesteps.dedup();
        let levels: Vec<Level> = timesteps.iter().map(|t| Level::at_index(table, *t)).collect();
        if levels.len() < 2 {
            return Err(Error::argument(
                "the whole schedule falls on one timestep",
                format!("`sigma_max` should be well above {:.4}, the least noise this model knows", table.sigma_min()),
            ));
        }
        Ok(Self::joined(levels, Scale::VariancePreserving))
    }

    /// diffusers' spacings: the network is called at each of `timesteps`.
    fn spaced(timesteps: Vec<usize>, shape: &ScheduleShape, table: &NoiseTable) -> Self {
        let stride = table.timesteps() / shape.steps;
        let next = |index: usize| match (shape.successor, timesteps.get(index + 1)) {
            (Successor::Stride, _) => timesteps[index].checked_sub(stride),
            (_, next) => next.copied(),
        };
        let end = match shape.successor {
            Successor::NextThenClean => Level::CLEAN,
            _ => before_zero(shape.set_alpha_to_one, table),
        };
        let step = |(index, t): (usize, &usize)| Step {
            from: Level::at_index(table, *t),
            to: next(index).map_or(end, |t| Level::at_index(table, t)),
        };
        let steps = timesteps.iter().enumerate().map(step).collect();
        Self { steps, scale: Scale::VariancePreserving, start: StartNoise::UnitZ, skipped: 0 }
    }

    /// Steps from each level to the next.
    pub(super) fn joined(levels: Vec<Level>, scale: Scale) -> Self {
        let steps = levels.windows(2).map(|pair| Step { from: pair[0], to: pair[1] }).collect();
        Self { steps, scale, start: StartNoise::UnitZ, skipped: 0 }
    }

    /// The steps, from most noise to least.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The scale its states are shown and saved in.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Returns the level at which the state starts.
    #[must_use]
    pub fn start(&self) -> Level {
        self.steps[0].from
    }

    /// Returns the level at which the state ends.
    #[must_use]
    pub fn end(&self) -> Level {
        self.steps[self.steps.len() - 1].to
    }

    /// The levels of the network calls, then the end: N + 1 of them.
    #[must_use]
    pub fn levels(&self) -> Vec<Level> {
        self.steps.iter().map(|step| step.from).chain([self.end()]).collect()
    }

    /// The same schedule with another start.
    #[must_use]
    pub fn starting(self, start: StartNoise) -> Self {
        Self { start, ..self }
    }

    /// The same schedule for a network that was trained on `process`. Its states are shown in the scale of that
    /// process.
    #[must_use]
    pub fn on(self, process: Process) -> Self {
        match process {
            Process::Betas | Process::Angle => self,
            Process::Edm { .. } | Process::Score | Process::Consistency { .. } => {
                Self { scale: Scale::VarianceExploding, ..self }
            }
            Process::Flow { .. } => Self { scale: Scale::Flow, ..self },
        }
    }

    /// Its last `steps` steps, at least one.
    #[must_use]
    pub fn last(mut self, steps: usize) -> Self {
        let first = self.steps.len().saturating_sub(steps.max(1));
        self.steps.drain(..first);
        self.skipped += first;
        self
    }

    /// The same schedule without its second step.
    #[must_use]
    pub(super) fn without_second(mut self) -> Self {
        if self.steps.len() > 1 {
            self.steps.remove(1);
            self.skipped += 1;
        }
        self
    }

    /// Steps of the whole schedule before the first of these.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The start state x from standard normal `noise`, according to [`StartNoise`].
    #[must_use]
    pub fn start_state(&self, noise: &Tensor) -> Tensor {
        let level = self.start();
        match self.start {
            _ if level.sigma.is_infinite() => noise.clone(),
            StartNoise::UnitZ if self.scale == Scale::Flow => scaled(noise, 1.0 + level.sigma),
            StartNoise::UnitZ => scaled(noise, 1.0 / level.alpha_bar().sqrt()),
            StartNoise::Sigma => scaled(noise, level.sigma),
        }
    }

    /// The state `x` at `level` in this schedule's own scale: z for schedules of timesteps, x for grids of sigmas.
    #[must_use]
    pub fn shown(&self, x: &Tensor, level: Level) -> Tensor {
        match self.scale {
            Scale::VariancePreserving | Scale::Flow => scaled(x, self.scale.factor(level)),
            Scale::VarianceExploding => x.clone(),
        }
    }

    /// Returns the factor of x before step `index` that keeps z unchanged: above or below 1 only where the step
    /// before does not end at the level of this one ([`Successor::Stride`]).
    #[must_use]
    pub fn rejoin(&self, index: usize) -> f64 {
        match index.checked_sub(1).map(|before| self.steps[before].to) {
            Some(reached) if reached.sigma != self.steps[index].from.sigma => {
                (reached.alpha_bar() / self.steps[index].from.alpha_bar()).sqrt()
            }
            _ => 1.0,
        }
    }
}

/// The level that diffusers takes for a timestep below 0.
fn before_zero(set_alpha_to_one: bool, table: &NoiseTable) -> Level {
    if set_alpha_to_one { Level::CLEAN } else { Level::at_index(table, 0) }
}

fn scaled(tensor: &Tensor, factor: f64) -> Tensor {
    let data = tensor.data.iter().map(|value| (f64::from(*value) * factor) as f32).collect();
    Tensor::new(tensor.shape.clone(), data)
}

/// The error for the schedule `admissible` without an error model.
pub(super) fn no_error_model() -> Error {
    Error::argument("the schedule `admissible` needs an error model", "give `error_model`: eta and nu")
}

/// The error for the schedule `flow` on another model.
pub(super) fn not_of_flows() -> Error {
    Error::argument("the schedule `flow` is for models of flow matching", "choose another `schedule`")
}

/// The error for the schedule `own` with a sampler that does not have one.
pub(super) fn no_own_grid() -> Error {
    let what = "the schedule `own` has no meaning for a sampler that does not have its own grid";
    Error::argument(what, "leave out `schedule`, or choose another")
}

/// Returns an error unless `values` are two or more finite numbers, none above the one before.
fn never_rising(values: &[f64], field: &str) -> Result<()> {
    let hint = "N steps take N + 1 falling values, the last is where the state ends";
    if values.len() < 2 {
        return Err(Error::argument(format!("`{field}` holds {} values", values.len()), hint));
    }
    let finite = values.iter().all(|value| value.is_finite());
    match values.windows(2).find(|pair| pair[1] > pair[0]) {
        None if finite => Ok(()),
        None => Err(Error::argument(format!("`{field}` holds a value that is not a number"), hint)),
        Some(pair) => Err(Error::argument(format!("`{field}`: {} follows {}", pair[1], pair[0]), hint)),
    }
}

/// Returns an error if a `value` is given that a schedule does not take.
pub(super) fn refuse(value: Option<f64>, field: &str, schedule: &str) -> Result<()> {
    match value {
        None => Ok(()),
        Some(_) => Err(Error::argument(
            format!("`{field}` has no meaning for the schedule `{schedule}`"),
            "the schedules `paper`, `edm`, `karras`, `loglinear`, `exponential`, `beta` and `admissible` have a range \
             of sigma",
        )),
    }
}
