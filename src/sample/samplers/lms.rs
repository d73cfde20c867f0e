//! Linear multistep in sigma: Adams and Bashforth's rule on a grid that is not even (Katherine Crowson's `sample_lms`).

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, SigmaRule};
use super::super::solvers::history::History;
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "lms",
    order: 4,
    calls: Calls::ONE,
    source: "k-diffusion, Crowson 2022; multistep in sigma",
    class: Some("LMSDiscreteScheduler"),
    folders: &["LMSDiscreteScheduler"],
    levels: Levels::Ddpm,
    steps: 50,
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

/// The default order in diffusers.
const ORDER: usize = 4;

fn solver(_: &Request, schedule: &Schedule) -> Result<Arc<dyn Solver>> {
    let sigmas = schedule.steps().iter().map(|step| step.from.sigma).collect();
    Ok(Arc::new(Lms { order: ORDER, sigmas }))
}

/// Its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Lms {
    /// The number of estimates of eps that the polynomial interpolates, 1 to 4; 4 in diffusers.
    pub order: usize,
    /// The sigma that each step of the whole schedule starts at.
    pub sigmas: Vec<f64>,
}

impl Solver for Lms {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State::new(self.clone()))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("order", self.order.to_string())]
    }
}

#[derive(Clone)]
struct State {
    lms: Lms,
    history: History,
}

impl State {
    fn new(lms: Lms) -> Self {
        Self { history: History::new(lms.order), lms }
    }
}

impl State {
    /// The levels that the polynomial of a step interpolates at, the newest first.
    ///
    /// In a walk that begins in mid-schedule, diffusers counts the levels before its beginning too, and leaves out the
    /// estimates there, which do not exist.
    fn nodes(&self, position: Position) -> Vec<f64> {
        if position.skipped == 0 {
            return self.history.sigmas(self.history.distinct());
        }
        let before = self.lms.sigmas.get(..=position.place()).unwrap_or_default();
        let mut nodes: Vec<f64> = before.iter().rev().copied().collect();
        nodes.dedup();
        nodes.truncate(self.lms.order);
        nodes
    }
}

impl Stepper for State {
    /// x' = x + the integral, from sigma to sigma', of the polynomial through the newest estimates of eps.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        self.history.push(step.from.sigma, here.eps);
        let nodes = self.nodes(position);
        let weights = integrals(&nodes, step.from.sigma, step.to.sigma);
        let mut terms = self.history.weighted(&weights);
        terms.push((1.0, &x));
        Ok(Update { eps: here.raw, x0: here.x0, x: combine(&terms) })
    }
}

/// The integral of each of the Lagrange polynomials of `nodes` from `from` to `to`: by Gauss and Legendre's rule of two
/// points, exact up to the third degree.
fn integrals(nodes: &[f64], from: f64, to: f64) -> Vec<f64> {
    let (middle, half) = (f64::midpoint(from, to), (to - from) / 2.0);
    let point = half / 3f64.sqrt();
    let polynomial = |own: usize, at: f64| -> f64 {
        let others = nodes.iter().enumerate().filter(|(other, _)| *other != own);
        others.map(|(_, node)| (at - node) / (nodes[own] - node)).product()
    };
    let integral = |own| half * (polynomial(own, middle - point) + polynomial(own, middle + point));
    (0..nodes.len()).map(integral).collect()
}

#[cfg(test)]
mod tests {
    use super::integrals;

    /// On an even grid these are Adams and Bashforth's weights, as tabulated.
    #[test]
    fn even_grids_give_the_weights_of_adams_and_bashforth() {
        for (nodes, expected) in [
            (vec![4.0], vec![-1.0]),
            (vec![4.0, 5.0], vec![-3.0 / 2.0, 1.0 / 2.0]),
            (vec![4.0, 5.0, 6.0], vec![-23.0 / 12.0, 16.0 / 12.0, -5.0 / 12.0]),
            (vec![4.0, 5.0, 6.0, 7.0], vec![-55.0 / 24.0, 59.0 / 24.0, -37.0 / 24.0, 9.0 / 24.0]),
        ] {
            let found = integrals(&nodes, 4.0, 3.0);
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        }
    }
}
