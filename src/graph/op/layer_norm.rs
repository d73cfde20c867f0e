//! Layer normalisation.

use super::operands::operands;
use super::{At, LayerNormTangent, MapStorage, Operator, Rule, ScaleChannels, Value, WeightId, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::lower::{Lowering, Operand, whole};
use crate::graph::reference::{self, Array, Evaluation};
use crate::graph::tangent::Transform;
use crate::kernels::layer_norm;
use crate::tensor::Shape;

/// Layer normalisation over the channels of each pixel, biased variance, then `weight * x + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// The map.
    pub x: Value,
    /// A vector over the channels.
    pub weight: WeightId,
    /// A vector over the channels.
    pub bias: WeightId,
    /// Added to the variance.
    pub eps: f32,
}
operands!(LayerNorm { x, weight, bias, eps });

impl Operator for LayerNorm {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == at.shape, "a normalisation keeps the shape")?;
        let vectors = [self.weight, self.bias].map(|id| at.form(id).padded_vector());
        require(vectors == [Some(at.shape.c); 2], "weight and bias are vectors over the channels")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, _: Shape, evaluation: &Evaluation) -> Result<Array> {
        let affine = (evaluation.vector(self.weight)?, evaluation.vector(self.bias)?);
        Ok(reference::layer_norm(evaluation.value(self.x), &affine, f64::from(self.eps)))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let norm = layer_norm::LayerNorm { rows: at.shape.rows(), channels: at.shape.c, eps: self.eps };
        let reads = vec![whole(self.x), Operand::Weight(self.weight), Operand::Weight(self.bias)];
        to.step(at, norm.dispatch(to.family), reads);
    }

    /// As that of group normalisation: scaled by the weight, then the tangent of the plain one.
    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let given = to.push(ScaleChannels { x: adjoint, weight: self.weight }, at.shape, at);
        let weight = to.constant(1.0, at.shape.c);
        let op = LayerNormTangent { x: self.x, tangent: given, weight, eps: self.eps };
        let through = to.push(op, at.shape, at);
        to.add(self.x, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let tangent = to.need(self.x, at)?;
        let value = to.copy(self, at);
        let Self { x, weight, eps, .. } = to.moved(self);
        Ok((value, to.push(LayerNormTangent { x, tangent, weight, eps }, at)))
    }
}
