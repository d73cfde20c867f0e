//! Modulation by vectors per image.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::{self, PullBack};
use crate::graph::lower::{Lowering, part};
use crate::graph::reference::{Array, Evaluation};
use crate::graph::tangent::{Transform, no_rule};
use crate::kernels::modulate;
use crate::tensor::{Shape, TEXEL};

/// `x * (offset + scale) + shift`: the scale and shift of adaptive normalisation with an offset of 1, its gate beside a
/// residual connection with an offset of 0. A map of tangents has a whole number of images for each vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Modulate {
    /// The map.
    pub x: Value,
    /// A channel range of one vector per image of the values.
    pub scale: (Value, usize),
    /// A channel range of one vector per image of the values, or a map of x's shape.
    pub shift: (Value, usize),
    /// Added to the scale.
    pub offset: f32,
}
operands!(Modulate { x, scale, shift, offset });

impl Modulate {
    /// Returns `true` if a shift is a map, for an x of `shape` and vectors of `images` images.
    fn is_map(shift: Shape, shape: Shape, images: usize) -> bool {
        shift == shape && (shape.pixels() > 1 || shape.n > images)
    }
}

impl Operator for Modulate {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == at.shape, "a modulation keeps the shape")?;
        let images = at.of(self.scale.0).n;
        require(at.shape.n.is_multiple_of(images), "each vector is for a whole number of images")?;
        let is_range = |(value, first): (Value, usize)| {
            let vector = at.of(value);
            // Whole texels, so that the padding of the result is zero.
            let end = first + at.shape.c;
            let whole = first.is_multiple_of(TEXEL) && (end == vector.c || end.is_multiple_of(TEXEL));
            vector.n == images && vector.pixels() == 1 && end <= vector.c && whole
        };
        require(is_range(self.scale), "the scale is a range of whole texels of one vector per image")?;
        let is_map = Self::is_map(at.of(self.shift.0), at.shape, images) && self.shift.1 == 0;
        require(is_map || is_range(self.shift), "the shift is a map, or a range of one vector per image")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let mut y = evaluation.value(self.x).clone();
        let ((scale, first), (shift, first_shift)) = (evaluation.part(self.scale), evaluation.part(self.shift));
        let is_map = Self::is_map(shift.shape, shape, scale.shape.n);
        let vector_rows = shape.rows() / scale.shape.n;
        for (row, values) in y.data.chunks_mut(shape.c).enumerate() {
            let image = row / vector_rows;
            let scales = &scale.row(image)[first..];
            let shifts = if is_map { shift.row(row) } else { &shift.row(image)[first_shift..] };
            for ((value, scale), shift) in values.iter_mut().zip(scales).zip(shifts) {
                *value = *value * (f64::from(self.offset) + scale) + shift;
            }
        }
        Ok(y)
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let row = |value: Value| at.of(value).c4();
        let images = at.of(self.scale.0).n;
        let is_map = Self::is_map(at.of(self.shift.0), at.shape, images);
        let modulate = modulate::Modulate {
            // All tangents of an image are one map, with the vectors of that image.
            shape: Shape { n: images, h: at.shape.n / images * at.shape.h, ..at.shape },
            scale_row: row(self.scale.0),
            shift_row: (!is_map).then(|| row(self.shift.0)),
            offset: self.offset,
        };
        to.step(at, modulate.dispatch(to.family), [(self.x, 0), self.scale, self.shift].map(part).to_vec());
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let is_map = at.of(self.shift.0) == at.shape && self.shift.1 == 0;
        if to.depends(self.scale.0) || (to.depends(self.shift.0) && !is_map) {
            return Err(adjoint::no_rule(at));
        }
        if to.depends(self.x) {
            // x * (offset - 1 + scale) + x, where x stands for the shift.
            let op = Self { x: adjoint, scale: self.scale, shift: (adjoint, 0), offset: self.offset - 1.0 };
            let through = to.push(op, at.shape, at);
            to.add(self.x, through, at)?;
        }
        to.add(self.shift.0, adjoint, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let is_whole = at.of(self.shift.0) == at.shape && self.shift.1 == 0;
        let (x, shift) = (to.tangent(self.x), to.tangent(self.shift.0));
        if to.tangent(self.scale.0).is_some() || (shift.is_some() && !is_whole) {
            return Err(no_rule(at));
        }
        let value = to.copy(self, at);
        let scale = to.moved(self).scale;
        let tangent = match (x, shift) {
            (Some(x), Some(shift)) => to.push(Self { x, scale, shift: (shift, 0), offset: self.offset }, at),
            // Without the tangent of a shift, one of the scale's units is the shift.
            (Some(x), None) => to.push(Self { x, scale, shift: (x, 0), offset: self.offset - 1.0 }, at),
            (None, _) => to.need(self.shift.0, at)?,
        };
        Ok((value, tangent))
    }
}
