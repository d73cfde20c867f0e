//! Denoising diffusion implicit models: Song et al. (2021).

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind, Successor};
use super::super::solvers::descent::{Descent, Noise};
use super::super::walk::Solver;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, in_range, last_steps};
use crate::Result;

pub(super) static SPEC: Spec = Spec {
    name: "ddim",
    order: 1,
    calls: Calls::ONE,
    source: "Song et al. 2021; adds noise if asked to",
    class: Some("DDIMScheduler"),
    folders: &[],
    levels: Levels::Ddpm,
    steps: 50,
    spacing: Spacing::Leading,
    grid: Grid::Timesteps(Successor::Stride),
    kind: None,
    short_kind: ScheduleKind::Ddim,
    end: EndRule::SetAlphaToOne(true),
    start: StartRule::UnitZ,
    pure_noise: true,
    begun: last_steps,
    clip: ClipRule::Field { default: true, rederive_eps: false, thresholds: true },
    parameters: &["eta"],
    solver,
};

fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let eta = request.parameters.eta.unwrap_or(0.0);
    in_range("eta", eta, (0.0..=1.0).contains(&eta), "from 0 (no noise) to 1 (DDPM)")?;
    Ok(Arc::new(Descent { gamma: 1.0, noise: Noise::Eta(eta) }))
}
