//! Operators of graphs of adjoints ([`crate::graph::adjoint`]).

use super::operands::operands;
use super::{At, HeadSide, Heads, MapStorage, Operator, Rule, Value, WeightId, require};
use crate::error::Result;
use crate::graph::lower::Lowering;
use crate::graph::reference::{Array, Evaluation, adjoint};
use crate::graph::tangent::{Transform, no_rule};
use crate::tensor::Shape;

/// The adjoint of queries, keys and values of [`super::Attention`] of a map to itself, one after the other along the
/// channels as they are in that map.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionAdjoint {
    /// Queries, keys and values, (n, h, w, 3 heads * padded dim).
    pub qkv: Value,
    /// The adjoint of the result of the attention.
    pub adjoint: Value,
    /// As in [`super::Attention`].
    pub heads: usize,
    /// As in [`super::Attention`].
    pub head_dim: usize,
    /// As in [`super::Attention`].
    pub scale: f32,
}
operands!(AttentionAdjoint { qkv, adjoint, heads, head_dim, scale });

/// Each channel times a number of a weight: the adjoint of the last part of a normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleChannels {
    /// The map.
    pub x: Value,
    /// A vector over the channels.
    pub weight: WeightId,
}
operands!(ScaleChannels { x, weight });

impl Operator for AttentionAdjoint {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let channels = Heads { count: self.heads, dim: self.head_dim, side: HeadSide::Out }.padded_len();
        require(self.heads > 0 && self.head_dim > 0, "there is a head of a channel")?;
        require(at.of(self.qkv) == at.shape && at.shape.c == 3 * channels, "queries, keys and values are one map")?;
        require(at.of(self.adjoint) == Shape { c: channels, ..at.shape }, "the adjoint is that of the result")
    }

    /// The scores, and four products with or to matrices of their size.
    fn multiply_adds(&self, at: &At) -> usize {
        5 * at.shape.rows() * at.shape.pixels() * self.heads * self.head_dim
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, _: Shape, evaluation: &Evaluation) -> Result<Array> {
        let (qkv, adjoint) = (evaluation.value(self.qkv), evaluation.value(self.adjoint));
        Ok(adjoint::attention(qkv, adjoint, (self.heads, self.head_dim), f64::from(self.scale)))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.attention_adjoint(self, at);
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
