//! CLIP's text encoders inside single files: in the layout of transformers, and in that of OpenCLIP
//! (`mlfoundations/open_clip`, `src/open_clip/transformer.py`).

use serde_json::{Map, Value, json};

use super::Names;
use crate::checkpoint::keys::TOKEN_TABLE;
use crate::checkpoint::take::Take;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};

/// Channels of an attention head of every published text encoder.
const HEAD_CHANNELS: usize = 64;

/// A text encoder in a file: the prefix of its names, and its layout.
#[derive(Clone, Debug)]
pub(super) struct TextEncoder<'a> {
    weights: &'a Weights,
    prefix: &'static str,
    /// The layout of names.
    pub form: Form,
}

/// The layout of the names of a text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// That of transformers, with or without `text_model.` at the beginning.
    Transformers,
    /// That of OpenCLIP.
    OpenClip,
}

/// The prefix that transformers has before version 5.6.
const WRAPPER: &str = "text_model.";

impl<'a> TextEncoder<'a> {
    /// The text encoder whose names begin with one of `prefixes`: for transformers, and for OpenCLIP.
    pub fn find(weights: &'a Weights, transformers: &'static str, open_clip: &'static str) -> Option<Self> {
        let is_there = |name: String| weights.shape(&name).is_some();
        let found = |form, prefix| Self { weights, prefix, form };
        if is_there(format!("{transformers}{WRAPPER}{TOKEN_TABLE}")) || is_there(format!("{transformers}{TOKEN_TABLE}"))
        {
            return Some(found(Form::Transformers, transformers));
        }
        is_there(format!("{open_clip}token_embedding.weight")).then(|| found(Form::OpenClip, open_clip))
    }

    /// The fields of transformers' configuration, and the table of names. Of more than `most` layers the last ones are
    /// left out. With `projection` the encoder's projection to the space of images is part of it.
    ///
    /// # Errors
    /// [`Error::BadFile`] for an encoder without a table of tokens or without layers.
    pub fn part(&self, most: usize, projection: bool) -> Result<(Map<String, Value>, Names)> {
        let mut names = Names::default();
        let mut layers = 0;
        for stored in self.weights.names() {
            let Some(name) = stored.strip_prefix(self.prefix) else { continue };
            let parts: Vec<&str> = match self.form {
                Form::Transformers => name.strip_prefix(WRAPPER).unwrap_or(name).split('.').collect(),
                Form::OpenClip => name.split('.').collect(),
            };
            let layer = match parts[..] {
                ["encoder", "layers", layer, ..] | ["transformer", "resblocks", layer, ..] => layer.parse().ok(),
                _ => None,
            };
            if layer.is_some_and(|layer: usize| layer >= most) {
                continue;
            }
            layers = layers.max(layer.map_or(0, |layer| layer.saturating_add(1)));
            match self.form {
                Form::Transformers => of_transformers(&mut names, &parts, stored, projection),
                Form::OpenClip => of_open_clip(&mut names, &parts, stored, projection),
            }
        }
        Ok((self.config(&names, layers, projection)?, names))
    }

    fn config(&self, names: &Names, layers: usize, projection: bool) -> Result<Map<String, Value>> {
        let shape = |key: &str| {
            let named = names.iter().find(|named| named.key == key)?;
            let shape = self.weights.shape(&named.stored)?;
            Some((*shape.first()?, *shape.get(1)?))
        };
        let needed = |key: &str| {
            shape(key).ok_or_else(|| {
                let what = format!("the text encoder `{}` has no matrix `{key}`", self.prefix);
                Error::bad_file_hint(self.weights.path(), what, "the file is incomplete; download or save it again")
            })
        };
        let ((vocabulary, hidden), (positions, _)) =
            (needed(TOKEN_TABLE)?, needed("embeddings.position_embedding.weight")?);
        let (intermediate, _) = needed("encoder.layers.0.mlp.fc1.weight")?;
        let class = if projection { "CLIPTextModelWithProjection" } else { "CLIPTextModel" };
        let config = json!({
            "architectures": [class],
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "max_position_embeddings": positions,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": (hidden / HEAD_CHANNELS).max(1),
            // As the published configurations have it: a text ends at the token with the largest id.
            "eos_token_id": 2,
            // OpenAI trained with an approximation of GELU, OpenCLIP with GELU itself.
            "hidden_act": match self.form {
                Form::Transformers => "quick_gelu",
                Form::OpenClip => "gelu",
            },
        });
        let Value::Object(mut config) = config else { unreachable!("an object") };
        if projection {
            let (rows, columns) = needed("text_projection.weight")?;
            // OpenCLIP stores the matrix the other way round.
            let channels = if self.form == Form::OpenClip { columns } else { rows };
            config.insert("projection_dim".to_owned(), channels.into());
        }
        Ok(config)
    }
}

fn of_transformers(names: &mut Names, parts: &[&str], stored: &str, projection: bool) {
    match parts {
        ["embeddings", "token_embedding" | "position_embedding", "weight"]
        | ["encoder", "layers", ..]
        | ["final_layer_norm", _] => names.add(parts.join("."), stored),
        ["text_projection", "weight"] if projection => names.add("text_projection.weight", stored),
        _ => {}
    }
}

fn of_open_clip(names: &mut Names, parts: &[&str], stored: &str, projection: bool) {
    match parts {
        ["positional_embedding"] => names.add("embeddings.position_embedding.weight", stored),
        ["token_embedding", "weight"] => names.add(TOKEN_TABLE, stored),
        ["ln_final", leaf] => names.add(format!("final_layer_norm.{leaf}"), stored),
        // Texts are rows that it is multiplied by, and a layer of transformers holds the transpose.
        ["text_projection"] if projection => names.take("text_projection.weight", stored, Take::Transposed),
        ["transformer", "resblocks", layer, rest @ ..] => {
            let layer = format!("encoder.layers.{layer}");
            match rest {
                ["ln_1", leaf] => names.add(format!("{layer}.layer_norm1.{leaf}"), stored),
                ["ln_2", leaf] => names.add(format!("{layer}.layer_norm2.{leaf}"), stored),
                ["mlp", "c_fc", leaf] => names.add(format!("{layer}.mlp.fc1.{leaf}"), stored),
                ["mlp", "c_proj", leaf] => names.add(format!("{layer}.mlp.fc2.{leaf}"), stored),
                ["attn", "out_proj", leaf] => names.add(format!("{layer}.self_attn.out_proj.{leaf}"), stored),
                ["attn", leaf @ ("in_proj_weight" | "in_proj_bias")] => {
                    let leaf = leaf.trim_start_matches("in_proj_");
                    names.split_qkv(
                        ["q", "k", "v"].map(|one| format!("{layer}.self_attn.{one}_proj.{leaf}")),
                        stored,
                        1,
                    );
                }
                _ => {}
            }
        }
        _ => {}
    }
}
