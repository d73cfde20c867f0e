//! Convolutions and matrix products with weights.

use std::collections::BTreeMap;

use super::operands::operands;
use super::{
    Activate, ActivateTangent, Activation, Add, At, MapStorage, Op, Operator, Rule, Spread, Value, WeightForm,
    WeightId, require,
};
use crate::error::Result;
use crate::graph::adjoint::{self, PullBack};
use crate::graph::lower::winograd::Winograd;
use crate::graph::lower::{BufferId, Lowering, Operand, part, whole, with_terms};
use crate::graph::reference::{self, Array, Evaluation};
use crate::graph::tangent::{Transform, no_rule};
use crate::kernels::choice::Algorithm;
use crate::kernels::conv2d;
use crate::kernels::epilogue::EpilogueSpec;
use crate::kernels::matmul::{Layout, MatMul};
use crate::kernels::winograd::WinogradRows;
use crate::tensor::{Shape, TEXEL};

/// Convolution with a kernel of any size; one of 1 x 1 with stride 1 is a matrix product over pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// The map.
    pub x: Value,
    /// A kernel.
    pub weight: WeightId,
    /// Rows and columns between windows.
    pub stride: usize,
    /// Rows of zeros above and columns of zeros left of the map; those below and right follow from the result's shape.
    pub pad: (usize, usize),
    /// The end of the product.
    pub epilogue: Epilogue,
}
operands!(Conv2d { x, weight, stride, pad, epilogue });

/// The end of a product, before it is stored: `y = (act(acc + bias + per_image) + residual) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Epilogue {
    /// A vector over the output channels.
    pub bias: Option<WeightId>,
    /// One vector over the channels per image (the time embedding): (value, first channel).
    pub per_image: Option<(Value, usize)>,
    /// Applied to the sum so far.
    pub activation: Option<Activation>,
    /// A map of the output's shape, added after the activation.
    pub residual: Option<Value>,
    /// Multiplies the result.
    pub scale: f32,
}

impl Default for Epilogue {
    fn default() -> Self {
        Self { bias: None, per_image: None, activation: None, residual: None, scale: 1.0 }
    }
}

impl Conv2d {
    /// Height and width of the kernel; `None` if the weight is not a kernel.
    fn window(&self, at: &At) -> Option<(usize, usize)> {
        match at.form(self.weight) {
            WeightForm::Kernel { height, width, .. } => Some((height, width)),
            WeightForm::Vector { .. } => None,
        }
    }

    /// `true` for a matrix product over pixels.
    #[must_use]
    pub fn is_product(&self, form: WeightForm) -> bool {
        self.stride == 1 && matches!(form, WeightForm::Kernel { height: 1, width: 1, .. })
    }

    /// The same with another end.
    fn with_epilogue(&self, epilogue: Epilogue) -> Op {
        Self { epilogue, ..self.clone() }.into()
    }
}

impl Epilogue {
    /// Checks the operands against the shape of the result.
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let y = at.shape;
        let is_vector = |id| at.form(id).padded_vector() == Some(y.c);
        require(self.bias.is_none_or(is_vector), "a bias is a vector over the output channels")?;
        let is_part = |(value, first): (Value, usize)| {
            let vector = at.of(value);
            (vector.n, vector.pixels()) == (y.n, 1) && first.is_multiple_of(TEXEL) && first + y.c <= vector.c
        };
        require(self.per_image.is_none_or(is_part), "one vector per image holds the output channels")?;
        require(self.residual.is_none_or(|value| at.of(value) == y), "a residual has the shape of the result")
    }

    /// The parameters of the kernels, and the terms.
    fn lowered(&self, at: &At) -> (EpilogueSpec, [Option<Operand>; 3]) {
        let spec = EpilogueSpec {
            bias: self.bias.is_some(),
            per_image: self.per_image.map(|(value, _)| at.of(value).c4()),
            activation: self.activation,
            residual: self.residual.is_some(),
            scale: self.scale,
        };
        (spec, [self.bias.map(Operand::Weight), self.per_image.map(part), self.residual.map(whole)])
    }

    fn evaluate(&self, mut y: Array, evaluation: &Evaluation) -> Result<Array> {
        if let Some(bias) = self.bias {
            let bias = evaluation.vector(bias)?;
            for row in y.data.chunks_mut(bias.len()) {
                row.iter_mut().zip(&bias).for_each(|(y, bias)| *y += bias);
            }
        }
        if let Some((per_image, first)) = self.per_image {
            let vector = evaluation.value(per_image).channels(first, y.shape.c);
            reference::add(&mut y, &vector);
        }
        let mut y = reference::apply(y, self.activation);
        if let Some(residual) = self.residual {
            reference::add(&mut y, evaluation.value(residual));
        }
        Ok(reference::scaled(y, self.scale))
    }
}

impl Operator for Conv2d {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let (x, y) = (at.of(self.x), at.shape);
        let (height, width) = self.window(at).ok_or("the weight is a kernel")?;
        require(at.form(self.weight).padded_kernel() == Some((y.c, x.c)), "a kernel joins the channels")?;
        require(x.n == y.n && self.stride > 0, "each image is convolved")?;
        let meets = |to: usize, from: usize, pad: usize| (to.max(1) - 1) * self.stride < from + pad;
        let (top, left) = self.pad;
        let windows = top < height && left < width && meets(y.h, x.h, top) && meets(y.w, x.w, left);
        require(windows, "every window meets the map")?;
        self.epilogue.check(at)
    }

    fn multiply_adds(&self, at: &At) -> usize {
        at.shape.rows() * at.form(self.weight).len()
    }

    fn extents(&self, at: &At) -> Option<String> {
        let (x, y) = (at.of(self.x), at.shape);
        if self.is_product(at.form(self.weight)) {
            return Some(format!("product {} x {} x {}", y.rows(), x.c, y.c));
        }
        let (height, width) = self.window(at)?;
        let stride = if self.stride == 1 { String::new() } else { format!(", stride {}", self.stride) };
        Some(format!("convolution {height}x{width}, {} -> {} at {}x{}{stride}", x.c, y.c, y.h, y.w))
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let kernel = evaluation.kernel(self.weight)?;
        let product = reference::convolve(evaluation.value(self.x), &kernel, self.stride, self.pad, shape);
        self.epilogue.evaluate(product, evaluation)
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let (epilogue, terms) = self.epilogue.lowered(at);
        let reading = to.reading(self.x);
        let source = reading.source;
        let (x, y, pad, family) = (at.of(self.x), at.shape, self.pad, to.family);
        let algorithm = to.algorithm(self.weight);
        if let Algorithm::Winograd(tile) = algorithm {
            let conv = Winograd { tile, reading, from: x, to: y, pad, weight: self.weight, epilogue };
            conv.lower(at, terms, to);
            return;
        }
        let [first, second, factors] = reading.operands;
        let reads = with_terms(&[first, second, factors, Operand::Weight(self.weight)], terms);
        if let Algorithm::WinogradRows(tile) = algorithm {
            let conv = WinogradRows { tile, x, source, y, pad, epilogue };
            let Some(dispatch) = conv.dispatch(family) else {
                unreachable!("{family:?} is never given {algorithm}, which it has no kernel for")
            };
            to.step_to(at, dispatch, reads, (BufferId(at.value.0), 0), conv.flops());
            return;
        }
        if self.is_product(at.form(self.weight)) {
            let (layout, rows_per_image) = (Layout::Packed, y.pixels());
            let product = MatMul { layout, rows_per_image, source, epilogue, ..MatMul::plain(1, y.rows(), x.c, y.c) };
            to.multiply(at, product, reads);
        } else {
            let Some(kernel) = self.window(at) else { unreachable!("`check` has seen that the weight is a kernel") };
            let conv = conv2d::Conv2d { x, source, y, kernel, stride: self.stride, pad, epilogue, tile_size: None };
            to.convolve(at, conv, reads);
        }
    }

    /// The transposed convolution, of the adjoint with zeros between its pixels where windows are several apart.
    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let Epilogue { per_image, activation, residual, scale, .. } = self.epilogue;
        let Some((height, width)) = self.window(at) else { return Err(adjoint::no_rule(at)) };
        let mut given = to.scaled(adjoint, scale, at);
        if let Some(residual) = residual {
            to.add(residual, given, at)?;
        }
        let vector = per_image.filter(|(value, _)| to.depends(*value));
        if !to.depends(self.x) && vector.is_none() {
            return Ok(());
        }
        if let Some(activation) = activation {
            // The slope is taken at what the activation is applied to, so that value has to exist.
            let end = Epilogue { activation: None, residual: None, scale: 1.0, ..self.epilogue.clone() };
            let before = to.push(self.with_epilogue(end), at.shape, at);
            given = to.push(ActivateTangent { x: before, tangent: given, activation }, at.shape, at);
        }
        if let Some((value, first)) = vector {
            if first > 0 {
                return Err(adjoint::no_rule(at));
            }
            to.add_vector(value, given, at)?;
        }
        if !to.depends(self.x) {
            return Ok(());
        }
        let weight = to.transposed(self.weight).ok_or_else(|| adjoint::no_rule(at))?;
        let (x, y) = (at.of(self.x), at.shape);
        if self.stride > 1 {
            // Windows may leave the last rows and columns of x out, for which there are further zeros.
            let side = |count: usize, least: usize| ((count - 1) * self.stride + 1).max(least);
            let spread = Shape { h: side(y.h, x.h), w: side(y.w, x.w), ..y };
            given = to.push(Spread { x: given, stride: self.stride, before: 0, skip: 0 }, spread, at);
        }
        let (top, left) = self.pad;
        // `check` has seen that the padding is less than the kernel.
        let pad = (height - 1 - top, width - 1 - left);
        let through = Self { x: given, weight, stride: 1, pad, epilogue: Epilogue::default() };
        let through = to.push(through, x, at);
        to.add(self.x, through, at)
    }

    /// `(act(x * w + bias + per_image) + residual) * scale`.
    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let Epilogue { activation, scale, .. } = self.epilogue;
        let residual = self.epilogue.residual.and_then(|value| to.tangent(value));
        let per_image = self.epilogue.per_image.and_then(|part| to.part_tangent(part));
        let Some(x_tangent) = to.tangent(self.x) else {
            // Only the residual depends on the input.
            let (None, Some(residual)) = (per_image, residual) else { return Err(no_rule(at)) };
            let value = to.copy(self, at);
            return Ok((value, to.scaled(residual, scale, at)));
        };
        let of_tangent = |epilogue| Self { x: x_tangent, epilogue, ..self.clone() };
        let Some(activation) = activation else {
            let value = to.copy(self, at);
            let end = Epilogue { bias: None, per_image, activation: None, residual, scale };
            return Ok((value, to.push(of_tangent(end), at)));
        };
        // The activation's slope is taken at what it is applied to, so that value has to exist.
        let moved = to.moved(self);
        let end = Epilogue { activation: None, residual: None, scale: 1.0, ..moved.epilogue.clone() };
        let before = to.push_value(moved.with_epilogue(end), at);
        let activated = to.push_value(Activate { x: before, activation }, at);
        let value = match moved.epilogue.residual {
            Some(b) => to.push_value(Add { a: activated, b, scale }, at),
            None if scale == 1.0 => activated,
            None => to.push_value(Add { a: activated, b: activated, scale: 0.5 * scale }, at),
        };
        let product = to.push(of_tangent(Epilogue { per_image, ..Epilogue::default() }), at);
        let tangent = to.push(ActivateTangent { x: before, tangent: product, activation }, at);
        let tangent = match residual {
            Some(b) => to.push(Add { a: tangent, b, scale }, at),
            None => to.scaled(tangent, scale, at),
        };
        Ok((value, tangent))
    }

    fn with_activation(&self, activation: Activation) -> Option<Op> {
        let free = self.epilogue.activation.is_none() && self.epilogue.residual.is_none();
        free.then(|| self.with_epilogue(Epilogue { activation: Some(activation), ..self.epilogue.clone() }))
    }

    fn with_vector(&self, vector: Value) -> Option<Op> {
        let Epilogue { per_image, activation, residual, .. } = &self.epilogue;
        let free = per_image.is_none() && activation.is_none() && residual.is_none();
        free.then(|| self.with_epilogue(Epilogue { per_image: Some((vector, 0)), ..self.epilogue.clone() }))
    }

    fn with_residual(&self, residual: Value, scale: f32) -> Option<Op> {
        let free = self.epilogue.residual.is_none() && self.epilogue.scale == 1.0;
        free.then(|| self.with_epilogue(Epilogue { residual: Some(residual), scale, ..self.epilogue.clone() }))
    }

    fn vector_part(&mut self) -> Option<&mut (Value, usize)> {
        self.epilogue.per_image.as_mut()
    }

    fn margin(&self, at: &At, margins: &BTreeMap<Value, usize>) -> Option<usize> {
        let (from, around) = (at.of(self.x), self.window(at)?.0 / 2);
        let same_size = (from.h, from.w) == (at.shape.h, at.shape.w);
        let plain = self.epilogue.residual.is_none() && self.epilogue.per_image.is_none();
        (self.stride == 1 && same_size && plain && self.pad.0 == around).then_some(margins.get(&self.x)? + around)
    }
}
