//! The stochastic Adams solver: Xue et al. (2023), as in diffusers' `SASolverScheduler`.
//!
//! In lambda = -ln(sigma), a step integrates the polynomial through estimates at several levels under an exponential,
//! with as much noise as tau says; when the estimate at its end is known, the step is taken again with it, and the same
//! noise.

use std::sync::Arc;

use super::super::config_fields::{Fields, Spacing};
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, End, SigmaRule};
use super::super::solvers::history::History;
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "sa",
    order: 2,
    calls: Calls::ONE,
    source: "SA-Solver: Xue et al. 2023; adds noise between timesteps 200 and 800",
    class: Some("SASolverScheduler"),
    folders: &["SASolverScheduler"],
    levels: Levels::Ddpm,
    steps: 20,
    spacing: Spacing::Linspace,
    grid: Grid::Sigmas(SigmaRule { spread_end: End::LastCall, clips_lambda: true, ..SigmaRule::new(Count::Inner) }),
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

/// The timesteps that noise is added from: diffusers' `tau_func`, 1 between these and 0 elsewhere.
const NOISY: std::ops::RangeInclusive<f64> = 200.0..=800.0;

/// The estimate that is extrapolated (the values of `algorithm_type`). One of another solver falls back to the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
enum Algorithm {
    #[default]
    #[serde(
        rename = "data_prediction",
        alias = "deis",
        alias = "dpmsolver",
        alias = "dpmsolver++",
        alias = "sde-dpmsolver",
        alias = "sde-dpmsolver++"
    )]
    X0,
    #[serde(rename = "noise_prediction")]
    Eps,
}

fn solver(request: &Request, schedule: &Schedule) -> Result<Arc<dyn Solver>> {
    let fields = request.fields;
    if fields.is_given("tau_func") {
        return Err(fields.unsupported("tau_func", "null: 1 for timesteps from 200 to 800, otherwise 0"));
    }
    let algorithm: Algorithm =
        fields.one_of("algorithm_type", "data_prediction, noise_prediction")?.unwrap_or_default();
    let tau = |t: f64| if NOISY.contains(&t) { 1.0 } else { 0.0 };
    Ok(Arc::new(Sa {
        predictor: order(fields, "predictor_order", 3)?,
        corrector: order(fields, "corrector_order", 4)?,
        predict_x0: algorithm == Algorithm::X0,
        lower_order_final: fields.get_or("lower_order_final", true)?,
        taus: schedule.steps().iter().map(|step| tau(step.from.called_at(request.table))).collect(),
    }))
}

fn order(fields: &Fields, field: &str, most: usize) -> Result<usize> {
    let order = fields.get_or(field, 2)?;
    if (1..=most).contains(&order) { Ok(order) } else { Err(fields.unsupported(field, &format!("1 to {most}"))) }
}

/// Its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Sa {
    /// `predictor_order`, from 1 to 3.
    pub predictor: usize,
    /// `corrector_order`, from 1 to 4.
    pub corrector: usize,
    /// `true` if x0 is extrapolated, `false` for eps (`algorithm_type`).
    pub predict_x0: bool,
    /// `lower_order_final`: no order is higher than the number of steps left.
    pub lower_order_final: bool,
    /// tau of each step: its share of noise, 0 for the ordinary differential equation, 1 for the stochastic one.
    pub taus: Vec<f64>,
}

impl Solver for Sa {
    fn begin(&self) -> Box<dyn Stepper> {
        let history = History::new(self.predictor.max(self.corrector - 1));
        Box::new(State { solver: self.clone(), history, predicted: None })
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let noisy = self.taus.iter().filter(|tau| **tau > 0.0).count();
        vec![
            ("predictor order", self.predictor.to_string()),
            ("corrector order", self.corrector.to_string()),
            ("extrapolates", if self.predict_x0 { "x0" } else { "eps" }.to_owned()),
            ("lower order at the end", self.lower_order_final.to_string()),
            ("steps with noise", noisy.to_string()),
        ]
    }

    fn is_stochastic(&self) -> bool {
        self.taus.iter().any(|tau| *tau > 0.0)
    }
}

/// A step that has been predicted and is corrected when the estimate at its end is known.
#[derive(Clone)]
struct Predicted {
    interval: Interval,
    corrector: usize,
    x: Tensor,
    noise: Option<Tensor>,
    /// The shift of guidance at the end.
    shift: Option<Arc<Tensor>>,
}

#[derive(Clone)]
struct State {
    solver: Sa,
    history: History,
    predicted: Option<Predicted>,
}

impl State {
    /// Returns the end of the step `interval` from `x`, by the polynomial through `estimates` at `sigmas`.
    fn end(
        &self,
        interval: Interval,
        sigmas: &[f64],
        estimates: &[&Tensor],
        x: &Tensor,
        noise: Option<&Tensor>,
        is_corrector: bool,
    ) -> Tensor {
        let mut weights = interval.weights(sigmas, self.solver.predict_x0);
        if let ([first, second, ..], true) = (&mut weights[..], self.solver.predict_x0 && sigmas.len() == 2) {
            let shift = interval.second_order_shift(sigmas, is_corrector);
            *first += shift;
            *second -= shift;
        }
        let (kept, spread) = interval.factors(self.solver.predict_x0);
        let mut terms: Vec<(f64, &Tensor)> = weights.into_iter().zip(estimates.iter().copied()).collect();
        terms.push((kept, x));
        terms.extend(noise.map(|noise| (spread, noise)));
        combine(&terms)
    }
}

impl Stepper for State {
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let estimate = if self.solver.predict_x0 { here.x0.clone() } else { here.eps };
        let x = match self.predicted.take() {
            None => x,
            Some(Predicted { interval, corrector, x: begun, noise, shift }) => {
                let mut sigmas = vec![interval.to];
                sigmas.extend(self.history.sigmas(corrector - 1));
                let mut estimates = vec![&estimate];
                estimates.extend(self.history.newest(corrector - 1));
                let end = self.end(interval, &sigmas, &estimates, &begun, noise.as_ref(), true);
                match shift {
                    None => end,
                    Some(shift) => combine(&[(1.0, &end), (1.0, &shift)]),
                }
            }
        };
        self.history.push(step.from.sigma, estimate);
        if step.to.sigma == step.from.sigma {
            return Ok(Update { eps: here.raw, x0: here.x0, x });
        }
        // Without noise at its end, a step takes the newest estimate alone, and no noise.
        let is_clean = step.to.sigma == 0.0;
        let tau = if is_clean { 0.0 } else { self.solver.taus.get(position.place()).copied().unwrap_or(0.0) };
        let interval = Interval { from: step.from.sigma, to: step.to.sigma, tau };
        let left = if self.solver.lower_order_final { position.left() } else { usize::MAX - 1 };
        let known = self.history.distinct();
        let predictor = if is_clean { 1 } else { self.solver.predictor.min(left).min(known) };
        let corrector = self.solver.corrector.min(left + 1).min(known + 1);
        let noise = if interval.factors(self.solver.predict_x0).1 > 0.0 { Some(oracle.noise()?) } else { None };
        let (sigmas, estimates) = (self.history.sigmas(predictor), self.history.newest(predictor));
        let end = self.end(interval, &sigmas, &estimates, &x, noise.as_ref(), false);
        self.predicted = Some(Predicted { interval, corrector, x, noise, shift: oracle.shift() });
        Ok(Update { eps: here.raw, x0: here.x0, x: end })
    }
}

/// A step in sigma, and its share of noise.
#[derive(Clone, Copy)]
struct Interval {
    from: f64,
    to: f64,
    tau: f64,
}

impl Interval {
    /// Its length in lambda.
    fn length(self) -> f64 {
        (self.from / self.to).ln()
    }

    /// 1 + tau^2.
    fn power(self) -> f64 {
        1.0 + self.tau * self.tau
    }

    /// Returns the factors of x and of the noise.
    fn factors(self, predict_x0: bool) -> (f64, f64) {
        if predict_x0 {
            let ratio = self.to / self.from;
            (ratio.powf(self.power()), self.to * (1.0 - ratio.powf(2.0 * self.tau * self.tau)).max(0.0).sqrt())
        } else {
            (1.0, self.tau * (self.from * self.from - self.to * self.to).max(0.0).sqrt())
        }
    }

    /// Returns the factor of the estimate at each of `sigmas`: the integral of its Lagrange polynomial in lambda.
    fn weights(self, sigmas: &[f64], predict_x0: bool) -> Vec<f64> {
        if let [_] = sigmas {
            let whole = if predict_x0 {
                1.0 - (self.to / self.from).powf(self.power())
            } else {
                -self.power() * (self.from - self.to)
            };
            return vec![whole];
        }
        let moments = self.moments(sigmas.len(), predict_x0);
        // Nodes from the end of the step, where lambda is 0.
        let nodes: Vec<f64> = sigmas.iter().map(|sigma| (self.to / sigma).ln()).collect();
        let weight = |own: usize| -> f64 {
            let mut coefficients = vec![1.0];
            for (_, other) in nodes.iter().enumerate().filter(|(index, _)| *index != own) {
                // Times (u - other) / (own - other).
                let raised = [0.0].into_iter().chain(coefficients.iter().copied());
                let lowered = coefficients.iter().map(|coefficient| -other * coefficient).chain([0.0]);
                coefficients = raised.zip(lowered).map(|(r, c)| (r + c) / (nodes[own] - other)).collect();
            }
            coefficients.iter().zip(&moments).map(|(coefficient, moment)| coefficient * moment).sum()
        };
        (0..nodes.len()).map(weight).collect()
    }

    /// Returns the integrals of u^k over the step, u = lambda - lambda' from -h to 0, for k below `count`: under
    /// p e^(pu) with p = 1 + tau^2 for x0, under -p sigma' e^(-u) for eps.
    fn moments(self, count: usize, predict_x0: bool) -> Vec<f64> {
        let (h, p) = (self.length(), self.power());
        let edge = if predict_x0 { (-p * h).exp() } else { h.exp() };
        let mut moment = if predict_x0 { 1.0 - edge } else { edge - 1.0 };
        let mut moments = vec![moment];
        for power in 1..count {
            let at_edge = (-h).powi(power as i32) * edge;
            moment = if predict_x0 { -at_edge - power as f64 / p * moment } else { at_edge + power as f64 * moment };
            moments.push(moment);
        }
        if !predict_x0 {
            for moment in &mut moments {
                *moment *= -p * self.to;
            }
        }
        moments
    }

    /// Returns the weight that the authors move from the older to the newer of two estimates of x0: a term of third
    /// order in h.
    fn second_order_shift(self, sigmas: &[f64], is_corrector: bool) -> f64 {
        let (h, p) = (self.length(), self.power());
        let exact = (h * p - 1.0 + (-p * h).exp()) / (p * p);
        let apart = if is_corrector { h } else { (sigmas[1] / sigmas[0]).ln() };
        let halved = if is_corrector { h / 2.0 - exact / h } else { (h * h / 2.0 - exact) / apart };
        p * halved
    }
}
