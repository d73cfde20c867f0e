//! Inputs.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Value};
use crate::error::Result;
use crate::graph::lower::Lowering;
use crate::graph::reference::{Array, Evaluation};
use crate::graph::tangent::{Transform, no_rule};
use crate::tensor::Shape;

/// A map that is fed at each call.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name.
    pub name: String,
}
operands!(Input { name });

impl Operator for Input {
    fn check(&self, _: &At) -> std::result::Result<(), Rule> {
        Ok(())
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Full
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        evaluation.input(&self.name, shape)
    }

    /// The caller writes the buffer.
    fn lower(&self, _: &At, _: &mut Lowering) {}

    /// An input reads nothing that could have a tangent; [`crate::graph::tangent::tangents`] seeds the one it is for.
    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}
