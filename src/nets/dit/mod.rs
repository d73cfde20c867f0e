//! diffusers' `DiTTransformer2DModel` (`models/transformers/dit_transformer_2d.py`) as a graph: the diffusion
//! transformer of Peebles and Xie ("Scalable Diffusion Models with Transformers", 2023).
//!
//! Latents become tokens of a patch each; in every block, and before the last layer, timestep and class scale and shift
//! the normalised tokens and gate what is added to them (adaLN-zero).

mod config;
mod positions;
#[cfg(test)]
mod tests;

pub use config::{Config, FeedForward};

use crate::checkpoint::ConfigFile;
use crate::error::Result;
use crate::graph::WeightAccess;
use crate::graph::op::{Activation, Graph, HeadSide, Heads, Value};
use crate::nets::architecture::{Architecture, CallSize, Inputs, LabelInput};
use crate::nets::blocks::{positional_embedding, timestep_mlp};
use crate::nets::builder::{Builder, Key, Window};
use crate::nets::feeds::{
    ClassLabels, Feeds, check_images, check_range, expect_no_context, gather, names, parts, vectors,
};
use crate::tensor::{Shape, Tensor};

/// Epsilon of the normalisations whose epsilon no field changes.
const NORM_EPS: f64 = 1e-6;
/// Channels of the projected timestep.
const TIME_CHANNELS: usize = 256;
/// Subtracted from the number of frequencies of a timestep in their exponent.
const FREQ_SHIFT: f64 = 1.0;
/// Channels between the two layers of a feed-forward network, per channel of a token.
const FEED_FORWARD_MULTIPLE: usize = 4;

/// A `DiTTransformer2DModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct DitTransformer2d {
    config: Config,
}

impl DitTransformer2d {
    /// The class in diffusers.
    pub const CLASS: &str = "DiTTransformer2DModel";
    /// The class in the configurations of the published checkpoints.
    pub const PUBLISHED_CLASS: &str = "Transformer2DModel";

    /// The network of a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The configuration it was made from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network of a configuration file of either class.
    ///
    /// # Errors
    /// Those of [`Config::from_map`] and [`ConfigFile::expect_class`].
    pub fn read(file: &ConfigFile) -> Result<Self> {
        let class = file.expect_class(&[Self::CLASS, Self::PUBLISHED_CLASS])?;
        let read = if class == Self::CLASS { Config::from_map } else { Config::from_transformer_2d };
        Ok(Self::new(read(&file.values, &file.path)?))
    }

    /// The table of class embeddings of a block, with the null class in its last row.
    fn class_table(&self, block: usize) -> Key {
        let key = format!("transformer_blocks.{block}.norm1.emb.class_embedder.embedding_table.weight");
        (key, vec![self.config.num_embeds_ada_norm + 1, self.config.inner_dim()])
    }

    /// The keys of the graph and those of the tables that are read on the host.
    fn with_tables(&self, mut keys: Vec<Key>) -> Vec<Key> {
        keys.extend((0..self.config.num_layers).map(|block| self.class_table(block)));
        keys
    }

    /// The graph for a checked size.
    fn build(&self, size: CallSize) -> Builder {
        let config = &self.config;
        let CallSize { batch, height, width, .. } = size;
        let mut b = Builder::new(Self::CLASS);
        let x = b.input(names::X, Shape::new(batch, height, width, config.in_channels));
        let patch = Window { side: config.patch_size, stride: config.patch_size, pad_before: 0, pad_after: 0 };
        let tokens = b.conv("pos_embed.proj", x, config.inner_dim(), patch);
        let positions = b.input(names::POSITIONS, b.graph.shape(tokens));
        let mut hidden = b.add("pos_embed", tokens, positions, 1.0);

        let timestep = b.input(names::TIMESTEP, Shape::vector(batch, 3));
        let projected = positional_embedding(&mut b, "time_proj", timestep, TIME_CHANNELS, FREQ_SHIFT, true);
        let mut conditioning = None;
        for block in 0..config.num_layers {
            let embedding = self.conditioning(&mut b, block, projected);
            hidden = self.block(&mut b, block, hidden, embedding);
            // The last layers read the embedding of the first block.
            conditioning.get_or_insert(embedding);
        }
        let dim = config.inner_dim();
        if let Some(conditioning) = conditioning {
            let modulation = b.linear("proj_out_1", conditioning, 2 * dim);
            let normal = b.layer_norm_plain("norm_out", hidden, NORM_EPS);
            hidden = b.modulate("norm_out.modulated", normal, (modulation, dim), (modulation, 0));
        }
        let pixels = config.patch_size * config.patch_size;
        let hidden = b.linear("proj_out_2", hidden, pixels * config.out_channels);
        let sample = b.unpatchify("unpatchify", hidden, config.patch_size);
        b.graph.outputs.push((names::SAMPLE.to_owned(), sample));
        b
    }

    /// `CombinedTimestepLabelEmbeddings` of a block, after its `SiLU`.
    fn conditioning(&self, b: &mut Builder, block: usize, projected: Value) -> Value {
        let path = format!("transformer_blocks.{block}.norm1.emb");
        let dim = self.config.inner_dim();
        let time = timestep_mlp(b, &format!("{path}.timestep_embedder"), projected, dim, Activation::Silu);
        let images = b.graph.shape(time).n;
        let class = b.input(&class_rows(block), Shape::vector(images, dim));
        let sum = b.add(&format!("{path}.sum"), time, class, 1.0);
        b.activation(&format!("{path}.silu"), sum, Activation::Silu)
    }

    /// `BasicTransformerBlock` with `ada_norm_zero`.
    fn block(&self, b: &mut Builder, block: usize, x: Value, conditioning: Value) -> Value {
        let config = &self.config;
        let label = |part: &str| format!("transformer_blocks.{block}.{part}");
        let dim = config.inner_dim();
        // Shift, scale and gate of the attention, then those of the feed-forward network.
        let modulation = b.linear(&label("norm1.linear"), conditioning, 6 * dim);
        let part = |index: usize| (modulation, index * dim);

        let normal = b.layer_norm_plain(&label("norm1.norm"), x, NORM_EPS);
        let normal = b.modulate(&label("norm1.modulated"), normal, part(1), part(0));
        let attended = self.attention(b, &label("attn1"), normal);
        let x = b.gated_sum(&label("attn1.sum"), attended, part(2), x);

        let normal = if config.norm_elementwise_affine {
            b.layer_norm(&label("norm3"), x, config.norm_eps)
        } else {
            b.layer_norm_plain(&label("norm3"), x, config.norm_eps)
        };
        let normal = b.modulate(&label("norm3.modulated"), normal, part(4), part(3));
        let fed = self.feed_forward(b, &label("ff"), normal);
        b.gated_sum(&label("ff.sum"), fed, part(5), x)
    }

    /// Self-attention over all tokens.
    fn attention(&self, b: &mut Builder, path: &str, x: Value) -> Value {
        let (count, dim) = (self.config.num_attention_heads, self.config.attention_head_dim);
        let heads = Heads { count, dim, side: HeadSide::Out };
        let projections = ["to_q", "to_k", "to_v"].map(|part| format!("{path}.{part}")).to_vec();
        let (label, stacked) = (format!("{path}.to_qkv"), Heads { count: 3 * count, ..heads });
        let qkv = if self.config.attention_bias {
            b.linear_to_heads(&label, projections, x, stacked)
        } else {
            b.linear_to_heads_plain(&label, projections, x, stacked)
        };
        let attended = b.self_attention(&format!("{path}.attention"), qkv, heads);
        b.linear_from_heads(&format!("{path}.to_out.0"), attended, heads, count * dim)
    }

    fn feed_forward(&self, b: &mut Builder, path: &str, x: Value) -> Value {
        let dim = self.config.inner_dim();
        let inner = FEED_FORWARD_MULTIPLE * dim;
        let projection = format!("{path}.net.0.proj");
        let hidden = match self.config.activation_fn {
            FeedForward::Plain(activation) => {
                let hidden = b.linear(&projection, x, inner);
                b.activation(&format!("{path}.net.0"), hidden, activation)
            }
            FeedForward::Gated(activation) => {
                // The two halves lie as two heads do, so that each begins on a texel.
                let halves = Heads { count: 2, dim: inner, side: HeadSide::Out };
                let hidden = b.linear_to_heads(&projection, vec![projection.clone()], x, halves);
                b.gate(&format!("{path}.net.0.gate"), hidden, inner, activation)
            }
        };
        b.linear(&format!("{path}.net.2"), hidden, dim)
    }
}

impl Architecture for DitTransformer2d {
    fn class_name(&self) -> &'static str {
        Self::CLASS
    }

    fn in_channels(&self) -> usize {
        self.config.in_channels
    }

    fn out_channels(&self) -> usize {
        self.config.out_channels
    }

    fn learns_variance(&self) -> bool {
        self.config.out_channels == 2 * self.config.in_channels
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        Some((self.config.sample_size, self.config.sample_size))
    }

    fn size_multiple(&self) -> usize {
        self.config.patch_size
    }

    fn labels(&self) -> LabelInput {
        let classes = self.config.num_embeds_ada_norm;
        LabelInput::Numbers { classes: Some(classes), null: Some(classes) }
    }

    fn keys(&self) -> Vec<Key> {
        let side = self.size_multiple();
        self.with_tables(self.build(CallSize::images(1, (side, side))).keys)
    }

    fn graph_and_keys(&self, size: CallSize) -> Result<(Graph, Vec<Key>)> {
        self.check(size)?;
        let Builder { graph, keys, .. } = self.build(size);
        Ok((graph, self.with_tables(keys)))
    }

    fn feeds(&self, inputs: &Inputs, weights: &WeightAccess) -> Result<Feeds> {
        let Inputs { x, timesteps, context, labels, .. } = *inputs;
        let batch = check_images(x, timesteps, self.config.in_channels)?;
        expect_no_context(context)?;
        self.labels().check(labels, batch)?;
        check_range("timestep", timesteps)?;
        let patch = self.config.patch_size;
        let mut feeds = vec![
            (names::X.to_owned(), x.clone()),
            (names::POSITIONS.to_owned(), self.positions(batch, (x.shape[2] / patch, x.shape[3] / patch))),
            (names::TIMESTEP.to_owned(), parts(timesteps)),
        ];
        if let Some(ClassLabels::Numbers(numbers)) = labels {
            for block in 0..self.config.num_layers {
                let (key, shape) = self.class_table(block);
                let rows = gather("class label", numbers, &weights(&key, &shape)?)?;
                feeds.push((class_rows(block), vectors(batch, rows)));
            }
        }
        Ok(feeds)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let Config { num_layers, num_attention_heads, attention_head_dim, patch_size, .. } = self.config;
        vec![
            ("blocks", format!("{num_layers} of {num_attention_heads} heads of {attention_head_dim} channels")),
            ("patches", format!("{patch_size} x {patch_size}")),
            ("classes", format!("{}, and the null class", self.config.num_embeds_ada_norm)),
        ]
    }
}

impl DitTransformer2d {
    /// The position embedding of `batch` images of rows x columns patches, (batch, `inner_dim`, rows, columns).
    fn positions(&self, batch: usize, (rows, columns): (usize, usize)) -> Tensor {
        let one = positions::embedding(self.config.inner_dim(), (rows, columns), self.config.base_size());
        Tensor::new([batch, self.config.inner_dim(), rows, columns], one.repeat(batch))
    }
}

/// The input of a block's class vectors.
fn class_rows(block: usize) -> String {
    format!("{}.{block}", names::CLASS_ROWS)
}
