//! Transposes of changes of resolution: pixels with zeros around them, and sums of pixels.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation, from_pixels};
use crate::graph::tangent::Transform;
use crate::kernels::spread;
use crate::tensor::Shape;

/// Pixels with zeros around and between them: pixel (i, j) is pixel (i', j') of x where `i + skip = before + stride i'`
/// and likewise for j, and zero elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// The map.
    pub x: Value,
    /// Rows and columns from one pixel to the next.
    pub stride: usize,
    /// Rows and columns of zeros before the first pixel.
    pub before: usize,
    /// Rows and columns that are left out before all others.
    pub skip: usize,
}
operands!(Spread { x, stride, before, skip });

/// The transpose of [`super::UpsampleNearest`]: each pixel is the sum of those that nearest neighbours make of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NearestSums {
    /// The map.
    pub x: Value,
}
operands!(NearestSums { x });

impl Spread {
    fn kernel(&self, x: Shape, y: Shape) -> spread::Spread {
        spread::Spread { x, y, stride: self.stride, before: self.before, skip: self.skip }
    }
}

impl Operator for Spread {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let Shape { n, c, .. } = at.of(self.x);
        require((n, c) == (at.shape.n, at.shape.c), "only height and width change")?;
        require(self.stride > 0, "pixels are rows and columns apart")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let x = evaluation.value(self.x);
        let spread = self.kernel(x.shape, shape);
        Ok(from_pixels(shape, |image, row, column| {
            let (row, column) = (spread.place(row, x.shape.h), spread.place(column, x.shape.w));
            x.pixel(image, row, column).map_or_else(|| vec![0.0; shape.c], <[f64]>::to_vec)
        }))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let spread = self.kernel(at.of(self.x), at.shape);
        to.step(at, spread.dispatch(to.family), vec![whole(self.x)]);
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let x = to.need(self.x, at)?;
        Ok((value, to.push(Self { x, ..self.clone() }, at)))
    }
}

impl Operator for NearestSums {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let Shape { n, c, .. } = at.of(self.x);
        require((n, c) == (at.shape.n, at.shape.c), "only height and width change")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let x = evaluation.value(self.x);
        let mut y = Array::zeros(shape);
        for row in 0..x.shape.rows() {
            let (image, pixel) = (row / x.shape.pixels(), row % x.shape.pixels());
            let (i, j) = (pixel / x.shape.w * shape.h / x.shape.h, pixel % x.shape.w * shape.w / x.shape.w);
            let sums = &mut y.data[((image * shape.h + i) * shape.w + j) * shape.c..][..shape.c];
            sums.iter_mut().zip(x.row(row)).for_each(|(sum, value)| *sum += value);
        }
        Ok(y)
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let sums = spread::NearestSums { x: at.of(self.x), y: at.shape };
        to.step(at, sums.dispatch(to.family), vec![whole(self.x)]);
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let x = to.need(self.x, at)?;
        Ok((value, to.push(Self { x }, at)))
    }
}
