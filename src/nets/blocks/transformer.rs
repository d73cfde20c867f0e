//! Transformers over the pixels of a map, which attend to a context (`models/transformers/transformer_2d.py`,
//! `models/attention.py`).

use crate::graph::op::{Activation, HeadSide, Heads, Value};
use crate::nets::builder::{Builder, Window};

/// Of the group normalisation before the blocks; no configuration changes it.
const GROUP_NORM_EPS: f64 = 1e-6;
/// Of the layer normalisations within; no configuration of a U-Net changes it.
const LAYER_NORM_EPS: f64 = 1e-5;
/// Channels between the two layers of a feed-forward network, per channel of a token.
const FEED_FORWARD_MULTIPLE: usize = 4;

/// `Transformer2DModel` at `path` over a map, with a residual connection around all of it.
#[derive(Clone, Copy, Debug)]
pub struct Transformer<'a> {
    pub path: &'a str,
    /// Groups of the normalisation.
    pub groups: usize,
    /// Attention heads; each has as many channels as all of them can have.
    pub heads: usize,
    /// `BasicTransformerBlock`s, one after the other.
    pub blocks: usize,
    /// The projections before and after are stored as matrices, and not as 1 x 1 kernels.
    pub linear_projection: bool,
    /// The first attention of a block attends to the context too, and not to the map itself.
    pub only_cross_attention: bool,
}

impl Transformer<'_> {
    /// Adds it; `context` is a map of tokens (n, 1, tokens, dim).
    pub fn build(&self, b: &mut Builder, x: Value, context: Value) -> Value {
        let path = self.path;
        let label = |part: &str| format!("{path}.{part}");
        let channels = b.graph.shape(x).c;
        let heads = Heads { count: self.heads, dim: channels / self.heads, side: HeadSide::Out };
        let hidden = b.group_norm(&label("norm"), x, (self.groups, GROUP_NORM_EPS), None);
        let mut hidden = self.projection(b, &label("proj_in"), hidden, heads.count * heads.dim);
        for block in 0..self.blocks {
            hidden = self.block(b, &label(&format!("transformer_blocks.{block}")), hidden, context, heads);
        }
        let hidden = self.projection(b, &label("proj_out"), hidden, channels);
        b.add(&label("sum"), hidden, x, 1.0)
    }

    fn projection(&self, b: &mut Builder, path: &str, x: Value, out: usize) -> Value {
        if self.linear_projection { b.linear(path, x, out) } else { b.conv(path, x, out, Window::ONE) }
    }

    /// `BasicTransformerBlock` at `path`.
    fn block(&self, b: &mut Builder, path: &str, x: Value, context: Value, heads: Heads) -> Value {
        let label = |part: &str| format!("{path}.{part}");
        let hidden = b.layer_norm(&label("norm1"), x, LAYER_NORM_EPS);
        let seen = self.only_cross_attention.then_some(context);
        let x = attention(b, &label("attn1"), hidden, seen, heads, x);
        let hidden = b.layer_norm(&label("norm2"), x, LAYER_NORM_EPS);
        let x = attention(b, &label("attn2"), hidden, Some(context), heads, x);
        let hidden = b.layer_norm(&label("norm3"), x, LAYER_NORM_EPS);
        feed_forward(b, &label("ff"), hidden, x)
    }
}

/// `Attention` at `path` without biases but that of its last layer: of `x` to `context`, or to itself; `residual` is
/// added.
fn attention(b: &mut Builder, path: &str, x: Value, context: Option<Value>, heads: Heads, residual: Value) -> Value {
    let label = |part: &str| format!("{path}.{part}");
    let channels = b.graph.shape(residual).c;
    let times = |count: usize| Heads { count: count * heads.count, ..heads };
    let hidden = match context {
        None => {
            let projections = ["to_q", "to_k", "to_v"].map(label).to_vec();
            let qkv = b.linear_to_heads_plain(&label("to_qkv"), projections, x, times(3));
            b.self_attention(&label("attention"), qkv, heads)
        }
        Some(context) => {
            let q = b.linear_to_heads_plain(&label("to_q"), vec![label("to_q")], x, heads);
            let projections = ["to_k", "to_v"].map(label).to_vec();
            let kv = b.linear_to_heads_plain(&label("to_kv"), projections, context, times(2));
            b.cross_attention(&label("attention"), q, kv, heads)
        }
    };
    let hidden = b.linear_from_heads(&label("to_out.0"), hidden, heads, channels);
    b.add(&label("sum"), hidden, residual, 1.0)
}

/// `FeedForward` at `path` with `GEGLU`; `residual` is added.
fn feed_forward(b: &mut Builder, path: &str, x: Value, residual: Value) -> Value {
    let channels = b.graph.shape(x).c;
    let inner = FEED_FORWARD_MULTIPLE * channels;
    // The two halves lie as two heads do, so that each begins on a texel.
    let halves = Heads { count: 2, dim: inner, side: HeadSide::Out };
    let projection = format!("{path}.net.0.proj");
    let hidden = b.linear_to_heads(&projection, vec![projection.clone()], x, halves);
    let hidden = b.gate(&format!("{path}.net.0.gate"), hidden, inner, Activation::Gelu);
    let hidden = b.linear(&format!("{path}.net.2"), hidden, channels);
    b.add(&format!("{path}.sum"), hidden, residual, 1.0)
}
