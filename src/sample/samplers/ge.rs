//! Gradient estimation: Permenter and Yuan (ICML 2024), algorithm 2.

use std::sync::Arc;

use super::super::config_fields::Spacing;
use super::super::schedule::{Schedule, ScheduleKind, Successor};
use super::super::solvers::descent::{Descent, Noise};
use super::super::walk::Solver;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, in_range, last_steps};
use crate::Result;

pub(super) static SPEC: Spec = Spec {
    name: "ge",
    order: 2,
    calls: Calls::ONE,
    source: "gradient estimation: Permenter and Yuan 2024, algorithm 2",
    class: None,
    folders: &["DDPMScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDIMParallelScheduler", "GEScheduler"],
    levels: Levels::Ddpm,
    steps: 10,
    spacing: Spacing::Leading,
    grid: Grid::Timesteps(Successor::NextThenFinal),
    kind: Some(ScheduleKind::Paper),
    short_kind: ScheduleKind::Paper,
    end: EndRule::SetAlphaToOne(true),
    start: StartRule::UnitZ,
    pure_noise: true,
    begun: last_steps,
    clip: ClipRule::Field { default: true, rederive_eps: true, thresholds: true },
    parameters: &["gamma", "mu"],
    solver,
};

/// The range of gamma. Two estimates are added with the weights gamma and 1 - gamma: below 0 the newest one would be
/// subtracted.
const GAMMAS: &str = "from 0; 1 is DDIM, 2 the paper's choice, more extrapolates further";

fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let (gamma, mu) = (request.parameters.gamma.unwrap_or(2.0), request.parameters.mu.unwrap_or(0.0));
    in_range("gamma", gamma, gamma.is_finite() && gamma >= 0.0, GAMMAS)?;
    in_range("mu", mu, (0.0..1.0).contains(&mu), "from 0 (no noise) to below 1; 0.5 is DDPM")?;
    Ok(Arc::new(Descent { gamma, noise: Noise::Mu(mu) }))
}
