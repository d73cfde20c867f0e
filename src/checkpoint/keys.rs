//! Names of tensors: from older and foreign spellings to those of today's diffusers.
//!
//! Three families are supported. Checkpoints saved by early diffusers call the projections of an attention layer
//! `query`, `key`, `value` and `proj_attn` (diffusers, `_convert_deprecated_attention_blocks`). Checkpoints of the DDIM
//! code base (ermongroup/ddim, luping-liu/PNDM) name everything differently and count the levels of the up path from
//! the highest resolution; they are recognised by `temb.dense.0.weight`. Text encoders saved by transformers before 5
//! begin every name with `text_model.`.

/// The tensor whose presence marks a checkpoint of the DDIM code base.
const DDIM_MARK: &str = "temb.dense.0.weight";

/// The tensor whose presence marks a text encoder with that prefix.
const TEXT_MARK: &str = "text_model.embeddings.token_embedding.weight";
const TEXT_PREFIX: &str = "text_model.";

/// The positions 0, 1, 2, ... of tokens, which transformers before 4.31 stored beside the weights of text encoders.
const POSITIONS: &str = "embeddings.position_ids";

/// Returns `true` if a tensor of this name holds nothing learned.
pub(super) fn is_buffer(name: &str) -> bool {
    name == POSITIONS
}

/// The table of tokens of a text encoder, by today's name.
pub(super) const TOKEN_TABLE: &str = "embeddings.token_embedding.weight";

/// Returns `true` for a tensor that is stored beside a text encoder in the weights of a whole CLIP, and that the
/// encoder does not use: its projection to the space of images, the scale of that space, and the encoder of images.
pub(super) fn is_beside_text(name: &str) -> bool {
    ["text_projection.weight", "visual_projection.weight", "logit_scale"].contains(&name)
        || name.starts_with("vision_model.")
}

/// The mapping from the names of one checkpoint to diffusers' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renaming {
    /// A diffusers checkpoint of any age.
    Diffusers,
    /// A checkpoint of the DDIM code base with this many levels on the up path.
    Ddim { up_levels: usize },
    /// A text encoder with the prefix.
    Text,
}

impl Renaming {
    /// Detects the mapping from all the names of a checkpoint.
    pub(super) fn detect<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Self {
        if names.clone().any(|name| name == TEXT_MARK) {
            return Self::Text;
        }
        if !names.clone().any(|name| name == DDIM_MARK) {
            return Self::Diffusers;
        }
        let up_levels = names.filter_map(up_level).map(|level| level.saturating_add(1)).max().unwrap_or(0);
        Self::Ddim { up_levels }
    }

    /// Returns diffusers' name of the tensor stored as `stored`. A name of no known family is unchanged.
    pub(super) fn name(self, stored: &str) -> String {
        let parts: Vec<&str> = stored.split('.').collect();
        let renamed = match self {
            Self::Diffusers => deprecated_attention(&parts),
            Self::Ddim { up_levels } => ddim(&parts, up_levels),
            Self::Text => stored.strip_prefix(TEXT_PREFIX).map(str::to_owned),
        };
        renamed.unwrap_or_else(|| stored.to_owned())
    }
}

/// Returns the level of `up.{level}....`
fn up_level(name: &str) -> Option<usize> {
    name.strip_prefix("up.")?.split('.').next()?.parse().ok()
}

/// Converts `....attentions.{i}.query.weight` and similar names.
fn deprecated_attention(parts: &[&str]) -> Option<String> {
    let (before, ["attentions", index, projection, leaf]) = parts.split_last_chunk()? else {
        return None;
    };
    let projection = match *projection {
        "query" => "to_q",
        "key" => "to_k",
        "value" => "to_v",
        "proj_attn" => "to_out.0",
        _ => return None,
    };
    let mut renamed = before.to_vec();
    renamed.extend(["attentions", index, projection, leaf]);
    Some(renamed.join("."))
}

/// Converts a name of the DDIM code base.
fn ddim(parts: &[&str], up_levels: usize) -> Option<String> {
    let renamed = match parts {
        ["temb", "dense", "0", leaf] => format!("time_embedding.linear_1.{leaf}"),
        ["temb", "dense", "1", leaf] => format!("time_embedding.linear_2.{leaf}"),
        ["norm_out", leaf] => format!("conv_norm_out.{leaf}"),
        ["mid", "block_1", layer @ ..] => format!("mid_block.resnets.0.{}", level_resnet(layer)),
        ["mid", "block_2", layer @ ..] => format!("mid_block.resnets.1.{}", level_resnet(layer)),
        ["mid", "attn_1", layer @ ..] => format!("mid_block.attentions.0.{}", level_attention(layer)),
        ["down", level, layer @ ..] => format!("down_blocks.{level}.{}", ddim_level(layer)?),
        ["up", level, layer @ ..] => {
            // Counted from the highest resolution there, and from the lowest in diffusers.
            let level = up_levels.checked_sub(1)?.checked_sub(level.parse().ok()?)?;
            format!("up_blocks.{level}.{}", ddim_level(layer)?)
        }
        _ => return None,
    };
    Some(renamed)
}

/// Converts the part after `down.{level}.` or `up.{level}.`
fn ddim_level(layer: &[&str]) -> Option<String> {
    match layer {
        ["block", index, rest @ ..] => Some(format!("resnets.{index}.{}", level_resnet(rest))),
        ["attn", index, rest @ ..] => Some(format!("attentions.{index}.{}", level_attention(rest))),
        ["downsample", "conv", leaf] => Some(format!("downsamplers.0.conv.{leaf}")),
        ["upsample", "conv", leaf] => Some(format!("upsamplers.0.conv.{leaf}")),
        _ => None,
    }
}

pub(super) fn level_resnet(layer: &[&str]) -> String {
    rename_first(layer, |name| match name {
        "temb_proj" => "time_emb_proj",
        "nin_shortcut" => "conv_shortcut",
        other => other,
    })
}

pub(super) fn level_attention(layer: &[&str]) -> String {
    rename_first(layer, |name| match name {
        "norm" => "group_norm",
        "q" => "to_q",
        "k" => "to_k",
        "v" => "to_v",
        "proj_out" => "to_out.0",
        other => other,
    })
}

fn rename_first<'a>(layer: &[&'a str], rename: impl Fn(&'a str) -> &'a str) -> String {
    let renamed: Vec<&str> =
        layer.iter().enumerate().map(|(index, part)| if index == 0 { rename(part) } else { part }).collect();
    renamed.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both spellings of every tensor of a network of the DDIM code base, transcribed from `models/diffusion.py`
    /// (theirs) and `unets/unet_2d.py` (diffusers'): `levels` levels of `blocks` residual blocks, attention on one.
    fn both_spellings(levels: usize, blocks: usize, attention_level: usize) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut add = |ddim: String, diffusers: String| {
            for leaf in ["weight", "bias"] {
                pairs.push((format!("{ddim}.{leaf}"), format!("{diffusers}.{leaf}")));
            }
        };
        let resnet = [
            ("norm1", "norm1"),
            ("conv1", "conv1"),
            ("temb_proj", "time_emb_proj"),
            ("norm2", "norm2"),
            ("conv2", "conv2"),
            ("nin_shortcut", "conv_shortcut"),
        ];
        let attention = [("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];
        add("temb.dense.0".into(), "time_embedding.linear_1".into());
        add("temb.dense.1".into(), "time_embedding.linear_2".into());
        add("conv_in".into(), "conv_in".into());
        add("norm_out".into(), "conv_norm_out".into());
        add("conv_out".into(), "conv_out".into());
        for (theirs, ours) in resnet {
            add(format!("mid.block_1.{theirs}"), format!("mid_block.resnets.0.{ours}"));
            add(format!("mid.block_2.{theirs}"), format!("mid_block.resnets.1.{ours}"));
        }
        for (theirs, ours) in attention {
            add(format!("mid.attn_1.{theirs}"), format!("mid_block.attentions.0.{ours}"));
        }
        for level in 0..levels {
            let mirrored = levels - 1 - level;
            for block in 0..=blocks {
                for (theirs, ours) in resnet {
                    if block < blocks {
                        add(
                            format!("down.{level}.block.{block}.{theirs}"),
                            format!("down_blocks.{level}.resnets.{block}.{ours}"),
                        );
                    }
                    add(
                        format!("up.{level}.block.{block}.{theirs}"),
                        format!("up_blocks.{mirrored}.resnets.{block}.{ours}"),
                    );
                }
                for (theirs, ours) in attention.into_iter().filter(|_| level == attention_level) {
                    if block < blocks {
                        add(
                            format!("down.{level}.attn.{block}.{theirs}"),
                            format!("down_blocks.{level}.attentions.{block}.{ours}"),
                        );
                    }
                    add(
                        format!("up.{level}.attn.{block}.{theirs}"),
                        format!("up_blocks.{mirrored}.attentions.{block}.{ours}"),
                    );
                }
            }
            if level < levels - 1 {
                add(format!("down.{level}.downsample.conv"), format!("down_blocks.{level}.downsamplers.0.conv"));
            }
            if level > 0 {
                add(format!("up.{level}.upsample.conv"), format!("up_blocks.{mirrored}.upsamplers.0.conv"));
            }
        }
        pairs
    }

    #[test]
    fn ddim_names_become_diffusers_names_for_four_and_five_levels() {
        for (levels, attention_level) in [(4, 1), (5, 2)] {
            let pairs = both_spellings(levels, 2, attention_level);
            let renaming = Renaming::detect(pairs.iter().map(|(ddim, _)| ddim.as_str()));
            assert_eq!(renaming, Renaming::Ddim { up_levels: levels });
            for (ddim, diffusers) in &pairs {
                assert_eq!(&renaming.name(ddim), diffusers);
            }
            let distinct: std::collections::HashSet<_> = pairs.iter().map(|(_, diffusers)| diffusers).collect();
            assert_eq!(distinct.len(), pairs.len());
        }
    }

    #[test]
    fn diffusers_names_stay_as_they_are() {
        let pairs = both_spellings(4, 2, 1);
        let renaming = Renaming::detect(pairs.iter().map(|(_, diffusers)| diffusers.as_str()));
        assert_eq!(renaming, Renaming::Diffusers);
        for (_, diffusers) in &pairs {
            assert_eq!(&renaming.name(diffusers), diffusers);
        }
    }

    #[test]
    fn deprecated_attention_names_are_renamed_only_inside_attention() {
        let name = |stored| Renaming::Diffusers.name(stored);
        assert_eq!(name("mid_block.attentions.0.query.weight"), "mid_block.attentions.0.to_q.weight");
        assert_eq!(name("up_blocks.1.attentions.2.key.bias"), "up_blocks.1.attentions.2.to_k.bias");
        assert_eq!(name("encoder.mid_block.attentions.0.value.bias"), "encoder.mid_block.attentions.0.to_v.bias");
        assert_eq!(name("mid_block.attentions.0.proj_attn.weight"), "mid_block.attentions.0.to_out.0.weight");
        assert_eq!(name("encoder.layer.0.query.weight"), "encoder.layer.0.query.weight");
        assert_eq!(name("query"), "query");
    }

    #[test]
    fn text_encoders_lose_their_prefix() {
        let stored = ["text_model.embeddings.position_ids", TEXT_MARK, "text_projection.weight"];
        let renaming = Renaming::detect(stored.into_iter());
        assert_eq!(renaming, Renaming::Text);
        let names = stored.map(|name| renaming.name(name));
        assert_eq!(names, ["embeddings.position_ids", "embeddings.token_embedding.weight", "text_projection.weight"]);
        assert!(is_buffer(&names[0]) && !is_buffer(&names[1]));
    }

    #[test]
    fn strange_levels_are_left_alone() {
        let renaming = Renaming::detect([DDIM_MARK, "up.1.block.0.norm1.bias", "up.x.block.0.norm1.bias"].into_iter());
        assert_eq!(renaming, Renaming::Ddim { up_levels: 2 });
        assert_eq!(renaming.name("up.x.block.0.norm1.bias"), "up.x.block.0.norm1.bias");
        assert_eq!(renaming.name("up.1.unheard_of.bias"), "up.1.unheard_of.bias");
    }
}
