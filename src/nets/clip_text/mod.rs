//! transformers' `CLIPTextModel` and `CLIPTextModelWithProjection` (`models/clip/modeling_clip.py`) as a graph: the
//! text encoders of Stable Diffusion.
//!
//! Tokens and their positions become rows on the host ([`ClipText::token_table`], [`ClipText::position_table`]): a
//! table of 49,408 tokens is larger than what many devices bind at once, and a text reads 77 rows of it.

mod config;
#[cfg(test)]
mod tests;

pub(in crate::nets) use config::{ACTIVATIONS, IRRELEVANT};
pub use config::{Config, PooledToken};

use crate::checkpoint::{ConfigFile, Weights};
use crate::error::Result;
use crate::graph::op::{Graph, Value};
use crate::nets::blocks::clip_layer::ClipLayer;
use crate::nets::builder::{Builder, Key, parameters};
use crate::tensor::Shape;

/// Names of the graph's input and of its outputs.
pub mod names {
    /// A row of the token table plus one of the position table for each token, (n, 1, tokens, `hidden_size`).
    pub const EMBEDDINGS: &str = "embeddings";
    /// The states of the tokens, of the same shape: by default those after the last block and the final normalisation
    /// (`last_hidden_state`).
    pub const HIDDEN: &str = "hidden";
    /// The projections of the states after the last block and the final normalisation, (n, 1, tokens,
    /// `projection_dim`), one per token (`text_embeds` is that of the end of the text).
    pub const PROJECTED: &str = "projected";
}

/// The states of a text encoder that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readout {
    /// Blocks at the end that the states of the tokens do not go through.
    pub skip: usize,
    /// `true` if the final normalisation is applied to them.
    pub normalised: bool,
    /// `true` if the projection of the state of the whole text is read, too.
    pub pooled: bool,
}

impl Default for Readout {
    /// The states after the last block, normalised: what Stable Diffusion 1 and 2 read.
    fn default() -> Self {
        Self { skip: 0, normalised: true, pooled: false }
    }
}

/// The text encoder that a configuration describes, checked against the weights.
///
/// # Errors
/// Those of [`Config::from_map`]; then [`Error::MissingKey`](crate::Error::MissingKey),
/// [`Error::WrongShape`](crate::Error::WrongShape) or [`Error::UnexpectedKey`](crate::Error::UnexpectedKey) of the
/// weights.
pub fn open(config: &ConfigFile, weights: &Weights) -> Result<ClipText> {
    let net = ClipText::new(Config::from_map(&config.values, &config.path)?);
    weights.check(&net.keys())?;
    Ok(net)
}

/// A `CLIPTextModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipText {
    config: Config,
}

impl ClipText {
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

    /// Its class in transformers.
    #[must_use]
    pub fn class_name(&self) -> &'static str {
        if self.config.projection_dim.is_some() { config::PROJECTING_CLASS } else { config::CLASS }
    }

    /// The graph for `batch` texts of `max_position_embeddings` tokens; input and output are named in [`names`]. A
    /// token attends only to those before it, so texts may be shorter: what follows them changes nothing.
    #[must_use]
    pub fn graph(&self, batch: usize) -> Graph {
        self.graph_of(batch, Readout::default())
    }

    /// As [`ClipText::graph`], for other states. Blocks that they do not depend on are not in the graph; a network
    /// without a projection has no second output.
    #[must_use]
    pub fn graph_of(&self, batch: usize, readout: Readout) -> Graph {
        self.build(batch, readout).graph
    }

    /// Every tensor a checkpoint of this network holds, with its shape there; the prefix `text_model.` of older
    /// checkpoints is left out.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let mut keys = vec![self.token_table(), self.position_table()];
        keys.extend(self.build(1, Readout { pooled: true, ..Readout::default() }).keys);
        keys
    }

    /// The number of parameters in a checkpoint of this network.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        parameters(&self.keys())
    }

    /// The table of tokens: key and (rows, channels).
    #[must_use]
    pub fn token_table(&self) -> Key {
        ("embeddings.token_embedding.weight".to_owned(), vec![self.config.vocab_size, self.config.hidden_size])
    }

    /// The table of positions: key and (rows, channels).
    #[must_use]
    pub fn position_table(&self) -> Key {
        let shape = vec![self.config.max_position_embeddings, self.config.hidden_size];
        ("embeddings.position_embedding.weight".to_owned(), shape)
    }

    fn build(&self, batch: usize, readout: Readout) -> Builder {
        let config = &self.config;
        let mut b = Builder::new("CLIPTextModel");
        let shape = Shape::new(batch, 1, config.max_position_embeddings, config.hidden_size);
        let projection = config.projection_dim.filter(|_| readout.pooled);
        let layers = config.num_hidden_layers;
        let read = layers.saturating_sub(readout.skip);
        let mut hidden = b.input(names::EMBEDDINGS, shape);
        let mut states = hidden;
        for layer in 0..if projection.is_some() { layers } else { read } {
            hidden = self.layer(&mut b, &format!("encoder.layers.{layer}"), hidden);
            states = if layer < read { hidden } else { states };
        }
        let is_whole = read == layers;
        let last = (projection.is_some() || is_whole && readout.normalised)
            .then(|| b.layer_norm("final_layer_norm", hidden, config.layer_norm_eps));
        let states = match last {
            Some(last) if is_whole && readout.normalised => last,
            Some(_) | None if readout.normalised => b.layer_norm("final_layer_norm", states, config.layer_norm_eps),
            Some(_) | None => states,
        };
        b.graph.outputs.push((names::HIDDEN.to_owned(), states));
        if let (Some(last), Some(channels)) = (last, projection) {
            let projected = b.linear_plain("text_projection", last, channels);
            b.graph.outputs.push((names::PROJECTED.to_owned(), projected));
        }
        b
    }

    fn layer(&self, b: &mut Builder, path: &str, x: Value) -> Value {
        let Config { hidden_size, intermediate_size, num_attention_heads, layer_norm_eps, .. } = self.config;
        let layer = ClipLayer {
            hidden_size,
            intermediate_size,
            heads: num_attention_heads,
            eps: layer_norm_eps,
            activation: self.config.hidden_act,
            causal: true,
        };
        layer.add(b, path, x)
    }
}
