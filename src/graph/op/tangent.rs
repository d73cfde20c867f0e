//! Operators of graphs of tangents ([`crate::graph::tangent`]). A tangent has a whole number of images for each image
//! of the value, one after the other, and so has the result.

use super::attention::check_parts;
use super::group_norm::check_vectors;
use super::operands::operands;
use super::{Activation, At, MapStorage, Operator, Rule, Value, WeightId, require};
use crate::error::Result;
use crate::graph::lower::Lowering;
use crate::graph::reference::{Array, Evaluation, tangent};
use crate::graph::tangent::{Transform, no_rule};
use crate::tensor::{Shape, TEXEL};

/// The tangent of [`super::Activate`]: `act'(x) * tangent`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivateTangent {
    /// The map.
    pub x: Value,
    /// Its tangents.
    pub tangent: Value,
    /// The activation.
    pub activation: Activation,
}
operands!(ActivateTangent { x, tangent, activation });

/// The tangent of the gate of `gate`: `first half * act(second half)`, by the product rule.
#[derive(Clone, Debug, PartialEq)]
pub struct GateTangent {
    /// Both halves, each padded to whole texels.
    pub x: Value,
    /// Their tangents.
    pub tangent: Value,
    /// The activation of the second half.
    pub activation: Activation,
}
operands!(GateTangent { x, tangent, activation });

/// The tangent of [`super::Softmax`], and its adjoint: `shares * (tangent - its mean by the shares)`.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxTangent {
    /// The result of the softmax.
    pub shares: Value,
    /// The tangents of its operand.
    pub tangent: Value,
}
operands!(SoftmaxTangent { shares, tangent });

/// The tangent of [`super::GroupNorm`] in x.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNormTangent {
    /// The map.
    pub x: Value,
    /// Its tangents.
    pub tangent: Value,
    /// As in [`super::GroupNorm`].
    pub weight: WeightId,
    /// As in [`super::GroupNorm`].
    pub bias: WeightId,
    /// As in [`super::GroupNorm`].
    pub groups: usize,
    /// As in [`super::GroupNorm`].
    pub eps: f32,
    /// As in [`super::GroupNorm`].
    pub modulation: Option<(Value, usize)>,
    /// As in [`super::GroupNorm`].
    pub activation: Option<Activation>,
}
operands!(GroupNormTangent { x, tangent, weight, bias, groups, eps, modulation, activation });

/// The tangent of [`super::LayerNorm`] in x.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormTangent {
    /// The map.
    pub x: Value,
    /// Its tangents.
    pub tangent: Value,
    /// As in [`super::LayerNorm`].
    pub weight: WeightId,
    /// As in [`super::LayerNorm`].
    pub eps: f32,
}
operands!(LayerNormTangent { x, tangent, weight, eps });

/// The tangent of [`super::Attention`] that is not causal.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionTangent {
    /// The queries: a range of channels.
    pub q: (Value, usize),
    /// The keys: a range of channels.
    pub k: (Value, usize),
    /// The values: a range of channels.
    pub v: (Value, usize),
    /// The tangents of q, k and v, each a range of channels; `None` where it does not change.
    pub tangents: [Option<(Value, usize)>; 3],
    /// As in [`super::Attention`].
    pub heads: usize,
    /// As in [`super::Attention`].
    pub head_dim: usize,
    /// As in [`super::Attention`].
    pub scale: f32,
}
operands!(AttentionTangent { q, k, v, tangents, heads, head_dim, scale });

/// Checks that the result has whole images of tangents for each image of `x`.
fn check_repeats(at: &At, x: Shape) -> std::result::Result<(), Rule> {
    let same = Shape { n: at.shape.n, ..x } == at.shape;
    require(same && at.shape.n.is_multiple_of(x.n), "each image of the value has its tangents")
}

impl Operator for ActivateTangent {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.tangent) == at.shape, "a tangent keeps its shape")?;
        check_repeats(at, at.of(self.x))
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, _: Shape, evaluation: &Evaluation) -> Result<Array> {
        Ok(tangent::activation(evaluation.value(self.x), evaluation.value(self.tangent), self.activation))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.activate_tangent(self, at);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}

impl Operator for GateTangent {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let halves = Shape { c: 2 * at.shape.c4() * TEXEL, ..at.shape };
        require(at.of(self.tangent) == halves, "a gate halves the channels, each half padded to whole texels")?;
        check_repeats(&At { shape: halves, ..*at }, at.of(self.x))
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let (x, turned) = (evaluation.value(self.x), evaluation.value(self.tangent));
        Ok(tangent::gate(x, turned, shape, self.activation))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.gate_tangent(self, at);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}

impl Operator for SoftmaxTangent {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.tangent) == at.shape, "a tangent keeps its shape")?;
        check_repeats(at, at.of(self.shares))
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, _: Shape, evaluation: &Evaluation) -> Result<Array> {
        Ok(tangent::softmax(evaluation.value(self.shares), evaluation.value(self.tangent)))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.softmax_tangent(self, at);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}

impl Operator for GroupNormTangent {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.tangent) == at.shape, "a tangent keeps its shape")?;
        let x = at.of(self.x);
        check_repeats(at, x)?;
        check_vectors(at, x, self.groups, [self.weight, self.bias], self.modulation)
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let affine = (evaluation.vector(self.weight)?, evaluation.vector(self.bias)?);
        let modulation = self.modulation.map(|(value, first)| evaluation.value(value).channels(first, 2 * shape.c));
        let (x, turned, norm) =
            (evaluation.value(self.x), evaluation.value(self.tangent), (self.groups, f64::from(self.eps)));
        Ok(tangent::normalisation(x, turned, &affine, norm, modulation.as_ref(), self.activation))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.group_norm_tangent(self, at);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }

    fn vector_part(&mut self) -> Option<&mut (Value, usize)> {
        self.modulation.as_mut()
    }
}

impl Operator for LayerNormTangent {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.tangent) == at.shape, "a tangent keeps its shape")?;
        check_repeats(at, at.of(self.x))?;
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
        let (x, turned) = (evaluation.value(self.x), evaluation.value(self.tangent));
        Ok(tangent::layer_norm(x, turned, &weight, f64::from(self.eps)))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.layer_norm_tangent(self, at);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}

impl Operator for AttentionTangent {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(self.tangents.iter().any(Option::is_some), "something has a tangent")?;
        check_parts(at, [self.q, self.k, self.v], self.heads, self.head_dim)?;
        let values = [self.q, self.k, self.v];
        let fits = |(tangent, (value, _)): (Option<(Value, usize)>, (Value, usize))| {
            let repeated = Shape { n: at.shape.n, ..at.of(value) };
            tangent.is_none_or(|(tangent, _)| Shape { c: repeated.c, ..at.of(tangent) } == repeated)
        };
        require(self.tangents.into_iter().zip(values).all(fits), "each tangent is that of its operand")?;
        require(at.shape.n.is_multiple_of(at.of(self.q.0).n), "each image of the value has its tangents")
    }

    /// The scores themselves, a product for each tangent, and one of the shares' tangent with the values.
    fn multiply_adds(&self, at: &At) -> usize {
        let [q, k, _] = self.tangents;
        let products = self.tangents.iter().flatten().count() + usize::from(q.or(k).is_some());
        let rows = at.of(self.q.0).rows() + products * at.shape.rows();
        rows * at.of(self.k.0).pixels() * self.heads * self.head_dim
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let values = [self.q, self.k, self.v].map(|part| evaluation.part(part));
        let tangents = self.tangents.map(|tangent| tangent.map(|part| evaluation.part(part)));
        Ok(tangent::attention(values, tangents, (self.heads, self.head_dim), f64::from(self.scale), shape))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        to.attention_tangent(self, at);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}
