//! Fusion: operators that can ride on the end of a product do, so that a value is written once and read once.
//!
//! | pattern | becomes |
//! |---|---|
//! | convolution, then `+` one vector per image | the epilogue's `per_image` |
//! | convolution, then activation | the epilogue's `activation` |
//! | convolution, then `(+ map) * scale` | the epilogue's `residual` and `scale` |
//! | group normalisation, or one whose statistics are known, then activation | its `activation` |
//!
//! Afterwards, layers that read one vector and are added to maps (the time embedding's projections in every block)
//! become one product ([`super::stack`]).
//!
//! A fused operation stands where the last of its parts stood, so everything it reads is still computed before it.

use super::op::{Graph, Node, Op, Operator, Value, WeightId};
use super::stack::stack_projections;

/// The nodes of a graph that is being fused.
pub struct Fusion<'a> {
    nodes: &'a [Node],
    uses: &'a [usize],
}

impl Fusion<'_> {
    /// The operator that makes a value, as fused so far; `None` if the value is read more than once or is an output.
    #[must_use]
    pub fn only_reader(&self, value: Value) -> Option<&dyn Operator> {
        (self.uses[value.0] == 1).then(|| self.nodes[value.0].op.operator())
    }
}

/// The graph with every pattern of the table above replaced, and without what is not read any more.
#[must_use]
pub fn fuse(graph: &Graph) -> Graph {
    let uses = count_uses(graph);
    let mut nodes = graph.nodes.clone();
    for at in 0..nodes.len() {
        let fusion = Fusion { nodes: &nodes, uses: &uses };
        if let Some(op) = nodes[at].op.operator().fuse(&graph.at(Value(at)), &fusion) {
            nodes[at].op = op;
        }
    }
    drop_unread(&stack_projections(&drop_unread(&Graph { nodes, ..graph.clone() })))
}

/// The number of times each value is read, by nodes and as an output.
fn count_uses(graph: &Graph) -> Vec<usize> {
    let mut uses = vec![0; graph.nodes.len()];
    for node in &graph.nodes {
        for value in node.op.reads() {
            uses[value.0] += 1;
        }
    }
    for (_, value) in &graph.outputs {
        uses[value.0] += 1;
    }
    uses
}

/// The graph without the nodes and weights that no output depends on; inputs stay, so that callers feed the same.
fn drop_unread(graph: &Graph) -> Graph {
    let mut needed: Vec<bool> = graph.nodes.iter().map(|node| matches!(node.op, Op::Input(_))).collect();
    for (_, value) in &graph.outputs {
        needed[value.0] = true;
    }
    for at in (0..graph.nodes.len()).rev() {
        if needed[at] {
            for value in graph.nodes[at].op.reads() {
                needed[value.0] = true;
            }
        }
    }
    let mut moved = vec![Value(0); graph.nodes.len()];
    let mut kept = Graph::default();
    let mut moved_weights: Vec<Option<WeightId>> = vec![None; graph.weights.len()];
    for (at, node) in graph.nodes.iter().enumerate().filter(|(at, _)| needed[*at]) {
        let mut node = node.clone();
        node.op.for_each_read(|value| *value = moved[value.0]);
        node.op.for_each_weight(|id| {
            let known = &mut moved_weights[id.0];
            *id = *known.get_or_insert_with(|| kept.weight(graph.weights[id.0].clone()));
        });
        moved[at] = kept.push(node.op, node.shape, node.label);
    }
    kept.outputs = graph.outputs.iter().map(|(name, value)| (name.clone(), moved[value.0])).collect();
    kept
}
