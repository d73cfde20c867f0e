//! Euler's method in s of flow matching: Esser et al. (2024), as diffusers' `FlowMatchEulerDiscreteScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::{Fields, Spacing, Spread};
use super::super::schedule::{Level, Scale, Schedule, ScheduleKind};
use super::super::walk::{Oracle, Position, Solver, Stepper, Update, combine};
use super::super::{flow, grids};
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::denoise::process::Process;
use crate::{Error, Result, tensor::Tensor};

pub(super) static SPEC: Spec = Spec {
    name: "flow-euler",
    order: 1,
    calls: Calls::ONE,
    source: "flow matching: Lipman et al. 2023, Esser et al. 2024",
    class: Some("FlowMatchEulerDiscreteScheduler"),
    folders: &["FlowMatchEulerDiscreteScheduler"],
    levels: Levels::Flow,
    steps: 28,
    spacing: Spacing::Linspace,
    grid: Grid::Own(grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Trailing,
    end: EndRule::Clean,
    start: StartRule::UnitZ,
    pure_noise: true,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let fields = request.fields;
    if matches!(request.table.process(), Process::Flow { is_inverted: true, .. }) {
        // diffusers takes such times for shares of noise where it adds some.
        fields.refuse_true("stochastic_sampling", "false beside `invert_sigmas`")?;
    }
    Ok(Arc::new(FlowEuler { is_stochastic: fields.get_or("stochastic_sampling", false)? }))
}

fn grid(request: &Request) -> Result<Schedule> {
    let fields = request.fields;
    flow::refuse_shifts(fields, request.table.process())?;
    let mut s = shifted_twice(request)?;
    if let Some(terminal) = fields.get::<f64>("shift_terminal")?.filter(|terminal| *terminal != 0.0) {
        stretch(&mut s, terminal, fields)?;
    }
    let (first, last) = (s[0], s[s.len() - 1]);
    let s = match Spread::read(fields)? {
        Spread::Timesteps => s,
        Spread::Karras => grids::rho_spaced(first, last, s.len()),
        Spread::Beta => grids::beta_spaced(first, last, s.len()),
        Spread::Exponential => grids::log_spaced(first, last, s.len()),
        Spread::Lu => return Err(fields.unsupported("use_lu_lambdas", "false for this class")),
    };
    Ok(schedule(&s))
}

/// Returns the steps between levels `s`, and from the last of them to the clean image.
pub(super) fn schedule(s: &[f64]) -> Schedule {
    Schedule::joined(s.iter().map(|s| flow::level(*s)).chain([Level::CLEAN]).collect(), Scale::Flow)
}

/// Returns N levels even from 1 to the least one, shifted. diffusers shifts the least one on its own before.
///
/// # Errors
/// [`Error::Argument`] for a model of another process, and for no steps or more than timesteps.
pub(super) fn shifted_twice(request: &Request) -> Result<Vec<f64>> {
    let Some(timesteps) = flow::timesteps(request.table.process()) else {
        return Err(Error::argument(
            "the schedule `own` of this sampler is for models of flow matching",
            "choose another `schedule`",
        ));
    };
    let steps = request.steps;
    if steps == 0 || steps as f64 > timesteps {
        let what = format!("a schedule of {steps} steps on a model of {timesteps} timesteps");
        return Err(Error::argument(what, format!("`steps` takes 1 to {timesteps}")));
    }
    let shift = flow::shift(request.fields)?;
    let stride = (1.0 - flow::shifted(1.0 / timesteps, shift)) / (steps.max(2) - 1) as f64;
    Ok((0..steps).map(|index| flow::shifted(1.0 - index as f64 * stride, shift)).collect())
}

/// Stretches the levels so that the last one is `terminal`.
fn stretch(s: &mut [f64], terminal: f64, fields: &Fields) -> Result<()> {
    if !(0.0..1.0).contains(&terminal) {
        return Err(fields.malformed("shift_terminal", "a number from 0 to below 1"));
    }
    let scale = (1.0 - terminal) / (1.0 - s[s.len() - 1]);
    if scale.is_finite() {
        for s in s.iter_mut() {
            *s = 1.0 - (1.0 - *s) * scale;
        }
    }
    Ok(())
}

/// The solver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEuler {
    /// `stochastic_sampling`: the noise of the state is replaced in every step.
    pub is_stochastic: bool,
}

impl Solver for FlowEuler {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(*self)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn is_stochastic(&self) -> bool {
        self.is_stochastic
    }

    fn never_renoises(&self) -> Option<&'static str> {
        self.is_stochastic.then_some("its noise is drawn again at every step")
    }
}

impl Stepper for FlowEuler {
    /// x' = x0 + sigma' eps. That is Euler's step in s and in sigma alike, in a form that can start at pure noise.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let renews = self.is_stochastic && step.to.sigma > 0.0;
        let noise = if renews { oracle.noise()? } else { here.eps };
        let x = combine(&[(1.0, &here.x0), (step.to.sigma, &noise)]);
        Ok(Update { eps: here.raw, x0: here.x0, x })
    }
}
