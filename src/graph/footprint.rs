//! Device memory that a plan takes, in bytes.

use super::op::Graph;
use super::options::StorageLimits;
use super::plan::{Chunk, Plan};
use crate::error::{Error, Result};
use crate::gpu::{StorageKind, row_texels};
use crate::tensor::Precision;

/// Device memory that a plan takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The precision of the kernels of convolutions and products.
    pub dtype: Precision,
    /// Packed weights.
    pub weights: u64,
    /// Values between the steps.
    pub arena: u64,
    /// The least that any plan of the same steps takes for values.
    pub lower_bound: u64,
    /// Everything that is allocated: whole rows of textures, where the values lie in textures.
    pub allocated: u64,
}

impl Footprint {
    /// The footprint of `plan`.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            dtype: plan.precision,
            weights: plan.weight_bytes(),
            arena: plan.arena_bytes(),
            lower_bound: plan.lower_bound_bytes,
            allocated: storages(plan).map(|(kind, texels)| kind.bytes(texels)).sum(),
        }
    }

    /// The largest footprint of plans that run in turn; `None` for an empty slice.
    #[must_use]
    pub fn largest(plans: &[Plan]) -> Option<Self> {
        plans.iter().map(Self::of).max_by_key(|footprint| footprint.allocated)
    }

    /// The ratio of `bytes` to the weights and the least for values.
    #[must_use]
    pub fn over_least(&self, bytes: u64) -> f64 {
        bytes as f64 / (self.weights + self.lower_bound).max(1) as f64
    }
}

/// Returns `true` if every storage of `plan` keeps within `limits`, and all of them together within `budget` bytes.
#[must_use]
pub fn fits(plan: &Plan, limits: StorageLimits, budget: Option<u64>) -> bool {
    storages(plan).all(|(kind, texels)| texels <= limits.texels(kind.precision()))
        && budget.is_none_or(|budget| Footprint::of(plan).allocated <= budget)
}

/// Refuses a graph with a value that kernels cannot address, on any device: an index of texels has 32 bits.
///
/// # Errors
/// [`Error::OverLimit`] naming it.
pub fn check_addresses(graph: &Graph) -> Result<()> {
    let most = u32::MAX as usize;
    let Some(node) = graph.nodes.iter().find(|node| node.shape.texels() > most) else { return Ok(()) };
    let bytes = |texels: usize| texels as u64 * Precision::Float32.texel_bytes();
    Err(Error::OverLimit {
        tensor: node.label.clone(),
        bytes: bytes(node.shape.texels()),
        limit_name: "largest value that kernels address",
        limit: bytes(most),
        hint: "lower `batch` or the image size".to_owned(),
    })
}

/// The kind and the texels of each storage as it is allocated, values first.
fn storages(plan: &Plan) -> impl Iterator<Item = (StorageKind, usize)> + '_ {
    let allocated = |&Chunk { texels, precision }: &Chunk| {
        let kind = plan.family.storage_kind(precision);
        (kind, row_texels(kind, texels.max(1)))
    };
    plan.slots.iter().chain(&plan.weight_chunks).map(allocated)
}
