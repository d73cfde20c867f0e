//! Schedules: the noise levels that a sampler walks down, one network call a step.

use super::grids;
use super::scheduler_config::Spacing;
pub use crate::denoise::Level;
use crate::denoise::diffusion::NoiseTable;
use crate::{Error, Result, tensor::Tensor};

/// One step: the network is called at `from`, the state ends at `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Where the network is called.
    pub from: Level,
    /// Where the state ends, with less noise.
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
}

/// The kinds of schedule, by the names of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The gradient-estimation paper's: N log-spaced sigmas snapped to timesteps, then timestep 0.
    Paper,
    /// The paper's DDIM baseline: timesteps evenly from the top (or from `sigma_max`) to 0.
    Ddim,
    /// diffusers' `leading` spacing: multiples of T/N, and the scheduler's offset.
    Leading,
    /// diffusers' `trailing` spacing: from T - 1 downwards.
    Trailing,
    /// diffusers' `linspace` spacing: both ends included.
    Linspace,
    /// Karras et al. as the paper's code has it: rho 7 from sigma 80 to 0.002, snapped to timesteps.
    Edm,
    /// Karras et al. on the model's range of sigma: rho 7, not snapped, then sigma 0.
    Karras,
    /// Log-spaced sigmas, not snapped.
    #[cfg_attr(feature = "cli", value(name = "loglinear"))]
    LogLinear,
    /// diffusers' `use_exponential_sigmas`: log-spaced sigmas on the model's range, not snapped, then sigma 0.
    Exponential,
    /// The longest steps that an error model admits, log-spaced, not snapped: see `--error-model`.
    Admissible,
}

impl Kind {
    /// The spacing of diffusers that it is, if it is one.
    #[must_use]
    pub fn spacing(self) -> Option<Spacing> {
        match self {
            Self::Leading => Some(Spacing::Leading),
            Self::Trailing => Some(Spacing::Trailing),
            Self::Linspace => Some(Spacing::Linspace),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self.spacing() {
            Some(Spacing::Leading) => "leading",
            Some(Spacing::Trailing) => "trailing",
            _ => "linspace",
        }
    }
}

impl From<Spacing> for Kind {
    fn from(spacing: Spacing) -> Self {
        match spacing {
            Spacing::Leading => Self::Leading,
            Spacing::Trailing => Self::Trailing,
            Spacing::Linspace => Self::Linspace,
        }
    }
}

/// Where the last of diffusers' timesteps leads, and whether the steps before it lead to the next timestep.
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

/// What a schedule of some [`Kind`] is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
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
    /// Where diffusers' spacings step to.
    pub successor: Successor,
}

impl Shape {
    /// Whether a schedule of `kind` can be made of it.
    ///
    /// # Errors
    /// [`Error::Argument`] for no steps, more steps than timesteps, and a range that `kind` has no use for.
    pub(super) fn check(&self, kind: Kind, table: &NoiseTable) -> Result<()> {
        if self.steps == 0 || self.steps > table.timesteps() {
            let what = format!("a schedule of {} steps on a model of {} timesteps", self.steps, table.timesteps());
            return Err(Error::argument(what, format!("`--steps` takes 1 to {}", table.timesteps())));
        }
        if kind.spacing().is_some() {
            refuse(self.sigma_max, "sigma-max", kind.name())?;
            refuse(self.sigma_min, "sigma-min", kind.name())?;
        }
        Ok(())
    }
}

/// How much noise a state starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartNoise {
    /// As much as makes z = sqrt(alpha bar) x the noise itself: x has the spread sqrt(1 + sigma^2) of an image of unit
    /// variance under noise.
    UnitZ,
    /// sigma of it: diffusers' schedulers that step in sigma, but for the `leading` spacing.
    Sigma,
}

/// A way down through noise levels: at least one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    steps: Vec<Step>,
    scale: Scale,
    start: StartNoise,
}

impl Schedule {
    /// The schedule of `kind`. Levels that snap to the same timestep are visited once, so that a snapped kind may have
    /// fewer steps than asked for.
    ///
    /// # Errors
    /// [`Error::Argument`] for no steps, more steps than timesteps, or a sigma outside the model's range.
    pub fn new(kind: Kind, shape: &Shape, table: &NoiseTable) -> Result<Self> {
        let &Shape { steps, sigma_max, sigma_min, .. } = shape;
        shape.check(kind, table)?;
        match kind {
            Kind::Paper => Self::snapped(grids::paper(table, steps, sigma_max, sigma_min)?, table),
            Kind::Ddim => {
                refuse(sigma_min, "sigma-min", "ddim")?;
                Self::snapped(grids::ddim(table, steps, sigma_max)?, table)
            }
            Kind::Edm => Self::snapped(grids::edm(table, steps, sigma_max, sigma_min)?, table),
            Kind::Karras => Self::from_sigmas(&grids::karras(table, steps, sigma_max, sigma_min)?),
            Kind::LogLinear => Self::from_sigmas(&grids::log_linear(table, steps, sigma_max, sigma_min)?),
            Kind::Exponential => Self::from_sigmas(&grids::exponential(table, steps, sigma_max, sigma_min)?),
            Kind::Admissible => Err(Error::argument(
                "the schedule `admissible` needs an error model",
                "give `--error-model ETA,NU`, or a file of `downhill inspect error-model`",
            )),
            Kind::Leading => Ok(Self::spaced(grids::leading(table, steps, shape.steps_offset)?, shape, table)),
            Kind::Trailing => Ok(Self::spaced(grids::trailing(table, steps), shape, table)),
            Kind::Linspace => Ok(Self::spaced(grids::linspace(table, steps), shape, table)),
        }
    }

    /// An explicit list of timesteps: N + 1 values for N steps, none above the one before, the last is where the state
    /// ends. A last value of -1 is the level that diffusers takes before timestep 0: clean if `set_alpha_to_one`, else
    /// timestep 0 again. A value may be repeated, as diffusers ends on `0, 0` and snapped grids do near 0: that step calls
    /// the network, too.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are fewer than two, one rises, or one is not a timestep of the model.
    pub fn from_timesteps(timesteps: &[f64], set_alpha_to_one: bool, table: &NoiseTable) -> Result<Self> {
        never_rising(timesteps, "timesteps")?;
        let (top, end) = (table.last_timestep(), timesteps.len() - 1);
        let known = |(index, t): (usize, &f64)| (0.0..=top).contains(t) || (index == end && *t == -1.0);
        if let Some(t) = timesteps.iter().enumerate().find(|entry| !known(*entry)).map(|(_, t)| t) {
            let hint =
                format!("this model's timesteps are 0 to {top}; only the last may be -1, the scheduler's final level");
            return Err(Error::argument(format!("`--timesteps`: {t} is not a timestep of this model"), hint));
        }
        let level =
            |t: &f64| if *t < 0.0 { before_zero(set_alpha_to_one, table) } else { Level::at_timestep(table, *t) };
        Ok(Self::joined(timesteps.iter().map(level).collect(), Scale::VariancePreserving))
    }

    /// An explicit grid of sigmas in the variance-exploding scale: N + 1 values, none above the one before, only the last
    /// may be 0.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are fewer than two, one rises, one is negative, or one before the last is 0.
    pub fn from_sigmas(sigmas: &[f64]) -> Result<Self> {
        never_rising(sigmas, "sigmas")?;
        if let Some(sigma) = sigmas.iter().find(|sigma| **sigma < 0.0) {
            let what = format!("`--sigmas`: {sigma} is negative");
            return Err(Error::argument(what, "sigma is a noise level; the last may be 0"));
        }
        if sigmas[..sigmas.len() - 1].contains(&0.0) {
            let what = "`--sigmas`: 0 stands before the last value, and no network is called without noise";
            return Err(Error::argument(what, "sigma is a noise level; the last may be 0"));
        }
        let levels = sigmas.iter().map(|sigma| Level::at_sigma(*sigma)).collect();
        Ok(Self::joined(levels, Scale::VarianceExploding))
    }

    /// Timesteps that a grid snapped to, from the first to the last.
    fn snapped(mut timesteps: Vec<usize>, table: &NoiseTable) -> Result<Self> {
        timesteps.dedup();
        let levels: Vec<Level> = timesteps.iter().map(|t| Level::at_timestep(table, *t as f64)).collect();
        if levels.len() < 2 {
            return Err(Error::argument(
                "the whole schedule falls on one timestep",
                format!(
                    "`--sigma-max` should be well above {:.4}, the least noise this model knows",
                    table.sigma_min()
                ),
            ));
        }
        Ok(Self::joined(levels, Scale::VariancePreserving))
    }

    /// diffusers' spacings: the network is called at each of `timesteps`.
    fn spaced(timesteps: Vec<usize>, shape: &Shape, table: &NoiseTable) -> Self {
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
            from: Level::at_timestep(table, *t as f64),
            to: next(index).map_or(end, |t| Level::at_timestep(table, t as f64)),
        };
        let steps = timesteps.iter().enumerate().map(step).collect();
        Self { steps, scale: Scale::VariancePreserving, start: StartNoise::UnitZ }
    }

    /// Steps from each level to the next.
    pub(super) fn joined(levels: Vec<Level>, scale: Scale) -> Self {
        let steps = levels.windows(2).map(|pair| Step { from: pair[0], to: pair[1] }).collect();
        Self { steps, scale, start: StartNoise::UnitZ }
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

    /// Where the state starts.
    #[must_use]
    pub fn start(&self) -> Level {
        self.steps[0].from
    }

    /// Where the state ends.
    #[must_use]
    pub fn end(&self) -> Level {
        self.steps[self.steps.len() - 1].to
    }

    /// The levels of the network calls, then the end: N + 1 of them.
    #[must_use]
    pub fn levels(&self) -> Vec<Level> {
        self.steps.iter().map(|step| step.from).chain([self.end()]).collect()
    }

    /// The same way from another start.
    #[must_use]
    pub fn starting(self, start: StartNoise) -> Self {
        Self { start, ..self }
    }

    /// The last `steps` steps of it, one at least.
    #[must_use]
    pub fn last(mut self, steps: usize) -> Self {
        let first = self.steps.len().saturating_sub(steps.max(1));
        self.steps.drain(..first);
        self
    }

    /// The start state x from standard normal `noise`, as [`StartNoise`] has it.
    #[must_use]
    pub fn start_state(&self, noise: &Tensor) -> Tensor {
        let level = self.start();
        match self.start {
            StartNoise::UnitZ => scaled(noise, 1.0 / level.alpha_bar().sqrt()),
            StartNoise::Sigma => scaled(noise, level.sigma),
        }
    }

    /// The state `x` at `level` in this schedule's own scale: z for schedules of timesteps, x for grids of sigmas.
    #[must_use]
    pub fn shown(&self, x: &Tensor, level: Level) -> Tensor {
        match self.scale {
            Scale::VariancePreserving => scaled(x, level.alpha_bar().sqrt()),
            Scale::VarianceExploding => x.clone(),
        }
    }

    /// What x is multiplied by before step `index` so that z stays what it was: above or below 1 only where the step
    /// before does not end at this one's level ([`Successor::Stride`]).
    #[must_use]
    pub(super) fn rejoin(&self, index: usize) -> f64 {
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
    if set_alpha_to_one { Level::CLEAN } else { Level::at_timestep(table, 0.0) }
}

fn scaled(tensor: &Tensor, factor: f64) -> Tensor {
    let data = tensor.data.iter().map(|value| (f64::from(*value) * factor) as f32).collect();
    Tensor::new(tensor.shape.clone(), data)
}

/// A usage error unless `values` are two or more finite numbers, none above the one before.
fn never_rising(values: &[f64], flag: &str) -> Result<()> {
    let hint = "N steps take N + 1 falling values, the last is where the state ends";
    if values.len() < 2 {
        return Err(Error::argument(format!("`--{flag}` holds {} values", values.len()), hint));
    }
    let finite = values.iter().all(|value| value.is_finite());
    match values.windows(2).find(|pair| pair[1] > pair[0]) {
        None if finite => Ok(()),
        None => Err(Error::argument(format!("`--{flag}` holds a value that is not a number"), hint)),
        Some(pair) => Err(Error::argument(format!("`--{flag}`: {} follows {}", pair[1], pair[0]), hint)),
    }
}

/// A usage error when a `value` was given that a schedule has no use for.
fn refuse(value: Option<f64>, flag: &str, schedule: &str) -> Result<()> {
    match value {
        None => Ok(()),
        Some(_) => Err(Error::argument(
            format!("`--{flag}` has no meaning for the schedule `{schedule}`"),
            "the schedules `paper`, `edm`, `karras` and `loglinear` have a range of sigma",
        )),
    }
}
