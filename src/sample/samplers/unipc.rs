//! The unified predictor-corrector: Zhao et al. (2023), as diffusers' `UniPCMultistepScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::{Form, Spacing, solver_order};
use super::super::flow;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, End, SigmaRule};
use super::super::solvers::history::History;
use super::super::walk::{Bound, Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "unipc",
    order: 3,
    calls: Calls::ONE,
    source: "Zhao et al. 2023; corrects the step before",
    class: Some("UniPCMultistepScheduler"),
    folders: &["UniPCMultistepScheduler"],
    levels: Levels::Ddpm,
    steps: 20,
    spacing: Spacing::Linspace,
    grid: Grid::Sigmas(SigmaRule { spread_end: End::LastCall, from_noise: true, ..SigmaRule::new(Count::Inner) }),
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
    let has_levels_of_flow = flow::timesteps(request.table.process()).is_some();
    for (field, has_a_say) in [("shift_terminal", has_levels_of_flow), ("solver_p", true)] {
        if has_a_say && fields.is_given(field) {
            return Err(fields.unsupported(field, "null"));
        }
    }
    flow::refuse_shifts(fields, request.table.process())?;
    Ok(Arc::new(UniPc {
        order: solver_order(fields)?,
        predict_x0: fields.get_or("predict_x0", true)?,
        is_bh1: Form::read(fields)? == Some(Form::Bh1),
        lower_order_final: fields.get_or("lower_order_final", true)?,
        uncorrected: fields.get("disable_corrector")?.unwrap_or_default(),
    }))
}

/// Its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniPc {
    /// The predictor's order, from 1 on; the corrector's is one more.
    pub order: usize,
    /// `predict_x0`: x0 is extrapolated, else eps.
    pub predict_x0: bool,
    /// B(h) = h instead of e^h - 1 (`solver_type` `bh1` instead of `bh2`).
    pub is_bh1: bool,
    /// `lower_order_final`: no order is higher than the number of steps left.
    pub lower_order_final: bool,
    /// `disable_corrector`: the steps, from 0, that are not corrected afterwards.
    pub uncorrected: Vec<usize>,
}

/// A step that has been predicted and may be corrected once the estimate at its end is known.
#[derive(Clone)]
struct Predicted {
    from: f64,
    to: f64,
    order: usize,
    x: Tensor,
    /// The shift of guidance at the end.
    shift: Option<Arc<Tensor>>,
}

impl Solver for UniPc {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State::new(self.clone()))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("order", self.order.to_string()),
            ("extrapolates", if self.predict_x0 { "x0" } else { "eps" }.to_owned()),
            ("form", if self.is_bh1 { "bh1" } else { "bh2" }.to_owned()),
            ("not corrected", format!("{:?}", self.uncorrected)),
            ("lower order at the end", self.lower_order_final.to_string()),
        ]
    }
}

#[derive(Clone)]
struct State {
    unipc: UniPc,
    history: History,
    predicted: Option<Predicted>,
}

impl State {
    fn new(unipc: UniPc) -> Self {
        let history = History::new(unipc.order);
        Self { unipc, history, predicted: None }
    }

    /// The factor of x and those of the newest `order` estimates, from `from` to `to`; `ahead` is `true` if the
    /// estimate at `to` is known; its factor then comes last.
    ///
    /// The estimate along the way is the newest, m, and a polynomial in lambda = -ln(sigma) through the differences of
    /// the others to it, (m' - m) / r with r = (lambda' - lambda) / h. Their weights rho are such that the sums of rho
    /// r^i are [`moments`].
    fn factors(&self, from: f64, to: f64, order: usize, ahead: bool) -> (f64, Vec<f64>) {
        let h = (from / to).ln();
        let (kept, scale, hh) = if self.unipc.predict_x0 { (to / from, 1.0, -h) } else { (1.0, to, h) };
        let growth = if self.unipc.predict_x0 { to / from - 1.0 } else { (from - to) / to };
        let first = if self.unipc.predict_x0 { -growth } else { to - from };
        let sigmas = self.history.sigmas(order);
        let mut ratios: Vec<f64> = sigmas[1..].iter().map(|sigma| (from / sigma).ln() / h).collect();
        if ahead {
            ratios.push(1.0);
        }
        let b_h = if self.unipc.is_bh1 { hh } else { growth };
        let rho = match ratios.len() {
            0 => Vec::new(),
            // Not the exact value, which depends on r: diffusers takes a half, as the paper does.
            1 => vec![0.5],
            count => solve(&ratios, &moments(hh, growth, b_h, count)),
        };
        let mut weights = vec![0.0; order + usize::from(ahead)];
        weights[0] = first;
        for (index, (rho, ratio)) in rho.iter().zip(&ratios).enumerate() {
            let weight = -scale * b_h * rho / ratio;
            weights[index + 1] += weight;
            weights[0] -= weight;
        }
        (kept, weights)
    }

    /// The state that the last step should have reached, now that the estimate `at_end` at its end is known.
    fn corrected(&self, position: Position, at_end: &Tensor) -> Option<Tensor> {
        let last = self.predicted.as_ref().filter(|last| last.to < last.from)?;
        if self.unipc.uncorrected.contains(&(position.place() - 1)) {
            return None;
        }
        let (kept, weights) = self.factors(last.from, last.to, last.order, true);
        let mut terms = self.history.weighted(&weights[..last.order]);
        terms.push((weights[last.order], at_end));
        terms.push((kept, &last.x));
        terms.extend(last.shift.as_deref().map(|shift| (1.0, shift)));
        Some(combine(&terms))
    }
}

impl Stepper for State {
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        if !self.unipc.predict_x0 {
            // diffusers thresholds images and not their noise.
            oracle.clip = oracle.clip.filter(|clip| matches!(clip.bound, Bound::Range(_)));
        }
        let here = oracle.estimate(&x, step.from)?;
        let estimate = if self.unipc.predict_x0 { here.x0.clone() } else { here.eps };
        let x = self.corrected(position, &estimate).unwrap_or(x);
        self.history.push(step.from.sigma, estimate);
        if step.to.sigma == step.from.sigma {
            self.predicted = None;
            return Ok(Update { eps: here.raw, x0: here.x0, x });
        }
        let is_capped = self.unipc.lower_order_final || step.to.sigma == 0.0;
        let most = if is_capped { position.left() } else { self.unipc.order };
        let order = self.unipc.order.min(most).min(self.history.distinct());
        let (kept, weights) = self.factors(step.from.sigma, step.to.sigma, order, false);
        let mut terms = self.history.weighted(&weights);
        terms.push((kept, &x));
        let end = combine(&terms);
        self.predicted = Some(Predicted { from: step.from.sigma, to: step.to.sigma, order, x, shift: oracle.shift() });
        Ok(Update { eps: here.raw, x0: here.x0, x: end })
    }
}

/// The first `count` moments, i! phi(hh) hh / B(h) with the phi function of i + 1, by the recursion of those functions
/// from the first, growth / hh.
fn moments(hh: f64, growth: f64, b_h: f64, count: usize) -> Vec<f64> {
    let mut phi = growth / hh - 1.0;
    let mut factorial = 1.0;
    (1..=count)
        .map(|index| {
            let moment = phi * factorial / b_h;
            factorial *= (index + 1) as f64;
            phi = phi / hh - 1.0 / factorial;
            moment
        })
        .collect()
}

/// The weights rho of the nodes `ratios` for which the sums of rho r^i are `moments`, i from 0: those of the Lagrange
/// polynomial of each node, whose coefficients meet the moments.
fn solve(ratios: &[f64], moments: &[f64]) -> Vec<f64> {
    let weight = |own: usize| -> f64 {
        let mut coefficients = vec![1.0];
        for (_, other) in ratios.iter().enumerate().filter(|(index, _)| *index != own) {
            // Times (r - other) / (own - other).
            let raised = [0.0].into_iter().chain(coefficients.iter().copied());
            let lowered = coefficients.iter().map(|coefficient| -other * coefficient).chain([0.0]);
            coefficients = raised.zip(lowered).map(|(r, c)| (r + c) / (ratios[own] - other)).collect();
        }
        coefficients.iter().zip(moments).map(|(coefficient, moment)| coefficient * moment).sum()
    };
    (0..ratios.len()).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::solve;

    #[test]
    fn weights_have_their_moments() {
        let (ratios, moments) = ([-2.0, -0.7, 1.0], [0.3, -1.1, 0.25]);
        let weights = solve(&ratios, &moments);
        for (power, moment) in moments.iter().enumerate() {
            let sum: f64 = weights.iter().zip(ratios).map(|(w, r): (&f64, f64)| w * r.powi(power as i32)).sum();
            assert!((sum - moment).abs() < 1e-12, "{power}: {sum}");
        }
    }
}
