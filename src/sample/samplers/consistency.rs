//! One step and several of consistency models: Song et al. (2023), algorithm 1, as diffusers'
//! `CMStochasticIterativeScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Level, Scale, Schedule, ScheduleKind};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::denoise::process::Process;
use crate::{Error, Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "consistency",
    order: 1,
    calls: Calls::ONE,
    source: "consistency models: Song et al. 2023; adds noise between steps",
    class: Some("CMStochasticIterativeScheduler"),
    folders: &["CMStochasticIterativeScheduler"],
    levels: Levels::Consistency,
    steps: 1,
    spacing: Spacing::Leading,
    grid: Grid::Own(grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Trailing,
    end: EndRule::Clean,
    start: StartRule::Sigma,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Field { default: true, rederive_eps: true, thresholds: false },
    parameters: &[],
    solver,
};

fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let least = match request.table.process() {
        Process::Consistency { sigma_min, .. } => sigma_min,
        Process::Betas | Process::Angle | Process::Edm { .. } | Process::Score | Process::Flow { .. } => 0.0,
    };
    Ok(Arc::new(Consistency { least, noise: request.fields.get_or("s_noise", 1.0)? }))
}

/// Every (T / N)th of the T levels, from the most noise: with 2 steps of 40 levels the first and the twenty-first.
fn grid(request: &Request) -> Result<Schedule> {
    let (table, steps) = (request.table, request.steps);
    let levels = table.timesteps();
    if !matches!(table.process(), Process::Consistency { .. }) {
        return Err(Error::argument(
            "the schedule `own` of this sampler is for consistency models",
            "choose another `schedule`",
        ));
    }
    if steps == 0 || steps > levels {
        let what = format!("a schedule of {steps} steps on a model of {levels} levels");
        return Err(Error::argument(what, format!("`steps` takes 1 to {levels}")));
    }
    let stride = levels / steps;
    let called = (0..steps).map(|index| Level::at_index(table, levels - 1 - index * stride));
    Ok(Schedule::joined(called.chain([Level::CLEAN]).collect(), Scale::VarianceExploding))
}

/// The solver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Consistency {
    /// The noise level of the model's image.
    pub least: f64,
    /// `s_noise`: the spread of the noise that is added.
    pub noise: f64,
}

impl Solver for Consistency {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(*self)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn is_stochastic(&self) -> bool {
        true
    }

    fn never_renoises(&self) -> Option<&'static str> {
        Some("its noise is drawn again at every step")
    }
}

impl Stepper for Consistency {
    /// The model's image, and noise of sigma'^2 - `sigma_min^2`.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let spread = (step.to.sigma * step.to.sigma - self.least * self.least).max(0.0).sqrt();
        let w = if spread > 0.0 { Some(oracle.noise()?) } else { None };
        let mut terms = vec![(1.0, &here.x0)];
        terms.extend(w.as_ref().map(|w| (self.noise * spread, w)));
        let x = combine(&terms);
        Ok(Update { eps: here.raw, x0: here.x0, x })
    }
}
