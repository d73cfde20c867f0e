//! Folding into readers: which values need not exist, because whoever reads them can read what they are made of.
//!
//! | value | need not exist where it is read by |
//! |---|---|
//! | two maps' channels after one another | convolutions, and normalisations that themselves need not exist |
//! | each pixel as 2 x 2 | convolutions larger than 1 x 1 |
//! | a normalisation with its activation | one convolution |

use super::op::{Graph, Node, Op, Value, WeightForm};
use crate::kernels::Family;
use crate::kernels::matmul::MatMul;
use crate::tensor::TEXEL;

/// Whether folding saves more than it costs. A kernel that reads another kind of source is another shader, and a software adapter
/// takes most of a second to compile a convolution: more than a small network gains in a run.
#[must_use]
pub fn worth_folding(graph: &Graph, family: Family) -> bool {
    let images = graph.nodes.iter().map(|node| node.shape.n as u64).max().unwrap_or(1).max(1);
    !matches!(family, Family::Lanes { .. }) || graph.flops() / images >= SMALL_FLOPS
}

/// Floating-point operations an image of a small network: below the embedded one.
const SMALL_FLOPS: u64 = 200_000_000;

/// For each node whether its value need not exist.
#[must_use]
pub fn folded(graph: &Graph, family: Family) -> Vec<bool> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for (at, node) in graph.nodes.iter().enumerate() {
        for value in node.op.reads() {
            readers[value.0].push(at);
        }
    }
    let is_output = |at: usize| graph.outputs.iter().any(|(_, value)| value.0 == at);
    let mut folded = vec![false; graph.nodes.len()];
    // Readers stand after what they read, and decide first.
    for (at, node) in graph.nodes.iter().enumerate().rev() {
        let value = Value(at);
        let by: Vec<(usize, &Node)> = readers[at].iter().map(|reader| (*reader, &graph.nodes[*reader])).collect();
        let convolved = |reader: &Node| reads_as_map(reader, value);
        let fits = match &node.op {
            Op::GroupNorm { .. } | Op::Affine { .. } => {
                by.len() == 1
                    && by.iter().all(|(_, reader)| {
                        convolved(reader)
                            && (!is_product(graph, reader) || MatMul::normalises(family, node.shape.pixels()))
                    })
            }
            Op::Concat { parts } => {
                parts.len() == 2
                    && graph.shape(parts[0]).c.is_multiple_of(TEXEL)
                    && by.iter().all(|(at, reader)| {
                        convolved(reader) || folded[*at] && matches!(reader.op, Op::GroupNorm { .. })
                    })
            }
            Op::UpsampleNearest { x } => {
                let (from, to) = (graph.shape(*x), node.shape);
                (to.h, to.w) == (2 * from.h, 2 * from.w)
                    && by.iter().all(|(_, reader)| convolved(reader) && !is_product(graph, reader))
            }
            _ => false,
        };
        folded[at] = fits && !is_output(at) && !by.is_empty();
    }
    folded
}

/// Whether a node is a convolution that reads `value` as its map and as nothing else.
fn reads_as_map(node: &Node, value: Value) -> bool {
    matches!(node.op, Op::Conv { x, .. } if x == value)
        && node.op.reads().into_iter().filter(|read| *read == value).count() == 1
}

/// Whether a convolution is a matrix product over pixels.
#[must_use]
pub fn is_product(graph: &Graph, node: &Node) -> bool {
    let Op::Conv { weight, stride: 1, .. } = node.op else { return false };
    matches!(graph.weights[weight.0].form, WeightForm::Kernel { height: 1, width: 1, .. })
}
