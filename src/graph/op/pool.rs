//! Pooling by windows of any size.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::{PullBack, no_adjoint};
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation, from_pixels};
use crate::graph::tangent::{Transform, no_tangent};
use crate::kernels::pool;
use crate::tensor::Shape;

/// The mean or the largest value of the pixels of a window. Pixels outside of the map are left out: a mean is divided
/// by the number of pixels that are in the map.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The map.
    pub x: Value,
    /// Rows and columns of a window.
    pub side: usize,
    /// Rows and columns between windows.
    pub stride: usize,
    /// Rows and columns of a window that lie outside of the map at its edges, at most half of `side`.
    pub pad: usize,
    /// `true` for the largest value, `false` for the mean.
    pub largest: bool,
}
operands!(Pool { x, side, stride, pad, largest });

impl Pool {
    /// The shape of the result for a map of shape `x`.
    #[must_use]
    pub fn output(&self, x: Shape) -> Shape {
        let side = |side: usize| (side + 2 * self.pad).saturating_sub(self.side) / self.stride + 1;
        Shape { h: side(x.h), w: side(x.w), ..x }
    }

    /// The rows, or columns, of a map of `of` that window `at` has.
    fn window(&self, at: usize, of: usize) -> std::ops::Range<usize> {
        let first = at * self.stride;
        first.saturating_sub(self.pad)..(first + self.side).saturating_sub(self.pad).min(of)
    }
}

impl Operator for Pool {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let x = at.of(self.x);
        require(self.stride > 0 && 2 * self.pad <= self.side, "a window steps on and meets the map")?;
        require(self.side > 0 && x.h.min(x.w) + 2 * self.pad >= self.side, "a window fits")?;
        require(at.shape == self.output(x), "there is a pixel for each window")
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
            let (rows, columns) = (self.window(row, x.shape.h), self.window(column, x.shape.w));
            let count = (rows.len() * columns.len()) as f64;
            let mut pooled = vec![if self.largest { f64::NEG_INFINITY } else { 0.0 }; shape.c];
            for (row, column) in rows.flat_map(|row| columns.clone().map(move |column| (row, column))) {
                let pixel = x.pixel(image, Some(row), Some(column)).unwrap_or(&[]);
                for (pooled, value) in pooled.iter_mut().zip(pixel) {
                    *pooled = if self.largest { pooled.max(*value) } else { *pooled + value / count };
                }
            }
            pooled
        }))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let Self { side, stride, pad, largest, .. } = *self;
        let pool = pool::Pool { x: at.of(self.x), y: at.shape, side, stride, pad, largest };
        to.step(at, pool.dispatch(to.family), vec![whole(self.x)]);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_tangent(at, "a pooling by windows"))
    }

    fn adjoint(&self, at: &At, _: Value, _: &mut PullBack) -> Result<()> {
        Err(no_adjoint(at, "a pooling by windows"))
    }
}
