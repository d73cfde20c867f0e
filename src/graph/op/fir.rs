//! Changes of resolution by a filter.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Spread, Value, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation, from_pixels};
use crate::graph::tangent::Transform;
use crate::kernels::fir;
use crate::tensor::Shape;

/// The filter (1, 3, 3, 1) along rows and columns, with zeros around the map: Zhang (2019), as in NCSN++ (Song et al.,
/// 2021).
///
/// * Half the resolution: `y[i] = sum_k f[k] x[2 i + k - pad]` with f = (1, 3, 3, 1) / 8.
/// * Twice the resolution: `y[2 a] = (3 x[a] + x[a - 1]) / 4` and `y[2 a + 1] = (3 x[a] + x[a + 1]) / 4`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fir {
    /// The map.
    pub x: Value,
    /// `true` for twice the resolution, `false` for half of it.
    pub doubles: bool,
    /// Rows and columns of zeros on each side of a map that is halved: 1, or 0 for a map with a row and a column more
    /// on each side.
    pub pad: usize,
}
operands!(Fir { x, doubles, pad });

impl Fir {
    /// The shape of the result for a map of shape `x`.
    #[must_use]
    pub fn output(&self, x: Shape) -> Shape {
        let side = |side: usize| {
            if self.doubles { 2 * side } else { (side + 2 * self.pad).saturating_sub(fir::TAPS) / 2 + 1 }
        };
        Shape { h: side(x.h), w: side(x.w), ..x }
    }

    /// The rows, or columns, of x that pixel `at` reads, each with its factor; some may lie outside.
    fn taps(&self, at: usize) -> Vec<(Option<usize>, f64)> {
        if self.doubles {
            let near = at / 2;
            let other = if at.is_multiple_of(2) { near.checked_sub(1) } else { Some(near + 1) };
            return vec![(Some(near), 0.75), (other, 0.25)];
        }
        let factors = [0.125, 0.375, 0.375, 0.125];
        factors.into_iter().enumerate().map(|(tap, factor)| ((2 * at + tap).checked_sub(self.pad), factor)).collect()
    }
}

impl Operator for Fir {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let x = at.of(self.x);
        require(self.doubles || (self.pad <= 1 && x.h.min(x.w) + 2 * self.pad >= fir::TAPS), "the filter fits")?;
        require(at.shape == self.output(x), "height and width are halved or doubled")
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
            for (row, of_row) in self.taps(row) {
                for (column, of_column) in self.taps(column) {
                    let pixel = x.pixel(image, row, column).unwrap_or(&[]);
                    sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += of_row * of_column * value);
                }
            }
            sum
        }))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let fir = fir::Fir { x: at.of(self.x), y: at.shape, doubles: self.doubles, pad: self.pad };
        to.step(at, fir.dispatch(to.family), vec![whole(self.x)]);
    }

    /// Twice the resolution is four times the transpose of half of it with zeros on each side.
    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let shape = at.of(self.x);
        if self.doubles {
            let halved = to.push(Self { x: adjoint, doubles: false, pad: 1 }, shape, at);
            let through = to.scaled(halved, 4.0, at);
            return to.add(self.x, through, at);
        }
        // One row and column of zeros on each side, of which the doubled map has more than x.
        let around = Shape { h: at.shape.h + 2, w: at.shape.w + 2, ..at.shape };
        let padded = to.push(Spread { x: adjoint, stride: 1, before: 1, skip: 0 }, around, at);
        let doubled = Shape { h: 2 * around.h, w: 2 * around.w, ..around };
        let doubled = to.push(Self { x: padded, doubles: true, pad: 0 }, doubled, at);
        let cut = to.push(Spread { x: doubled, stride: 1, before: 0, skip: 1 + self.pad }, shape, at);
        let through = to.scaled(cut, 0.25, at);
        to.add(self.x, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let x = to.need(self.x, at)?;
        Ok((value, to.push(Self { x, ..self.clone() }, at)))
    }
}
