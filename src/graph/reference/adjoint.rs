//! Adjoints in float64 by their definitions.

use super::Array;
use crate::graph::op::{HeadSide, Heads};

/// The adjoint of queries, keys and values, which follow each other along the channels of one map: with P the shares
/// and G the adjoint of the result, dv = P' G, dP = G v', dS = P (dP - its mean by P), dq = scale dS k, dk = scale dS'
/// q.
pub(in crate::graph) fn attention(qkv: &Array, adjoint: &Array, (heads, dim): (usize, usize), scale: f64) -> Array {
    let padded = Heads { count: heads, dim, side: HeadSide::Out }.padded_dim();
    let tokens = qkv.shape.pixels();
    let mut answer = Array::zeros(qkv.shape);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (image, head) in (0..qkv.shape.n).flat_map(|image| (0..heads).map(move |head| (image, head))) {
        let first = |part: usize| (part * heads + head) * padded;
        let of = |part: usize, token: usize| &qkv.row(image * tokens + token)[first(part)..][..dim];
        for query in 0..tokens {
            let given = &adjoint.row(image * tokens + query)[head * padded..][..dim];
            let scores: Vec<f64> = (0..tokens).map(|key| scale * dot(of(0, query), of(1, key))).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp() / total).collect();
            let moved: Vec<f64> = (0..tokens).map(|key| dot(given, of(2, key))).collect();
            let mean = dot(&shares, &moved);
            for key in 0..tokens {
                let score = scale * shares[key] * (moved[key] - mean);
                let mut add = |part: usize, token: usize, factor: f64, values: &[f64]| {
                    let at = (image * tokens + token) * qkv.shape.c + first(part);
                    let sums = &mut answer.data[at..at + dim];
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
