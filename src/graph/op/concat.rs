//! Channels of several maps.

use super::operands::operands;
use super::{At, Channels, MapStorage, Op, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::fold::{Folding, Reader};
use crate::graph::lower::{BufferId, Lowering, Operand, whole};
use crate::graph::reference::{Array, Evaluation};
use crate::graph::tangent::Transform;
use crate::kernels::{Family, concat};
use crate::tensor::{Shape, TEXEL};

/// The channels of `parts`, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat {
    /// At least one map; all of one batch, height and width.
    pub parts: Vec<Value>,
}
operands!(Concat { parts });

impl Operator for Concat {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(!self.parts.is_empty(), "there is nothing to join")?;
        let shapes = || self.parts.iter().map(|part| at.of(*part));
        let fits = shapes().all(|shape| Shape { c: at.shape.c, ..shape } == at.shape);
        require(fits && shapes().map(|shape| shape.c).sum::<usize>() == at.shape.c, "only channels are joined")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let mut joined = Array { shape, data: Vec::with_capacity(shape.rows() * shape.c) };
        for row in 0..shape.rows() {
            for part in &self.parts {
                joined.data.extend_from_slice(evaluation.value(*part).row(row));
            }
        }
        Ok(joined)
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        if to.is_folded(at.value) {
            return;
        }
        let (mut joined, mut shape) = (BufferId(self.parts[0].0), at.of(self.parts[0]));
        for (next, part) in self.parts.iter().enumerate().skip(1) {
            let concat = concat::Concat { a: shape, b: at.of(*part) };
            shape = Shape { c: shape.c + concat.b.c, ..shape };
            let is_last = next + 1 == self.parts.len();
            let into = if is_last { BufferId(at.value.0) } else { to.scratch(shape.texels(), at.label) };
            let reads = vec![Operand::Buffer(joined, 0), whole(*part)];
            to.step_to(at, concat.dispatch(to.family), reads, (into, 0), 0);
            joined = into;
        }
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let mut first = 0;
        for part in &self.parts {
            let shape = at.of(*part);
            if to.depends(*part) {
                let through = to.push(Channels { x: adjoint, first }, shape, at);
                to.add(*part, through, at)?;
            }
            first += shape.c;
        }
        Ok(())
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let parts = self.parts.iter().map(|part| to.need(*part, at)).collect::<Result<_>>()?;
        Ok((value, to.push(Self { parts }, at)))
    }

    /// Two maps, the first of whole texels, read by convolutions and by normalisations that are folded themselves.
    fn fold(&self, at: &At, readers: &[Reader], _: Family) -> Option<Folding> {
        let [a, b] = self.parts[..] else { return None };
        let joins =
            |reader: &Reader| reader.convolves || reader.is_folded && matches!(reader.node.op, Op::GroupNorm(_));
        let channels = at.of(a).c;
        (channels.is_multiple_of(TEXEL) && readers.iter().all(joins))
            .then_some(Folding::Joined { parts: [a, b], channels })
    }
}
