//! The configuration of transformers' `CLIPModel` (`models/clip/configuration_clip.py`, 5.23): both its networks.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::graph::op::Activation;
use crate::nets::clip_text;
use crate::nets::clip_text::{ACTIVATIONS, IRRELEVANT};
use crate::nets::fields::Fields;

/// Bounds that no real network comes near; they keep every size derived from a file within range.
const MOST_CHANNELS: usize = 1 << 16;
const MOST_LAYERS: usize = 256;
const MOST_SIDE: usize = 1 << 12;

/// The class, as `architectures` names it.
const CLASS: &str = "CLIPModel";

/// Every field of the network of images that matters at inference.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of a token.
    pub hidden_size: usize,
    /// Channels between the two linear layers of a block.
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    /// A divisor of `hidden_size`.
    pub num_attention_heads: usize,
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// Height and width of a patch, of which each becomes a token.
    pub patch_size: usize,
    /// The nonlinearity between the two linear layers of a block.
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
    /// Channels that the state of a whole image is projected to.
    pub projection_dim: usize,
}

impl Config {
    /// Patches along a side.
    #[must_use]
    pub fn patches(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Tokens of an image: one for the whole, then one per patch.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.patches() * self.patches() + 1
    }

    /// Reads `vision_config` of a `CLIPModel`; `projection_dim` is that of the whole.
    fn from_map(map: &Map<String, Value>, file: &Path, projection_dim: usize) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        fields.choice("model_type", "clip_vision_model", &[("clip_vision_model", ())])?;
        if fields.get("num_channels", 3)? != 3 {
            return Err(fields.unsupported("num_channels", "other than 3", "3"));
        }
        let config = Self {
            hidden_size: fields.count("hidden_size", 768, MOST_CHANNELS)?,
            intermediate_size: fields.count("intermediate_size", 3072, MOST_CHANNELS)?,
            num_hidden_layers: fields.count("num_hidden_layers", 12, MOST_LAYERS)?,
            num_attention_heads: fields.count("num_attention_heads", 12, MOST_CHANNELS)?,
            image_size: fields.count("image_size", 224, MOST_SIDE)?,
            patch_size: fields.count("patch_size", 32, MOST_SIDE)?,
            hidden_act: fields.choice("hidden_act", "quick_gelu", &ACTIVATIONS)?,
            layer_norm_eps: fields.get("layer_norm_eps", 1e-5)?,
            projection_dim,
        };
        for field in ["architectures", "eos_token_id", "projection_dim", "pruned_heads"].into_iter().chain(IRRELEVANT) {
            fields.get(field, Value::Null)?;
        }
        fields.finish()?;
        let Self { hidden_size, num_attention_heads: heads, image_size, patch_size, layer_norm_eps: eps, .. } = config;
        if !hidden_size.is_multiple_of(heads) {
            let what = format!("`hidden_size` is {hidden_size}, not a multiple of the {heads} attention heads");
            return Err(fields.bad(what));
        }
        if patch_size > image_size {
            return Err(fields.bad(format!("`patch_size` {patch_size} is larger than `image_size` {image_size}")));
        }
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(fields.bad(format!("`layer_norm_eps` is {eps}, a number above 0 is needed")));
        }
        Ok(config)
    }
}

/// Reads the configurations of both networks of a `CLIPModel`: texts and images.
///
/// # Errors
/// [`crate::Error::UnsupportedField`] for another class, a field that is not known, or a value that is not supported;
/// [`crate::Error::BadFile`] for a value that makes no sense.
pub fn read(map: &Map<String, Value>, file: &Path) -> Result<(clip_text::Config, Config)> {
    let mut fields = Fields::new(map, file);
    let classes: Option<Vec<String>> = fields.get("architectures", None)?;
    if let Some(class) = classes.iter().flatten().find(|class| *class != CLASS) {
        return Err(fields.unsupported("architectures", &format!("\"{class}\""), CLASS));
    }
    if let Some(class) = map.get("_class_name") {
        return Err(fields.unsupported("_class_name", &class.to_string(), format!("transformers' {CLASS}")));
    }
    fields.choice("model_type", "clip", &[("clip", ())])?;
    let projection_dim = fields.count("projection_dim", 512, MOST_CHANNELS)?;
    let mut part = |field: &'static str, overriding: &'static str| -> Result<Map<String, Value>> {
        let mut map: Map<String, Value> = fields.get(field, None)?.unwrap_or_default();
        // Files of early releases say some fields twice, and these win.
        map.extend(fields.get(overriding, None::<Map<String, Value>>)?.unwrap_or_default());
        map.retain(|_, value| !value.is_null());
        Ok(map)
    };
    let mut text = part("text_config", "text_config_dict")?;
    let vision = part("vision_config", "vision_config_dict")?;
    fields.get("logit_scale_init_value", Value::Null)?;
    for field in IRRELEVANT {
        fields.get(field, Value::Null)?;
    }
    fields.finish()?;
    text.insert("architectures".to_owned(), json!(["CLIPTextModelWithProjection"]));
    text.insert("projection_dim".to_owned(), json!(projection_dim));
    Ok((clip_text::Config::from_map(&text, file)?, Config::from_map(&vision, file, projection_dim)?))
}
