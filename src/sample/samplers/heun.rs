//! Heun's second-order step: Karras et al. (2022), algorithm 1, without its added noise.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, SigmaRule};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "heun",
    order: 2,
    calls: Calls::TWO,
    source: "Karras et al. 2022, algorithm 1; one call in the last step",
    class: Some("HeunDiscreteScheduler"),
    folders: &["HeunDiscreteScheduler"],
    levels: Levels::Narrow,
    steps: 25,
    spacing: Spacing::Linspace,
    grid: Grid::Sigmas(SigmaRule::new(Count::Ends)),
    kind: None,
    short_kind: ScheduleKind::Trailing,
    end: EndRule::Clean,
    start: StartRule::SigmaUnlessLeading,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Field { default: false, rederive_eps: true, thresholds: false },
    parameters: &[],
    solver,
};

fn solver(_: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    Ok(Arc::new(Heun))
}

/// The solver; it does not have settings.
#[derive(Clone, Copy, Debug)]
pub struct Heun;

impl Solver for Heun {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

#[derive(Clone)]
struct State;

impl Stepper for State {
    /// x' = x + (sigma' - sigma)(eps + eps'') / 2 with eps'' at the end of Euler's step. At sigma' = 0 the network
    /// cannot be called, and the step is Euler's.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let length = step.to.sigma - step.from.sigma;
        let mut ahead = combine(&[(1.0, &x), (length, &here.eps)]);
        if step.to.sigma > 0.0 {
            let there = oracle.estimate(&oracle.moved(ahead), step.to)?;
            ahead = combine(&[(1.0, &x), (length / 2.0, &here.eps), (length / 2.0, &there.eps)]);
        }
        Ok(Update { eps: here.raw, x0: here.x0, x: ahead })
    }
}
