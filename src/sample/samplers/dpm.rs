//! DPM-Solver and DPM-Solver++, multistep: Lu et al. (2022), as in diffusers' `DPMSolverMultistepScheduler`.

use std::sync::Arc;

use super::super::config_fields::{Fields, FinalSigma, Form, Spacing, solver_order};
use super::super::flow;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, SigmaRule};
use super::super::solvers::history::{History, multistep_order};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "dpm++2m",
    order: 2,
    calls: Calls::ONE,
    source: "DPM-Solver++: Lu et al. 2022",
    class: Some("DPMSolverMultistepScheduler"),
    folders: &["DPMSolverMultistepScheduler"],
    levels: Levels::Ddpm,
    steps: 20,
    spacing: Spacing::Linspace,
    grid: Grid::Sigmas(SigmaRule { rounds_cosine_down: true, clips_lambda: true, ..SigmaRule::new(Count::Inner) }),
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

pub(super) fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let fields = request.fields;
    let (order, algorithm) = (solver_order(fields)?, Algorithm::read(fields)?);
    if !algorithm.is_in_x0() && FinalSigma::read(fields)? == FinalSigma::Zero {
        let supported = "dpmsolver++ and sde-dpmsolver++, or any with `final_sigmas_type` sigma_min";
        return Err(fields.unsupported("algorithm_type", supported));
    }
    if order == 3 && algorithm == Algorithm::StochasticEps {
        return Err(fields.unsupported("solver_order", "1, 2 with sde-dpmsolver"));
    }
    flow::refuse_shifts(fields, request.table.process())?;
    Ok(Arc::new(Dpm {
        order,
        algorithm,
        is_heun: Form::read(fields)? == Some(Form::Heun),
        lower_order_final: fields.get_or("lower_order_final", true)?,
        euler_at_final: fields.get_or("euler_at_final", false)?,
    }))
}

/// The integrated equation and its variable (the values of `algorithm_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Algorithm {
    /// The ordinary differential equation, in eps.
    #[serde(rename = "dpmsolver")]
    Eps,
    /// The same, in x0.
    #[default]
    #[serde(rename = "dpmsolver++", alias = "deis")]
    X0,
    /// The stochastic differential equation, in eps.
    #[serde(rename = "sde-dpmsolver")]
    StochasticEps,
    /// The same, in x0.
    #[serde(rename = "sde-dpmsolver++")]
    StochasticX0,
}

impl Algorithm {
    /// Reads `algorithm_type`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for another value.
    pub fn read(fields: &Fields) -> Result<Self> {
        let supported = "dpmsolver, dpmsolver++, sde-dpmsolver, sde-dpmsolver++, deis";
        Ok(fields.one_of("algorithm_type", supported)?.unwrap_or_default())
    }

    /// Returns `true` if noise is added.
    #[must_use]
    pub fn is_stochastic(self) -> bool {
        matches!(self, Self::StochasticEps | Self::StochasticX0)
    }

    /// Returns `true` if x0 is extrapolated.
    #[must_use]
    pub fn is_in_x0(self) -> bool {
        matches!(self, Self::X0 | Self::StochasticX0)
    }

    /// The stochastic equation goes down twice as far, and noise brings it up again.
    fn twice(self) -> f64 {
        if self.is_stochastic() { 2.0 } else { 1.0 }
    }

    /// Returns the factors a, b, c and d of a step from `from` to `to`: of x, and of value, slope and bend of the
    /// estimate over h = ln(`from` / `to`). Those of slope and bend are not finite at a `to` of 0.
    pub(super) fn integrals(self, from: f64, to: f64) -> [f64; 4] {
        let h = (from / to).ln();
        let twice = self.twice();
        let (g, length) = (twice * h, from - to);
        let (a, b) = match self {
            Self::Eps => (1.0, -length),
            Self::StochasticEps => (1.0, -2.0 * length),
            Self::X0 | Self::StochasticX0 => {
                let kept = (to / from).powf(twice);
                (kept, 1.0 - kept)
            }
        };
        let (c, d) = match self {
            Self::Eps | Self::StochasticEps => (-twice * (length / h - to), -((length - to * h) / (h * h) - to / 2.0)),
            // diffusers' third order of the stochastic equation has -1/2 where the expansion has 1/2.
            Self::X0 => ((a - 1.0) / g + 1.0, 0.5 - (a - 1.0 + g) / (g * g)),
            Self::StochasticX0 => ((a - 1.0) / g + 1.0, -0.5 - (a - 1.0 + g) / (g * g)),
        };
        [a, b, c, d]
    }

    /// Returns the spread of the noise of a step from `from` to `to`.
    pub(super) fn spread(self, from: f64, to: f64) -> f64 {
        match self {
            Self::Eps | Self::X0 => 0.0,
            Self::StochasticEps => (from * from - to * to).sqrt(),
            Self::StochasticX0 => to * (1.0 - (to / from).powf(2.0)).sqrt(),
        }
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Eps => "dpmsolver",
            Self::X0 => "dpmsolver++",
            Self::StochasticEps => "sde-dpmsolver",
            Self::StochasticX0 => "sde-dpmsolver++",
        })
    }
}

/// Its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dpm {
    /// 1, 2 or 3; [`Algorithm::StochasticEps`] has no third.
    pub order: usize,
    /// The integrated equation and its variable.
    pub algorithm: Algorithm,
    /// `true` if the second order has Heun's form instead of the midpoint's (`solver_type`).
    pub is_heun: bool,
    /// `lower_order_final`: the last two of few steps are of lower order.
    pub lower_order_final: bool,
    /// `euler_at_final`: the last step is of order 1.
    pub euler_at_final: bool,
}

impl Dpm {
    /// The factors of x, of the newest estimates (as many as `sigmas`, their levels) and of the noise, in a step from
    /// `sigmas[0]` to `to` below it.
    ///
    /// With h = ln(sigma / sigma') and the differences D0, D1, D2 of the estimates, a step is
    /// `x' = a x + b D0 + c D1 + d D2 + spread w`.
    fn factors(&self, sigmas: &[f64], to: f64) -> (f64, Vec<f64>, f64) {
        let from = sigmas[0];
        let [a, b, c, d] = self.algorithm.integrals(from, to);
        let (c, d) = match sigmas.len() {
            0 | 1 => (0.0, 0.0),
            2 if !self.is_heun => (b / 2.0, 0.0),
            _ => (c, d),
        };
        (a, weights(sigmas, (from / to).ln(), [b, c, d]), self.algorithm.spread(from, to))
    }
}

/// `b D0 + c D1 + d D2` as factors of the estimates themselves.
fn weights(sigmas: &[f64], h: f64, [b, c, d]: [f64; 3]) -> Vec<f64> {
    let ratio = |newer: usize| (sigmas[newer + 1] / sigmas[newer]).ln() / h;
    match sigmas.len() {
        1 => vec![b],
        2 => {
            let slope = c / ratio(0);
            vec![b + slope, -slope]
        }
        _ => {
            let (r0, r1) = (ratio(0), ratio(1));
            // D1 = newer + r0 / (r0 + r1) (newer - older), D2 = (newer - older) / (r0 + r1)
            let bend = (c * r0 + d) / (r0 + r1);
            let (newer, older) = ((c + bend) / r0, -bend / r1);
            vec![b + newer, older - newer, -older]
        }
    }
}

impl Solver for Dpm {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State::new(*self))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("order", self.order.to_string()),
            ("algorithm", self.algorithm.to_string()),
            ("form", if self.is_heun { "heun" } else { "midpoint" }.to_owned()),
            ("lower order at the end", (self.lower_order_final || self.euler_at_final).to_string()),
        ]
    }

    fn is_stochastic(&self) -> bool {
        self.algorithm.is_stochastic()
    }
}

#[derive(Clone)]
struct State {
    dpm: Dpm,
    history: History,
}

impl State {
    fn new(dpm: Dpm) -> Self {
        Self { dpm, history: History::new(dpm.order) }
    }
}

impl Stepper for State {
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let (step, dpm) = (position.step(), self.dpm);
        let here = oracle.estimate(&x, step.from)?;
        let extrapolated = if dpm.algorithm.is_in_x0() { here.x0.clone() } else { here.eps };
        self.history.push(step.from.sigma, extrapolated);
        if step.to.sigma == step.from.sigma {
            return Ok(Update { eps: here.raw, x0: here.x0, x });
        }
        let order =
            multistep_order(dpm.order, self.history.distinct(), dpm.lower_order_final, dpm.euler_at_final, position);
        let (kept, weights, spread) = dpm.factors(&self.history.sigmas(order), step.to.sigma);
        let w = if spread > 0.0 { Some(oracle.noise()?) } else { None };
        let mut terms = self.history.weighted(&weights);
        terms.push((kept, &x));
        terms.extend(w.as_ref().map(|w| (spread, w)));
        Ok(Update { eps: here.raw, x: combine(&terms), x0: here.x0 })
    }
}
