//! Adjoints in float64 by their definitions.

use super::tangent::slope;
use super::{Array, activate};
use crate::graph::op::{Activation, HeadSide, Heads};
use crate::tensor::Shape;

/// The adjoints of those of queries, keys and values that are `wanted`, one after the other along the channels of a map
/// of `shape`: with P the shares and G the adjoint of the result, dv = P' G, dP = G v', dS = P (dP - its mean by P),
/// dq = scale dS k, dk = scale dS' q. Each operand is a map and its first channel.
pub(in crate::graph) fn attention(
    parts: [(&Array, usize); 3],
    adjoint: &Array,
    wanted: [bool; 3],
    (heads, dim): (usize, usize),
    (scale, causal): (f64, bool),
    shape: Shape,
) -> Array {
    let padded = Heads { count: heads, dim, side: HeadSide::Out }.padded_dim();
    let (queries, tokens) = (parts[0].0.shape.pixels(), parts[1].0.shape.pixels());
    let mut answer = Array::zeros(shape);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (image, head) in (0..adjoint.shape.n).flat_map(|image| (0..heads).map(move |head| (image, head))) {
        let of = |part: usize, token: usize| {
            let (map, first) = parts[part];
            &map.row(image * map.shape.pixels() + token)[first + head * padded..][..dim]
        };
        for query in 0..queries {
            let given = &adjoint.row(image * queries + query)[head * padded..][..dim];
            let keys = if causal { query + 1 } else { tokens };
            let scores: Vec<f64> = (0..keys).map(|key| scale * dot(of(0, query), of(1, key))).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp() / total).collect();
            let moved: Vec<f64> = (0..keys).map(|key| dot(given, of(2, key))).collect();
            let mean = dot(&shares, &moved);
            for key in 0..keys {
                let score = scale * shares[key] * (moved[key] - mean);
                let mut add = |part: usize, token: usize, factor: f64, values: &[f64]| {
                    if !wanted[part] {
                        return;
                    }
                    let before = wanted[..part].iter().filter(|wanted| **wanted).count();
                    let row = image * shape.pixels() + token;
                    let sums = &mut answer.data[row * shape.c + (before * heads + head) * padded..][..dim];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
                };
                add(0, query, score, of(1, key));
                add(1, key, score, of(0, query));
                add(2, key, shares[key], given);
            }
        }
    }
    answer
}

/// The adjoint of both halves of `first half * act(second half)`, each padded to whole texels.
pub(in crate::graph) fn gate(x: &Array, adjoint: &Array, then: Activation) -> Array {
    let half = x.shape.c / 2;
    let mut answer = Array::zeros(x.shape);
    for (row, sums) in answer.data.chunks_mut(x.shape.c).enumerate() {
        let values = x.row(row);
        for (at, given) in adjoint.row(row).iter().enumerate() {
            sums[at] = given * activate(then, values[half + at]);
            sums[half + at] = given * values[at] * slope(then, values[half + at]);
        }
    }
    answer
}
