//! Operators of graphs of adjoints ([`crate::graph::adjoint`]).

use super::attention::check_parts;
use super::operands::operands;
use super::{Activation, At, HeadSide, Heads, MapStorage, Operator, Rule, Value, WeightId, require};
use crate::error::Result;
use crate::graph::lower::Lowering;
use crate::graph::reference::{Array, Evaluation, adjoint};
use crate::graph::tangent::{Transform, no_rule};
use crate::tensor::{Shape, TEXEL};

/// The adjoint of those of queries, keys and values of [`super::Attention`] that are `wanted`, one after the other
/// along the channels. They are of one map, or of maps of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionAdjoint {
    /// The queries: a range of channels.
    pub q: (Value, usize),
    /// The keys: a range of channels.
    pub k: (Value, usize),
    /// The values: a range of channels.
    pub v: (Value, usize),
    /// The adjoint of the result of the attention.
    pub adjoint: Value,
    /// The operands, q, k and v in their order, whose adjoints are computed.
    pub wanted: [bool; 3],
    /// As in [`super::Attention`].
    pub heads: usize,
    /// As in [`super::Attention`].
    pub head_dim: usize,
    /// As in [`super::Attention`].
    pub scale: f32,
    /// As in [`super::Attention`].
    pub causal: bool,
}
operands!(AttentionAdjoint { q, k, v, adjoint, wanted, heads, head_dim, scale, causal });

/// The adjoint of the two halves of a gate, `first half * act(second half)`, each padded to whole texels.
#[derive(Clone, Debug, PartialEq)]
pub struct GateAdjoint {
    /// Both halves.
    pub x: Value,
    /// The adjoint of the gated map.
    pub adjoint: Value,
    /// The activation of the second half.
    pub activation: Activation,
}
operands!(GateAdjoint { x, adjoint, activation });

/// Each channel times a number of a weight: the adjoint of the last part of a normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleChannels {
    /// The map.
    pub x: Value,
    /// A vector over the channels.
    pub weight: WeightId,
}
operands!(ScaleChannels { x, weight });

impl AttentionAdjoint {
    /// Channels of all heads of an operand.
    fn channels(&self) -> usize {
        Heads { count: self.heads, dim: self.head_dim, side: HeadSide::Out }.padded_len()
    }
}

impl Operator for AttentionAdjoint {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let (parts, channels) = ([self.q, self.k, self.v], self.channels());
        let given = at.of(self.adjoint);
        check_parts(&At { shape: given, ..*at }, parts, self.heads, self.head_dim)?;
        require(given.c == channels && given.n == at.of(self.q.0).n, "the adjoint is that of the result")?;
        let wanted = || parts.iter().zip(self.wanted).filter_map(|((value, _), wanted)| wanted.then_some(*value));
        let fits = wanted().all(|value| Shape { c: at.shape.c, ..at.of(value) } == at.shape);
        require(fits, "the operands have the rows and columns of the result")?;
        require(wanted().count() > 0 && at.shape.c == wanted().count() * channels, "there is room for each operand")
    }

    /// The scores, that of the shares' adjoint, and a product for each operand.
    fn multiply_adds(&self, at: &At) -> usize {
        let products = 2 + self.wanted.iter().filter(|wanted| **wanted).count();
        products * at.of(self.q.0).rows() * at.of(self.k.0).pixels() * self.heads * self.head_dim
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let parts = [self.q, self.k, self.v].map(|part| evaluation.part(part));
        let (heads, scale) = ((self.heads, self.head_dim), f64::from(self.scale));
        let adjoint = evaluation.value(self.adjoint);
        Ok(adjoint::attention(parts, adjoint, self.wanted, heads, (scale, self.causal), shape))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.attention_adjoint(self, at);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}

impl Operator for GateAdjoint {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == at.shape, "an adjoint has the shape of its value")?;
        let given = at.of(self.adjoint);
        let halves = Shape { c: 2 * given.c4() * TEXEL, ..given };
        require(halves == at.shape, "a gate halves the channels, each half padded to whole texels")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, _: Shape, evaluation: &Evaluation) -> Result<Array> {
        Ok(adjoint::gate(evaluation.value(self.x), evaluation.value(self.adjoint), self.activation))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.gate_adjoint(self, at);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}

impl Operator for ScaleChannels {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == at.shape, "a scale keeps the shape")?;
        require(at.form(self.weight).padded_vector() == Some(at.shape.c), "the weight is a vector over the channels")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, _: Shape, evaluation: &Evaluation) -> Result<Array> {
        let weight = evaluation.vector(self.weight)?;
        let mut y = evaluation.value(self.x).clone();
        for pixel in y.data.chunks_mut(weight.len()) {
            pixel.iter_mut().zip(&weight).for_each(|(value, weight)| *value *= weight);
        }
        Ok(y)
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.scale_channels(self, at);
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let x = to.need(self.x, at)?;
        Ok((value, to.push(Self { x, weight: self.weight }, at)))
    }
}
