//! Gated linear units.

use super::operands::operands;
use super::{Activation, At, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{self, Array, Evaluation};
use crate::graph::tangent::{Transform, no_rule};
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

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}
