//! Activations.

use std::collections::BTreeMap;

use super::operands::operands;
use super::{ActivateTangent, Activation, At, MapStorage, Op, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::fuse::Fusion;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{self, Array, Evaluation};
use crate::graph::tangent::Transform;
use crate::kernels::elementwise;
use crate::tensor::Shape;

/// An activation of every value.
#[derive(Clone, Debug, PartialEq)]
pub struct Activate {
    /// The map.
    pub x: Value,
    /// The activation.
    pub activation: Activation,
}
operands!(Activate { x, activation });

impl Operator for Activate {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == at.shape, "an activation keeps the shape")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, _: Shape, evaluation: &Evaluation) -> Result<Array> {
        Ok(reference::apply(evaluation.value(self.x).clone(), Some(self.activation)))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let activate = elementwise::Activate { texels: at.shape.texels(), activation: self.activation };
        to.step(at, activate.dispatch(to.family), vec![whole(self.x)]);
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let op = ActivateTangent { x: self.x, tangent: adjoint, activation: self.activation };
        let through = to.push(op, at.shape, at);
        to.add(self.x, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let (x, tangent) = (to.value(self.x), to.need(self.x, at)?);
        Ok((value, to.push(ActivateTangent { x, tangent, activation: self.activation }, at)))
    }

    fn fuse(&self, _: &At, fusion: &Fusion) -> Option<Op> {
        fusion.only_reader(self.x)?.with_activation(self.activation)
    }

    fn margin(&self, _: &At, margins: &BTreeMap<Value, usize>) -> Option<usize> {
        margins.get(&self.x).copied()
    }
}
