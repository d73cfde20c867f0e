//! The configuration of diffusers' `DiTTransformer2DModel` (`models/transformers/dit_transformer_2d.py`, 0.42), with
//! its defaults. The published checkpoints name the class `Transformer2DModel`, which has other defaults and more
//! fields.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::graph::op::Activation;
use crate::nets::fields::Fields;
use crate::nets::unet_fields::{MOST_CHANNELS, MOST_LAYERS, MOST_PIXELS, MOST_ROWS};

/// Pixels along a side of a patch, beyond any real network.
const MOST_PATCH: usize = 64;
/// Every shift, scale and gate begins a texel, and the position embedding has sines and cosines of two coordinates.
const CHANNEL_MULTIPLE: usize = 4;

/// The layers between the two linear layers of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForward {
    /// An activation.
    Plain(Activation),
    /// A gated linear unit: half the channels times an activation of the other half.
    Gated(Activation),
}

/// Every field of a `DiTTransformer2DModel` that matters at inference.
///
/// Read and without effect are `dropout`; `norm_num_groups`, which only networks without patches use;
/// `upcast_attention`, since all attention is in float32.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub num_attention_heads: usize,
    pub attention_head_dim: usize,
    pub in_channels: usize,
    /// As many as `in_channels`, or twice as many with a learned variance.
    pub out_channels: usize,
    pub num_layers: usize,
    /// The projections to queries, keys and values have a bias.
    pub attention_bias: bool,
    /// Height and width of the latents in training.
    pub sample_size: usize,
    /// Height and width of a patch.
    pub patch_size: usize,
    pub activation_fn: FeedForward,
    /// Classes, without the null class.
    pub num_embeds_ada_norm: usize,
    /// The second normalisation of a block has weights.
    pub norm_elementwise_affine: bool,
    /// The epsilon of the second normalisation of a block.
    pub norm_eps: f64,
}

/// The defaults of a class.
struct Defaults {
    attention_head_dim: usize,
    in_channels: Option<usize>,
    num_layers: usize,
    attention_bias: bool,
    sample_size: Option<usize>,
    patch_size: Option<usize>,
    activation_fn: &'static str,
    num_embeds_ada_norm: Option<usize>,
    norm_type: &'static str,
    norm_elementwise_affine: bool,
}

const DIT: Defaults = Defaults {
    attention_head_dim: 72,
    in_channels: Some(4),
    num_layers: 28,
    attention_bias: true,
    sample_size: Some(32),
    patch_size: Some(2),
    activation_fn: "gelu-approximate",
    num_embeds_ada_norm: Some(1000),
    norm_type: "ada_norm_zero",
    norm_elementwise_affine: false,
};

const TRANSFORMER_2D: Defaults = Defaults {
    attention_head_dim: 88,
    in_channels: None,
    num_layers: 1,
    attention_bias: false,
    sample_size: None,
    patch_size: None,
    activation_fn: "geglu",
    num_embeds_ada_norm: None,
    norm_type: "layer_norm",
    norm_elementwise_affine: true,
};

const FEED_FORWARDS: [(&str, FeedForward); 5] = [
    ("gelu-approximate", FeedForward::Plain(Activation::GeluTanh)),
    ("gelu", FeedForward::Plain(Activation::Gelu)),
    ("geglu", FeedForward::Gated(Activation::Gelu)),
    ("swiglu", FeedForward::Gated(Activation::Silu)),
    ("linear-silu", FeedForward::Plain(Activation::Silu)),
];

impl Config {
    /// Reads the fields in `map`, which came from `file`, as a `DiTTransformer2DModel`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for a field or a value without an implementation, [`crate::Error::BadFile`]
    /// for wrong types, values out of range and fields that contradict each other.
    pub fn from_map(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        Self::read(Fields::new(map, file), &DIT)
    }

    /// Reads the fields as a `Transformer2DModel`, of which only the form of a `DiT` is supported.
    ///
    /// # Errors
    /// As [`Config::from_map`].
    pub fn from_transformer_2d(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        let only = [
            ("cross_attention_dim", Value::Null),
            ("num_vector_embeds", Value::Null),
            ("caption_channels", Value::Null),
            ("interpolation_scale", Value::Null),
            ("use_additional_conditions", Value::Null),
            ("double_self_attention", false.into()),
            ("only_cross_attention", false.into()),
            ("attention_type", "default".into()),
        ];
        for (field, supported) in only {
            let value = fields.get(field, supported.clone())?;
            if value != supported {
                return Err(fields.unsupported(field, &value.to_string(), supported.to_string()));
            }
        }
        // Only networks without patches have the projections that it is about.
        fields.get("use_linear_projection", false)?;
        Self::read(fields, &TRANSFORMER_2D)
    }

    fn read(mut fields: Fields, defaults: &Defaults) -> Result<Self> {
        let required =
            |fields: &mut Fields, field, default, limit| match fields.optional_count(field, default, limit)? {
                Some(count) => Ok(count),
                None => Err(fields.bad(format!("`{field}` is not given"))),
            };
        fields.choice("norm_type", defaults.norm_type, &[("ada_norm_zero", ())])?;
        fields.get("dropout", 0.0f64)?;
        fields.get("norm_num_groups", 32usize)?;
        fields.get("upcast_attention", false)?;
        let in_channels = required(&mut fields, "in_channels", defaults.in_channels, MOST_CHANNELS)?;
        let classes = defaults.num_embeds_ada_norm;
        let config = Self {
            num_attention_heads: fields.count("num_attention_heads", 16, MOST_CHANNELS)?,
            attention_head_dim: fields.count("attention_head_dim", defaults.attention_head_dim, MOST_CHANNELS)?,
            in_channels,
            out_channels: fields.optional_count("out_channels", None, MOST_CHANNELS)?.unwrap_or(in_channels),
            num_layers: fields.count("num_layers", defaults.num_layers, MOST_LAYERS)?,
            attention_bias: fields.get("attention_bias", defaults.attention_bias)?,
            sample_size: required(&mut fields, "sample_size", defaults.sample_size, MOST_PIXELS)?,
            patch_size: required(&mut fields, "patch_size", defaults.patch_size, MOST_PATCH)?,
            activation_fn: fields.choice("activation_fn", defaults.activation_fn, &FEED_FORWARDS)?,
            num_embeds_ada_norm: required(&mut fields, "num_embeds_ada_norm", classes, MOST_ROWS)?,
            norm_elementwise_affine: fields.get("norm_elementwise_affine", defaults.norm_elementwise_affine)?,
            norm_eps: fields.get("norm_eps", 1e-5)?,
        };
        fields.finish()?;
        config.check(&fields)?;
        Ok(config)
    }

    /// Channels of a token.
    #[must_use]
    pub fn inner_dim(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Patches along a side of the latents in training.
    #[must_use]
    pub fn base_size(&self) -> usize {
        self.sample_size / self.patch_size
    }

    fn check(&self, fields: &Fields) -> Result<()> {
        let inner = self.inner_dim();
        if inner > MOST_CHANNELS || !inner.is_multiple_of(CHANNEL_MULTIPLE) {
            let (heads, dim) = (self.num_attention_heads, self.attention_head_dim);
            return Err(fields.bad(format!(
                "`num_attention_heads` {heads} times `attention_head_dim` {dim} must be a multiple of \
                 {CHANNEL_MULTIPLE}, at most {MOST_CHANNELS}"
            )));
        }
        if self.base_size() == 0 {
            let (size, patch) = (self.sample_size, self.patch_size);
            return Err(fields.bad(format!("`sample_size` is {size}, smaller than `patch_size` {patch}")));
        }
        if self.norm_eps < 0.0 {
            return Err(fields.bad(format!("`norm_eps` is {} and must not be negative", self.norm_eps)));
        }
        Ok(())
    }
}
