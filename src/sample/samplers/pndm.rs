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

/// The Runge-Kutta start evaluates half a stride between timesteps, so it needs a spacing with a stride.
fn start(request: &Request, schedule: &Schedule) -> Result<Start> {
    let table = request.table;
    if request.kind.is_none_or(|kind| kind.spacing().is_none()) {
        return Ok(Start::Heun(None));
    }
    let skips = request.fields.get_or("skip_prk_steps", false)?;
    let called: Vec<f64> = schedule.steps().iter().filter_map(|step| step.from.timestep).collect();
    let stride = table.timesteps() / request.steps;
    let level = |t: f64| Level::at_timestep(table, t.clamp(0.0, table.last_timestep()));
    match called[..] {
        [_] if skips => Ok(Start::Heun(None)),
        [_, second, ..] if skips => Ok(Start::Heun(Some(level(second + stride as f64)))),
        [a, b, c, d, ..] => {
            let half = (stride / 2) as f64;
            let between = |above: f64, below: f64| (level(above - half), level(below + half));
            Ok(Start::RungeKutta([between(a, b), between(b, c), between(c, d)]))
        }
        _ => Err(Error::argument(
            format!("{} steps of `pndm`, whose first 3 take the rule of Runge and Kutta", called.len()),
            "take 4 `steps` or more, or a scheduler with `skip_prk_steps`",
        )),
    }
}

/// Estimates that are averaged.
const ORDER: usize = 4;

/// Its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pndm {
    /// The rule of the first steps.
    pub start: Start,
    /// The target of the network: its own outputs are averaged, before they become eps.
    pub prediction: PredictionType,
}

/// The rule of the first steps, while there are fewer than four estimates to average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// The first step calls the network again at its end and takes the mean; the next two average two and three
    /// estimates (`skip_prk_steps`). diffusers repeats the step from T/N above its end: the level, if it is not the
    /// first one.
    Heun(Option<Level>),
    /// Each of the first three steps makes four calls. The pair of levels of a step is that of its second call and that
    /// of its third and fourth: half a step below its start and half a step above its end, in whole timesteps.
    RungeKutta([(Level, Level); ORDER - 1]),
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
        Box::new(State::new(*self))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("begun by", self.start.to_string())]
    }
}

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
        let half = same_z(self.transfer(x, to(below), &[(1.0, &first.output)]), below, above);
        let second = self.evaluate(&half, above, oracle)?.output;
        let half = self.transfer(x, to(above), &[(1.0, &second)]);
        let third = self.evaluate(&half, above, oracle)?.output;
        let whole = self.transfer(x, step, &[(1.0, &third)]);
        let fourth = self.evaluate(&whole, step.to, oracle)?.output;
        let mean = [(1.0 / 6.0, &first.output), (1.0 / 3.0, &second), (1.0 / 3.0, &third), (1.0 / 6.0, &fourth)];
        let x = self.transfer(x, step, &mean);
        Ok(self.keep(first, x))
    }

    /// Heun's rule: to `step.to`, which diffusers counts from T/N, and then from `again` to the level `next` of the
    /// next call.
    fn heun(&mut self, step: Step, next: Level, again: Level, x: &Tensor, oracle: &mut Oracle) -> Result<Update> {
        let first = self.evaluate(x, step.from, oracle)?;
        let ahead = same_z(self.transfer(x, step, &[(1.0, &first.output)]), step.to, next);
        let second = self.evaluate(&ahead, next, oracle)?.output;
        let start = same_z(x.clone(), step.from, again);
        let mean = [(0.5, &first.output), (0.5, &second)];
        let end = self.transfer(&start, Step { from: again, to: next }, &mean);
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
        match (self.pndm.start, next) {
            (Start::RungeKutta(halves), Some(next)) if position.index < halves.len() => {
                let moved = self.runge_kutta(Step { from: step.from, to: next }, halves[position.index], &x, oracle)?;
                return Ok(Update { x: same_z(moved.x, next, step.to), ..moved });
            }
            (Start::Heun(again), Some(next)) if position.index == 0 => {
                return self.heun(step, next, again.unwrap_or(step.from), &x, oracle);
            }
            _ => {}
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
