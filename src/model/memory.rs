//! Device memory: images per call, the budget of a pipeline, and the algorithms that a plan takes.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::graph::choose::distinct_layers;
use crate::graph::op::Graph;
use crate::graph::plan::Chunk;
use crate::graph::{CompileOptions, Footprint, Plan, Target};
use crate::kernels::Engine;
use crate::kernels::choice::Algorithm;

/// The most images per call of a network, unless the caller asks for more.
const USUAL_BATCH: usize = 16;
/// Device memory for the values of a call, unless the caller asks for a batch.
const USUAL_ARENA_BYTES: u64 = 1 << 30;
/// The same for the network of a pipeline, whose budget bounds it too.
const PIPELINE_ARENA_BYTES: u64 = 2 << 30;
/// Device memory that a pipeline stays within, unless the caller gives a budget: 8 GiB.
pub const USUAL_BUDGET: u64 = 8 << 30;

/// The usual number of images per call: 16, or as many as keep the values of a call within 1 GiB and each value within
/// a storage of the device. `one` is the plan for one image.
#[must_use]
pub fn usual_batch(one: &Plan, engine: &Engine) -> usize {
    let most = |slot: &Chunk| engine.gpu.max_texels(engine.family.storage_kind(slot.precision)).0 / slot.texels.max(1);
    let by_storage = one.slots.iter().map(most).min().unwrap_or(usize::MAX);
    USUAL_BATCH.min(largest_batch(one)).min(by_storage).max(1)
}

/// The largest number of items per call that keeps the values of a call within 1 GiB, at least 1. `one` is the plan for
/// one item.
#[must_use]
pub fn largest_batch(one: &Plan) -> usize {
    ((USUAL_ARENA_BYTES / one.arena_bytes().max(1)) as usize).max(1)
}

/// The usual number of images per call of a pipeline's network: as many as keep the network within `budget` bytes, and
/// its values within a modest part of that.
pub(super) fn batch_within(one: &Footprint, budget: u64) -> usize {
    let room = budget.saturating_sub(one.weights).min(PIPELINE_ARENA_BYTES);
    (room / one.arena.max(1)) as usize
}

/// Refuses a component that takes more than the budget, before anything runs.
///
/// # Errors
/// [`Error::OverLimit`] naming it.
pub fn within_budget(component: &str, bytes: u64, budget: u64) -> Result<()> {
    if bytes <= budget {
        return Ok(());
    }
    Err(Error::OverLimit {
        tensor: component.to_owned(),
        bytes,
        limit_name: "memory budget",
        limit: budget,
        hint: "take weights of float16 (`dtype`), smaller images or a lower `batch`, or raise `memory`".to_owned(),
    })
}

/// The algorithms of the convolutions of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// The number of convolutions by each algorithm.
    pub convolutions: BTreeMap<Algorithm, usize>,
    /// The reason for the choice.
    pub origin: Origin,
}

/// The reason why algorithms were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The options of compilation force one.
    Forced,
    /// Nothing was measured on this adapter.
    Prior,
    /// Some of the distinct layers that have a choice were measured on this adapter.
    Measured {
        /// Layers that were measured.
        measured: usize,
        /// Distinct layers.
        layers: usize,
    },
}

impl Algorithms {
    /// The algorithms of the plan of `graph`. The graph may be for another batch: layers do not depend on it.
    #[must_use]
    pub fn of(plan: &Plan, graph: &Graph, target: &Target, options: &CompileOptions) -> Self {
        let layers = distinct_layers(graph);
        let measured =
            layers.keys().filter(|layer| target.measured.layers(options.weights).contains_key(layer)).count();
        let origin = match (options.forced, measured) {
            (Some(_), _) => Origin::Forced,
            (None, 0) => Origin::Prior,
            (None, measured) => Origin::Measured { measured, layers: layers.len() },
        };
        Self { convolutions: plan.convolutions(), origin }
    }
}

impl std::fmt::Display for Algorithms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts: Vec<_> =
            self.convolutions.iter().map(|(algorithm, count)| format!("{count} {algorithm}")).collect();
        write!(f, "{} convolutions", counts.join(", "))?;
        match self.origin {
            Origin::Forced => f.write_str("; exact"),
            Origin::Prior => f.write_str("; not measured here (`downhill tune`)"),
            Origin::Measured { measured, layers } => write!(f, "; {measured} of {layers} layers measured here"),
        }
    }
}
