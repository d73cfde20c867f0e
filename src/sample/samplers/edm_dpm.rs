//! DPM-Solver++ on the networks and levels of Karras et al. (2022), as diffusers' `EDMDPMSolverMultistepScheduler` has
//! it.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::walk::Solver;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use super::{dpm, edm_euler};
use crate::Result;

pub(super) static SPEC: Spec = Spec {
    name: "edm-dpm++2m",
    order: 2,
    calls: Calls::ONE,
    source: "DPM-Solver++: Lu et al. 2022, on the levels of Karras et al. 2022",
    class: Some("EDMDPMSolverMultistepScheduler"),
    folders: &["EDMDPMSolverMultistepScheduler"],
    levels: Levels::Edm,
    steps: 20,
    spacing: Spacing::Linspace,
    grid: Grid::Own(edm_euler::grid),
    kind: Some(ScheduleKind::Own),
    short_kind: ScheduleKind::Own,
    end: EndRule::FinalSigma,
    start: StartRule::UnitZ,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Thresholding,
    parameters: &[],
    solver,
};

fn solver(request: &Request, schedule: &Schedule) -> Result<Arc<dyn Solver>> {
    let fields = request.fields;
    let algorithm = dpm::Algorithm::read(fields)?;
    if !algorithm.is_in_x0() {
        return Err(fields.unsupported("algorithm_type", "dpmsolver++, sde-dpmsolver++"));
    }
    dpm::solver(request, schedule)
}
