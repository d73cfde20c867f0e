//! Predictor and corrector of the variance-exploding stochastic equation: Song et al. (2021), algorithm 2, as
//! diffusers' `ScoreSdeVePipeline` has it.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Level, Scale, Schedule, ScheduleKind};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::denoise::process::Process;
use crate::{Error, Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "sde-ve",
    order: 1,
    calls: Calls { per_step: 2, last: 2, start: 0 },
    source: "predictor-corrector: Song et al. 2021, algorithm 2; adds noise",
    class: Some("ScoreSdeVeScheduler"),
    folders: &["ScoreSdeVeScheduler"],
    levels: Levels::Score,
    steps: 2000,
    spacing: Spacing::Leading,
    grid: Grid::Own(grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Trailing,
    end: EndRule::Clean,
    start: StartRule::Sigma,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

/// More corrector steps than any use has.
const MOST_CORRECTIONS: usize = 1000;

fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let fields = request.fields;
    let ratio: f64 = fields.get_or("snr", 0.15)?;
    if !(ratio >= 0.0 && ratio.is_finite()) {
        return Err(fields.malformed("snr", "a number, not negative"));
    }
    let corrections = fields.get_or("correct_steps", 1)?;
    if corrections > MOST_CORRECTIONS {
        return Err(fields.malformed("correct_steps", &format!("a whole number from 0 to {MOST_CORRECTIONS}")));
    }
    Ok(Arc::new(SdeVe { ratio, corrections }))
}

/// N levels, even in the logarithm over the model's range, then 0. The network is called at levels that go down to
/// `sampling_eps` of that logarithm, and not to 0.
fn grid(request: &Request) -> Result<Schedule> {
    let (table, steps) = (request.table, request.steps);
    if table.process() != Process::Score {
        return Err(Error::argument(
            "the schedule `own` of this sampler is for networks that give scores",
            "choose another `schedule`",
        ));
    }
    if steps < 2 || steps > table.timesteps() {
        let what = format!("a schedule of {steps} steps on a model of {} levels", table.timesteps());
        return Err(Error::argument(what, format!("`steps` takes 2 to {}", table.timesteps())));
    }
    let last = (steps - 1) as f64;
    let least: f64 = request.fields.get_or("sampling_eps", 1e-5)?;
    // diffusers finds the level of the state by rounding the place of the call down.
    if !(least >= 0.0 && least * last < 1.0) {
        return Err(request.fields.malformed("sampling_eps", &format!("a number from 0 to below 1 / {last}")));
    }
    let (low, high) = (table.sigma_min(), table.sigma_max());
    let at = |place: f64| low * (high / low).powf(place);
    let level = |index: usize| {
        let place = 1.0 - index as f64 / last;
        Level { sigma: at(place), timestep: Some(at(place + index as f64 / last * least)) }
    };
    let levels = (0..steps).map(level).chain([Level::CLEAN]).collect();
    Ok(Schedule::joined(levels, Scale::VarianceExploding))
}

/// The solver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SdeVe {
    /// `snr`: the ratio of the corrector's step along the score to its noise.
    pub ratio: f64,
    /// `correct_steps`: steps of the corrector before one of the predictor.
    pub corrections: usize,
}

impl Solver for SdeVe {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(*self)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("snr", self.ratio.to_string()), ("correct_steps", self.corrections.to_string())]
    }

    fn is_stochastic(&self) -> bool {
        true
    }

    fn never_renoises(&self) -> Option<&'static str> {
        Some("it follows the score, without an estimate of the image")
    }
}

impl Stepper for SdeVe {
    /// With the score s = -eps / sigma, the corrector is x + h s + sqrt(2 h) w with h = 2 (`snr` |w| / |s|)^2, and the
    /// predictor x + g s + sqrt(g) w with g = sigma^2 - sigma'^2. Nothing is added to the last state.
    ///
    /// diffusers takes the means of both norms over a batch; an image here does not depend on its batch.
    fn step(&mut self, position: Position, mut x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let (sigma, to) = (step.from.sigma, step.to.sigma);
        for _ in 0..self.corrections {
            let eps = oracle.eps(&x, step.from)?;
            let w = oracle.noise()?;
            let stride = x.stride().max(1);
            for image in 0..x.shape[0] {
                let (eps, w) = (eps.item(image), w.item(image));
                let score = norm(eps) / sigma;
                let h = if score > 0.0 { 2.0 * (self.ratio * norm(w) / score).powi(2) } else { 0.0 };
                for ((x, eps), w) in x.data[image * stride..][..stride].iter_mut().zip(eps).zip(w) {
                    let moved = f64::from(*x) - h / sigma * f64::from(*eps);
                    *x = (moved + (2.0 * h).sqrt() * f64::from(*w)) as f32;
                }
            }
        }
        let here = oracle.estimate(&x, step.from)?;
        let variance = (sigma * sigma - to * to).max(0.0);
        let w = if to > 0.0 { Some(oracle.noise()?) } else { None };
        let mut terms = vec![(1.0, &x), (-variance / sigma, &here.eps)];
        terms.extend(w.as_ref().map(|w| (variance.sqrt(), w)));
        let x = combine(&terms);
        Ok(Update { eps: here.raw, x0: here.x0, x })
    }
}

/// The Euclidean norm of an image.
fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}
