//! Modulation by vectors per image.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::lower::{Lowering, part};
use crate::graph::reference::{Array, Evaluation};
use crate::graph::tangent::{Transform, no_rule};
use crate::kernels::modulate;
use crate::tensor::{Shape, TEXEL};

/// `x * (offset + scale) + shift`: the scale and shift of adaptive normalisation with an offset of 1, its gate beside a
/// residual connection with an offset of 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Modulate {
    /// The map.
    pub x: Value,
    /// A channel range of one vector per image.
    pub scale: (Value, usize),
    /// A channel range of one vector per image, or a map of x's shape.
    pub shift: (Value, usize),
    /// Added to the scale.
    pub offset: f32,
}
operands!(Modulate { x, scale, shift, offset });

impl Modulate {
    /// Returns `true` if a shift is a map, for an x of `shape`.
    fn is_map(shift: Shape, shape: Shape) -> bool {
        shift == shape && shape.pixels() > 1
    }
}

impl Operator for Modulate {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == at.shape, "a modulation keeps the shape")?;
        let is_range = |(value, first): (Value, usize)| {
            let vector = at.of(value);
            // Whole texels, so that the padding of the result is zero.
            let end = first + at.shape.c;
            let whole = first.is_multiple_of(TEXEL) && (end == vector.c || end.is_multiple_of(TEXEL));
            vector.n == at.shape.n && vector.pixels() == 1 && end <= vector.c && whole
        };
        require(is_range(self.scale), "the scale is a range of whole texels of one vector per image")?;
        let is_map = Self::is_map(at.of(self.shift.0), at.shape) && self.shift.1 == 0;
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
        let is_map = Self::is_map(shift.shape, shape);
        for (row, values) in y.data.chunks_mut(shape.c).enumerate() {
            let image = row / shape.pixels();
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
        let is_map = Self::is_map(at.of(self.shift.0), at.shape);
        let modulate = modulate::Modulate {
            shape: at.shape,
            scale_row: row(self.scale.0),
            shift_row: (!is_map).then(|| row(self.shift.0)),
            offset: self.offset,
        };
        to.step(at, modulate.dispatch(to.family), [(self.x, 0), self.scale, self.shift].map(part).to_vec());
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}
