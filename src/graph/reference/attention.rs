//! Attention in float64, a query after the other.

use super::Array;
use crate::graph::op::{HeadSide, Heads};
use crate::tensor::Shape;

/// softmax(scale * q k^T) v: each part is a map and its first channel. Where it is causal, a query sees the keys up
/// to its place.
pub(in crate::graph) fn attention(
    [q, k, v]: [(&Array, usize); 3],
    (heads, dim): (usize, usize),
    scale: f64,
    causal: bool,
    shape: Shape,
) -> Array {
    let padded = Heads { count: heads, dim, side: HeadSide::Out }.padded_dim();
    let mut answer = Array::zeros(shape);
    let (queries, keys) = (q.0.shape.pixels(), k.0.shape.pixels());
    for row in 0..shape.rows() {
        let image = row / queries;
        for head in 0..heads {
            let of = |(map, first): (&Array, usize), row| map.row(row)[first + head * padded..][..dim].to_vec();
            let query = of(q, row);
            let score = |key| scale * query.iter().zip(of(k, image * keys + key)).map(|(a, b)| a * b).sum::<f64>();
            let seen = if causal { keys.min(row % queries + 1) } else { keys };
            let scores: Vec<f64> = (0..seen).map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            let result = &mut answer.data[row * shape.c + head * padded..][..dim];
            for (key, score) in scores.iter().enumerate() {
                let share = (score - largest).exp() / total;
                result.iter_mut().zip(of(v, image * keys + key)).for_each(|(sum, value)| *sum += share * value);
            }
        }
    }
    answer
}
