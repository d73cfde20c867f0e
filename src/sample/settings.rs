//! What was asked of the sampler, and what it comes to for a model.

use super::admissible::ErrorModel;
use super::catalogue::Sampler;
use super::grids;
use super::samplers::{Clip, Method};
use super::schedule::{Kind, Level, Scale, Schedule, Shape, StartNoise, Successor};
use super::scheduler_config::{SchedulerConfig, Spacing, VarianceType};
use super::sigma_grids::{Count, End, Rounding, SigmaGrid};
use super::solver_config::{Form, Interpolation, SolverConfig, Spread};
use super::solvers::Solver;
use super::solvers::deis::Deis;
use super::solvers::descent::{Descent, Noise};
use super::solvers::dpm::Dpm;
use super::solvers::lms::Lms;
use super::solvers::pndm::{Pndm, Start};
use super::solvers::unipc::UniPc;
use crate::denoise::diffusion::{BetaSchedule, NoiseTable};
use crate::{Error, Result};

/// The order diffusers takes LMS with.
const LMS_ORDER: usize = 4;

/// What was asked for; what is none follows the sampler and the model's scheduler configuration.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which sampler; by default that of the model's scheduler (see [`Sampler::of_class`]).
    pub sampler: Option<Sampler>,
    /// The kind of schedule; by default `paper` for gradient estimation, else what the model's scheduler says.
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
    /// The share of the steps that is walked, from above 0 to 1: the last ones, from an image under noise.
    pub strength: Option<f64>,
    /// What the schedule `admissible` is made for; with it, that is the schedule where no other is asked for.
    pub error_model: Option<ErrorModel>,
}

impl Settings {
    /// The schedule and the method for a model of configuration `config` and noise levels `table`.
    ///
    /// # Errors
    /// [`Error::Argument`] for values out of range, and for settings that contradict each other or would be ignored;
    /// [`Error::UnsupportedField`] for what the configuration says to this sampler and is not supported.
    pub fn resolve(&self, config: &SchedulerConfig, table: &NoiseTable) -> Result<(Schedule, Method)> {
        config.check(self.sampler(config))?;
        let schedule = self.schedule(config, table)?;
        let schedule = match self.strength {
            None => schedule,
            Some(strength) => last_steps(schedule, strength)?,
        };
        let method = self.method(&schedule, config, table)?;
        Ok((schedule, method))
    }

    /// The sampler: the one asked for, or that of the model's scheduler.
    #[must_use]
    pub fn sampler(&self, config: &SchedulerConfig) -> Sampler {
        self.sampler.unwrap_or_else(|| Sampler::of_class(config.class_name.as_deref()))
    }

    fn schedule(&self, config: &SchedulerConfig, table: &NoiseTable) -> Result<Schedule> {
        let sampler = self.sampler(config);
        let explicit = match (&self.timesteps, &self.sigmas) {
            (None, None) => self.made_schedule(config, table),
            (Some(_), Some(_)) => {
                Err(Error::argument("both `--timesteps` and `--sigmas` are given", "give one of them"))
            }
            (Some(timesteps), None) => Schedule::from_timesteps(timesteps, config.is_clean_end(sampler), table),
            (None, Some(sigmas)) => Schedule::from_sigmas(sigmas),
        }?;
        let schedule = explicit.starting(self.start_noise(config));
        let list = match (&self.timesteps, &self.sigmas) {
            (None, None) => return Ok(schedule),
            (Some(_), _) => "timesteps",
            (None, Some(_)) => "sigmas",
        };
        let steps = self.steps.filter(|steps| *steps != schedule.steps().len()).map(|_| "steps");
        let model = self.error_model.map(|_| "error-model");
        let ignored = [self.schedule.map(|_| "schedule"), self.sigma_max.map(|_| "sigma-max"), steps, model];
        match ignored.into_iter().chain([self.sigma_min.map(|_| "sigma-min")]).flatten().next() {
            None => Ok(schedule),
            Some(flag) => {
                let what = format!("`--{flag}` contradicts `--{list}`, which lists every level");
                Err(Error::argument(what, format!("leave out `--{flag}`")))
            }
        }
    }

    /// diffusers' schedulers that step in sigma start with sigma of noise, but for the `leading` spacing.
    fn start_noise(&self, config: &SchedulerConfig) -> StartNoise {
        let sampler = self.sampler(config);
        let spacing = self.schedule.and_then(Kind::spacing).unwrap_or(config.spacing(sampler));
        match sampler {
            Sampler::Euler | Sampler::EulerAncestral | Sampler::Heun | Sampler::Lms if spacing != Spacing::Leading => {
                StartNoise::Sigma
            }
            _ => StartNoise::UnitZ,
        }
    }

    /// The kind of schedule where no levels are listed: the one asked for, `paper` for gradient estimation, otherwise
    /// what the model's scheduler says to the sampler.
    #[must_use]
    pub fn kind(&self, config: &SchedulerConfig) -> Kind {
        let sampler = self.sampler(config);
        let spread = if spreads(sampler) { config.solver.spread } else { Spread::Timesteps };
        self.schedule.unwrap_or(match (sampler, spread) {
            _ if self.error_model.is_some() => Kind::Admissible,
            (Sampler::Ge, _) => Kind::Paper,
            (_, Spread::Karras) => Kind::Karras,
            (_, Spread::Exponential | Spread::Lu) => Kind::Exponential,
            (_, Spread::Timesteps) => config.spacing(sampler).into(),
        })
    }

    fn made_schedule(&self, config: &SchedulerConfig, table: &NoiseTable) -> Result<Schedule> {
        let (sampler, kind) = (self.sampler(config), self.kind(config));
        if let Some(model) = self.expected_error_model(kind)? {
            let high = grids::positive(self.sigma_max.unwrap_or(grids::PAPER_SIGMA_MAX.min(table.sigma_max())))?;
            let low = grids::below(self.sigma_min.unwrap_or(table.sigma_min()), high)?;
            return Schedule::from_sigmas(&model.longest_steps(high, low, self.steps)?);
        }
        let steps = self.asked_steps(sampler, table);
        let count = match sampler {
            Sampler::Ge | Sampler::Ddim | Sampler::Ddpm | Sampler::Pndm => None,
            Sampler::Euler | Sampler::EulerAncestral | Sampler::Heun | Sampler::Lms => Some(Count::Ends),
            Sampler::DpmPlusPlus2m | Sampler::UniPc | Sampler::Deis => Some(Count::Inner),
        };
        let (highest, lowest) = match kind {
            Kind::Paper if config.of_latents => grids::paper_latents(table, steps),
            _ => (None, None),
        };
        let shape = Shape {
            steps,
            sigma_max: self.sigma_max.or(highest),
            sigma_min: self.sigma_min.or(lowest),
            steps_offset: config.steps_offset,
            set_alpha_to_one: config.is_clean_end(sampler),
            successor: match sampler {
                Sampler::Ddim | Sampler::Pndm => Successor::Stride,
                Sampler::Ddpm => Successor::NextThenClean,
                _ => Successor::NextThenFinal,
            },
        };
        match (count, kind) {
            (Some(count), Kind::Leading | Kind::Trailing | Kind::Linspace | Kind::Karras | Kind::Exponential) => {
                shape.check(kind, table)?;
                let grid = self.sigma_grid(count, kind, config);
                let scale = if kind.spacing().is_some() { Scale::VariancePreserving } else { Scale::VarianceExploding };
                Ok(Schedule::joined(grid.levels(steps, table)?, scale))
            }
            _ => Schedule::new(kind, &shape, table),
        }
    }

    /// N: as many steps as asked for, or as the sampler usually takes.
    fn asked_steps(&self, sampler: Sampler, table: &NoiseTable) -> usize {
        self.steps.unwrap_or(sampler.default_steps(table))
    }

    /// The error model where `kind` is the schedule that has one; one beside another schedule, and none beside this one, are
    /// refused.
    pub(super) fn expected_error_model(&self, kind: Kind) -> Result<Option<ErrorModel>> {
        match (kind, self.error_model) {
            (Kind::Admissible, None) => Err(Error::argument(
                "`--schedule admissible` needs an error model",
                "give `--error-model ETA,NU`, or a file of `downhill inspect error-model`",
            )),
            (Kind::Admissible, model) => Ok(model),
            (_, Some(_)) => Err(Error::argument(
                "`--error-model` has no meaning for this schedule",
                "leave out `--error-model`, or take `--schedule admissible`",
            )),
            (_, None) => Ok(None),
        }
    }

    fn sigma_grid(&self, count: Count, kind: Kind, config: &SchedulerConfig) -> SigmaGrid {
        let (sampler, solver) = (self.sampler(config), &config.solver);
        let spread = match kind {
            Kind::Karras => Spread::Karras,
            Kind::Exponential if solver.spread == Spread::Lu => Spread::Lu,
            Kind::Exponential => Spread::Exponential,
            _ => Spread::Timesteps,
        };
        let is_cosine = config.betas.beta_schedule == BetaSchedule::SquaredCosine;
        SigmaGrid {
            count,
            spacing: kind.spacing().unwrap_or(config.spacing(sampler)),
            steps_offset: config.steps_offset,
            spread,
            rounding: match (count, spread) {
                (Count::Ends, _) => Rounding::None,
                (Count::Inner, Spread::Karras | Spread::Lu) if !(is_cosine && sampler == Sampler::DpmPlusPlus2m) => {
                    Rounding::Nearest
                }
                (Count::Inner, _) => Rounding::Down,
            },
            end: match (config.is_clean_end(sampler), sampler) {
                (true, _) => End::Clean,
                (false, Sampler::UniPc | Sampler::Deis) if spread != Spread::Timesteps => End::LastCall,
                (false, _) => End::First,
            },
            sigma_max: self.sigma_max.or(solver.sigma_max),
            sigma_min: self.sigma_min.or(solver.sigma_min),
            lambda_min_clipped: match sampler {
                Sampler::DpmPlusPlus2m => solver.lambda_min_clipped,
                _ => f64::NEG_INFINITY,
            },
            is_log_linear: sampler == Sampler::Euler && solver.interpolation == Interpolation::LogLinear,
        }
    }

    fn method(&self, schedule: &Schedule, config: &SchedulerConfig, table: &NoiseTable) -> Result<Method> {
        let sampler = self.sampler(config);
        let own: &[&str] = match sampler {
            Sampler::Ge => &["gamma", "mu"],
            Sampler::Ddim => &["eta"],
            _ => &[],
        };
        for (flag, value) in [("gamma", self.gamma), ("mu", self.mu), ("eta", self.eta)] {
            if value.is_some() && !own.contains(&flag) {
                return Err(Error::argument(
                    format!("`--{flag}` has no meaning for the sampler `{}`", sampler.name()),
                    "`ge` takes `--gamma` and `--mu`, `ddim` takes `--eta`",
                ));
            }
        }
        let gamma = self.gamma.unwrap_or(2.0);
        let (mu, eta) = (self.mu.unwrap_or(0.0), self.eta.unwrap_or(0.0));
        in_range("gamma", gamma, gamma.is_finite(), "a number; 1 is DDIM, 2 the paper's choice")?;
        in_range("mu", mu, (0.0..1.0).contains(&mu), "from 0 (no noise) to below 1; 0.5 is DDPM")?;
        in_range("eta", eta, (0.0..=1.0).contains(&eta), "from 0 (no noise) to 1 (DDPM)")?;
        let descent = |gamma, noise| Solver::Descent(Descent { gamma, noise });
        let settings = &config.solver;
        let solver = match sampler {
            Sampler::Ge => descent(gamma, Noise::Mu(mu)),
            Sampler::Ddim => descent(1.0, Noise::Eta(eta)),
            Sampler::Ddpm if config.variance_type == VarianceType::FixedLarge => descent(1.0, Noise::FixedLarge),
            Sampler::Ddpm | Sampler::EulerAncestral => descent(1.0, Noise::Mu(0.5)),
            Sampler::Euler => descent(1.0, Noise::Mu(0.0)),
            Sampler::Heun => Solver::Heun,
            Sampler::Lms => Solver::Lms(Lms { order: LMS_ORDER }),
            Sampler::DpmPlusPlus2m => Solver::Dpm(dpm(settings)),
            Sampler::UniPc => Solver::UniPc(unipc(settings)),
            Sampler::Deis => {
                Solver::Deis(Deis { order: settings.order, lower_order_final: settings.lower_order_final })
            }
            Sampler::Pndm => {
                let start = self.pndm_start(schedule, config, table)?;
                Solver::Pndm(Pndm { start, prediction: config.prediction_type })
            }
        };
        let clip = Clip { range: config.clip_sample_range, rederive_eps: sampler != Sampler::Ddim };
        Ok(Method { solver, clip: self.clip.unwrap_or(config.clips(sampler)).then_some(clip) })
    }

    /// Runge and Kutta's questions lie half of T/N apart, which only diffusers' spacings know.
    fn pndm_start(&self, schedule: &Schedule, config: &SchedulerConfig, table: &NoiseTable) -> Result<Start> {
        let listed = self.timesteps.is_some() || self.sigmas.is_some() || self.kind(config).spacing().is_none();
        let called: Vec<f64> = schedule.steps().iter().filter_map(|step| step.from.timestep).collect();
        if listed {
            return Ok(Start::Heun(None));
        }
        let stride = table.timesteps() / self.asked_steps(Sampler::Pndm, table);
        let level = |t: f64| Level::at_timestep(table, t.clamp(0.0, table.last_timestep()));
        match called[..] {
            [_] if config.solver.skip_prk_steps => Ok(Start::Heun(None)),
            [_, second, ..] if config.solver.skip_prk_steps => Ok(Start::Heun(Some(level(second + stride as f64)))),
            [a, b, c, d, ..] => {
                let half = (stride / 2) as f64;
                let between = |above: f64, below: f64| (level(above - half), level(below + half));
                Ok(Start::RungeKutta([between(a, b), between(b, c), between(c, d)]))
            }
            _ => Err(Error::argument(
                format!("{} steps of `pndm`, whose first 3 are begun by Runge and Kutta's rule", called.len()),
                "take 4 `--steps` or more, or a scheduler with `skip_prk_steps`",
            )),
        }
    }
}

/// The samplers whose sigmas diffusers can spread anew.
fn spreads(sampler: Sampler) -> bool {
    !matches!(sampler, Sampler::Ge | Sampler::Ddim | Sampler::Ddpm | Sampler::EulerAncestral | Sampler::Pndm)
}

fn dpm(settings: &SolverConfig) -> Dpm {
    Dpm {
        order: settings.order,
        algorithm: settings.algorithm,
        is_heun: settings.form == Some(Form::Heun),
        lower_order_final: settings.lower_order_final,
        euler_at_final: settings.euler_at_final,
    }
}

fn unipc(settings: &SolverConfig) -> UniPc {
    UniPc {
        order: settings.order,
        predict_x0: settings.predict_x0,
        is_bh1: settings.form == Some(Form::Bh1),
        lower_order_final: settings.lower_order_final,
        uncorrected: settings.disable_corrector.clone(),
    }
}

/// The last steps of a schedule, as many as diffusers' image-to-image pipelines keep of N: `int(N * strength)`.
fn last_steps(schedule: Schedule, strength: f64) -> Result<Schedule> {
    in_range("strength", strength, strength > 0.0 && strength <= 1.0, "above 0 (the image itself) to 1 (no image)")?;
    let all = schedule.steps().len();
    match (all as f64 * strength) as usize {
        0 => Err(Error::argument(
            format!("`--strength {strength}` of {all} steps leaves none to walk"),
            format!("take `--strength` of at least {:.3}, or more `--steps`", 1.0 / all as f64),
        )),
        kept => Ok(schedule.last(kept)),
    }
}

fn in_range(flag: &str, value: f64, fits: bool, range: &str) -> Result<()> {
    if fits { Ok(()) } else { Err(Error::argument(format!("`--{flag}` of {value} is out of range"), range)) }
}
