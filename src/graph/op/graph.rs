//! The graph: operators on values of known shapes. No kernel, no device, no data in it.

use super::weight::{Weight, WeightId};
use super::{At, Op};
use crate::tensor::Shape;

/// A node of the graph, and its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub usize);

/// An operator with the shape of its result and a label for people (the module path in the checkpoint).
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The operator.
    pub op: Op,
    /// The shape of the result.
    pub shape: Shape,
    /// For messages, timings and the printed plan.
    pub label: String,
}

/// A computation: nodes in order, weights, and the values to read back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// In an order in which each node only reads nodes before it.
    pub nodes: Vec<Node>,
    /// The weights that nodes read.
    pub weights: Vec<Weight>,
    /// The values to read back, by name.
    pub outputs: Vec<(String, Value)>,
}

impl Graph {
    /// Adds a node whose result has `shape`.
    ///
    /// # Panics
    /// If the operator cannot make a result of that shape from what it reads, or reads a node that does not exist yet:
    /// a mistake in the code that builds the graph.
    pub fn push(&mut self, op: impl Into<Op>, shape: Shape, label: impl Into<String>) -> Value {
        let (op, label, value) = (op.into(), label.into(), Value(self.nodes.len()));
        let reads = op.reads();
        assert!(reads.iter().all(|read| *read < value), "`{label}` reads a node that does not exist yet");
        let at = At { graph: self, value, shape, label: &label };
        if let Err(rule) = op.operator().check(&at) {
            let reads: Vec<String> = reads.iter().map(|read| self.shape(*read).to_string()).collect();
            panic!("`{label}`: {rule}; it makes {shape} from {}: {op:?}", reads.join(", "));
        }
        self.nodes.push(Node { op, shape, label });
        value
    }

    /// Adds a weight.
    pub fn weight(&mut self, weight: Weight) -> WeightId {
        self.weights.push(weight);
        WeightId(self.weights.len() - 1)
    }

    /// The same graph for another number of images: every value of the graph has `images` in place of `of`. Nothing
    /// else in a graph depends on the number of images.
    #[must_use]
    pub fn for_images(&self, of: usize, images: usize) -> Self {
        let mut graph = self.clone();
        for node in &mut graph.nodes {
            node.shape.n = node.shape.n * images / of.max(1);
        }
        graph
    }

    /// The shape of a value.
    #[must_use]
    pub fn shape(&self, value: Value) -> Shape {
        self.nodes[value.0].shape
    }

    /// A node with its place.
    #[must_use]
    pub fn at(&self, value: Value) -> At<'_> {
        let Node { shape, label, .. } = &self.nodes[value.0];
        At { graph: self, value, shape: *shape, label }
    }
}
