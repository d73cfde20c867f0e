//! Adjoints as dispatches.

use super::{BufferId, Lowering, Operand, whole};
use crate::graph::op::{At, AttentionAdjoint, ScaleChannels};
use crate::kernels::matmul::{Layout, MatMul, Strides};
use crate::kernels::modulate::Modulate;
use crate::kernels::softmax::Softmax;
use crate::kernels::tangent::SoftmaxTangent;
use crate::kernels::transpose::Transpose;
use crate::tensor::{Shape, TEXEL};

impl Lowering<'_> {
    /// A modulation by the weight alone: all images are one tall image, and what is added is zero.
    pub fn scale_channels(&mut self, op: &ScaleChannels, at: &At) {
        let Shape { n, h, w, c } = at.shape;
        let shape = Shape::new(1, n * h, w, c);
        let zeros = self.table(vec![0.0; shape.c4() * TEXEL]);
        let scale = Modulate { shape, scale_row: shape.c4(), shift_row: Some(shape.c4()), offset: 0.0 };
        self.step(at, scale.dispatch(self.family), vec![whole(op.x), Operand::Weight(op.weight), zeros]);
    }

    /// With S = scale q k', P = softmax(S) and G the adjoint: dP = G v', dS by the softmax's tangent, which is
    /// symmetric, and dq = scale dS k, dk = scale dS' q, dv = P' G.
    pub fn attention_adjoint(&mut self, op: &AttentionAdjoint, at: &At) {
        let AttentionAdjoint { qkv, adjoint, heads, head_dim, scale } = *op;
        let (family, label) = (self.family, at.label);
        let (images, tokens) = (at.shape.n, at.shape.pixels());
        let (head, columns4) = (head_dim.div_ceil(TEXEL), tokens.div_ceil(TEXEL));
        let strides = |row: usize| Strides { row, image: tokens * row, head };
        let (of_qkv, of_adjoint) = (strides(3 * heads * head), strides(heads * head));
        let square = Strides { row: columns4, image: heads * tokens * columns4, head: tokens * columns4 };
        let part = |index: usize| Operand::Buffer(BufferId(qkv.0), index * heads * head);
        let (batch, texels) = ((images, heads), images * square.image);
        let scoring = MatMul {
            batch,
            layout: Layout::Transposed,
            a: of_qkv,
            b: of_qkv,
            y: square,
            alpha: scale,
            ..MatMul::plain(1, tokens, head * TEXEL, tokens)
        };
        let scores = self.scratch(texels, label);
        let reads = MatMul::reads(part(0), part(1)).to_vec();
        self.step_to(at, scoring.dispatch(family), reads, (scores, 0), scoring.flops());
        let shares = self.scratch(texels, label);
        let softmax = Softmax { rows: images * heads * tokens, columns: tokens, causal: None };
        self.step_to(at, softmax.dispatch(family), vec![Operand::Buffer(scores, 0)], (shares, 0), 0);

        let outer = MatMul { a: of_adjoint, alpha: 1.0, ..scoring };
        let moved = self.scratch(texels, label);
        let reads = MatMul::reads(whole(adjoint), part(2)).to_vec();
        self.step_to(at, outer.dispatch(family), reads, (moved, 0), outer.flops());
        let turned = self.scratch(texels, label);
        let rows = images * heads * tokens;
        let tangent = SoftmaxTangent { rows, columns: tokens, image_rows: heads * tokens, repeats: 1 };
        let reads = vec![Operand::Buffer(shares, 0), Operand::Buffer(moved, 0)];
        self.step_to(at, tangent.dispatch(family), reads, (turned, 0), 0);

        let transpose = Transpose { matrices: images * heads, rows: tokens, columns: tokens };
        let [shares_over, turned_over] = [shares, turned].map(|matrix| {
            let over = self.scratch(transpose.texels(), label);
            self.step_to(at, transpose.dispatch(family), vec![Operand::Buffer(matrix, 0)], (over, 0), 0);
            over
        });
        let mixing = MatMul { batch, a: square, y: of_qkv, ..MatMul::plain(1, tokens, tokens, head * TEXEL) };
        let products = [
            (turned, part(1), of_qkv, scale),
            (turned_over, part(0), of_qkv, scale),
            (shares_over, whole(adjoint), of_adjoint, 1.0),
        ];
        for (index, (matrix, b, b_strides, alpha)) in products.into_iter().enumerate() {
            let product = MatMul { b: b_strides, alpha, ..mixing };
            let to = (BufferId(at.value.0), index * heads * head);
            let reads = MatMul::reads(Operand::Buffer(matrix, 0), b).to_vec();
            self.step_to(at, product.dispatch(family), reads, to, product.flops());
        }
    }
}
