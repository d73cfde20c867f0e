//! Downsampling by means.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Spread, UpsampleNearest, Value, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation, from_pixels};
use crate::graph::tangent::Transform;
use crate::kernels::resample;
use crate::tensor::Shape;

/// The mean of 2 x 2 pixels with stride 2; a last odd row or column is dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePool {
    /// The map.
    pub x: Value,
}
operands!(AveragePool { x });

impl Operator for AveragePool {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let Shape { n, h, w, c } = at.of(self.x);
        require(at.shape == Shape::new(n, h / 2, w / 2, c), "height and width are halved")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let x = evaluation.value(self.x);
        Ok(from_pixels(shape, |image, y, column| {
            let mut mean = vec![0.0; shape.c];
            for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let pixel = x.pixel(image, Some(2 * y + dy), Some(2 * column + dx)).unwrap_or(&[]);
                mean.iter_mut().zip(pixel).for_each(|(mean, value)| *mean += value / 4.0);
            }
            mean
        }))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let pool = resample::AveragePool { x: at.of(self.x) };
        to.step(at, pool.dispatch(to.family), vec![whole(self.x)]);
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let shape = at.of(self.x);
        let doubled = Shape { h: 2 * at.shape.h, w: 2 * at.shape.w, ..shape };
        let mut spread = to.push(UpsampleNearest { x: adjoint }, doubled, at);
        if doubled != shape {
            // A last odd row or column is in no mean.
            spread = to.push(Spread { x: spread, stride: 1, before: 0, skip: 0 }, shape, at);
        }
        let through = to.scaled(spread, 0.25, at);
        to.add(self.x, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let x = to.need(self.x, at)?;
        Ok((value, to.push(Self { x }, at)))
    }
}
