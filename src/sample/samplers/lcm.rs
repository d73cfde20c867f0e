//! Multistep sampling of latent consistency models: Luo et al. (2023), as diffusers' `LCMScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Level, Scale, Schedule, ScheduleKind};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::denoise::process::Process;
use crate::{Error, Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "lcm",
    order: 1,
    calls: Calls::ONE,
    source: "latent consistency models: Luo et al. 2023",
    class: Some("LCMScheduler"),
    folders: &["LCMScheduler"],
    levels: Levels::Latent,
    steps: 4,
    spacing: Spacing::Leading,
    grid: Grid::Own(grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Own,
    end: EndRule::Clean,
    start: StartRule::UnitZ,
    pure_noise: true,
    begun: last_steps,
    clip: ClipRule::Field { default: false, rederive_eps: true, thresholds: true },
    parameters: &[],
    solver,
};

/// The standard deviation of the data in the boundary condition.
const SIGMA_DATA: f64 = 0.5;

fn solver(request: &Request, schedule: &Schedule) -> Result<Arc<dyn Solver>> {
    let scaling = request.fields.get_or("timestep_scaling", 10.0)?;
    let boundary = |level: Level| {
        let time = level.called_at(request.table) * scaling;
        let root = time.hypot(SIGMA_DATA);
        (SIGMA_DATA * SIGMA_DATA / (root * root), time / root)
    };
    Ok(Arc::new(Lcm { boundaries: schedule.steps().iter().map(|step| boundary(step.from)).collect() }))
}

fn grid(request: &Request) -> Result<Schedule> {
    let levels = distilled(request)?.into_iter().map(|t| Level::at_index(request.table, t)).chain([Level::CLEAN]);
    Ok(Schedule::joined(levels.collect(), Scale::VariancePreserving))
}

/// Returns N of the timesteps that a model was distilled on (`original_inference_steps` of them, or the last part of
/// these), falling.
///
/// # Errors
/// [`Error::Argument`] for a model without betas, for no steps, and for more than there are such timesteps.
pub(super) fn distilled(request: &Request) -> Result<Vec<usize>> {
    let (table, steps) = (request.table, request.steps);
    if table.process() != Process::Betas {
        return Err(Error::argument(
            "the schedule `own` of this sampler is for models that were trained with betas",
            "choose another `schedule`",
        ));
    }
    let original = request.fields.get_or("original_inference_steps", 50)?;
    if original == 0 || original > table.timesteps() {
        let expected = format!("a whole number from 1 to {}", table.timesteps());
        return Err(request.fields.malformed("original_inference_steps", &expected));
    }
    let kept = (original as f64 * request.strength) as usize;
    if steps == 0 || steps > kept {
        let of_them = if kept < original { format!(", of which {kept} are kept") } else { String::new() };
        let what = format!("{steps} steps of a model that was distilled on {original} timesteps{of_them}");
        return Err(Error::argument(what, format!("`steps` takes 1 to {kept}")));
    }
    let (stride, spacing) = (table.timesteps() / original, kept as f64 / steps as f64);
    let timestep = |index: usize| (kept - (index as f64 * spacing).floor() as usize) * stride - 1;
    Ok((0..steps).map(timestep).collect())
}

/// The solver.
#[derive(Clone, Debug, PartialEq)]
pub struct Lcm {
    /// (`c_skip`, `c_out`) per step: the model's image is `c_skip` z + `c_out` x0.
    boundaries: Vec<(f64, f64)>,
}

impl Solver for Lcm {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(self.clone())
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn is_stochastic(&self) -> bool {
        true
    }

    fn never_renoises(&self) -> Option<&'static str> {
        Some("its noise is drawn again at every step")
    }
}

impl Stepper for Lcm {
    /// The model's image of z = sqrt(alpha bar) x, and noise up to the next level.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let (skip, out) = self.boundaries[position.place()];
        let mut terms = vec![(out, &here.x0), (skip * Scale::VariancePreserving.factor(step.from), &x)];
        let w = if step.to.sigma > 0.0 { Some(oracle.noise()?) } else { None };
        terms.extend(w.as_ref().map(|w| (step.to.sigma, w)));
        let x = combine(&terms);
        Ok(Update { eps: here.raw, x0: here.x0, x })
    }
}
