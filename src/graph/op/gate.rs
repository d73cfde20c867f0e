//! Gated linear units.

use super::operands::operands;
use super::{Activation, At, GateAdjoint, GateTangent, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{self, Array, Evaluation};
use crate::graph::tangent::Transform;
use crate::kernels::gate;
use crate::tensor::{Shape, TEXEL};

/// `x[.., first half] * act(x[.., second half])`: each half of the channels of x is padded with zeros to whole texels
/// (two [`super::Heads`]); the result has the channels of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Both halves.
    pub x: Value,
    /// The activation of the second half.
    pub activation: Activation,
}
operands!(Gate { x, activation });

impl Operator for Gate {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let halves = Shape { c: 2 * at.shape.c4() * TEXEL, ..at.shape };
        require(at.of(self.x) == halves, "a gate halves the channels, each half padded to whole texels")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let (x, padded) = (evaluation.value(self.x), shape.c4() * TEXEL);
        let mut gated = x.channels(0, shape.c);
        let gate = reference::apply(x.channels(padded, shape.c), Some(self.activation));
        gated.data.iter_mut().zip(gate.data).for_each(|(value, gate)| *value *= gate);
        Ok(gated)
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let gate = gate::Gate { y: at.shape, activation: self.activation };
        to.step(at, gate.dispatch(to.family), vec![whole(self.x)]);
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let op = GateAdjoint { x: self.x, adjoint, activation: self.activation };
        let through = to.push(op, at.of(self.x), at);
        to.add(self.x, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let (x, tangent) = (to.value(self.x), to.need(self.x, at)?);
        Ok((value, to.push(GateTangent { x, tangent, activation: self.activation }, at)))
    }
}
