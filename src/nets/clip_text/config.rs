//! The configuration of transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`
//! (`models/clip/configuration_clip.py`, 5.23), with its defaults.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::graph::op::Activation;
use crate::nets::fields::Fields;

/// Bounds that no real network comes near; they keep every size derived from a file within range.
const MOST_CHANNELS: usize = 1 << 16;
const MOST_LAYERS: usize = 256;
const MOST_TOKENS: usize = 1 << 12;
const MOST_ROWS: usize = 1 << 24;

/// The networks that are built here, as `architectures` names them.
pub(super) const CLASS: &str = "CLIPTextModel";
pub(super) const PROJECTING_CLASS: &str = "CLIPTextModelWithProjection";

/// The end of a text in the files of early releases of transformers, which did not read it: they took the token with
/// the largest id.
const OLD_END: i64 = 2;

/// Fields that transformers writes for every network, and those for training, generation or other heads: without effect
/// on the embeddings.
pub(in crate::nets) const IRRELEVANT: [&str; 42] = [
    "add_cross_attention",
    "attention_dropout",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beams",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "problem_type",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "temperature",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "transformers_version",
];

/// The token of a text whose state stands for the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PooledToken {
    /// The first with the largest id.
    Largest,
    /// The first with this id, or the first token of a text that does not have it.
    End(u32),
}

impl PooledToken {
    /// Its place among the tokens of a text.
    #[must_use]
    pub fn place(self, ids: &[u32]) -> usize {
        let end = match self {
            Self::Largest => ids.iter().copied().max().unwrap_or(0),
            Self::End(end) => end,
        };
        ids.iter().position(|id| *id == end).unwrap_or(0)
    }
}

/// Every field of a `CLIPTextModel` that matters at inference.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Rows of the token table.
    pub vocab_size: usize,
    /// Channels of a token.
    pub hidden_size: usize,
    /// Channels between the two linear layers of a block.
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    /// A divisor of `hidden_size`.
    pub num_attention_heads: usize,
    /// Tokens of a text.
    pub max_position_embeddings: usize,
    /// The nonlinearity between the two linear layers of a block.
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
    /// Channels that the state of a whole text is projected to; `None` for a network without that projection.
    pub projection_dim: Option<usize>,
    /// The token whose state stands for the whole text.
    pub pooled_token: PooledToken,
}

impl Config {
    /// Reads the fields of a `config.json`; `file` is the name that messages carry. A field that is absent has the
    /// default of the class.
    ///
    /// # Errors
    /// [`crate::error::Error::UnsupportedField`] for another class, a field that is not known, or a value that is not
    /// supported; [`crate::error::Error::BadFile`] for a value that makes no sense.
    pub fn from_map(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        let classes: Option<Vec<String>> = fields.get("architectures", None)?;
        let known = [CLASS, PROJECTING_CLASS];
        if let Some(class) = classes.iter().flatten().find(|class| !known.contains(&class.as_str())) {
            return Err(fields.unsupported("architectures", &format!("\"{class}\""), known.join(", ")));
        }
        let projects = classes.iter().flatten().any(|class| class == PROJECTING_CLASS);
        if let Some(class) = map.get("_class_name") {
            return Err(fields.unsupported("_class_name", &class.to_string(), format!("transformers' {CLASS}")));
        }
        // The pipelines of diffusers read it; none published sets it.
        if fields.get("use_attention_mask", None::<bool>)? == Some(true) {
            return Err(fields.unsupported("use_attention_mask", "true", "false"));
        }
        if fields.get("pruned_heads", None::<Map<String, Value>>)?.is_some_and(|heads| !heads.is_empty()) {
            return Err(fields.unsupported("pruned_heads", "not empty", "no pruned heads"));
        }
        let config = Self {
            vocab_size: fields.count("vocab_size", 49408, MOST_ROWS)?,
            hidden_size: fields.count("hidden_size", 512, MOST_CHANNELS)?,
            intermediate_size: fields.count("intermediate_size", 2048, MOST_CHANNELS)?,
            num_hidden_layers: fields.count("num_hidden_layers", 12, MOST_LAYERS)?,
            num_attention_heads: fields.count("num_attention_heads", 8, MOST_CHANNELS)?,
            max_position_embeddings: fields.count("max_position_embeddings", 77, MOST_TOKENS)?,
            hidden_act: fields.choice("hidden_act", "quick_gelu", &ACTIVATIONS)?,
            layer_norm_eps: fields.get("layer_norm_eps", 1e-5)?,
            projection_dim: Some(fields.count("projection_dim", 512, MOST_CHANNELS)?).filter(|_| projects),
            pooled_token: pooled_token(&mut fields)?,
        };
        for field in IRRELEVANT {
            fields.get(field, Value::Null)?;
        }
        fields.finish()?;
        let Self { hidden_size, num_attention_heads: heads, layer_norm_eps: eps, .. } = config;
        if !hidden_size.is_multiple_of(heads) {
            return Err(
                fields.bad(format!("`hidden_size` is {hidden_size}, not a multiple of the {heads} attention heads"))
            );
        }
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(fields.bad(format!("`layer_norm_eps` is {eps}, a number above 0 is needed")));
        }
        Ok(config)
    }
}

/// `eos_token_id`; null stands for a text without an end, which transformers pools at its first token.
fn pooled_token(fields: &mut Fields) -> Result<PooledToken> {
    match fields.get("eos_token_id", Some(49407i64))? {
        Some(OLD_END) => Ok(PooledToken::Largest),
        id => Ok(PooledToken::End(id.and_then(|id| u32::try_from(id).ok()).unwrap_or(u32::MAX))),
    }
}

pub(in crate::nets) const ACTIVATIONS: [(&str, Activation); 6] = [
    ("quick_gelu", Activation::QuickGelu),
    ("gelu", Activation::Gelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("mish", Activation::Mish),
];
