//! DPM-Solver-2 in sigma: Lu et al. (2022), as Crowson's `sample_dpm_2` and diffusers' `KDPM2DiscreteScheduler` have
//! it.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, SigmaRule};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::denoise::Level;
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "kdpm2",
    order: 2,
    calls: Calls::TWO,
    source: "DPM-Solver-2: Lu et al. 2022, k-diffusion; one call in the last step",
    class: Some("KDPM2DiscreteScheduler"),
    folders: &["KDPM2DiscreteScheduler"],
    levels: Levels::Narrow,
    steps: 25,
    spacing: Spacing::Linspace,
    grid: Grid::Sigmas(SigmaRule { rounds_karras: true, ..SigmaRule::new(Count::Ends) }),
    kind: None,
    short_kind: ScheduleKind::Trailing,
    end: EndRule::Clean,
    start: StartRule::SigmaUnlessLeading,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

fn solver(_: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    Ok(Arc::new(Kdpm2))
}

/// The solver; it does not have settings.
#[derive(Clone, Copy, Debug)]
pub struct Kdpm2;

impl Solver for Kdpm2 {
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
    /// x' = x + (sigma' - sigma) `eps_middle`, with `eps_middle` at the end of Euler's step to the geometric mean of
    /// both sigmas. At sigma' = 0 that mean is 0, and the step is Euler's.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let (from, to) = (step.from.sigma, step.to.sigma);
        let middle = (from * to).sqrt();
        let along = |sigma: f64, eps: &Tensor| combine(&[(1.0, &x), (sigma - from, eps)]);
        let end = if to > 0.0 {
            let there = oracle.estimate(&oracle.moved(along(middle, &here.eps)), Level::at_sigma(middle))?;
            along(to, &there.eps)
        } else {
            along(to, &here.eps)
        };
        Ok(Update { eps: here.raw, x0: here.x0, x: end })
    }
}
