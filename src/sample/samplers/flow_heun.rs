//! Heun's method in s of flow matching, as diffusers' `FlowMatchHeunDiscreteScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::flow_euler;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "flow-heun",
    order: 2,
    calls: Calls::TWO,
    source: "Karras et al. 2022, algorithm 1, in s of flow matching",
    class: Some("FlowMatchHeunDiscreteScheduler"),
    folders: &["FlowMatchHeunDiscreteScheduler"],
    levels: Levels::Flow,
    steps: 14,
    spacing: Spacing::Linspace,
    grid: Grid::Own(grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Trailing,
    end: EndRule::Clean,
    start: StartRule::UnitZ,
    pure_noise: true,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

fn solver(_: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    Ok(Arc::new(FlowHeun))
}

fn grid(request: &Request) -> Result<Schedule> {
    Ok(flow_euler::schedule(&flow_euler::shifted_twice(request)?))
}

/// The solver; it does not have settings.
#[derive(Clone, Copy, Debug)]
pub struct FlowHeun;

impl Solver for FlowHeun {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(*self)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

impl Stepper for FlowHeun {
    /// With the velocity v = eps - x0 and z = (1 - s) x: z' = z + (s' - s)(v + v'') / 2, where v'' is that at the end
    /// of Euler's step. At the clean end, the step is Euler's. As z = x0 + s v, this is x' = (x0 + s v + (s' - s)(v +
    /// v'') / 2) / (1 - s').
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let ahead = combine(&[(1.0, &here.x0), (step.to.sigma, &here.eps)]);
        if step.to.sigma == 0.0 {
            return Ok(Update { eps: here.raw, x0: here.x0, x: ahead });
        }
        let there = oracle.estimate(&oracle.moved(ahead), step.to)?;
        let share = |sigma: f64| if sigma.is_infinite() { 1.0 } else { sigma / (1.0 + sigma) };
        let (s, end) = (share(step.from.sigma), share(step.to.sigma));
        let half = (end - s) / 2.0;
        let factors = [(1.0 - s - half, &here.x0), (s + half, &here.eps), (-half, &there.x0), (half, &there.eps)];
        let x = combine(&factors.map(|(factor, part)| (factor * (1.0 + step.to.sigma), part)));
        Ok(Update { eps: here.raw, x0: here.x0, x })
    }
}
