//! Ranges of channels.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation};
use crate::graph::tangent::Transform;
use crate::kernels::channels;
use crate::tensor::Shape;

/// The channels of x from `first` on, as many as the result has.
#[derive(Clone, Debug, PartialEq)]
pub struct Channels {
    /// The map.
    pub x: Value,
    /// The first channel of the range.
    pub first: usize,
}
operands!(Channels { x, first });

impl Operator for Channels {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let x = at.of(self.x);
        require(Shape { c: x.c, ..at.shape } == x, "images, rows and columns are kept")?;
        require(at.shape.c > 0 && self.first + at.shape.c <= x.c, "the range lies within the channels")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        Ok(evaluation.value(self.x).channels(self.first, shape.c))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let range = channels::Channels { from: at.of(self.x).c, first: self.first, y: at.shape };
        to.step(at, range.dispatch(to.family), vec![whole(self.x)]);
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let x = to.need(self.x, at)?;
        Ok((value, to.push(Self { x, first: self.first }, at)))
    }
}
