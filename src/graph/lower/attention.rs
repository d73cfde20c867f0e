//! Attention as one kernel, where there is one.

use super::{BufferId, Lowering, Operand, part};
use crate::graph::op::{Node, Op, Value};
use crate::kernels::attention::Attention;
use crate::kernels::matmul::Strides;
use crate::tensor::TEXEL;

/// Floating-point operations of one dispatch: a seventh of a second by the slowest measured, for the kernel has half the speed of
/// a product.
const STEP_FLOPS: u64 = 5_000_000_000;

impl Lowering<'_> {
    /// Attention that sees all keys, by parts of the queries that keep a dispatch short; answers whether it was lowered.
    pub(super) fn fused_attention(&mut self, node: &Node, write: BufferId) -> bool {
        let Op::Attention { q, k, v, heads, head_dim, scale, causal: false } = node.op else { return false };
        let (label, texels) = (node.label.as_str(), head_dim.div_ceil(TEXEL));
        let graph = self.graph;
        let tokens = |(value, _): (Value, usize)| graph.shape(value).pixels();
        let strides = |(value, _): (Value, usize)| {
            let shape = graph.shape(value);
            Strides { row: shape.c4(), image: shape.pixels() * shape.c4(), head: texels }
        };
        let (queries, row) = (tokens(q), heads * texels);
        let whole = Attention {
            batch: (graph.shape(q.0).n, heads),
            queries,
            keys: tokens(k),
            texels,
            strides: [strides(q), strides(k), strides(v), Strides { row, image: queries * row, head: texels }],
            scale,
        };
        let share = queries.div_ceil(whole.flops().div_ceil(STEP_FLOPS).max(1) as usize).next_multiple_of(32);
        for first in (0..queries).step_by(share) {
            let attention = Attention { queries: share.min(queries - first), ..whole };
            let Some(dispatch) = attention.dispatch(self.family) else { return false };
            let Operand::Buffer(buffer, begin) = part(q) else { return false };
            let reads = vec![Operand::Buffer(buffer, begin + first * whole.strides[0].row), part(k), part(v)];
            self.step_at(label, dispatch, reads, (write, first * row), attention.flops());
        }
        true
    }
}
