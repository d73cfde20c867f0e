//! Denoising diffusion probabilistic models: Ho et al. (2020).

use std::sync::Arc;

use super::super::config_fields::{Spacing, VarianceType};
use super::super::schedule::{Schedule, ScheduleKind, Successor};
use super::super::solvers::descent::{Descent, Noise};
use super::super::walk::Solver;
use super::spec::{Calls, ClipRule, EndRule, Grid, Levels, Request, Spec, StartRule, last_steps};
use crate::Result;

pub(super) static SPEC: Spec = Spec {
    name: "ddpm",
    order: 1,
    calls: Calls::ONE,
    source: "Ho et al. 2020; adds noise",
    class: Some("DDPMScheduler"),
    folders: &[],
    levels: Levels::Ddpm,
    steps: 1000,
    spacing: Spacing::Leading,
    grid: Grid::Timesteps(Successor::NextThenClean),
    kind: None,
    short_kind: ScheduleKind::Trailing,
    end: EndRule::Clean,
    start: StartRule::UnitZ,
    pure_noise: true,
    begun: last_steps,
    clip: ClipRule::Field { default: true, rederive_eps: true, thresholds: true },
    parameters: &[],
    solver,
};

fn solver(request: &Request, _: &Schedule) -> Result<Arc<dyn Solver>> {
    let learned = |is_range| {
        let fixed = "fixed_small, fixed_small_log, fixed_large, fixed_large_log for a network without channels of a \
                     variance";
        let noise = Noise::Learned { is_range };
        if request.learns_variance { Ok(noise) } else { Err(request.fields.unsupported("variance_type", fixed)) }
    };
    let noise = match VarianceType::read(request.fields)? {
        VarianceType::FixedLarge | VarianceType::FixedLargeLog => Noise::FixedLarge,
        VarianceType::FixedSmall | VarianceType::FixedSmallLog => Noise::FixedSmall,
        VarianceType::Learned => learned(false)?,
        VarianceType::LearnedRange => learned(true)?,
    };
    Ok(Arc::new(Descent { gamma: 1.0, noise }))
}
