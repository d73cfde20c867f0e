//! The algorithm of each weight of a graph. It follows from the layers alone, never from the batch: an image has the
//! same bits in any batch.

use std::collections::BTreeMap;

use super::fuse::fuse;
use super::op::{Conv2d, Graph, Node, Op, WeightForm, WeightId};
use super::options::{CompileOptions, Target};
use super::weights::packed_texels;
use crate::kernels::choice::{Algorithm, Layer};
use crate::tensor::Shape;

/// The algorithm of each weight. There is a choice for kernels of 3 x 3 and stride 1 that only one layer reads.
///
/// Transformed weights are larger: together they may add twice the bytes that all weights take otherwise. A weight of
/// a large map saves more products per byte, so large maps come first; a weight that no longer fits is transformed by
/// small tiles, or not at all. A forced algorithm is not bounded.
#[must_use]
pub fn algorithms(graph: &Graph, options: &CompileOptions, target: &Target) -> Vec<Algorithm> {
    let texels = |id: usize, algorithm| packed_texels(graph.weights[id].form, algorithm, target.family);
    let mut algorithms = vec![Algorithm::Direct; graph.weights.len()];
    let mut left: usize = 2 * (0..graph.weights.len()).map(|id| texels(id, Algorithm::Direct)).sum::<usize>();
    let mut layers = layers(graph);
    layers.sort_by_key(|(id, layer)| (std::cmp::Reverse(layer.size.0 * layer.size.1), *id));
    for (id, layer) in layers {
        let chosen = options.algorithm(layer, target);
        for algorithm in [chosen, chosen.with_small_tiles()] {
            let more = texels(id, algorithm).saturating_sub(texels(id, Algorithm::Direct));
            if more <= left || options.forced.is_some() {
                left = left.saturating_sub(more);
                algorithms[id] = algorithm;
                break;
            }
        }
    }
    algorithms
}

/// The weights with a choice of algorithms, and their layers.
#[must_use]
pub fn layers(graph: &Graph) -> Vec<(usize, Layer)> {
    let mut readers = vec![0; graph.weights.len()];
    for node in &graph.nodes {
        node.op.weights().into_iter().for_each(|id| readers[id.0] += 1);
    }
    let of_node = |node: &Node| {
        let Op::Conv2d(Conv2d { weight: WeightId(id), stride: 1, .. }) = node.op else { return None };
        layer(graph.weights[id].form, node.shape).filter(|_| readers[id] == 1).map(|layer| (id, layer))
    };
    graph.nodes.iter().filter_map(of_node).collect()
}

/// The distinct layers of a graph that is not fused yet and the number of weights of each, for layers with a choice
/// of algorithms.
#[must_use]
pub fn distinct_layers(graph: &Graph) -> BTreeMap<Layer, usize> {
    let mut counts = BTreeMap::new();
    for (_, layer) in layers(&fuse(graph)) {
        *counts.entry(layer).or_insert(0) += 1;
    }
    counts
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Family;
    use crate::kernels::winograd::Tile;
    use crate::nets::builder::{Builder, Window};

    #[test]
    fn what_does_not_fit_is_transformed_by_smaller_tiles() {
        let target = Target::without_device(Family::Lanes { width: 8 });
        let (four, two) = (Algorithm::Winograd(Tile::Four), Algorithm::Winograd(Tile::Two));
        let graph = |heads: usize| {
            let mut b = Builder::new("test");
            let x = b.input("x", Shape::new(1, 16, 16, 64));
            b.conv("conv", x, 64, Window { side: 3, stride: 1, pad_before: 1, pad_after: 1 });
            // Other weights, of which the transformed ones may take twice as much.
            for head in 0..heads {
                b.conv(&format!("head {head}"), x, 64 * 9, Window { side: 1, stride: 1, pad_before: 0, pad_after: 0 });
            }
            b.graph
        };
        let of = |graph: &Graph, options: CompileOptions| algorithms(graph, &options, &target)[0];
        assert_eq!(of(&graph(0), CompileOptions::default()), two, "36 / 9 - 1 is more than twice its own");
        assert_eq!(of(&graph(1), CompileOptions::default()), four);
        assert_eq!(of(&graph(0), CompileOptions::forced(four)), four, "what is forced is not bounded");
    }
}
