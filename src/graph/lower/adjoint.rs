//! Adjoints as dispatches.

use super::attention::queries_at_once;
use super::{BufferId, Lowering, Operand, whole};
use crate::graph::op::{At, AttentionAdjoint, GateAdjoint, ScaleChannels, Value};
use crate::kernels::epilogue::EpilogueSpec;
use crate::kernels::matmul::{Layout, MatMul, Strides};
use crate::kernels::modulate::Modulate;
use crate::kernels::softmax::{Causal, Softmax};
use crate::kernels::tangent as kernel;
use crate::kernels::transpose::Transpose;
use crate::tensor::{Shape, TEXEL};

/// An operand of batched products.
#[derive(Clone, Copy)]
struct Side {
    buffer: BufferId,
    first: usize,
    strides: Strides,
}

impl Side {
    /// The same from a row on.
    fn from(self, row: usize) -> Self {
        Self { first: self.first + row * self.strides.row, ..self }
    }

    fn operand(self) -> Operand {
        Operand::Buffer(self.buffer, self.first)
    }
}

/// A part of the queries of an attention, `rows` of them from `first` on.
#[derive(Clone, Copy)]
struct Part<'a> {
    at: &'a At<'a>,
    images: usize,
    heads: usize,
    rows: usize,
    keys: usize,
    first: usize,
    /// `true` for the last part.
    is_last: bool,
    causal: bool,
}

impl Part<'_> {
    /// The strides of a matrix of these queries by all keys.
    fn square(self) -> Strides {
        let row = self.keys.div_ceil(TEXEL);
        Strides { row, head: self.rows * row, image: self.heads * self.rows * row }
    }

    /// Texels of these matrices.
    fn texels(self) -> usize {
        self.images * self.square().image
    }
}

impl Lowering<'_> {
    /// A modulation by the weight alone: all images are one tall image, and what is added is zero.
    pub fn scale_channels(&mut self, op: &ScaleChannels, at: &At) {
        let Shape { n, h, w, c } = at.shape;
        let shape = Shape::new(1, n * h, w, c);
        let zeros = self.table(vec![0.0; shape.c4() * TEXEL]);
        let scale = Modulate { shape, scale_row: shape.c4(), shift_row: Some(shape.c4()), offset: 0.0 };
        self.step(at, scale.dispatch(self.family), vec![whole(op.x), Operand::Weight(op.weight), zeros]);
    }

    /// Both halves by the product rule.
    pub fn gate_adjoint(&mut self, op: &GateAdjoint, at: &At) {
        let gate = kernel::GateAdjoint { shape: at.of(op.adjoint), activation: op.activation };
        self.step(at, gate.dispatch(self.family), vec![whole(op.x), whole(op.adjoint)]);
    }

    /// With S = scale q k', P = softmax(S) and G the adjoint: dP = G v', dS by the softmax's tangent, which is
    /// symmetric, and dq = scale dS k, dk = scale dS' q, dv = P' G. The queries are taken a part at a time; the sums
    /// over queries are added part after part.
    pub fn attention_adjoint(&mut self, op: &AttentionAdjoint, at: &At) {
        let AttentionAdjoint { heads, head_dim, scale, .. } = *op;
        let (images, queries, keys) = (at.of(op.q.0).n, at.of(op.q.0).pixels(), at.of(op.k.0).pixels());
        let (head, columns4) = (head_dim.div_ceil(TEXEL), keys.div_ceil(TEXEL));
        let strides = |value: Value, head: usize| {
            let shape = at.of(value);
            Strides { row: shape.c4(), image: shape.pixels() * shape.c4(), head }
        };
        let side = |(value, channel): (Value, usize)| Side {
            buffer: BufferId(value.0),
            first: channel / TEXEL,
            strides: strides(value, head),
        };
        let (q, k, v) = (side(op.q), side(op.k), side(op.v));
        let given = side((op.adjoint, 0));
        let result = Strides { row: at.shape.c4(), image: at.shape.pixels() * at.shape.c4(), head };
        // The place of an operand among those that are wanted.
        let place = |part: usize| op.wanted[..part].iter().filter(|wanted| **wanted).count() * heads * head;
        let share = queries_at_once(images * heads * columns4, queries);
        let mut sums: [Option<BufferId>; 3] = [None; 3];
        for first in (0..queries).step_by(share) {
            let rows = share.min(queries - first);
            let is_last = first + rows == queries;
            let part = Part { at, images, heads, rows, keys, first, is_last, causal: op.causal };
            let shares = self.shares(part, q.from(first), k, scale);
            let of_rows =
                MatMul { batch: (images, heads), a: part.square(), ..MatMul::plain(1, rows, keys, head * TEXEL) };
            let over = Strides { row: rows.div_ceil(TEXEL), head: keys * rows.div_ceil(TEXEL), image: 0 };
            let over = Strides { image: heads * over.head, ..over };
            let of_columns = MatMul { batch: (images, heads), a: over, ..MatMul::plain(1, keys, rows, head * TEXEL) };
            if op.wanted[0] || op.wanted[1] {
                let turned = self.turned(part, shares, given.from(first), v);
                if op.wanted[0] {
                    let product = MatMul { b: k.strides, y: result, alpha: scale, ..of_rows };
                    let to = (BufferId(at.value.0), place(0) + first * result.row);
                    let reads = MatMul::reads(Operand::Buffer(turned, 0), k.operand()).to_vec();
                    self.multiply_to(at, product, reads, to);
                }
                if op.wanted[1] {
                    let product = MatMul { y: result, alpha: scale, ..of_columns };
                    let turned = self.transposed(part, turned);
                    sums[1] = Some(self.added(part, product, (turned, q.from(first)), (sums[1], place(1))));
                }
            }
            if op.wanted[2] {
                let product = MatMul { y: result, ..of_columns };
                let shares = self.transposed(part, shares);
                sums[2] = Some(self.added(part, product, (shares, given.from(first)), (sums[2], place(2))));
            }
        }
    }

    /// The shares of a part of the queries.
    fn shares(&mut self, part: Part, q: Side, k: Side, scale: f32) -> BufferId {
        let Part { at, images, heads, rows, keys, first, causal, .. } = part;
        let scoring = MatMul {
            batch: (images, heads),
            layout: Layout::Transposed,
            a: q.strides,
            b: k.strides,
            y: part.square(),
            alpha: scale,
            ..MatMul::plain(1, rows, q.strides.head * TEXEL, keys)
        };
        let scores = self.scratch(part.texels(), at.label);
        let reads = MatMul::reads(q.operand(), k.operand()).to_vec();
        self.multiply_to(at, scoring, reads, (scores, 0));
        let shares = self.scratch(part.texels(), at.label);
        let causal = causal.then_some(Causal { queries: rows, first });
        let softmax = Softmax { rows: images * heads * rows, columns: keys, causal };
        self.step_to(at, softmax.dispatch(self.family), vec![Operand::Buffer(scores, 0)], (shares, 0), 0);
        shares
    }

    /// The adjoint of the scores of a part of the queries.
    fn turned(&mut self, part: Part, shares: BufferId, given: Side, v: Side) -> BufferId {
        let Part { at, images, heads, rows, keys, .. } = part;
        let outer = MatMul {
            batch: (images, heads),
            layout: Layout::Transposed,
            a: given.strides,
            b: v.strides,
            y: part.square(),
            ..MatMul::plain(1, rows, v.strides.head * TEXEL, keys)
        };
        let moved = self.scratch(part.texels(), at.label);
        let reads = MatMul::reads(given.operand(), v.operand()).to_vec();
        self.multiply_to(at, outer, reads, (moved, 0));
        let turned = self.scratch(part.texels(), at.label);
        let (image_rows, rows) = (heads * rows, images * heads * rows);
        let tangent = kernel::SoftmaxTangent { rows, columns: keys, image_rows, repeats: 1 };
        let reads = vec![Operand::Buffer(shares, 0), Operand::Buffer(moved, 0)];
        self.step_to(at, tangent.dispatch(self.family), reads, (turned, 0), 0);
        turned
    }

    /// Keys by queries from queries by keys.
    fn transposed(&mut self, part: Part, matrix: BufferId) -> BufferId {
        let transpose = Transpose { matrices: part.images * part.heads, rows: part.rows, columns: part.keys };
        let over = self.scratch(transpose.texels(), part.at.label);
        self.step_to(part.at, transpose.dispatch(self.family), vec![Operand::Buffer(matrix, 0)], (over, 0), 0);
        over
    }

    /// A product, added to that of the parts before; the last part's is written to the result, from a texel on.
    fn added(
        &mut self,
        part: Part,
        product: MatMul,
        (a, b): (BufferId, Side),
        (before, place): (Option<BufferId>, usize),
    ) -> BufferId {
        let at = part.at;
        let into = if part.is_last { BufferId(at.value.0) } else { self.scratch(at.shape.texels(), at.label) };
        let epilogue = EpilogueSpec { residual: before.is_some(), ..EpilogueSpec::default() };
        let product = MatMul { b: b.strides, epilogue, ..product };
        let mut reads = MatMul::reads(Operand::Buffer(a, 0), b.operand());
        if let Some(before) = before {
            reads[6] = Operand::Buffer(before, place);
        }
        self.multiply_to(at, product, reads.to_vec(), (into, place));
        into
    }
}
