//! Euler's method on the networks and levels of Karras et al. (2022), as diffusers' `EDMEulerScheduler` has it.

use std::sync::Arc;

use super::super::config_fields::{FinalSigma, Spacing};
use super::super::grids;
use super::super::schedule::{Level, Scale, Schedule, ScheduleKind};
use super::super::solvers::descent::{Descent, Noise};
use super::super::walk::Solver;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::{Error, Result};

pub(super) static SPEC: Spec = Spec {
    name: "edm-euler",
    order: 1,
    calls: Calls::ONE,
    source: "Karras et al. 2022, algorithm 1 with Euler's steps and no churn",
    class: Some("EDMEulerScheduler"),
    folders: &["EDMEulerScheduler"],
    levels: Levels::Edm,
    steps: 50,
    spacing: Spacing::Linspace,
    grid: Grid::Own(grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Own,
    end: EndRule::FinalSigma,
    start: StartRule::UnitZ,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

fn solver(_: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    Ok(Arc::new(Descent { gamma: 1.0, noise: Noise::Mu(0.0) }))
}

/// The values of `sigma_schedule`.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum SigmaSchedule {
    #[default]
    Karras,
    Exponential,
}

/// Returns N levels over the range of the model, even in the root of `rho` or in the logarithm, and the end: without
/// noise, or the last level again.
///
/// # Errors
/// [`Error::Argument`] for no steps or more than levels; [`Error::UnsupportedField`] and [`Error::BadFile`] of fields.
pub(super) fn grid(request: &Request) -> Result<Schedule> {
    let (fields, table, steps) = (request.fields, request.table, request.steps);
    if steps == 0 || steps > table.timesteps() {
        let what = format!("a schedule of {steps} steps on a model of {} levels", table.timesteps());
        return Err(Error::argument(what, format!("`steps` takes 1 to {}", table.timesteps())));
    }
    let rho: f64 = fields.get_or("rho", 7.0)?;
    if rho <= 0.0 {
        return Err(fields.malformed("rho", "a number above 0"));
    }
    let (high, low) = (table.sigma_max(), table.sigma_min());
    let sigmas = match fields.one_of("sigma_schedule", "karras, exponential")?.unwrap_or_default() {
        SigmaSchedule::Karras => grids::spaced_by_root(high, low, steps, rho),
        SigmaSchedule::Exponential => grids::log_spaced(high, low, steps),
    };
    let end = match (FinalSigma::read(fields)?, sigmas.last()) {
        (FinalSigma::Zero, _) | (_, None) => 0.0,
        (FinalSigma::SigmaMin, Some(last)) => *last,
    };
    let levels = sigmas.into_iter().chain([end]).map(Level::at_sigma).collect();
    Ok(Schedule::joined(levels, Scale::VarianceExploding))
}
