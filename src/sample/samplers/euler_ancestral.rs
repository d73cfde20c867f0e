//! Euler's method below the next level, and noise up to it: k-diffusion, Crowson (2022).

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind};
use super::super::sigma_grids::{Count, SigmaRule};
use super::super::solvers::descent::{Descent, Noise};
use super::super::walk::Solver;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::Result;

pub(super) static SPEC: Spec = Spec {
    name: "euler-a",
    order: 1,
    calls: Calls::ONE,
    source: "k-diffusion, Crowson 2022; adds noise; DDPM from another start",
    class: Some("EulerAncestralDiscreteScheduler"),
    folders: &["EulerAncestralDiscreteScheduler"],
    levels: Levels::Ddpm,
    steps: 50,
    spacing: Spacing::Linspace,
    grid: Grid::Sigmas(SigmaRule { spreads: false, ..SigmaRule::new(Count::Ends) }),
    kind: None,
    short_kind: ScheduleKind::Trailing,
    end: EndRule::Clean,
    start: StartRule::SigmaUnlessLeading,
    pure_noise: false,
    begun: last_steps,
    clip: ClipRule::Never,
    parameters: &[],
    solver,
};

fn solver(_: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    Ok(Arc::new(Descent { gamma: 1.0, noise: Noise::Mu(0.5) }))
}
