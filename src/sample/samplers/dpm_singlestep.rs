//! DPM-Solver and DPM-Solver++ in single steps: Lu et al. (2022), as diffusers' `DPMSolverSinglestepScheduler` has
//! them.
//!
//! The steps of the schedule come in groups of up to three. Each step of a group starts again from the state at the
//! group's first level, with one estimate more than the step before.

use std::sync::Arc;

use super::super::config_fields::{FinalSigma, Form, Spacing, solver_order};
use super::super::flow;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, SigmaRule};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::dpm::Algorithm;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "dpm++2s",
    order: 2,
    calls: Calls::ONE,
    source: "DPM-Solver++ in single steps: Lu et al. 2022",
    class: Some("DPMSolverSinglestepScheduler"),
    folders: &["DPMSolverSinglestepScheduler"],
    levels: Levels::Ddpm,
    steps: 20,
    spacing: Spacing::Linspace,
    grid: Grid::Sigmas(SigmaRule {
        clips_lambda: true,
        only_spacing: Some(Spacing::Linspace),
        ..SigmaRule::new(Count::Inner)
    }),
    kind: None,
    short_kind: ScheduleKind::Trailing,
    end: EndRule::FinalSigma,
    start: StartRule::UnitZ,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Thresholding,
    parameters: &[],
    solver,
};

fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let fields = request.fields;
    let algorithm = Algorithm::read(fields)?;
    if !algorithm.is_in_x0() && FinalSigma::read(fields)? == FinalSigma::Zero {
        let supported = "dpmsolver++ and sde-dpmsolver++, or dpmsolver with `final_sigmas_type` sigma_min";
        return Err(fields.unsupported("algorithm_type", supported));
    }
    if algorithm == Algorithm::StochasticEps {
        return Err(fields.unsupported("algorithm_type", "dpmsolver, dpmsolver++, sde-dpmsolver++"));
    }
    flow::refuse_shifts(fields, request.table.process())?;
    Ok(Arc::new(DpmSinglestep {
        order: solver_order(fields)?,
        algorithm,
        is_heun: Form::read(fields)? == Some(Form::Heun),
        lower_order_final: fields.get_or("lower_order_final", false)?,
    }))
}

/// Its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpmSinglestep {
    /// 1, 2 or 3: the steps of a group.
    pub order: usize,
    /// The integrated equation, without noise or in x0.
    pub algorithm: Algorithm,
    /// `true` if the second and third order have Heun's form instead of the midpoint's (`solver_type`).
    pub is_heun: bool,
    /// `lower_order_final`: the last group is of lower order. This also holds where the order does not divide the
    /// number of steps, and where the last step ends without noise.
    pub lower_order_final: bool,
}

impl DpmSinglestep {
    /// Returns the order of the step at `position`: its place in its group, from 1. The groups are those of the whole
    /// schedule: a walk that begins inside one has fewer estimates there.
    fn order_at(&self, position: Position) -> usize {
        let (order, steps, index) = (self.order, position.whole(), position.place());
        let ends_clean = position.steps.last().is_some_and(|last| last.to.sigma == 0.0);
        let is_last = index + 1 == steps;
        let lowered = self.lower_order_final || !steps.is_multiple_of(order) || ends_clean;
        let in_group = index % order + 1;
        match (order, steps % 3) {
            _ if is_last && ends_clean => 1,
            // The last group of three steps is one of two and one of one.
            (2, _) | (3, 0 | 1) if is_last && lowered => 1,
            _ => in_group,
        }
    }

    /// Returns the factors of the group's first state, of its estimates from the first to the newest (as many as
    /// `sigmas`, their levels) and of the noise, in a step from `sigmas[0]` to `to`.
    fn factors(&self, sigmas: &[f64], to: f64) -> (f64, Vec<f64>, f64) {
        let [a, b, c, d] = self.algorithm.integrals(sigmas[0], to);
        let h = (sigmas[0] / to).ln();
        let ratio = |at: usize| (sigmas[0] / sigmas[at]).ln() / h;
        let weights = match sigmas.len() {
            1 => vec![b],
            2 => {
                let slope = if self.is_heun { c } else { b / 2.0 } / ratio(1);
                vec![b - slope, slope]
            }
            _ => {
                let (near, far) = (ratio(1), ratio(2));
                // The differences to the first estimate, over their ratios, are slopes; `bend` is their difference.
                let (of_near, of_far) = if self.is_heun {
                    let spread = far - near;
                    ((c * far - 2.0 * d) / spread, (2.0 * d - c * near) / spread)
                } else {
                    (0.0, c)
                };
                let (middle, newest) = (of_near / near, of_far / far);
                vec![b - middle - newest, middle, newest]
            }
        };
        (a, weights, self.algorithm.spread(sigmas[0], to))
    }
}

impl Solver for DpmSinglestep {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State { solver: *self, first: None, sigmas: Vec::new(), estimates: Vec::new() })
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("order", self.order.to_string()),
            ("algorithm", self.algorithm.to_string()),
            ("form", if self.is_heun { "heun" } else { "midpoint" }.to_owned()),
            ("lower order at the end", self.lower_order_final.to_string()),
        ]
    }

    fn is_stochastic(&self) -> bool {
        self.algorithm.is_stochastic()
    }
}

/// The group that the walk is in.
#[derive(Clone)]
struct State {
    solver: DpmSinglestep,
    /// The state at its first level, and what guidance adds to the states that are made of it.
    first: Option<(Tensor, Option<Arc<Tensor>>)>,
    /// Its levels so far, and the estimates there.
    sigmas: Vec<f64>,
    estimates: Vec<Tensor>,
}

impl Stepper for State {
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let falls = self.sigmas.last().is_none_or(|last| step.from.sigma < *last);
        if self.solver.order_at(position) == 1 || !falls || self.sigmas.len() >= self.solver.order {
            (self.first, self.sigmas, self.estimates) = (None, Vec::new(), Vec::new());
        }
        self.sigmas.push(step.from.sigma);
        self.estimates.push(if self.solver.algorithm.is_in_x0() { here.x0.clone() } else { here.eps });
        let (kept, weights, spread) = self.solver.factors(&self.sigmas, step.to.sigma);
        let w = if spread > 0.0 { Some(oracle.noise()?) } else { None };
        let (first, shift) = self.first.get_or_insert((x, oracle.shift()));
        oracle.begins_with(shift.clone());
        let mut terms: Vec<(f64, &Tensor)> = weights.into_iter().zip(&self.estimates).collect();
        terms.push((kept, &*first));
        terms.extend(w.as_ref().map(|w| (spread, w)));
        Ok(Update { eps: here.raw, x: combine(&terms), x0: here.x0 })
    }
}
