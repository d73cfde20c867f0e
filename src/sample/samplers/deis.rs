//! The diffusion exponential integrator sampler: Zhang and Chen (2022), with the polynomial in log rho (rho is sigma
//! here), as diffusers' `DEISMultistepScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::{Form, Spacing, solver_order};
use super::super::flow;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, End, SigmaRule};
use super::super::solvers::history::{History, multistep_order};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::dpm::Algorithm;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "deis",
    order: 2,
    calls: Calls::ONE,
    source: "Zhang and Chen 2022, polynomials in log sigma",
    class: Some("DEISMultistepScheduler"),
    folders: &["DEISMultistepScheduler"],
    levels: Levels::Ddpm,
    steps: 20,
    spacing: Spacing::Linspace,
    grid: Grid::Sigmas(SigmaRule { spread_end: End::LastCall, ..SigmaRule::new(Count::Inner) }),
    kind: None,
    short_kind: ScheduleKind::Trailing,
    end: EndRule::First,
    start: StartRule::UnitZ,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Thresholding,
    parameters: &[],
    solver,
};

fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let fields = request.fields;
    if Algorithm::read(fields)?.is_stochastic() {
        return Err(fields.unsupported("algorithm_type", "deis, dpmsolver, dpmsolver++"));
    }
    flow::refuse_shifts(fields, request.table.process())?;
    Form::read(fields)?;
    let lower_order_final = fields.get_or("lower_order_final", true)?;
    Ok(Arc::new(Deis { order: solver_order(fields)?, lower_order_final }))
}

/// Its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deis {
    /// 1, 2 or 3.
    pub order: usize,
    /// `lower_order_final`: the last two of few steps are of lower order.
    pub lower_order_final: bool,
}

impl Solver for Deis {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State::new(*self))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("order", self.order.to_string()), ("lower order at the end", self.lower_order_final.to_string())]
    }
}

#[derive(Clone)]
struct State {
    deis: Deis,
    history: History,
}

impl State {
    fn new(deis: Deis) -> Self {
        Self { deis, history: History::new(deis.order) }
    }
}

impl Stepper for State {
    /// x' = x + the integral, from sigma to sigma', of the polynomial in log sigma through the newest estimates of eps.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        self.history.push(step.from.sigma, here.eps);
        let order =
            multistep_order(self.deis.order, self.history.distinct(), self.deis.lower_order_final, false, position);
        let weights = integrals(&self.history.sigmas(order), step.from.sigma, step.to.sigma);
        let mut terms = self.history.weighted(&weights);
        terms.push((1.0, &x));
        Ok(Update { eps: here.raw, x0: here.x0, x: combine(&terms) })
    }
}

/// The integral over sigma, from `from` to `to`, of each Lagrange polynomial in log sigma of `nodes`, one to three.
fn integrals(nodes: &[f64], from: f64, to: f64) -> Vec<f64> {
    let log = |index: usize| nodes[index].ln();
    let between = |antiderivative: &dyn Fn(f64) -> f64| antiderivative(to) - antiderivative(from);
    let others = |own: usize| (0..nodes.len()).filter(move |other| *other != own).map(log);
    let integral = |own: usize| {
        let scale: f64 = others(own).map(|other| log(own) - other).product();
        let roots: Vec<f64> = others(own).collect();
        let area = match roots[..] {
            [] => between(&|sigma| sigma),
            [c] => between(&|sigma| moment(sigma, 1) - c * sigma),
            [c, d, ..] => between(&|sigma| moment(sigma, 2) - (c + d) * moment(sigma, 1) + c * d * sigma),
        };
        area / scale
    };
    (0..nodes.len()).map(integral).collect()
}

/// The antiderivative of ln(sigma)^power that is 0 at 0, for a power of 1 or 2.
fn moment(sigma: f64, power: i32) -> f64 {
    if sigma == 0.0 {
        return 0.0;
    }
    let log = sigma.ln();
    if power == 1 { sigma * (log - 1.0) } else { sigma * (log * log - 2.0 * log + 2.0) }
}

#[cfg(test)]
mod tests {
    use super::integrals;

    /// Weights of a polynomial in log sigma integrate such polynomials exactly.
    #[test]
    fn polynomials_in_log_sigma_are_integrated_exactly() {
        let nodes = [3.0, 5.0, 11.0];
        for count in 1..=3 {
            for degree in 0..count {
                let power = |sigma: f64| sigma.ln().powi(degree);
                let found: f64 =
                    integrals(&nodes[..count as usize], 3.0, 0.7).iter().zip(nodes).map(|(w, s)| w * power(s)).sum();
                let pieces = 200_000;
                let at = |piece: i32| 3.0 - (f64::from(piece) + 0.5) / f64::from(pieces) * 2.3;
                let expected: f64 = (0..pieces).map(|piece| power(at(piece))).sum::<f64>() * -2.3 / f64::from(pieces);
                assert!((found - expected).abs() < 1e-8, "{count} {degree}: {found} {expected}");
            }
        }
    }

    #[test]
    fn steps_may_end_at_no_noise() {
        assert!(integrals(&[1.0, 2.0, 4.0], 1.0, 0.0).iter().all(|weight| weight.is_finite()));
    }
}
