//! DPM-Solver-2 below the next level, and noise up to it: Crowson's `sample_dpm_2_ancestral`, as diffusers'
//! `KDPM2AncestralDiscreteScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, SigmaRule};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::denoise::Level;
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "kdpm2-a",
    order: 2,
    calls: Calls::TWO,
    source: "DPM-Solver-2, k-diffusion, Crowson 2022; adds noise; one call in the last step",
    class: Some("KDPM2AncestralDiscreteScheduler"),
    folders: &["KDPM2AncestralDiscreteScheduler"],
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
    Ok(Arc::new(Kdpm2Ancestral))
}

/// The solver; it does not have settings.
#[derive(Clone, Copy, Debug)]
pub struct Kdpm2Ancestral;

impl Solver for Kdpm2Ancestral {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn is_stochastic(&self) -> bool {
        true
    }
}

#[derive(Clone)]
struct State;

impl Stepper for State {
    /// The step of DPM-Solver-2 from sigma to `sigma_down` = sigma'^2 / sigma, and noise of sigma'^2 - `sigma_down^2`.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let (from, to) = (step.from.sigma, step.to.sigma);
        if to == 0.0 {
            let end = combine(&[(1.0, &x), (-from, &here.eps)]);
            return Ok(Update { eps: here.raw, x0: here.x0, x: end });
        }
        let down = to * to / from;
        let up = (to * to - down * down).max(0.0).sqrt();
        let middle = (from * down).sqrt();
        let ahead = oracle.moved(combine(&[(1.0, &x), (middle - from, &here.eps)]));
        let there = oracle.estimate(&ahead, Level::at_sigma(middle))?;
        let w = oracle.noise()?;
        let end = combine(&[(1.0, &x), (down - from, &there.eps), (up, &w)]);
        Ok(Update { eps: here.raw, x0: here.x0, x: end })
    }
}
