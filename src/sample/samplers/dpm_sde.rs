//! DPM-Solver++ for the stochastic equation in single steps: Crowson's `sample_dpmpp_sde`, as diffusers'
//! `DPMSolverSDEScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, SigmaRule};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::denoise::Level;
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "dpm-sde",
    order: 2,
    calls: Calls::TWO,
    source: "DPM-Solver++ SDE, k-diffusion, Crowson 2022; adds noise; one call in the last step",
    class: Some("DPMSolverSDEScheduler"),
    folders: &["DPMSolverSDEScheduler"],
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
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

fn solver(_: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    Ok(Arc::new(DpmSde))
}

/// The solver; it does not have settings.
#[derive(Clone, Copy, Debug)]
pub struct DpmSde;

impl Solver for DpmSde {
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
    /// An ancestral step to the geometric mean of both sigmas, and one from sigma to sigma' with the prediction of x0
    /// there. The noise of both is that of one Brownian path in sigma: w1 up to the middle, and over the whole step
    /// w = (sqrt(sigma - middle) w1 + sqrt(middle - sigma') w2) / sqrt(sigma - sigma').
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let (from, to) = (step.from.sigma, step.to.sigma);
        if to == 0.0 || to == from {
            let end = combine(&[(1.0, &x), (to - from, &here.eps)]);
            return Ok(Update { eps: here.raw, x0: here.x0, x: end });
        }
        let middle = (from * to).sqrt();
        let (kept, up) = ancestral(from, middle);
        let first = oracle.noise()?;
        let ahead = oracle.moved(combine(&[(kept, &x), (1.0 - kept, &here.x0), (up, &first)]));
        let there = oracle.estimate(&ahead, Level::at_sigma(middle))?;
        let second = oracle.noise()?;
        let (kept, up) = ancestral(from, to);
        let share = |length: f64| up * (length / (from - to)).sqrt();
        let end = combine(&[
            (kept, &x),
            (1.0 - kept, &there.x0),
            (share(from - middle), &first),
            (share(middle - to), &second),
        ]);
        Ok(Update { eps: here.raw, x0: here.x0, x: end })
    }
}

/// Returns the factor of x in a step from `from` to the level below `to` that noise then brings up to it, and the
/// spread of that noise.
fn ancestral(from: f64, to: f64) -> (f64, f64) {
    let up = (to * (1.0 - (to / from).powi(2)).max(0.0).sqrt()).min(to);
    ((to * to - up * up).max(0.0).sqrt() / from, up)
}
