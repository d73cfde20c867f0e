//! What was asked of the sampler, and what it comes to for a model.

use super::samplers::{Clip, Method, Noise};
use super::schedule::{Kind, Schedule, Shape, Successor};
use super::scheduler_config::{SchedulerConfig, VarianceType};
use crate::denoise::diffusion::NoiseTable;
use crate::{Error, Result};

/// The samplers, by the names of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// Gradient estimation: good images in 5 to 20 steps.
    #[default]
    Ge,
    /// Denoising diffusion implicit models: one step of gradient descent at a time.
    Ddim,
    /// Denoising diffusion probabilistic models: noise is added at every step.
    Ddpm,
}

impl Sampler {
    /// Steps where none are asked for: 10, or what diffusers' pipelines take for DDIM and DDPM.
    #[must_use]
    pub fn default_steps(self, table: &NoiseTable) -> usize {
        let steps = match self {
            Self::Ge => 10,
            Self::Ddim => 50,
            Self::Ddpm => 1000,
        };
        steps.min(table.timesteps())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ge => "ge",
            Self::Ddim => "ddim",
            Self::Ddpm => "ddpm",
        }
    }
}

/// What was asked for; what is none follows the sampler and the model's scheduler configuration.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which sampler.
    pub sampler: Sampler,
    /// The kind of schedule; by default `paper` for gradient estimation, else the model's timestep spacing.
    pub schedule: Option<Kind>,
    /// N, the number of network calls.
    pub steps: Option<usize>,
    /// The weight of the newest eps in gradient estimation (2).
    pub gamma: Option<f64>,
    /// The share of noise in gradient estimation, from 0 to below 1 (0).
    pub mu: Option<f64>,
    /// The share of noise in DDIM, 0 to 1 (0).
    pub eta: Option<f64>,
    /// Whether predictions of x0 are clipped.
    pub clip: Option<bool>,
    /// The first sigma of a schedule with a range.
    pub sigma_max: Option<f64>,
    /// The last sigma of a schedule with a range.
    pub sigma_min: Option<f64>,
    /// N + 1 timesteps instead of a schedule.
    pub timesteps: Option<Vec<f64>>,
    /// N + 1 sigmas instead of a schedule.
    pub sigmas: Option<Vec<f64>>,
}

impl Settings {
    /// The schedule and the method for a model of configuration `config` and noise levels `table`.
    ///
    /// # Errors
    /// [`Error::Usage`] for values out of range, and for settings that contradict each other or would be ignored.
    pub fn resolve(&self, config: &SchedulerConfig, table: &NoiseTable) -> Result<(Schedule, Method)> {
        Ok((self.schedule(config, table)?, self.method(config)?))
    }

    fn schedule(&self, config: &SchedulerConfig, table: &NoiseTable) -> Result<Schedule> {
        let explicit = match (&self.timesteps, &self.sigmas) {
            (None, None) => return self.made_schedule(config, table),
            (Some(_), Some(_)) => {
                return Err(Error::usage("both `--timesteps` and `--sigmas` are given", "give one of them"));
            }
            (Some(timesteps), None) => {
                Schedule::from_timesteps(timesteps, config.set_alpha_to_one || self.sampler == Sampler::Ddpm, table)
            }
            (None, Some(sigmas)) => Schedule::from_sigmas(sigmas),
        }?;
        let list = if self.timesteps.is_some() { "timesteps" } else { "sigmas" };
        let steps = self.steps.filter(|steps| *steps != explicit.steps().len()).map(|_| "steps");
        let ignored = [self.schedule.map(|_| "schedule"), self.sigma_max.map(|_| "sigma-max"), steps];
        match ignored.into_iter().chain([self.sigma_min.map(|_| "sigma-min")]).flatten().next() {
            None => Ok(explicit),
            Some(flag) => {
                let what = format!("`--{flag}` contradicts `--{list}`, which lists every level");
                Err(Error::usage(what, format!("leave out `--{flag}`")))
            }
        }
    }

    /// The kind of schedule where no levels are listed: the one asked for, `paper` for gradient estimation, otherwise
    /// the model's timestep spacing.
    #[must_use]
    pub fn kind(&self, config: &SchedulerConfig) -> Kind {
        self.schedule.unwrap_or(match self.sampler {
            Sampler::Ge => Kind::Paper,
            Sampler::Ddim | Sampler::Ddpm => config.timestep_spacing.into(),
        })
    }

    fn made_schedule(&self, config: &SchedulerConfig, table: &NoiseTable) -> Result<Schedule> {
        let shape = Shape {
            steps: self.steps.unwrap_or(self.sampler.default_steps(table)),
            sigma_max: self.sigma_max,
            sigma_min: self.sigma_min,
            steps_offset: config.steps_offset,
            set_alpha_to_one: config.set_alpha_to_one,
            successor: match self.sampler {
                Sampler::Ge => Successor::NextThenFinal,
                Sampler::Ddim => Successor::Stride,
                Sampler::Ddpm => Successor::NextThenClean,
            },
        };
        Schedule::new(self.kind(config), &shape, table)
    }

    fn method(&self, config: &SchedulerConfig) -> Result<Method> {
        let own: &[&str] = match self.sampler {
            Sampler::Ge => &["gamma", "mu"],
            Sampler::Ddim => &["eta"],
            Sampler::Ddpm => &[],
        };
        for (flag, value) in [("gamma", self.gamma), ("mu", self.mu), ("eta", self.eta)] {
            if value.is_some() && !own.contains(&flag) {
                return Err(Error::usage(
                    format!("`--{flag}` has no meaning for the sampler `{}`", self.sampler.name()),
                    "`ge` takes `--gamma` and `--mu`, `ddim` takes `--eta`",
                ));
            }
        }
        let gamma = self.gamma.unwrap_or(if self.sampler == Sampler::Ge { 2.0 } else { 1.0 });
        let (mu, eta) = (self.mu.unwrap_or(0.0), self.eta.unwrap_or(0.0));
        in_range("gamma", gamma, gamma.is_finite(), "a number; 1 is DDIM, 2 the paper's choice")?;
        in_range("mu", mu, (0.0..1.0).contains(&mu), "from 0 (no noise) to below 1; 0.5 is DDPM")?;
        in_range("eta", eta, (0.0..=1.0).contains(&eta), "from 0 (no noise) to 1 (DDPM)")?;
        let noise = match (self.sampler, config.variance_type) {
            (Sampler::Ge, _) => Noise::Mu(mu),
            (Sampler::Ddim, _) => Noise::Eta(eta),
            (Sampler::Ddpm, VarianceType::FixedLarge) => Noise::FixedLarge,
            (Sampler::Ddpm, VarianceType::FixedSmall | VarianceType::FixedSmallLog) => Noise::Mu(0.5),
        };
        let clip = Clip { range: config.clip_sample_range, rederive_eps: self.sampler != Sampler::Ddim };
        Ok(Method { gamma, noise, clip: self.clip.unwrap_or(config.clip_sample).then_some(clip) })
    }
}

fn in_range(flag: &str, value: f64, fits: bool, range: &str) -> Result<()> {
    if fits { Ok(()) } else { Err(Error::usage(format!("`--{flag}` of {value} is out of range"), range)) }
}
