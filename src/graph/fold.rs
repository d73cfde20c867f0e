//! Folding: values that are never materialised, because their readers can read the operands instead.
//!
//! | value | folded where it is read by |
//! |---|---|
//! | the channels of two maps, one after the other | convolutions, and normalisations that are folded themselves |
//! | each pixel as 2 x 2 | convolutions larger than 1 x 1 |
//! | a normalisation with its activation | one convolution |

use super::op::{Activation, At, Graph, Node, Op, Value};
use crate::kernels::Family;
use crate::kernels::matmul::MatMul;

/// The way a value is read without being materialised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Folding {
    /// `act(x * a + b)`, by the factors of the normalisation.
    Normalised {
        /// The map.
        x: Value,
        /// The activation.
        activation: Option<Activation>,
    },
    /// The channels of two maps, one after the other.
    Joined {
        /// The maps.
        parts: [Value; 2],
        /// Channels of the first; whole texels.
        channels: usize,
    },
    /// Each pixel as 2 x 2.
    Upsampled {
        /// The map.
        x: Value,
    },
}

/// A reader of a value that may be folded. Readers come after what they read and are decided first.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The node.
    pub node: &'a Node,
    /// `true` if it is folded itself.
    pub is_folded: bool,
    /// `true` for a convolution that reads the value as its map and as nothing else.
    pub convolves: bool,
    /// `true` for a matrix product over pixels.
    pub is_product: bool,
}

impl Folding {
    /// The folding of a normalisation: into the one convolution that reads it.
    pub(super) fn of_normalisation(
        x: Value,
        activation: Option<Activation>,
        at: &At,
        readers: &[Reader],
        family: Family,
    ) -> Option<Self> {
        let [reader] = readers else { return None };
        let normalises = !reader.is_product || MatMul::normalises(family, at.shape.pixels());
        (reader.convolves && normalises).then_some(Self::Normalised { x, activation })
    }
}

/// Returns `true` if folding saves more than it costs. A kernel that reads another kind of source is another shader,
/// and a software adapter takes most of a second to compile a convolution: more than a small network gains in a run.
#[must_use]
pub fn worth_folding(graph: &Graph, family: Family) -> bool {
    let images = graph.nodes.iter().map(|node| node.shape.n as u64).max().unwrap_or(1).max(1);
    !matches!(family, Family::Lanes { .. }) || graph.flops() / images >= SMALL_FLOPS
}

/// Floating-point operations per image of a small network: below the embedded one.
const SMALL_FLOPS: u64 = 200_000_000;

/// The folding of each node; `None` if its value is materialised.
#[must_use]
pub fn folded(graph: &Graph, family: Family) -> Vec<Option<Folding>> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for (at, node) in graph.nodes.iter().enumerate() {
        for value in node.op.reads() {
            readers[value.0].push(at);
        }
    }
    let mut folded: Vec<Option<Folding>> = vec![None; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let value = Value(index);
        let is_output = graph.outputs.iter().any(|(_, output)| *output == value);
        if is_output || readers[index].is_empty() {
            continue;
        }
        let by: Vec<Reader> = readers[index]
            .iter()
            .map(|reader| Reader {
                node: &graph.nodes[*reader],
                is_folded: folded[*reader].is_some(),
                convolves: reads_as_map(&graph.nodes[*reader], value),
                is_product: is_product(graph, &graph.nodes[*reader]),
            })
            .collect();
        folded[index] = node.op.operator().fold(&graph.at(value), &by, family);
    }
    folded
}

/// Returns `true` for a convolution that reads `value` as its map and as nothing else.
fn reads_as_map(node: &Node, value: Value) -> bool {
    matches!(&node.op, Op::Conv2d(conv) if conv.x == value)
        && node.op.reads().into_iter().filter(|read| *read == value).count() == 1
}

/// Returns `true` for a convolution that is a matrix product over pixels.
#[must_use]
pub fn is_product(graph: &Graph, node: &Node) -> bool {
    matches!(&node.op, Op::Conv2d(conv) if conv.is_product(graph.weights[conv.weight.0].form))
}
