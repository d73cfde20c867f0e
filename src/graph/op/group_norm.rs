//! Group normalisation.

use std::collections::BTreeMap;

use super::operands::operands;
use super::{
    ActivateTangent, Activation, At, Channels, GroupNormTangent, MapStorage, Modulate, Op, Operator, Rule,
    ScaleChannels, Value, WeightId, require,
};
use crate::error::Result;
use crate::graph::adjoint::{self, PullBack};
use crate::graph::fold::{Folding, Reader};
use crate::graph::lower::{Lowering, Operand, Reading, part, whole};
use crate::graph::reference::{self, Array, Evaluation};
use crate::graph::tangent::{Transform, no_rule};
use crate::kernels::Family;
use crate::kernels::group_norm::{GroupNormFactors, GroupNormFold, Moments, ScaleShift};
use crate::tensor::{Shape, TEXEL};

/// Group normalisation over (h, w, c / groups), biased variance, then `weight * x + bias`, then, where given,
/// `* (1 + m[..c]) + m[c..]` with the modulation vector m of each image (`scale_shift` time embedding), then the
/// activation.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    /// The map.
    pub x: Value,
    /// A vector over the channels.
    pub weight: WeightId,
    /// A vector over the channels.
    pub bias: WeightId,
    /// Divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// One vector of 2 c channels per image: (value, first channel).
    pub modulation: Option<(Value, usize)>,
    /// The activation.
    pub activation: Option<Activation>,
}
operands!(GroupNorm { x, weight, bias, groups, eps, modulation, activation });

/// Checks the vectors of a normalisation of maps of shape `x` whose result is that of `at`.
pub(super) fn check_vectors(
    at: &At,
    x: Shape,
    groups: usize,
    vectors: [WeightId; 2],
    modulation: Option<(Value, usize)>,
) -> std::result::Result<(), Rule> {
    require(groups > 0 && x.c.is_multiple_of(groups), "groups divide the channels")?;
    let vectors = vectors.map(|id| at.form(id).padded_vector());
    require(vectors == [Some(x.c); 2], "weight and bias are vectors over the channels")?;
    let is_part = |(value, first): (Value, usize)| {
        let vector = at.of(value);
        (vector.n, vector.pixels()) == (x.n, 1) && first.is_multiple_of(TEXEL) && first + 2 * x.c <= vector.c
    };
    require(modulation.is_none_or(is_part), "one vector per image holds scales and shifts")
}

impl Operator for GroupNorm {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == at.shape, "a normalisation keeps the shape")?;
        check_vectors(at, at.shape, self.groups, [self.weight, self.bias], self.modulation)
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let affine = (evaluation.vector(self.weight)?, evaluation.vector(self.bias)?);
        let mut y = reference::group_norm(evaluation.value(self.x), &affine, self.groups, f64::from(self.eps));
        if let Some((modulation, first)) = self.modulation {
            reference::modulate(&mut y, &evaluation.value(modulation).channels(first, 2 * shape.c));
        }
        Ok(reference::apply(y, self.activation))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let Self { weight, bias, groups, eps, .. } = *self;
        let (shape, family) = (at.shape, to.family);
        let factors = to.scratch(shape.n * shape.c4() * 2, at.label);
        let vectors =
            [Operand::Weight(weight), Operand::Weight(bias), self.modulation.map_or(Operand::Weight(weight), part)];
        let modulation = self.modulation.map(|(value, _)| at.of(value).c4());
        let Reading { operands: [first, second, _], source } = to.reading(self.x);
        let (maps, joined) = ([first, second], source.joined);
        let at_once = GroupNormFactors { x: shape, joined, groups, eps, modulation };
        if let Some(dispatch) = at_once.dispatch(family) {
            to.step_to(at, dispatch, [maps.as_slice(), &vectors].concat(), (factors, 0), 0);
        } else {
            let moments = Moments::new(shape, joined, family);
            let measured = to.scratch(shape.n * moments.chunks() * shape.c4() * 2, at.label);
            to.step_to(at, moments.dispatch(family), maps.to_vec(), (measured, 0), 0);
            let (images, channels, pixels, chunk) = (shape.n, shape.c, shape.pixels(), moments.chunk);
            let fold = GroupNormFold { images, channels, groups, eps, pixels, chunk, modulation };
            let reads = [&[Operand::Buffer(measured, 0)], vectors.as_slice()].concat();
            to.step_to(at, fold.dispatch(family), reads, (factors, 0), 0);
        }
        if to.is_folded(at.value) {
            to.give_factors(at.value, factors);
            return;
        }
        let apply = ScaleShift { x: shape, activation: self.activation };
        to.step(at, apply.dispatch(family), vec![whole(self.x), Operand::Buffer(factors, 0)]);
    }

    /// With the weight and the scale of the modulation as a diagonal W, the tangent is W P t, where P is the tangent of
    /// the plain normalisation. P is symmetric, so that the adjoint is P W t.
    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let Self { x, weight, groups, eps, modulation, activation, .. } = *self;
        if modulation.is_some_and(|(value, _)| to.depends(value)) {
            return Err(adjoint::no_rule(at));
        }
        let (shape, mut given) = (at.shape, adjoint);
        if let Some(activation) = activation {
            // The slope is taken at what the activation is applied to, so that value has to exist.
            let before = to.push(Self { activation: None, ..self.clone() }, shape, at);
            given = to.push(ActivateTangent { x: before, tangent: given, activation }, shape, at);
        }
        if let Some((vector, first)) = modulation {
            // A scale that does not end a texel shares it with the shift.
            let scale = if shape.c.is_multiple_of(TEXEL) {
                (vector, first)
            } else {
                (to.push(Channels { x: vector, first }, Shape::vector(shape.n, shape.c), at), 0)
            };
            // x * scale + x, where x stands for the shift.
            given = to.push(Modulate { x: given, scale, shift: (given, 0), offset: 0.0 }, shape, at);
        }
        let given = to.push(ScaleChannels { x: given, weight }, shape, at);
        let (weight, bias) = (to.constant(1.0, shape.c), to.constant(0.0, shape.c));
        let op = GroupNormTangent { x, tangent: given, weight, bias, groups, eps, modulation: None, activation: None };
        let through = to.push(op, shape, at);
        to.add(x, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        if self.modulation.is_some_and(|(value, _)| to.tangent(value).is_some()) {
            return Err(no_rule(at));
        }
        let tangent = to.need(self.x, at)?;
        let value = to.copy(self, at);
        let Self { x, weight, bias, groups, eps, modulation, activation } = to.moved(self);
        let op = GroupNormTangent { x, tangent, weight, bias, groups, eps, modulation, activation };
        Ok((value, to.push(op, at)))
    }

    fn with_activation(&self, activation: Activation) -> Option<Op> {
        self.activation.is_none().then(|| Self { activation: Some(activation), ..self.clone() }.into())
    }

    fn fold(&self, at: &At, readers: &[Reader], family: Family) -> Option<Folding> {
        Folding::of_normalisation(self.x, self.activation, at, readers, family)
    }

    fn vector_part(&mut self) -> Option<&mut (Value, usize)> {
        self.modulation.as_mut()
    }

    /// A plain one is given its statistics ([`crate::graph::strips`]).
    fn margin(&self, _: &At, margins: &BTreeMap<Value, usize>) -> Option<usize> {
        let plain = self.modulation.is_none() && self.activation.is_none();
        margins.get(&self.x).copied().filter(|_| plain)
    }
}
