//! Strategic stochastic sampling of trajectory consistency models: Zheng et al. (2024), algorithm 4, as diffusers'
//! `TCDScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Level, Scale, Schedule, ScheduleKind, Step};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::lcm::distilled;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, in_range, last_steps};
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "tcd",
    order: 1,
    calls: Calls::ONE,
    source: "trajectory consistency: Zheng et al. 2024, algorithm 4",
    class: Some("TCDScheduler"),
    folders: &["TCDScheduler"],
    levels: Levels::Latent,
    steps: 4,
    spacing: Spacing::Leading,
    grid: Grid::Own(grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Own,
    end: EndRule::First,
    start: StartRule::UnitZ,
    pure_noise: true,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &["eta"],
    solver,
};

/// gamma of the paper, where the caller does not give `eta`.
const USUAL_ETA: f64 = 0.3;

fn solver(request: &Request, schedule: &Schedule) -> Result<Arc<dyn Solver>> {
    let eta = request.parameters.eta.unwrap_or(USUAL_ETA);
    in_range("eta", eta, (0.0..=1.0).contains(&eta), "from 0 (no noise) to 1 (all noise is new)")?;
    let table = request.table;
    // The whole timestep below (1 - eta) t', rounded as in float32.
    let below = |step: &Step| {
        let timestep = (1.0 - eta) as f32 * step.to.called_at(table) as f32;
        table.sigma(f64::from(timestep.floor())).min(step.to.sigma)
    };
    Ok(Arc::new(Tcd { eta, below: schedule.steps().iter().map(below).collect() }))
}

fn grid(request: &Request) -> Result<Schedule> {
    let timesteps = distilled(request)?.into_iter().chain([0]);
    let levels = timesteps.map(|t| Level::at_index(request.table, t)).collect();
    Ok(Schedule::joined(levels, Scale::VariancePreserving))
}

/// The solver.
#[derive(Clone, Debug, PartialEq)]
pub struct Tcd {
    /// The share of noise: gamma of the paper.
    eta: f64,
    /// The sigma per step that the network leads down to, before noise is added.
    below: Vec<f64>,
}

impl Solver for Tcd {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(self.clone())
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("eta", self.eta.to_string())]
    }

    fn is_stochastic(&self) -> bool {
        self.eta > 0.0
    }
}

impl Stepper for Tcd {
    /// Down to a level below the next, and noise up to it; the last step adds none.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let below = self.below[position.place()];
        let mut terms = if step.from.sigma.is_infinite() {
            vec![(1.0, &here.x0), (below, &here.eps)]
        } else {
            vec![(1.0, &x), (below - step.from.sigma, &here.eps)]
        };
        let adds = self.is_stochastic() && position.left() > 1;
        let w = if adds { Some(oracle.noise()?) } else { None };
        terms.extend(w.as_ref().map(|w| ((step.to.sigma * step.to.sigma - below * below).sqrt(), w)));
        let x = combine(&terms);
        Ok(Update { eps: here.raw, x0: here.x0, x })
    }
}
