//! Tangents as dispatches. Those of linear operations are lowered as the operations themselves.

use super::attention::queries_at_once;
use super::{BufferId, Lowering, Operand, part, whole};
use crate::graph::op::{
    ActivateTangent, At, AttentionTangent, GateTangent, GroupNormTangent, LayerNormTangent, SoftmaxTangent, Value,
};
use crate::kernels::epilogue::EpilogueSpec;
use crate::kernels::matmul::{Layout, MatMul, Strides};
use crate::kernels::softmax::Softmax;
use crate::kernels::tangent as kernel;
use crate::tensor::TEXEL;

/// An operand of batched products.
#[derive(Clone, Copy)]
struct Side {
    buffer: BufferId,
    first: usize,
    strides: Strides,
    /// `true` if it belongs to the values, so that all tangents of an image read the same.
    is_value: bool,
}

impl Side {
    /// The operand that the `repeats` tangents of one image of the values read.
    fn at(self, image: usize, repeats: usize) -> (Operand, Strides) {
        let Self { buffer, first, strides, is_value } = self;
        if is_value {
            return (Operand::Buffer(buffer, first + image * strides.image), Strides { image: 0, ..strides });
        }
        (Operand::Buffer(buffer, first + image * repeats * strides.image), strides)
    }
}

/// A sum of products for the tangents of each of `images` of the values.
struct Sum<'a> {
    at: &'a At<'a>,
    images: usize,
    /// One of the products, for the tangents of one image.
    product: MatMul,
    terms: Vec<[Side; 2]>,
    /// The destination, and the texels of a partial sum.
    to: (BufferId, usize),
    texels: usize,
}

impl Lowering<'_> {
    /// `act'(x) * tangent`.
    pub fn activate_tangent(&mut self, op: &ActivateTangent, at: &At) {
        let ActivateTangent { x, tangent, activation } = *op;
        let repeats = at.shape.n / at.of(x).n;
        let activate = kernel::ActivateTangent { shape: at.shape, repeats, activation };
        self.step(at, activate.dispatch(self.family), vec![whole(x), whole(tangent)]);
    }

    /// The product rule.
    pub fn gate_tangent(&mut self, op: &GateTangent, at: &At) {
        let GateTangent { x, tangent, activation } = *op;
        let repeats = at.shape.n / at.of(x).n;
        let gate = kernel::GateTangent { shape: at.shape, repeats, activation };
        self.step(at, gate.dispatch(self.family), vec![whole(x), whole(tangent)]);
    }

    /// `shares * (tangent - its mean)`.
    pub fn softmax_tangent(&mut self, op: &SoftmaxTangent, at: &At) {
        let SoftmaxTangent { shares, tangent } = *op;
        let (rows, columns, image_rows) = (at.shape.rows(), at.shape.c, at.shape.pixels());
        let softmax = kernel::SoftmaxTangent { rows, columns, image_rows, repeats: at.shape.n / at.of(shares).n };
        self.step(at, softmax.dispatch(self.family), vec![whole(shares), whole(tangent)]);
    }

    /// Moments of value and tangent, their factors, and the tangent by these.
    pub fn group_norm_tangent(&mut self, op: &GroupNormTangent, at: &At) {
        let GroupNormTangent { x, tangent, weight, bias, groups, eps, modulation, activation } = *op;
        let (shape, family, label) = (at.shape, self.family, at.label);
        let repeats = shape.n / at.of(x).n;
        let moments = kernel::MomentsTangent::new(shape, repeats);
        let measured = self.scratch(moments.texels(), label);
        self.step_to(at, moments.dispatch(family), vec![whole(x), whole(tangent)], (measured, 0), 0);

        let row = modulation.map(|(value, _)| at.of(value).c4());
        let fold = kernel::GroupNormTangent { moments, groups, eps, modulation: row };
        let factors = self.scratch(fold.texels(), label);
        let vectors =
            [Operand::Weight(weight), Operand::Weight(bias), modulation.map_or(Operand::Weight(weight), part)];
        let reads = [&[Operand::Buffer(measured, 0)], vectors.as_slice()].concat();
        self.step_to(at, fold.dispatch(family), reads, (factors, 0), 0);

        let apply = kernel::ScaleShiftTangent { shape, repeats, activation };
        let reads = vec![whole(x), whole(tangent), Operand::Buffer(factors, 0)];
        self.step(at, apply.dispatch(family), reads);
    }

    /// The tangent of each pixel by the moments of the pixel.
    pub fn layer_norm_tangent(&mut self, op: &LayerNormTangent, at: &At) {
        let LayerNormTangent { x, tangent, weight, eps } = *op;
        let (shape, repeats) = (at.shape, at.shape.n / at.of(x).n);
        let (rows, image_rows, channels) = (shape.rows(), shape.pixels(), shape.c);
        let norm = kernel::LayerNormTangent { rows, channels, image_rows, repeats, eps };
        self.step(at, norm.dispatch(self.family), vec![whole(x), whole(tangent), Operand::Weight(weight)]);
    }

    /// With S = scale q k' and P = softmax(S): dS = scale (dq k' + q dk'), dP by the softmax's tangent, dy = dP v + P
    /// dv.
    pub fn attention_tangent(&mut self, op: &AttentionTangent, at: &At) {
        let AttentionTangent { q, k, v, tangents, heads, head_dim, scale } = *op;
        let label = at.label;
        let (queries, keys) = (at.of(q.0), at.of(k.0));
        let (tokens, columns) = (queries.pixels(), keys.pixels());
        let (columns4, head_texels) = (columns.div_ceil(TEXEL), head_dim.div_ceil(TEXEL));
        let (images, repeats) = (queries.n, at.shape.n / queries.n);
        let side = |(value, channel): (Value, usize), row: usize, is_value: bool| {
            let shape = at.of(value);
            let strides = Strides { row: shape.c4(), image: shape.pixels() * shape.c4(), head: head_texels };
            Side { buffer: BufferId(value.0), first: channel / TEXEL + row * strides.row, strides, is_value }
        };
        let y = Strides { row: heads * head_texels, image: tokens * heads * head_texels, head: head_texels };
        let share = queries_at_once(at.shape.n * heads * columns4, tokens);
        for first in (0..tokens).step_by(share) {
            let rows = share.min(tokens - first);
            let scored = Strides { row: columns4, image: heads * rows * columns4, head: rows * columns4 };
            let (few, many) = (images * scored.image, at.shape.n * scored.image);
            let scoring = MatMul {
                batch: (repeats, heads),
                layout: Layout::Transposed,
                y: scored,
                alpha: scale,
                ..MatMul::plain(1, rows, head_texels * TEXEL, columns)
            };
            let (of_q, of_k) = (side(q, first, true), side(k, 0, true));
            let scores = self.scratch(few, label);
            let of_values = MatMul { batch: (images, heads), a: of_q.strides, b: of_k.strides, ..scoring };
            let reads = MatMul::reads(of_q.at(0, 1).0, of_k.at(0, 1).0).to_vec();
            self.multiply_to(at, of_values, reads, (scores, 0));
            let shares = self.scratch(few, label);
            let softmax = Softmax { rows: images * heads * rows, columns, causal: None };
            self.step_to(at, softmax.dispatch(self.family), vec![Operand::Buffer(scores, 0)], (shares, 0), 0);

            let mut outer = Vec::new();
            let by_queries = tangents[0].map(|tangent| [side(tangent, first, false), of_k]);
            let by_keys = tangents[1].map(|tangent| [of_q, side(tangent, 0, false)]);
            let terms: Vec<_> = by_queries.into_iter().chain(by_keys).collect();
            if !terms.is_empty() {
                let moved = self.scratch(many, label);
                self.sum(Sum { at, images, product: scoring, terms, to: (moved, 0), texels: many });
                let moved_shares = self.scratch(many, label);
                let (image_rows, rows) = (heads * rows, at.shape.n * heads * rows);
                let softmax = kernel::SoftmaxTangent { rows, columns, image_rows, repeats };
                let reads = vec![Operand::Buffer(shares, 0), Operand::Buffer(moved, 0)];
                self.step_to(at, softmax.dispatch(self.family), reads, (moved_shares, 0), 0);
                let moved = Side { buffer: moved_shares, first: 0, strides: scored, is_value: false };
                outer.push([moved, side(v, 0, true)]);
            }
            let shares = Side { buffer: shares, first: 0, strides: scored, is_value: true };
            outer.extend(tangents[2].map(|tangent| [shares, side(tangent, 0, false)]));
            let product = MatMul { batch: (repeats, heads), y, ..MatMul::plain(1, rows, columns, head_texels * TEXEL) };
            let to = (BufferId(at.value.0), first * y.row);
            self.sum(Sum { at, images, product, terms: outer, to, texels: at.shape.texels() });
        }
    }

    /// The products one after the other, each added to those before.
    fn sum(&mut self, sum: Sum) {
        let Sum { at, images, product, terms, to: (to, first), texels } = sum;
        let repeats = product.batch.0;
        let mut before = None;
        for (index, sides) in terms.iter().enumerate() {
            let into = if index + 1 == terms.len() { to } else { self.scratch(texels, at.label) };
            for image in 0..images {
                let [(a, a_strides), (b, b_strides)] = sides.map(|side| side.at(image, repeats));
                let offset = first + image * repeats * product.y.image;
                let epilogue = EpilogueSpec { residual: before.is_some(), ..EpilogueSpec::default() };
                let product = MatMul { a: a_strides, b: b_strides, epilogue, ..product };
                let mut reads = MatMul::reads(a, b);
                if let Some(before) = before {
                    reads[6] = Operand::Buffer(before, offset);
                }
                self.multiply_to(at, product, reads.to_vec(), (into, offset));
            }
            before = Some(into);
        }
    }
}
