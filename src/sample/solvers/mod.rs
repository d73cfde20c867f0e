//! Solvers: what becomes of the state in one step, a family a file.
//!
//! Every one of them is linear in the state, the estimates of this step and those it remembers, and the noise. In the
//! variance-exploding scale, x = x0 + sigma eps, its coefficients follow from the sigmas alone, so that a solver is a
//! few lines about sigma; formulas published for z = sqrt(alpha bar) x are divided by sqrt(alpha bar) at the step's end.

pub mod deis;
pub mod descent;
pub mod dpm;
pub mod heun;
pub mod lms;
pub mod metric;
pub mod pndm;
pub mod unipc;

use std::collections::VecDeque;

use super::samplers::{Place, Solving};
use crate::tensor::Tensor;

/// The solvers, with what each can be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Solver {
    /// One call a step and the average of two: DDPM, DDIM, gradient estimation, Euler, Euler-ancestral.
    Descent(descent::Descent),
    /// Gradient estimation whose average follows from a metric.
    Metric(metric::Metric),
    /// Two calls a step and the average of both.
    Heun,
    /// Linear multistep in sigma.
    Lms(lms::Lms),
    /// Pseudo linear multistep (PLMS), begun by Runge-Kutta or Heun.
    Pndm(pndm::Pndm),
    /// DPM-Solver and DPM-Solver++, multistep.
    Dpm(dpm::Dpm),
    /// The diffusion exponential integrator sampler in log rho.
    Deis(deis::Deis),
    /// The unified predictor-corrector.
    UniPc(unipc::UniPc),
}

impl Solver {
    /// The state before the first step.
    pub(super) fn begin(&self) -> Box<dyn Solving> {
        match self {
            Self::Descent(descent) => Box::new(descent::Walking::new(*descent)),
            Self::Metric(metric) => Box::new(metric::Walking::new(metric.clone())),
            Self::Heun => Box::new(heun::Walking),
            Self::Lms(lms) => Box::new(lms::Walking::new(*lms)),
            Self::Pndm(pndm) => Box::new(pndm::Walking::new(*pndm)),
            Self::Dpm(dpm) => Box::new(dpm::Walking::new(*dpm)),
            Self::Deis(deis) => Box::new(deis::Walking::new(*deis)),
            Self::UniPc(unipc) => Box::new(unipc::Walking::new(unipc.clone())),
        }
    }

    /// What it was told, by name.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let order = |order: usize| ("order", order.to_string());
        let lowered = |is_lowered: bool| ("lower order at the end", is_lowered.to_string());
        match self {
            Self::Heun => Vec::new(),
            Self::Descent(descent) => {
                vec![("gamma", descent.gamma.to_string()), ("noise", descent.noise.to_string())]
            }
            Self::Metric(metric) => vec![("metric", metric.name.clone())],
            Self::Lms(lms) => vec![order(lms.order)],
            Self::Pndm(pndm) => vec![("begun by", pndm.start.to_string())],
            Self::Dpm(dpm) => vec![
                order(dpm.order),
                ("algorithm", dpm.algorithm.to_string()),
                ("form", if dpm.is_heun { "heun" } else { "midpoint" }.to_owned()),
                lowered(dpm.lower_order_final || dpm.euler_at_final),
            ],
            Self::Deis(deis) => vec![order(deis.order), lowered(deis.lower_order_final)],
            Self::UniPc(unipc) => vec![
                order(unipc.order),
                ("extrapolates", if unipc.predict_x0 { "x0" } else { "eps" }.to_owned()),
                ("form", if unipc.is_bh1 { "bh1" } else { "bh2" }.to_owned()),
                ("not corrected", format!("{:?}", unipc.uncorrected)),
                lowered(unipc.lower_order_final),
            ],
        }
    }

    /// Whether steps add noise.
    #[must_use]
    pub fn is_stochastic(&self) -> bool {
        match self {
            Self::Descent(descent) => descent.noise.is_added(),
            Self::Dpm(dpm) => dpm.algorithm.is_stochastic(),
            Self::Metric(_) | Self::Heun | Self::Lms(_) | Self::Pndm(_) | Self::Deis(_) | Self::UniPc(_) => false,
        }
    }
}

/// What a multistep solver remembers: estimates and the sigmas they were made at, the newest first.
pub(super) struct History {
    entries: VecDeque<(f64, Tensor)>,
    most: usize,
}

impl History {
    /// Room for the `most` newest.
    fn new(most: usize) -> Self {
        Self { entries: VecDeque::with_capacity(most + 1), most }
    }

    fn push(&mut self, sigma: f64, estimate: Tensor) {
        self.entries.push_front((sigma, estimate));
        self.entries.truncate(self.most);
    }

    /// How many of the newest lie at levels of their own, as interpolation through them needs.
    fn distinct(&self) -> usize {
        let falls = |at: &usize| *at == 0 || self.entries[at - 1].0 < self.entries[*at].0;
        (0..self.entries.len()).take_while(falls).count()
    }

    /// The newest `count` sigmas.
    fn sigmas(&self, count: usize) -> Vec<f64> {
        self.entries.iter().take(count).map(|(sigma, _)| *sigma).collect()
    }

    /// `weights[i]` beside the estimate that is i steps old.
    fn weighted(&self, weights: &[f64]) -> Vec<(f64, &Tensor)> {
        weights.iter().copied().zip(self.entries.iter().map(|(_, estimate)| estimate)).collect()
    }
}

/// Below this many steps, diffusers lowers the order of the last ones (`lower_order_final`).
const FEW_STEPS: usize = 15;

/// The order that DPM-Solver and DEIS take a step with: at most `order`, one more than they remember, and low at the end,
/// where an estimate of the wrong order does most harm.
fn multistep_order(order: usize, remembered: usize, lower_at_end: bool, euler_at_end: bool, place: Place) -> usize {
    let is_short = lower_at_end && place.steps.len() < FEW_STEPS;
    let cap = match place.left() {
        1 if euler_at_end || is_short || place.step().to.sigma == 0.0 => 1,
        2 if is_short => 2,
        _ => order,
    };
    order.min(cap).min(remembered)
}
