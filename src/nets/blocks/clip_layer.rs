//! A block of CLIP's transformers of texts and of images (`CLIPEncoderLayer` in transformers'
//! `models/clip/modeling_clip.py`).

use crate::graph::op::{Activation, HeadSide, Heads, Value};
use crate::nets::builder::Builder;

/// The sizes of a block.
#[derive(Clone, Copy, Debug)]
pub struct ClipLayer {
    /// Channels of a token.
    pub hidden_size: usize,
    /// Channels between the two linear layers.
    pub intermediate_size: usize,
    /// A divisor of `hidden_size`.
    pub heads: usize,
    /// Of both normalisations.
    pub eps: f64,
    /// The nonlinearity between the two linear layers.
    pub activation: Activation,
    /// `true` if a token attends only to those before it.
    pub causal: bool,
}

impl ClipLayer {
    /// Adds the block at `path`: attention, then two linear layers, each after a normalisation and beside its input.
    pub fn add(&self, b: &mut Builder, path: &str, x: Value) -> Value {
        let Self { hidden_size, intermediate_size, eps, .. } = *self;
        let label = |part: &str| format!("{path}.{part}");
        let heads = Heads { count: self.heads, dim: hidden_size / self.heads, side: HeadSide::Out };
        let normal = b.layer_norm(&label("layer_norm1"), x, eps);
        let projections = ["q_proj", "k_proj", "v_proj"].map(|part| label(&format!("self_attn.{part}"))).to_vec();
        let stacked = Heads { count: 3 * heads.count, ..heads };
        let qkv = b.linear_to_heads(&label("self_attn.qkv_proj"), projections, normal, stacked);
        let mixed = if self.causal {
            b.causal_self_attention(&label("self_attn"), qkv, heads)
        } else {
            b.self_attention(&label("self_attn"), qkv, heads)
        };
        let mixed = b.linear_from_heads(&label("self_attn.out_proj"), mixed, heads, hidden_size);
        let x = b.add(&label("self_attn.sum"), mixed, x, 1.0);

        let normal = b.layer_norm(&label("layer_norm2"), x, eps);
        let wide = b.linear(&label("mlp.fc1"), normal, intermediate_size);
        let wide = b.activation(&label("mlp.activation_fn"), wide, self.activation);
        let narrow = b.linear(&label("mlp.fc2"), wide, hidden_size);
        b.add(&label("mlp.sum"), narrow, x, 1.0)
    }
}
