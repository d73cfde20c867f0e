//! Attention: one kernel where there is one; scores, their softmax and a product elsewhere.

use super::{BufferId, Lowering, Operand, part};
use crate::graph::op::{At, Attention, Value};
use crate::kernels::attention as kernel;
use crate::kernels::matmul::{Layout, MatMul, Strides};
use crate::kernels::softmax::{Causal, Softmax};
use crate::tensor::TEXEL;

/// Floating-point operations of one dispatch: a seventh of a second by the slowest measured, for the kernel has half
/// the speed of a product.
const STEP_FLOPS: u64 = 5_000_000_000;

/// The most texels of attention scores: 32 MiB.
const SCORES_TEXELS: usize = 1 << 21;

/// The most passes over the queries: beyond that the scores take more memory, until the device's limit refuses them.
const MOST_PASSES: usize = 128;

/// The number of attention queries to score at once, so that the score matrix stays small; each takes `texels`.
/// Queries are independent.
pub(super) fn queries_at_once(texels: usize, tokens: usize) -> usize {
    let fitting = SCORES_TEXELS / texels;
    if fitting >= tokens { tokens } else { (fitting / 32 * 32).max(tokens.div_ceil(MOST_PASSES)) }
}

impl Lowering<'_> {
    /// Attention that sees all keys in one kernel, by parts of the queries that keep a dispatch short. Returns false
    /// if the family has no kernel for it.
    fn attention_at_once(&mut self, op: &Attention, at: &At) -> bool {
        let Attention { q, k, v, heads, head_dim, scale, causal } = *op;
        if causal {
            return false;
        }
        let texels = head_dim.div_ceil(TEXEL);
        let graph = self.graph;
        let tokens = |(value, _): (Value, usize)| graph.shape(value).pixels();
        let strides = |(value, _): (Value, usize)| {
            let shape = graph.shape(value);
            Strides { row: shape.c4(), image: shape.pixels() * shape.c4(), head: texels }
        };
        let (queries, row) = (tokens(q), heads * texels);
        let whole = kernel::Attention {
            batch: (graph.shape(q.0).n, heads),
            queries,
            keys: tokens(k),
            texels,
            strides: [strides(q), strides(k), strides(v), Strides { row, image: queries * row, head: texels }],
            scale,
        };
        let share = queries.div_ceil(whole.flops().div_ceil(STEP_FLOPS).max(1) as usize).next_multiple_of(32);
        for first in (0..queries).step_by(share) {
            let attention = kernel::Attention { queries: share.min(queries - first), ..whole };
            let Some(dispatch) = attention.dispatch(self.family) else { return false };
            let from = Operand::Buffer(BufferId(q.0.0), q.1 / TEXEL + first * whole.strides[0].row);
            let to = (BufferId(at.value.0), first * row);
            self.step_to(at, dispatch, vec![from, part(k), part(v)], to, attention.flops());
        }
        true
    }

    /// scores = scale * q k^T, softmax over the keys, times v; for each image and head.
    pub fn attention(&mut self, op: &Attention, at: &At) {
        if self.attention_at_once(op, at) {
            return;
        }
        let Attention { q, k, v, heads, head_dim, scale, causal } = *op;
        let head_texels = head_dim.div_ceil(TEXEL);
        let (queries, keys) = (at.of(q.0), at.of(k.0));
        let (tokens, columns) = (queries.pixels(), keys.pixels());
        let columns4 = columns.div_ceil(TEXEL);
        let strides = |(value, _): (Value, usize)| {
            let shape = at.of(value);
            Strides { row: shape.c4(), image: shape.pixels() * shape.c4(), head: head_texels }
        };
        let batch = (queries.n, heads);
        let y = Strides { row: heads * head_texels, image: tokens * heads * head_texels, head: head_texels };
        let (q_strides, k_strides, v_strides) = (strides(q), strides(k), strides(v));
        let share = queries_at_once(queries.n * heads * columns4, tokens);
        for first in (0..tokens).step_by(share) {
            let rows = share.min(tokens - first);
            let scored = Strides { row: columns4, image: heads * rows * columns4, head: rows * columns4 };
            let scoring = MatMul {
                batch,
                layout: Layout::Transposed,
                a: q_strides,
                b: k_strides,
                y: scored,
                alpha: scale,
                ..MatMul::plain(1, rows, head_texels * TEXEL, columns)
            };
            let mixing =
                MatMul { batch, a: scored, b: v_strides, y, ..MatMul::plain(1, rows, columns, head_texels * TEXEL) };
            let texels = queries.n * heads * rows * columns4;
            let scores = self.scratch(texels, at.label);
            let from = Operand::Buffer(BufferId(q.0.0), q.1 / TEXEL + first * q_strides.row);
            let reads = MatMul::reads(from, part(k)).to_vec();
            self.multiply_to(at, scoring, reads, (scores, 0));

            let causal = causal.then_some(Causal { queries: rows, first });
            let softmax = Softmax { rows: queries.n * heads * rows, columns, causal };
            let shares = self.scratch(texels, at.label);
            self.step_to(at, softmax.dispatch(self.family), vec![Operand::Buffer(scores, 0)], (shares, 0), 0);

            let reads = MatMul::reads(Operand::Buffer(shares, 0), part(v)).to_vec();
            let to = (BufferId(at.value.0), first * y.row);
            self.multiply_to(at, mixing, reads, to);
        }
    }
}
