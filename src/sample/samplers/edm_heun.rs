//! Heun's method on the networks and levels of Karras et al. (2022), with noise that is added before a step: the
//! `edm_sampler` of `NVlabs`' `edm`.

use std::sync::Arc;

use super::super::config_fields::{Fields, Spacing};
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::edm_euler;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::denoise::Level;
use crate::{Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "edm-heun",
    order: 2,
    calls: Calls::TWO,
    source: "Karras et al. 2022, algorithm 2; adds noise if `S_churn` is above 0; one call in the last step",
    class: Some("edm_sampler"),
    folders: &["edm_sampler"],
    levels: Levels::Edm,
    steps: 18,
    spacing: Spacing::Linspace,
    grid: Grid::Own(edm_euler::grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Own,
    end: EndRule::FinalSigma,
    start: StartRule::Sigma,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

fn solver(request: &Request, schedule: &Schedule) -> Result<Arc<dyn Solver>> {
    let fields = request.fields;
    let at_least_zero = |field: &str, default: f64| -> Result<f64> {
        let value = number(fields, field, default)?;
        if value >= 0.0 { Ok(value) } else { Err(fields.malformed(field, "a number, not negative")) }
    };
    let churn = at_least_zero("S_churn", 0.0)?;
    let most = std::f64::consts::SQRT_2 - 1.0;
    Ok(Arc::new(EdmHeun {
        gamma: (churn / schedule.steps().len().max(1) as f64).min(most),
        from: at_least_zero("S_min", 0.0)?,
        to: at_least_zero("S_max", f64::INFINITY)?,
        noise: at_least_zero("S_noise", 1.0)?,
    }))
}

/// A number, which may be infinite.
fn number(fields: &Fields, field: &str, default: f64) -> Result<f64> {
    Ok(fields.number(field)?.unwrap_or(default))
}

/// The solver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EdmHeun {
    /// The growth of sigma by noise before a step, relative to it: `S_churn` / N, at most sqrt(2) - 1.
    pub gamma: f64,
    /// The least sigma with noise: `S_min`.
    pub from: f64,
    /// The largest sigma with noise: `S_max`.
    pub to: f64,
    /// The spread of the noise: `S_noise`.
    pub noise: f64,
}

impl Solver for EdmHeun {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(*self)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("churn", self.gamma.to_string())]
    }

    fn is_stochastic(&self) -> bool {
        self.gamma > 0.0
    }
}

impl Stepper for EdmHeun {
    /// With `sigma^ = (1 + gamma) sigma` and x^ = x + S sqrt(sigma^^2 - sigma^2) w: Heun's step in sigma from x^. The
    /// step to the clean image is Euler's.
    fn step(&mut self, position: Position, mut x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let (mut from, to) = (step.from, step.to.sigma);
        if self.gamma > 0.0 && (self.from..=self.to).contains(&from.sigma) {
            let sigma = from.sigma * (1.0 + self.gamma);
            let spread = self.noise * (sigma * sigma - from.sigma * from.sigma).sqrt();
            let w = oracle.noise()?;
            x = combine(&[(1.0, &x), (spread, &w)]);
            from = Level::at_sigma(sigma);
        }
        let here = oracle.estimate(&x, from)?;
        let stride = to - from.sigma;
        let ahead = combine(&[(1.0, &x), (stride, &here.eps)]);
        if to == 0.0 {
            return Ok(Update { eps: here.raw, x0: here.x0, x: ahead });
        }
        let there = oracle.estimate(&oracle.moved(ahead), step.to)?;
        let x = combine(&[(1.0, &x), (0.5 * stride, &here.eps), (0.5 * stride, &there.eps)]);
        Ok(Update { eps: here.raw, x0: here.x0, x })
    }
}
