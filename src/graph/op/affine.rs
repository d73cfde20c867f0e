//! Normalisations whose statistics are known.

use super::operands::operands;
use super::{ActivateTangent, Activation, At, MapStorage, MixTokens, Op, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::{self, PullBack};
use crate::graph::fold::{Folding, Reader};
use crate::graph::lower::{BufferId, Lowering, whole};
use crate::graph::reference::{self, Array, Evaluation};
use crate::graph::tangent::{Transform, no_rule};
use crate::kernels::Family;
use crate::kernels::group_norm::ScaleShift;
use crate::tensor::Shape;

/// `x * a + b`, then the activation: a group normalisation whose statistics are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// The map.
    pub x: Value,
    /// a and b, one number per channel of each image: the two pixels of a map (n, 1, 2, c).
    pub factors: Value,
    /// The activation.
    pub activation: Option<Activation>,
}
operands!(Affine { x, factors, activation });

impl Operator for Affine {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == at.shape, "a normalisation keeps the shape")?;
        let factors = Shape::new(at.shape.n, 1, 2, at.shape.c);
        require(at.of(self.factors) == factors, "factors are (n, 1, 2, c)")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, _: Shape, evaluation: &Evaluation) -> Result<Array> {
        let mut y = evaluation.value(self.x).clone();
        reference::affine(&mut y, evaluation.value(self.factors));
        Ok(reference::apply(y, self.activation))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        if to.is_folded(at.value) {
            to.give_factors(at.value, BufferId(self.factors.0));
            return;
        }
        let apply = ScaleShift { x: at.shape, activation: self.activation };
        to.step(at, apply.dispatch(to.family), vec![whole(self.x), whole(self.factors)]);
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        if to.depends(self.factors) {
            return Err(adjoint::no_rule(at));
        }
        let given = match self.activation {
            None => adjoint,
            Some(activation) => {
                let before = to.push(Self { activation: None, ..self.clone() }, at.shape, at);
                to.push(ActivateTangent { x: before, tangent: adjoint, activation }, at.shape, at)
            }
        };
        // The same factors, with nothing added.
        let without = MixTokens { x: self.factors, factors: vec![1.0, 0.0, 0.0, 0.0] };
        let factors = to.push(without, at.of(self.factors), at);
        let through = to.push(Self { x: given, factors, activation: None }, at.shape, at);
        to.add(self.x, through, at)
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }

    fn with_activation(&self, activation: Activation) -> Option<Op> {
        self.activation.is_none().then(|| Self { activation: Some(activation), ..self.clone() }.into())
    }

    fn fold(&self, at: &At, readers: &[Reader], family: Family) -> Option<Folding> {
        Folding::of_normalisation(self.x, self.activation, at, readers, family)
    }
}
