//! The settings of a sampling run, and the course that they resolve to for a model.

use super::admissible::ErrorModel;
use super::config_fields::{Fields, Interpolation, Spacing, Spread};
use super::flow;
use super::grids;
use super::samplers::spec::{Grid, StartRule, in_range};
use super::samplers::{Parameters, Request, Sampler};
use super::schedule::{
    Level, Scale, Schedule, ScheduleKind, ScheduleShape, StartNoise, Successor, no_error_model, no_own_grid,
    not_of_flows, refuse,
};
use super::scheduler_config::SchedulerConfig;
use super::sigma_grids::{Count, End, SigmaGrid, SigmaRule};
use super::walk::Method;
use crate::denoise::diffusion::{BetaSchedule, NoiseTable, PredictionType};
use crate::denoise::process::Process;
use crate::{Error, Result};

/// The share of the steps from a picture, as in diffusers' image-to-image pipelines.
pub const USUAL_STRENGTH: f64 = 0.8;
/// A gamma beyond those that are compared.
const FAR: f64 = 10.0;

/// The requested settings. `None` stands for the default of the sampler and the model's scheduler configuration.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The sampler; by default that of the model's scheduler (see [`SchedulerConfig::sampler`]).
    pub sampler: Option<Sampler>,
    /// The kind of schedule; by default `paper` for gradient estimation, otherwise the one of the model's scheduler.
    pub schedule: Option<ScheduleKind>,
    /// N, the number of steps.
    pub steps: Option<usize>,
    /// The weight of the newest eps in gradient estimation (2).
    pub gamma: Option<f64>,
    /// The share of noise in gradient estimation, from 0 to below 1 (0).
    pub mu: Option<f64>,
    /// The share of noise in the samplers that take it, 0 to 1.
    pub eta: Option<f64>,
    /// `true` if predictions of x0 are clipped.
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
    /// The sigma at and below which the schedule is walked; above it the closed form of a Gaussian takes its place
    /// ([`super::jump`]).
    pub analytic_start: Option<f64>,
    /// The error model of the schedule `admissible`, which is the default where one is given.
    pub error_model: Option<ErrorModel>,
}

/// The course of a sampling run: a sampler, its noise levels and its method.
#[derive(Clone, Debug)]
pub struct Course {
    /// The sampler: the requested one, or the default.
    pub sampler: Sampler,
    /// The kind of schedule: the requested one, or the default; `None` for listed levels.
    pub kind: Option<ScheduleKind>,
    /// The noise levels.
    pub schedule: Schedule,
    /// The whole schedule, where [`Settings::analytic_start`] leaves out its first steps.
    pub whole: Option<Schedule>,
    /// The number of steps that was asked for, of which [`Settings::strength`] may leave out the first.
    pub asked: usize,
    /// The rule of a step.
    pub method: Method,
    /// Notes for the user on differences from the model's files.
    pub notes: Vec<String>,
}

impl Settings {
    /// Returns the course for a model of configuration `config` and noise levels `table`.
    ///
    /// # Errors
    /// [`Error::Argument`] for values out of range, and for settings that contradict each other or would be ignored;
    /// [`Error::UnsupportedField`] for fields of the configuration that are not supported for this sampler.
    pub fn resolve(&self, config: &SchedulerConfig, table: &NoiseTable) -> Result<Course> {
        let sampler = self.sampler.unwrap_or_else(|| config.sampler());
        self.check_parameters(sampler)?;
        let bounded;
        let table = if sampler.spec().pure_noise {
            table
        } else {
            bounded = table.bounded();
            &bounded
        };
        let lists_levels = self.timesteps.is_some() || self.sigmas.is_some();
        let kind = if lists_levels { None } else { Some(self.kind(sampler, config, table)?) };
        let shortened = self.strength.filter(|_| config.shortens && sampler == Sampler::Lcm && !lists_levels);
        shortened.map_or(Ok(0.0), check_strength)?;
        let request = Request {
            fields: &config.fields,
            prediction: config.prediction_type,
            learns_variance: config.learns_variance,
            table,
            steps: self.steps.unwrap_or_else(|| default_steps(sampler, table)),
            kind,
            parameters: self.parameters(),
            strength: shortened.unwrap_or(1.0),
        };
        let whole = match kind {
            Some(kind) => self.schedule(kind, sampler, config, &request)?,
            None => self.listed_schedule(sampler, config, table)?,
        };
        let whole = whole.on(table.process()).starting(self.start_noise(sampler, config));
        let method = self.method(sampler, config, &request, &whole)?;
        let asked = if lists_levels { whole.steps().len() } else { request.steps };
        let (schedule, whole) = match (self.strength, self.analytic_start) {
            (None, None) => (whole, None),
            (Some(_), Some(_)) => {
                return Err(Error::argument("both `strength` and `analytic_start` are given", "give one of them"));
            }
            (Some(_), None) if shortened.is_some() => (whole, None),
            (Some(strength), None) => {
                let kept = kept_steps(whole.steps().len(), strength)?;
                ((sampler.spec().begun)(&request, whole, kept)?, None)
            }
            (None, Some(sigma)) => {
                let kept = steps_below(&whole, sigma)?;
                ((sampler.spec().begun)(&request, whole.clone(), kept)?, Some(whole))
            }
        };
        if schedule.start().sigma.is_infinite() && config.prediction_type == PredictionType::Epsilon {
            return Err(no_image_in_noise(config));
        }
        let unknown = if self.sampler.is_none() { config.unknown_class() } else { None };
        let notes = unknown.into_iter().chain(note_on_consistency(sampler, table));
        let notes = notes.chain(note_on_gamma(self.gamma)).collect();
        Ok(Course { sampler, kind, schedule, whole, asked, method, notes })
    }

    fn parameters(&self) -> Parameters {
        Parameters { gamma: self.gamma, mu: self.mu, eta: self.eta }
    }

    /// Refuses parameters that `sampler` does not take.
    fn check_parameters(&self, sampler: Sampler) -> Result<()> {
        let own = sampler.spec().parameters;
        let Some(name) = self.parameters().given().find(|name| !own.contains(name)) else { return Ok(()) };
        let takes = |sampler: &Sampler| sampler.spec().parameters.contains(&name);
        let takers: Vec<_> = Sampler::ALL.iter().filter(|sampler| takes(sampler)).map(|it| format!("`{it}`")).collect();
        Err(Error::argument(
            format!("`{name}` has no meaning for the sampler `{sampler}`"),
            format!("samplers that take `{name}`: {}", takers.join(", ")),
        ))
    }

    fn listed_schedule(&self, sampler: Sampler, config: &SchedulerConfig, table: &NoiseTable) -> Result<Schedule> {
        let (list, schedule) = match (&self.timesteps, &self.sigmas) {
            (Some(_), Some(_)) => {
                return Err(Error::argument("both `timesteps` and `sigmas` are given", "give one of them"));
            }
            (Some(timesteps), None) => {
                ("timesteps", Schedule::from_timesteps(timesteps, config.is_clean_end(sampler)?, table)?)
            }
            (None, sigmas) => ("sigmas", Schedule::from_sigmas(sigmas.as_deref().unwrap_or_default())?),
        };
        let ignored = [
            ("schedule", self.schedule.is_some()),
            ("sigma_max", self.sigma_max.is_some()),
            ("steps", self.steps.is_some_and(|steps| steps != schedule.steps().len())),
            ("error_model", self.error_model.is_some()),
            ("sigma_min", self.sigma_min.is_some()),
        ];
        match ignored.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(schedule),
            Some((field, _)) => {
                let what = format!("`{field}` contradicts `{list}`, which lists every level");
                Err(Error::argument(what, format!("leave out `{field}`")))
            }
        }
    }

    fn start_noise(&self, sampler: Sampler, config: &SchedulerConfig) -> StartNoise {
        let spacing = self.schedule.and_then(ScheduleKind::spacing).unwrap_or(config.spacing(sampler));
        match sampler.spec().start {
            StartRule::UnitZ => StartNoise::UnitZ,
            StartRule::SigmaUnlessLeading if spacing == Spacing::Leading => StartNoise::UnitZ,
            StartRule::SigmaUnlessLeading | StartRule::Sigma => StartNoise::Sigma,
        }
    }

    /// Returns the kind of schedule where no levels are listed: the requested one, the sampler's, or the one that the
    /// model's scheduler has for the sampler.
    fn kind(&self, sampler: Sampler, config: &SchedulerConfig, table: &NoiseTable) -> Result<ScheduleKind> {
        let spec = sampler.spec();
        let usual = if self.error_model.is_some() { Some(ScheduleKind::Admissible) } else { spec.kind };
        if let Some(kind) = self.schedule.or(usual) {
            return Ok(kind);
        }
        let spread = match spec.grid {
            Grid::Sigmas(rule) if rule.spreads => Spread::read(&config.fields)?,
            Grid::Sigmas(_) | Grid::Timesteps(_) | Grid::Own(_) => Spread::Timesteps,
        };
        Ok(match spread {
            Spread::Karras => ScheduleKind::Karras,
            Spread::Exponential | Spread::Lu => ScheduleKind::Exponential,
            Spread::Beta => ScheduleKind::Beta,
            Spread::Timesteps if flow::timesteps(table.process()).is_some() => ScheduleKind::Flow,
            // Their classes do not have spacings, and one that leaves out the top would begin far below it.
            Spread::Timesteps if config.timestep_spacing.is_none() && is_of_sigmas(table.process()) => {
                ScheduleKind::Trailing
            }
            Spread::Timesteps => config.spacing(sampler).into(),
        })
    }

    fn schedule(
        &self,
        kind: ScheduleKind,
        sampler: Sampler,
        config: &SchedulerConfig,
        request: &Request,
    ) -> Result<Schedule> {
        let (grid, table, steps) = (sampler.spec().grid, request.table, request.steps);
        if let Some(model) = self.expected_error_model(kind)? {
            let usual = grids::usual_top(table, grids::PAPER_SIGMA_MAX);
            let high = grids::positive("sigma_max", self.sigma_max.unwrap_or(usual))?;
            let low = grids::below(self.sigma_min.unwrap_or(table.sigma_min()), high)?;
            return Schedule::from_sigmas(&model.longest_steps(high, low, self.steps)?);
        }
        if kind == ScheduleKind::Flow {
            return self.flow_schedule(sampler, config, request);
        }
        if kind == ScheduleKind::Own {
            self.refuse_range(kind)?;
            return match grid {
                Grid::Own(own) => own(request),
                Grid::Timesteps(_) | Grid::Sigmas(_) => Err(no_own_grid()),
            };
        }
        let (highest, lowest) = if kind == ScheduleKind::Paper && config.of_latents {
            grids::paper_latents(table, steps)
        } else {
            (None, None)
        };
        let shape = ScheduleShape {
            steps,
            sigma_max: self.sigma_max.or(highest),
            sigma_min: self.sigma_min.or(lowest),
            steps_offset: config.steps_offset,
            set_alpha_to_one: config.is_clean_end(sampler)?,
            successor: match grid {
                // guided-diffusion steps along the list of timesteps, whatever sampler walks it.
                Grid::Timesteps(_) if config.fields.get_or("respaced", false)? => Successor::NextThenClean,
                Grid::Timesteps(successor) => successor,
                Grid::Sigmas(_) | Grid::Own(_) => Successor::NextThenFinal,
            },
        };
        let spread = match kind {
            ScheduleKind::Karras => Some(Spread::Karras),
            ScheduleKind::Exponential if Spread::read(&config.fields)? == Spread::Lu => Some(Spread::Lu),
            ScheduleKind::Exponential => Some(Spread::Exponential),
            ScheduleKind::Beta => Some(Spread::Beta),
            ScheduleKind::Leading | ScheduleKind::Trailing | ScheduleKind::Linspace => Some(Spread::Timesteps),
            ScheduleKind::Paper
            | ScheduleKind::Ddim
            | ScheduleKind::Edm
            | ScheduleKind::LogLinear
            | ScheduleKind::Admissible
            | ScheduleKind::Flow
            | ScheduleKind::Own => None,
        };
        match (grid, spread) {
            (Grid::Sigmas(rule), Some(spread)) => {
                shape.check(kind, table)?;
                let grid =
                    self.sigma_grid(rule, spread, &shape, config, kind.spacing().unwrap_or(config.spacing(sampler)))?;
                let scale = if kind.spacing().is_some() { Scale::VariancePreserving } else { Scale::VarianceExploding };
                Ok(Schedule::joined(grid.levels(steps, table)?, scale))
            }
            (Grid::Sigmas(_) | Grid::Timesteps(_) | Grid::Own(_), _) => Schedule::new(kind, &shape, table),
        }
    }

    fn refuse_range(&self, kind: ScheduleKind) -> Result<()> {
        refuse(self.sigma_max, "sigma_max", kind.name())?;
        refuse(self.sigma_min, "sigma_min", kind.name())
    }

    /// The levels of diffusers' integrators on flow matching.
    fn flow_schedule(&self, sampler: Sampler, config: &SchedulerConfig, request: &Request) -> Result<Schedule> {
        self.refuse_range(ScheduleKind::Flow)?;
        let (fields, steps) = (&config.fields, request.steps);
        let Some(timesteps) = flow::timesteps(request.table.process()) else { return Err(not_of_flows()) };
        if steps == 0 || steps as f64 > timesteps {
            let what = format!("a schedule of {steps} steps on a model of {timesteps} timesteps");
            return Err(Error::argument(what, format!("`steps` takes 1 to {timesteps}")));
        }
        let (from_noise, calls_whole, end) = match sampler.spec().grid {
            Grid::Sigmas(rule) => (rule.from_noise, rule.count == Count::Inner, rule.spread_end),
            Grid::Timesteps(_) | Grid::Own(_) => (false, false, End::First),
        };
        let s = flow::even(steps, flow::shift(fields)?, timesteps, from_noise);
        let level = |s: &f64| Level { timestep: calls_whole.then_some((s * timesteps).floor()), ..flow::level(*s) };
        let mut levels: Vec<Level> = s.iter().map(level).collect();
        let last = match (config.is_clean_end(sampler)?, end, levels.last()) {
            (false, End::LastCall, Some(last)) => *last,
            (false, _, _) if fields.is_given("final_sigmas_type") => {
                return Err(fields.unsupported("final_sigmas_type", "zero for flow matching"));
            }
            (false, _, _) => Level::at_index(request.table, 0),
            (true, _, _) => Level::CLEAN,
        };
        levels.push(last);
        Ok(Schedule::joined(levels, Scale::Flow))
    }

    /// Returns the error model where `kind` is the schedule that has one; one beside another schedule, and none beside
    /// this one, are refused.
    pub(super) fn expected_error_model(&self, kind: ScheduleKind) -> Result<Option<ErrorModel>> {
        match (kind == ScheduleKind::Admissible, self.error_model) {
            (true, None) => Err(no_error_model()),
            (true, model) => Ok(model),
            (false, Some(_)) => Err(Error::argument(
                "`error_model` has no meaning for this schedule",
                "leave out `error_model`, or choose the schedule `admissible`",
            )),
            (false, None) => Ok(None),
        }
    }

    fn sigma_grid(
        &self,
        rule: SigmaRule,
        spread: Spread,
        shape: &ScheduleShape,
        config: &SchedulerConfig,
        spacing: Spacing,
    ) -> Result<SigmaGrid> {
        let fields = &config.fields;
        let is_cosine = config.levels.betas().is_some_and(|it| it.beta_schedule == BetaSchedule::SquaredCosine);
        Ok(SigmaGrid {
            count: rule.count,
            spacing,
            steps_offset: config.steps_offset,
            spread,
            rounding: rule.rounding(spread, is_cosine),
            end: match (shape.set_alpha_to_one, spread) {
                (true, _) => End::Clean,
                (false, Spread::Timesteps) => End::First,
                (false, Spread::Karras | Spread::Exponential | Spread::Lu | Spread::Beta) => rule.spread_end,
            },
            sigma_max: self.sigma_max.or(fields.sigma("sigma_max")?),
            sigma_min: self.sigma_min.or(fields.sigma("sigma_min")?),
            lambda_min_clipped: if rule.clips_lambda { lambda_min_clipped(fields)? } else { f64::NEG_INFINITY },
            is_log_linear: rule.interpolates && Interpolation::read(fields)? == Interpolation::LogLinear,
        })
    }

    fn method(
        &self,
        sampler: Sampler,
        config: &SchedulerConfig,
        request: &Request,
        schedule: &Schedule,
    ) -> Result<Method> {
        let solver = (sampler.spec().solver)(request, schedule)?;
        Ok(Method { solver, clip: config.clip(sampler, self.clip)? })
    }
}

/// The error for a schedule that begins at pure noise, for a network that predicts the noise alone.
fn no_image_in_noise(config: &SchedulerConfig) -> Error {
    let field = if config.fields.is_given("prediction_type") { "prediction_type" } else { "rescale_betas_zero_snr" };
    let supported = "a network of v or of the image where the schedule begins at pure noise; for one of eps, a first \
                     level with signal: `sigma_max` with another `schedule`, or `timesteps`";
    config.fields.unsupported(field, supported)
}

/// A note where a sampler that needs denoisers is given a consistency model.
fn note_on_consistency(sampler: Sampler, table: &NoiseTable) -> Option<String> {
    let is_other = matches!(table.process(), Process::Consistency { .. }) && sampler != Sampler::Consistency;
    is_other.then(|| {
        format!(
            "the image of a consistency model is an end of its paths and not a mean: `{sampler}` takes it for one, \
             `{}` is made for it",
            Sampler::Consistency
        )
    })
}

/// Returns `true` for networks whose levels are spread in sigma.
fn is_of_sigmas(process: Process) -> bool {
    matches!(process, Process::Edm { .. } | Process::Score | Process::Consistency { .. })
}

/// Returns N where it is not given.
pub(super) fn default_steps(sampler: Sampler, table: &NoiseTable) -> usize {
    sampler.spec().steps.min(table.timesteps())
}

/// The least logarithm of signal to noise that a timestep may have.
fn lambda_min_clipped(fields: &Fields) -> Result<f64> {
    Ok(fields.number("lambda_min_clipped")?.unwrap_or(f64::NEG_INFINITY))
}

/// Returns the number of steps that begin at `sigma` or below.
fn steps_below(whole: &Schedule, sigma: f64) -> Result<usize> {
    grids::positive("analytic_start", sigma)?;
    let steps = whole.steps();
    match steps.iter().filter(|step| step.from.sigma <= sigma).count() {
        0 => Err(Error::argument(
            format!("`analytic_start` of {sigma} leaves none of {} steps", steps.len()),
            format!(
                "choose one of at least {:.4}, where the last step begins",
                steps.last().map_or(0.0, |it| it.from.sigma)
            ),
        )),
        kept => Ok(kept),
    }
}

/// The note on a gamma beyond all that the theory gives for the levels of usual schedules.
fn note_on_gamma(gamma: Option<f64>) -> Option<String> {
    gamma.filter(|gamma| *gamma > FAR).map(|gamma| {
        format!("`gamma` of {gamma} extrapolates far: the theory gives 1.2 to 2.4 for the paper's 10 steps")
    })
}

/// Refuses a strength that is out of range.
fn check_strength(strength: f64) -> Result<f64> {
    in_range("strength", strength, strength > 0.0 && strength <= 1.0, "above 0 (the image itself) to 1 (no image)")
}

/// Returns the number of steps that diffusers' image-to-image pipelines keep of `all`: `int(N * strength)`.
fn kept_steps(all: usize, strength: f64) -> Result<usize> {
    check_strength(strength)?;
    let usual = if strength == USUAL_STRENGTH { ", the default," } else { "" };
    match (all as f64 * strength) as usize {
        0 => Err(Error::argument(
            format!("`strength` of {strength}{usual} leaves none of {all} steps"),
            format!("choose `strength` of at least {:.3}, or more `steps`", 1.0 / all as f64),
        )),
        kept => Ok(kept),
    }
}
