//! The network of images of transformers' `CLIPModel` (`models/clip/modeling_clip.py`) as a graph: a vision transformer
//! (Radford et al. 2021).
//!
//! An image is cut into patches on the host ([`ClipVision::patches`]), so that the first layer is a matrix product over
//! tokens, of which the first stands for the whole image.

mod config;
#[cfg(test)]
mod tests;

pub use config::{Config, read};

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::op::Graph;
use crate::nets::blocks::clip_layer::ClipLayer;
use crate::nets::builder::{Builder, Key};
use crate::nets::clip_text::ClipText;
use crate::tensor::{Shape, Tensor};

/// The names of the graph's inputs and of its output.
pub mod names {
    /// The pixels of each patch, (n, 1, tokens, 3 `patch_size`^2): zeros for the first token.
    pub const PATCHES: &str = "patches";
    /// A vector added to each token, (n, 1, tokens, `hidden_size`): that of its position, and to the first the class
    /// embedding.
    pub const POSITIONS: &str = "positions";
    /// The projection of each token, (n, 1, tokens, `projection_dim`); that of the first is the image's.
    pub const PROJECTED: &str = "projected";
}

/// The keys of its tensors begin with this, but for the projection.
const PREFIX: &str = "vision_model";
const PATCH_EMBEDDING: &str = "vision_model.embeddings.patch_embedding";
const CLASS_EMBEDDING: &str = "vision_model.embeddings.class_embedding";
const POSITION_EMBEDDING: &str = "vision_model.embeddings.position_embedding.weight";

/// The network of images of a `CLIPModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipVision {
    config: Config,
}

impl ClipVision {
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

    /// The graph for `batch` images.
    #[must_use]
    pub fn graph(&self, batch: usize) -> Graph {
        self.build(batch).graph
    }

    /// Values of a patch.
    fn patch(&self) -> usize {
        3 * self.config.patch_size * self.config.patch_size
    }

    fn build(&self, batch: usize) -> Builder {
        let config = &self.config;
        let mut b = Builder::new("CLIPVisionModel");
        let tokens = config.tokens();
        let patches = b.input(names::PATCHES, Shape::new(batch, 1, tokens, self.patch()));
        let positions = b.input(names::POSITIONS, Shape::new(batch, 1, tokens, config.hidden_size));
        let embedded = b.linear_plain(PATCH_EMBEDDING, patches, config.hidden_size);
        let embedded = b.add("embeddings", embedded, positions, 1.0);
        // The spelling is transformers'.
        let mut x = b.layer_norm(&format!("{PREFIX}.pre_layrnorm"), embedded, config.layer_norm_eps);
        let layer = ClipLayer {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps,
            activation: config.hidden_act,
            causal: false,
        };
        for at in 0..config.num_hidden_layers {
            x = layer.add(&mut b, &format!("{PREFIX}.encoder.layers.{at}"), x);
        }
        let x = b.layer_norm(&format!("{PREFIX}.post_layernorm"), x, config.layer_norm_eps);
        let projected = b.linear_plain("visual_projection", x, config.projection_dim);
        b.graph.outputs.push((names::PROJECTED.to_owned(), projected));
        b
    }

    /// Every tensor of the network in a checkpoint, with its shape there.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let Config { hidden_size, patch_size, .. } = self.config;
        let mut keys = vec![
            (CLASS_EMBEDDING.to_owned(), vec![hidden_size]),
            (POSITION_EMBEDDING.to_owned(), vec![self.config.tokens(), hidden_size]),
        ];
        keys.extend(self.build(1).keys);
        let patch_embedding = format!("{PATCH_EMBEDDING}.weight");
        for (key, shape) in &mut keys {
            if *key == patch_embedding {
                *shape = vec![hidden_size, 3, patch_size, patch_size];
            }
        }
        keys
    }

    /// A tensor for the graph: as the checkpoint holds it, but for the first layer, which is a convolution there.
    ///
    /// # Errors
    /// Those of [`Weights::fetch`].
    pub fn fetch(&self, weights: &Weights, key: &str, shape: &[usize]) -> Result<Tensor> {
        if key.strip_suffix(".weight") != Some(PATCH_EMBEDDING) {
            return weights.fetch(key, shape);
        }
        let Config { hidden_size, patch_size, .. } = self.config;
        let kernel = weights.fetch(key, &[hidden_size, 3, patch_size, patch_size])?;
        Ok(Tensor::new(shape, kernel.data))
    }

    /// [`names::POSITIONS`] for `batch` images, channels first.
    ///
    /// # Errors
    /// Those of [`Weights::fetch`].
    pub fn positions(&self, weights: &Weights, batch: usize) -> Result<Tensor> {
        let (tokens, channels) = (self.config.tokens(), self.config.hidden_size);
        let table = weights.fetch(POSITION_EMBEDDING, &[tokens, channels])?;
        let class = weights.fetch(CLASS_EMBEDDING, &[channels])?;
        let value = |channel: usize, token: usize| {
            let first = if token == 0 { class.data[channel] } else { 0.0 };
            table.data[token * channels + channel] + first
        };
        let one = (0..channels).flat_map(|channel| (0..tokens).map(move |token| (channel, token)));
        let one: Vec<f32> = one.map(|(channel, token)| value(channel, token)).collect();
        Ok(Tensor::new([batch, channels, 1, tokens], one.repeat(batch)))
    }

    /// [`names::PATCHES`] of images (n, 3, `image_size`, `image_size`), channels first: a patch has its pixels in the
    /// order of the kernel that reads them.
    ///
    /// # Panics
    /// If the images have another shape.
    #[must_use]
    pub fn patches(&self, images: &Tensor) -> Tensor {
        let (side, patch) = (self.config.image_size, self.config.patch_size);
        let (across, tokens) = (self.config.patches(), self.config.tokens());
        assert_eq!(images.shape[1..], [3, side, side], "images of the network's size");
        let count = images.shape[0];
        let mut patches = Tensor::zeros([count, self.patch(), 1, tokens]);
        for (image, into) in
            images.data.chunks_exact(3 * side * side).zip(patches.data.chunks_mut(self.patch() * tokens))
        {
            for (value, row) in into.chunks_exact_mut(tokens).enumerate() {
                let (channel, y, x) = (value / (patch * patch), value / patch % patch, value % patch);
                for (at, to) in row[1..].iter_mut().enumerate() {
                    let (top, left) = (at / across * patch, at % across * patch);
                    *to = image[(channel * side + top + y) * side + left + x];
                }
            }
        }
        patches
    }
}

/// The networks of a `CLIPModel`, checked against its weights.
///
/// # Errors
/// Those of [`read`] and of [`Weights::check_complete`], as for one network.
pub fn open(config: &crate::checkpoint::ConfigFile, weights: &Weights) -> Result<(ClipText, ClipVision)> {
    let (text, vision) = read(&config.values, &config.path)?;
    let (text, vision) = (ClipText::new(text), ClipVision::new(vision));
    let mut keys = text.keys();
    keys.extend(vision.keys());
    weights.check(&keys)?;
    Ok((text, vision))
}
