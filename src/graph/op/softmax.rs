//! Shares of classes.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, SoftmaxTangent, Value, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation};
use crate::graph::tangent::Transform;
use crate::kernels::softmax;
use crate::tensor::Shape;

/// The softmax over the channels of each pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// The map.
    pub x: Value,
}
operands!(Softmax { x });

impl Operator for Softmax {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == at.shape, "a softmax keeps the shape")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let mut y = evaluation.value(self.x).clone();
        for row in y.data.chunks_mut(shape.c) {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|value| (value - most).exp()).sum();
            for value in row {
                *value = (*value - most).exp() / sum;
            }
        }
        Ok(y)
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let softmax = softmax::Softmax { rows: at.shape.rows(), columns: at.shape.c, causal: None };
        to.step(at, softmax.dispatch(to.family), vec![whole(self.x)]);
    }

    /// The tangent is symmetric.
    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let through = to.push(SoftmaxTangent { shares: at.value, tangent: adjoint }, at.shape, at);
        to.add(self.x, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let shares = to.copy(self, at);
        let tangent = to.need(self.x, at)?;
        Ok((shares, to.push(SoftmaxTangent { shares, tangent }, at)))
    }
}
