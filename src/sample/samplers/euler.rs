//! Euler's method in sigma: Karras et al. (2022), algorithm 2 without churn.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, SigmaRule};
use super::super::solvers::descent::{Descent, Noise};
use super::super::walk::Solver;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::Result;
use crate::denoise::diffusion::PredictionType;

pub(super) static SPEC: Spec = Spec {
    name: "euler",
    order: 1,
    calls: Calls::ONE,
    source: "Karras et al. 2022, algorithm 2 without churn; DDIM from another start",
    class: Some("EulerDiscreteScheduler"),
    folders: &["EulerDiscreteScheduler"],
    levels: Levels::Ddpm,
    steps: 50,
    spacing: Spacing::Linspace,
    grid: Grid::Sigmas(SigmaRule { interpolates: true, ..SigmaRule::new(Count::Ends) }),
    kind: None,
    short_kind: ScheduleKind::Trailing,
    end: EndRule::FinalSigma,
    start: StartRule::SigmaUnlessLeading,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let timestep_type: Option<String> = request.fields.get("timestep_type")?;
    if timestep_type.is_some_and(|kind| kind != "discrete") && request.prediction == PredictionType::VPrediction {
        return Err(request.fields.unsupported("timestep_type", "discrete"));
    }
    Ok(Arc::new(Descent { gamma: 1.0, noise: Noise::Mu(0.0) }))
}
