//! Improved pseudo numerical methods: Liu et al. (2022) without a start by Runge and Kutta's rule, as diffusers'
//! `IPNDMScheduler` has them.
//!
//! That class serves networks of v on a circle, alpha = cos(angle), called at the angle over a right angle: its own
//! grid starts from pure noise, at the right angle. Folders of other classes are sampled on their spacing.

use std::f64::consts::FRAC_PI_2;
use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Scale, Schedule, ScheduleKind, ScheduleShape, Successor};
use super::super::solvers::history::History;
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::denoise::Level;
use crate::denoise::process::Process;
use crate::{Error, Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "ipndm",
    order: 4,
    calls: Calls::ONE,
    source: "Liu et al. 2022 without a start of several calls",
    class: Some("IPNDMScheduler"),
    folders: &["IPNDMScheduler"],
    levels: Levels::Angle,
    steps: 50,
    spacing: Spacing::Trailing,
    grid: Grid::Own(grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Leading,
    end: EndRule::Clean,
    start: StartRule::UnitZ,
    pure_noise: true,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

/// The class's levels, sin(a) = sin(pi k / 2 N)^2 for k from N to 0, or diffusers' `trailing` spacing for a model that
/// was trained with betas.
fn grid(request: &Request) -> Result<Schedule> {
    let steps = request.steps;
    match request.table.process() {
        Process::Angle if steps > 0 => {
            let sigma = |k: usize| {
                let sine = (k as f64 / steps as f64 * FRAC_PI_2).sin().powi(2);
                if k == steps { f64::INFINITY } else { sine / (1.0 - sine * sine).sqrt() }
            };
            let levels = (0..=steps).rev().map(|k| Level::at_sigma(sigma(k))).collect();
            Ok(Schedule::joined(levels, Scale::VariancePreserving))
        }
        Process::Angle => Err(Error::argument("a schedule of 0 steps", "`steps` takes 1 or more")),
        Process::Betas => {
            let shape = ScheduleShape {
                steps,
                sigma_max: None,
                sigma_min: None,
                steps_offset: 0,
                set_alpha_to_one: true,
                successor: Successor::NextThenFinal,
            };
            Schedule::new(ScheduleKind::Trailing, &shape, request.table)
        }
        Process::Edm { .. } | Process::Score | Process::Consistency { .. } | Process::Flow { .. } => {
            Err(Error::argument(
                "the schedule `own` of this sampler is for networks of v and models that were trained with betas",
                "choose another `schedule`",
            ))
        }
    }
}

/// Estimates that are averaged.
const ORDER: usize = 4;

fn solver(_: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    Ok(Arc::new(Ipndm))
}

/// The solver; it does not have settings.
#[derive(Clone, Copy, Debug)]
pub struct Ipndm;

impl Solver for Ipndm {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State { history: History::new(ORDER) })
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

#[derive(Clone)]
struct State {
    history: History,
}

impl Stepper for State {
    /// x' = x + (sigma' - sigma) `eps_bar` with the newest estimates of eps under the weights of Adams and Bashforth.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        if step.from.sigma.is_infinite() {
            // The state is the noise itself, and its image is 0.
            let eps = oracle.eps(&x, step.from)?;
            let (x0, x) = (Tensor::zeros(x.shape), combine(&[(step.to.sigma, &eps)]));
            self.history.push(step.from.sigma, eps.clone());
            return Ok(Update { eps, x0, x });
        }
        let here = oracle.estimate(&x, step.from)?;
        self.history.push(step.from.sigma, here.eps);
        let weights: &[f64] = match self.history.newest(ORDER).len() {
            0 | 1 => &[1.0],
            2 => &[3.0 / 2.0, -1.0 / 2.0],
            3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let length = step.to.sigma - step.from.sigma;
        let weights: Vec<f64> = weights.iter().map(|weight| weight * length).collect();
        let mut terms = self.history.weighted(&weights);
        terms.push((1.0, &x));
        Ok(Update { eps: here.raw, x0: here.x0, x: combine(&terms) })
    }
}
