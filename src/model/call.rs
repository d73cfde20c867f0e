//! A planned call of a network: its memory, operations and algorithms, computed without a device.

use super::memory::Algorithms;
use crate::graph::op::Graph;
use crate::graph::{CompileOptions, Footprint, Plan, Target};

/// A call of a network, planned for a target.
#[derive(Clone, Debug)]
pub struct Call {
    /// The plan.
    pub plan: Plan,
    /// Device memory.
    pub footprint: Footprint,
    /// Floating-point operations.
    pub flops: u64,
    /// The algorithms of its convolutions.
    pub algorithms: Algorithms,
    /// Additional bytes of weights that are transformed for algorithms other than the definition.
    pub transformed_bytes: u64,
}

impl Call {
    /// The call of a graph.
    #[must_use]
    pub fn of(graph: &Graph, target: &Target, options: &CompileOptions) -> Self {
        let plan = Plan::new(graph, target, options);
        let footprint = Footprint::of(&plan);
        Self {
            algorithms: Algorithms::of(&plan, graph, target, options),
            transformed_bytes: plan.transformed_bytes(),
            flops: graph.flops(),
            footprint,
            plan,
        }
    }
}
