//! Attention.

use super::operands::operands;
use super::{At, AttentionAdjoint, AttentionTangent, HeadSide, Heads, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::{self, PullBack};
use crate::graph::lower::Lowering;
use crate::graph::reference::{Array, Evaluation, attention};
use crate::graph::tangent::{Transform, no_rule};
use crate::tensor::{Shape, TEXEL};

/// softmax(scale * q k^T) v for each image and head: (n, h, w of q, heads * padded dim). A head's channels are padded
/// to whole texels (see [`Heads`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// The queries: a range of channels.
    pub q: (Value, usize),
    /// The keys: a range of channels.
    pub k: (Value, usize),
    /// The values: a range of channels.
    pub v: (Value, usize),
    /// Heads.
    pub heads: usize,
    /// Channels of a head, without padding.
    pub head_dim: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// A query sees no key after its own place.
    pub causal: bool,
}
operands!(Attention { q, k, v, heads, head_dim, scale, causal });

/// Checks queries, keys and values that make a map of `heads` heads of `dim` channels.
pub(super) fn check_parts(
    at: &At,
    [q, k, v]: [(Value, usize); 3],
    heads: usize,
    dim: usize,
) -> std::result::Result<(), Rule> {
    require(heads > 0 && dim > 0, "there is a head of a channel")?;
    // The padding of the last head may be left out of a map.
    let least = (heads - 1) * Heads { count: heads, dim, side: HeadSide::Out }.padded_dim() + dim;
    let holds = |(value, first): (Value, usize)| first.is_multiple_of(TEXEL) && first + least <= at.of(value).c;
    require([q, k, v].into_iter().all(holds) && least <= at.shape.c, "every operand holds all heads")?;
    let [q, k, v] = [q, k, v].map(|(value, _)| at.of(value));
    require((q.n, q.n) == (k.n, v.n) && k.pixels() == v.pixels(), "each image has as many keys as values")?;
    require((q.h, q.w) == (at.shape.h, at.shape.w), "there is a result for each query")
}

impl Operator for Attention {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.q.0).n == at.shape.n, "each image attends")?;
        check_parts(at, [self.q, self.k, self.v], self.heads, self.head_dim)
    }

    fn multiply_adds(&self, at: &At) -> usize {
        2 * at.shape.rows() * at.of(self.k.0).pixels() * self.heads * self.head_dim
    }

    fn extents(&self, at: &At) -> Option<String> {
        let [queries, keys] = [self.q, self.k].map(|(value, _)| at.of(value).pixels());
        let heads = if self.heads == 1 { "1 head".to_owned() } else { format!("{} heads", self.heads) };
        Some(format!("attention, {heads} of {}, {queries} queries, {keys} keys", self.head_dim))
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let parts = [self.q, self.k, self.v].map(|part| evaluation.part(part));
        let heads = (self.heads, self.head_dim);
        Ok(attention::attention(parts, heads, f64::from(self.scale), self.causal, shape))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.attention(self, at);
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let Self { q, k, v, heads, head_dim, scale, causal } = *self;
        let channels = Heads { count: heads, dim: head_dim, side: HeadSide::Out }.padded_len();
        let parts = [q, k, v];
        for (at_part, (value, _)) in parts.into_iter().enumerate() {
            let is_first = parts[..at_part].iter().all(|(other, _)| *other != value);
            if !is_first || !to.depends(value) {
                continue;
            }
            let wanted = parts.map(|(other, _)| other == value);
            // The parts of one map are all of it, one after the other.
            let of_value = parts.iter().filter(|(other, _)| *other == value);
            let is_whole = of_value.clone().enumerate().all(|(index, (_, first))| *first == index * channels);
            if !is_whole || at.of(value).c != of_value.count() * channels {
                return Err(adjoint::no_rule(at));
            }
            let op = AttentionAdjoint { q, k, v, adjoint, wanted, heads, head_dim, scale, causal };
            let through = to.push(op, at.of(value), at);
            to.add(value, through, at)?;
        }
        Ok(())
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        if self.causal {
            return Err(no_rule(at));
        }
        let value = to.copy(self, at);
        let tangents = [self.q, self.k, self.v].map(|part| to.part_tangent(part));
        let Self { q, k, v, heads, head_dim, scale, causal: _ } = to.moved(self);
        Ok((value, to.push(AttentionTangent { q, k, v, tangents, heads, head_dim, scale }, at)))
    }
}
