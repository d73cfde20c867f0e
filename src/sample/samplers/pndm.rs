//! Pseudo numerical methods: Liu et al. (2022), as diffusers' `PNDMScheduler` has them.
//!
//! The four newest estimates are averaged with the weights of Adams and Bashforth, and DDIM's step is taken with that
//! average. The first steps, which have fewer than four estimates, use the rule of Runge and Kutta or that of Heun.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind, Step, Successor};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine, scale};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule};
use crate::denoise::Level;
use crate::denoise::diffusion::PredictionType;
use crate::denoise::process::Process;
use crate::{Error, Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "pndm",
    order: 4,
    calls: Calls { start: 1, ..Calls::ONE },
    source: "Liu et al. 2022 (PLMS); 4 calls in each of the first 3 steps, or 2 in the first",
    class: Some("PNDMScheduler"),
    folders: &["PNDMScheduler"],
    levels: Levels::Ddpm,
    steps: 50,
    spacing: Spacing::Leading,
    grid: Grid::Timesteps(Successor::Stride),
    kind: None,
    short_kind: ScheduleKind::Leading,
    end: EndRule::SetAlphaToOne(false),
    start: StartRule::UnitZ,
    pure_noise: false,
    begun,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

fn solver(request: &Request, schedule: &Schedule) -> Result<Arc<dyn Solver>> {
    if matches!(request.table.process(), Process::Flow { .. }) {
        return Err(Error::argument(
            "the sampler `pndm` has no meaning for a model of flow matching: its step is that of DDIM",
            "choose another `sampler`, such as `flow-euler`",
        ));
    }
    Ok(Arc::new(Pndm { start: start(request, schedule)?, prediction: request.prediction }))
}

/// The start of a walk, by the levels of the `whole` schedule. The Runge-Kutta start evaluates half a stride between
/// timesteps, so it needs a spacing with a stride.
fn start(request: &Request, whole: &Schedule) -> Result<Start> {
    let table = request.table;
    if !has_stride(request) {
        return Ok(Start::Heun(Vec::new()));
    }
    let called: Vec<f64> = whole.steps().iter().filter_map(|step| step.from.timestep).collect();
    let stride = (table.timesteps() / request.steps) as f64;
    let level = |t: f64| Level::at_timestep(table, t.clamp(0.0, table.last_timestep()));
    if request.fields.get_or("skip_prk_steps", false)? {
        let again = |t: &f64| (level(*t), level(t + stride));
        return Ok(Start::Heun(called.get(1).into_iter().chain(called.iter().skip(1)).map(again).collect()));
    }
    if called.len() < ORDER {
        return Err(Error::argument(
            format!("{} steps of `pndm`, whose first 3 take the rule of Runge and Kutta", called.len()),
            "take 4 `steps` or more, or a scheduler with `skip_prk_steps`",
        ));
    }
    let half = (request.table.timesteps() / request.steps / 2) as f64;
    let between = |pair: &[f64]| (level(pair[0] - half), level(pair[1] + half));
    Ok(Start::RungeKutta(called.windows(2).map(between).collect()))
}

/// Returns `true` if the levels are those of one of diffusers' spacings.
fn has_stride(request: &Request) -> bool {
    request.kind.is_some_and(|kind| kind.spacing().is_some())
}

/// The last steps of a schedule. diffusers keeps the last calls, and the first step has two of them: a walk that begins
/// after the second step begins a step earlier, and takes the state at the end of that step for the one after the next.
fn begun(request: &Request, schedule: Schedule, kept: usize) -> Result<Schedule> {
    let skipped = schedule.steps().len().saturating_sub(kept);
    if skipped < 2 || !has_stride(request) || !request.fields.get_or("skip_prk_steps", false)? {
        return Ok(schedule.last(kept));
    }
    Ok(schedule.last(kept + 1).without_second())
}

/// Estimates that are averaged.
const ORDER: usize = 4;

/// Its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Pndm {
    /// The rule of the first steps.
    pub start: Start,
    /// The target of the network: its own outputs are averaged, before they become eps.
    pub prediction: PredictionType,
}

/// The rule of the first steps, while there are fewer than four estimates to average.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// The first step calls the network again at its end and takes the mean; the next two average two and three
    /// estimates (`skip_prk_steps`). A pair per number of steps that the walk skips: the level of the second call, and
    /// the one that diffusers repeats the step from, T/N above it. Without pairs, the second call is at the level of
    /// the next step, and the step is repeated from its start.
    Heun(Vec<(Level, Level)>),
    /// Each of the first three steps makes four calls. The pair of levels of a step of the whole schedule is that of
    /// its second call and that of its third and fourth: half a step below its start and half a step above its end, in
    /// whole timesteps.
    RungeKutta(Vec<(Level, Level)>),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heun(_) => "Heun",
            Self::RungeKutta(_) => "Runge-Kutta",
        })
    }
}

/// The eps and the x0 that the network estimates, and the output from which both follow.
struct Evaluation {
    raw: Tensor,
    x0: Tensor,
    output: Tensor,
}

impl Solver for Pndm {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State::new(self.clone()))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("begun by", self.start.to_string())]
    }
}

#[derive(Clone)]
struct State {
    pndm: Pndm,
    /// The outputs of the network, the newest first.
    outputs: VecDeque<Tensor>,
}

impl State {
    fn new(pndm: Pndm) -> Self {
        Self { pndm, outputs: VecDeque::new() }
    }

    /// The output of the network that gives `eps` of `x` at `level`: eps, or v = sqrt(alpha bar) eps - sqrt(1 - alpha
    /// bar) x0.
    fn output(&self, x: &Tensor, eps: &Tensor, level: Level) -> Tensor {
        let signal = level.alpha_bar().sqrt();
        match self.pndm.prediction {
            PredictionType::VPrediction => combine(&[(1.0 / signal, eps), (-signal * level.sigma, x)]),
            PredictionType::Epsilon | PredictionType::Sample | PredictionType::FlowPrediction => eps.clone(),
        }
    }

    /// DDIM's step of `x` with the mean of `outputs`.
    fn transfer(&self, x: &Tensor, step: Step, outputs: &[(f64, &Tensor)]) -> Tensor {
        let (signal, sigma) = (step.from.alpha_bar().sqrt(), step.from.sigma);
        let length = step.to.sigma - sigma;
        let (of_x, of_output) = match self.pndm.prediction {
            PredictionType::VPrediction => (signal * signal * sigma, signal),
            PredictionType::Epsilon | PredictionType::Sample | PredictionType::FlowPrediction => (0.0, 1.0),
        };
        let mut terms: Vec<_> = outputs.iter().map(|(factor, output)| (factor * length * of_output, *output)).collect();
        terms.push((1.0 + length * of_x, x));
        combine(&terms)
    }

    /// Calls the network on `x` at `level`.
    fn evaluate(&self, x: &Tensor, level: Level, oracle: &mut Oracle) -> Result<Evaluation> {
        let here = oracle.estimate(x, level)?;
        Ok(Evaluation { output: self.output(x, &here.eps, level), raw: here.raw, x0: here.x0 })
    }

    /// The rule of Runge and Kutta from `step.from` to `step.to` by way of `below` and `above`.
    fn runge_kutta(
        &mut self,
        step: Step,
        (below, above): (Level, Level),
        x: &Tensor,
        oracle: &mut Oracle,
    ) -> Result<Update> {
        let to = |to: Level| Step { from: step.from, to };
        let first = self.evaluate(x, step.from, oracle)?;
        let half = same_z(oracle.moved(self.transfer(x, to(below), &[(1.0, &first.output)])), below, above);
        let second = self.evaluate(&half, above, oracle)?.output;
        let half = oracle.moved(self.transfer(x, to(above), &[(1.0, &second)]));
        let third = self.evaluate(&half, above, oracle)?.output;
        let whole = oracle.moved(self.transfer(x, step, &[(1.0, &third)]));
        let fourth = self.evaluate(&whole, step.to, oracle)?.output;
        let mean = [(1.0 / 6.0, &first.output), (1.0 / 3.0, &second), (1.0 / 3.0, &third), (1.0 / 6.0, &fourth)];
        let x = oracle.moved(self.transfer(x, step, &mean));
        Ok(self.keep(first, x))
    }

    /// Heun's rule: to `step.to`, which diffusers counts from T/N, and then to the level `next` of the second call,
    /// from `again`.
    fn heun(&mut self, step: Step, next: Level, again: Level, x: &Tensor, oracle: &mut Oracle) -> Result<Update> {
        let first = self.evaluate(x, step.from, oracle)?;
        let ahead = same_z(oracle.moved(self.transfer(x, step, &[(1.0, &first.output)])), step.to, next);
        let second = self.evaluate(&ahead, next, oracle)?.output;
        let start = same_z(x.clone(), step.from, again);
        let mean = [(0.5, &first.output), (0.5, &second)];
        let end = oracle.moved(self.transfer(&start, Step { from: again, to: next }, &mean));
        oracle.begins_with(None);
        Ok(self.keep(first, same_z(end, next, step.to)))
    }

    /// Keeps the output at the start of the step, whose end is `x`.
    fn keep(&mut self, evaluation: Evaluation, x: Tensor) -> Update {
        self.outputs.push_front(evaluation.output);
        self.outputs.truncate(ORDER);
        Update { eps: evaluation.raw, x0: evaluation.x0, x }
    }
}

impl Stepper for State {
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let next = position.steps.get(position.index + 1).map(|next| next.from);
        match &self.pndm.start {
            Start::RungeKutta(halves) if position.index < ORDER - 1 => {
                if let (Some(next), Some(half)) = (next, halves.get(position.place()).copied()) {
                    let moved = self.runge_kutta(Step { from: step.from, to: next }, half, &x, oracle)?;
                    oracle.begins_with(None);
                    return Ok(Update { x: same_z(moved.x, next, step.to), ..moved });
                }
            }
            Start::Heun(pairs) if position.index == 0 => {
                let pair = pairs.get(position.skipped).copied();
                if let Some((next, again)) = pair.or_else(|| Some((next?, step.from))) {
                    return self.heun(step, next, again, &x, oracle);
                }
            }
            Start::RungeKutta(_) | Start::Heun(_) => {}
        }
        let here = self.evaluate(&x, step.from, oracle)?;
        let weights: &[f64] = match self.outputs.len() {
            0 => &[1.0],
            1 => &[3.0 / 2.0, -1.0 / 2.0],
            2 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let mean: Vec<_> = weights.iter().copied().zip([&here.output].into_iter().chain(&self.outputs)).collect();
        let end = self.transfer(&x, step, &mean);
        Ok(self.keep(here, end))
    }
}

/// The state of level `here` as the state of level `there` that has the same z = sqrt(alpha bar) x: the state of
/// diffusers is z, which stays the same where a step does not end at the timestep of the next call.
fn same_z(mut x: Tensor, here: Level, there: Level) -> Tensor {
    scale(&mut x, (here.alpha_bar() / there.alpha_bar()).sqrt());
    x
}
