//! Bilinear changes of size.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::{PullBack, no_adjoint};
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation, from_pixels};
use crate::graph::tangent::{Transform, no_tangent};
use crate::kernels::resize;
use crate::tensor::Shape;

/// Bilinear interpolation to the size of the result, without a filter for smaller sizes: `y[i]` is `x` at
/// `i * h / H`, or at `(i + 1/2) h / H - 1/2` where pixels are taken at their centres; places beyond the first and the
/// last pixel are these pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct ResizeBilinear {
    /// The map.
    pub x: Value,
    /// `true` for pixels at their centres, as in `PyTorch`'s `interpolate`; `false` as in `TensorFlow` 1's
    /// `resize_bilinear`. Both without aligned corners.
    pub centred: bool,
}
operands!(ResizeBilinear { x, centred });

impl ResizeBilinear {
    /// The two rows, or columns, of a map of `from` between which row `at` of `to` lies, each with its weight.
    fn between(&self, at: usize, from: usize, to: usize) -> [(usize, f64); 2] {
        let (at, ratio) = (at as f64, from as f64 / to as f64);
        let place = if self.centred { ((at + 0.5) * ratio - 0.5).max(0.0) } else { at * ratio };
        let first = (place.floor() as usize).min(from - 1);
        let share = place - first as f64;
        [(first, 1.0 - share), ((first + 1).min(from - 1), share)]
    }
}

impl Operator for ResizeBilinear {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let (x, y) = (at.of(self.x), at.shape);
        require((x.n, x.c) == (y.n, y.c), "height and width alone change")?;
        let fits = |from: usize, to: usize| from > 0 && to > 0 && from.saturating_mul(to) < resize::MOST_PRODUCT;
        require(fits(x.h, y.h) && fits(x.w, y.w), "sides are within range")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let x = evaluation.value(self.x);
        Ok(from_pixels(shape, |image, row, column| {
            let mut sum = vec![0.0; shape.c];
            for (row, of_row) in self.between(row, x.shape.h, shape.h) {
                for (column, of_column) in self.between(column, x.shape.w, shape.w) {
                    let pixel = x.pixel(image, Some(row), Some(column)).unwrap_or(&[]);
                    sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += of_row * of_column * value);
                }
            }
            sum
        }))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let resize = resize::Resize { x: at.of(self.x), y: at.shape, centred: self.centred };
        to.step(at, resize.dispatch(to.family), vec![whole(self.x)]);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_tangent(at, "a bilinear change of size"))
    }

    fn adjoint(&self, at: &At, _: Value, _: &mut PullBack) -> Result<()> {
        Err(no_adjoint(at, "a bilinear change of size"))
    }
}
