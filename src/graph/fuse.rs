//! Fusion: what can ride on the end of a product does, so that a value is written once and read once.
//!
//! | pattern | becomes |
//! |---|---|
//! | convolution, then `+ vector an image` | the epilogue's `per_image` |
//! | convolution, then activation | the epilogue's `activation` |
//! | convolution, then `(+ map) * scale` | the epilogue's `residual` and `scale` |
//! | group normalisation, or one whose statistics are known, then activation | its `activation` |
//!
//! Afterwards, layers that read one vector and are added to maps (the time embedding's projections in every block) become
//! one product ([`super::stack`]).
//!
//! A fused operation stands where the last of its parts stood, so everything it reads is still computed before it.

use super::op::{Graph, Node, Op, Value, WeightId};
use super::stack::stack_projections;

/// The graph with every pattern of the table above replaced, and what nobody reads any more left out.
#[must_use]
pub fn fuse(graph: &Graph) -> Graph {
    let uses = count_uses(graph);
    let mut nodes = graph.nodes.clone();
    for at in 0..nodes.len() {
        if let Some(op) = fused(&nodes, at, &uses) {
            nodes[at].op = op;
        }
    }
    drop_unread(&stack_projections(&drop_unread(&Graph { nodes, ..graph.clone() })))
}

/// How often each value is read, by nodes and as an output.
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

/// What node `at` becomes with its producer taken in, if a pattern fits.
fn fused(nodes: &[Node], at: usize, uses: &[usize]) -> Option<Op> {
    let only_here = |value: Value| uses[value.0] == 1;
    match &nodes[at].op {
        Op::Activation { x, activation } if only_here(*x) => {
            let mut op = nodes[x.0].op.clone();
            match &mut op {
                Op::Conv { epilogue, .. } if epilogue.activation.is_none() && epilogue.residual.is_none() => {
                    epilogue.activation = Some(*activation);
                }
                Op::GroupNorm { activation: none @ None, .. } | Op::Affine { activation: none @ None, .. } => {
                    *none = Some(*activation);
                }
                _ => return None,
            }
            Some(op)
        }
        Op::Add { a, b, scale } => {
            let (shape, vector) = (nodes[at].shape, nodes[b.0].shape.pixels() == 1);
            if vector && shape.pixels() > 1 {
                let mut op = nodes[a.0].op.clone();
                let Op::Conv { epilogue, .. } = &mut op else { return None };
                let free = epilogue.per_image.is_none() && epilogue.activation.is_none() && epilogue.residual.is_none();
                if !free || *scale != 1.0 || !only_here(*a) {
                    return None;
                }
                epilogue.per_image = Some((*b, 0));
                return Some(op);
            }
            // Of two convolutions the later one takes the other's result.
            let mut sides = [(*a, *b), (*b, *a)];
            sides.sort_by_key(|(product, _)| std::cmp::Reverse(*product));
            sides.into_iter().find_map(|(product, other)| {
                let mut op = nodes[product.0].op.clone();
                let Op::Conv { epilogue, .. } = &mut op else { return None };
                if epilogue.residual.is_some() || epilogue.scale != 1.0 || !only_here(product) || product == other {
                    return None;
                }
                epilogue.residual = Some(other);
                epilogue.scale = *scale;
                Some(op)
            })
        }
        _ => None,
    }
}

/// The graph without the nodes and weights that no output depends on; inputs stay, so that callers need not know.
fn drop_unread(graph: &Graph) -> Graph {
    let mut needed: Vec<bool> = graph.nodes.iter().map(|node| matches!(node.op, Op::Input { .. })).collect();
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
