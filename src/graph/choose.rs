//! Which algorithm computes each convolution. The choice follows from the layer alone, never from the batch: an image has the
//! same bits in any batch.

use super::op::{Graph, Op, WeightForm, WeightId};
use crate::kernels::winograd::Tile;
use crate::tensor::Shape;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// By the definition: as many products as taps.
    #[default]
    Direct,
    /// By transformed tiles: fewer products, more memory for weights, a little more rounding.
    Winograd(Tile),
}

/// What of a layer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Layer {
    /// Channels read.
    pub input: usize,
    /// Channels written.
    pub out: usize,
    /// Rows and columns written.
    pub size: (usize, usize),
}

/// The algorithm of each weight of a graph, `chosen` for the layers where there is a choice: 3 x 3, stride 1, a weight that no one
/// else reads.
#[must_use]
pub fn algorithms(graph: &Graph, chosen: impl Fn(Layer) -> Algorithm) -> Vec<Algorithm> {
    let mut readers = vec![0; graph.weights.len()];
    for node in &graph.nodes {
        node.op.clone().for_each_weight(|id| readers[id.0] += 1);
    }
    let mut algorithms = vec![Algorithm::Direct; graph.weights.len()];
    for node in &graph.nodes {
        let Op::Conv { weight: WeightId(id), stride: 1, .. } = node.op else { continue };
        if let Some(layer) = layer(graph.weights[id].form, node.shape)
            && readers[id] == 1
        {
            algorithms[id] = chosen(layer);
        }
    }
    algorithms
}

/// The layer of a 3 x 3 kernel that writes a map of this shape.
fn layer(form: WeightForm, y: Shape) -> Option<Layer> {
    match form {
        WeightForm::Kernel { out, input, height: 3, width: 3, heads: None } => {
            Some(Layer { input, out, size: (y.h, y.w) })
        }
        _ => None,
    }
}
