//! Sums of two maps.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::operands::operands;
use super::{At, MapStorage, Op, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::fuse::Fusion;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{self, Array, Evaluation};
use crate::graph::tangent::{Transform, no_rule};
use crate::kernels::elementwise;
use crate::tensor::Shape;

/// `(a + b) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Add {
    /// A map.
    pub a: Value,
    /// A map of a's shape, or one vector per image.
    pub b: Value,
    /// Multiplies the sum.
    pub scale: f32,
}
operands!(Add { a, b, scale });

impl Operator for Add {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.a) == at.shape, "a sum has the shape of its first operand")?;
        let (b, vector) = (at.of(self.b), Shape::vector(at.shape.n, at.shape.c));
        require(b == at.shape || b == vector, "a map or one vector per image is added")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, _: Shape, evaluation: &Evaluation) -> Result<Array> {
        let mut sum = evaluation.value(self.a).clone();
        reference::add(&mut sum, evaluation.value(self.b));
        Ok(reference::scaled(sum, self.scale))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let per_image = at.of(self.b).pixels() == 1 && at.shape.pixels() > 1;
        let add = elementwise::Add { shape: at.shape, per_image, scale: self.scale };
        to.step(at, add.dispatch(to.family), vec![whole(self.a), whole(self.b)]);
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let through = to.scaled(adjoint, self.scale, at);
        to.add(self.a, through, at)?;
        to.add_vector(self.b, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let tangent = match (to.tangent(self.a), to.tangent(self.b)) {
            (Some(a), Some(b)) => to.push(Self { a, b, scale: self.scale }, at),
            (Some(a), None) => to.scaled(a, self.scale, at),
            (None, Some(b)) if at.of(self.b).pixels() == at.shape.pixels() => to.scaled(b, self.scale, at),
            (None, _) => return Err(no_rule(at)),
        };
        Ok((value, tangent))
    }

    /// A vector per image rides on the operand it is added to. Of two maps the later product takes the other one in.
    fn fuse(&self, at: &At, fusion: &Fusion) -> Option<Op> {
        if at.of(self.b).pixels() == 1 && at.shape.pixels() > 1 {
            let free = self.scale == 1.0;
            return fusion.only_reader(self.a).filter(|_| free)?.with_vector(self.b);
        }
        if self.a == self.b {
            return None;
        }
        let mut sides = [(self.a, self.b), (self.b, self.a)];
        sides.sort_by_key(|(product, _)| Reverse(*product));
        sides.into_iter().find_map(|(product, other)| fusion.only_reader(product)?.with_residual(other, self.scale))
    }

    fn margin(&self, at: &At, margins: &BTreeMap<Value, usize>) -> Option<usize> {
        let of = |value: Value| margins.get(&value).copied();
        (at.of(self.b).pixels() == at.shape.pixels()).then_some(of(self.a)?.max(of(self.b)?))
    }
}
