//! The U-Net of the latent-diffusion code base (CompVis/latent-diffusion,
//! `ldm/modules/diffusionmodules/openaimodel.py`): Stable Diffusion's in its original layout.

use serde_json::{Map, Value, json};

use super::Names;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};

/// Channels of an attention head in networks with linear projections: Stable Diffusion 2 and XL.
const HEAD_CHANNELS: usize = 64;
/// Heads of every attention in networks without them: Stable Diffusion 1.
const HEADS: usize = 8;

/// A U-Net in a file: the prefix of its names, and what the shapes of its tensors say.
#[derive(Clone, Debug)]
pub(super) struct Unet<'a> {
    weights: &'a Weights,
    /// The beginning of its names.
    pub prefix: &'static str,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the context.
    pub context: usize,
    /// The projections around transformers are matrices.
    pub linear: bool,
    /// The form of what is added to the time embedding.
    pub vector: Vector,
}

/// The vector that is added to the embedding of timesteps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vector {
    /// Nothing.
    None,
    /// A row of a table.
    Label,
    /// A vector of this length, through two layers.
    Projected(usize),
}

/// One level of the way down.
struct Level {
    channels: usize,
    blocks: usize,
    /// Transformer blocks after each residual block, 0 for none.
    depth: usize,
}

impl<'a> Unet<'a> {
    /// The U-Net whose names begin with `prefix`, if there is one that attends to a context.
    pub fn find(weights: &'a Weights, prefix: &'static str) -> Option<Self> {
        let shape = |name: &str| weights.shape(&format!("{prefix}{name}"));
        let &[_, in_channels, 3, 3] = shape("input_blocks.0.0.weight")? else { return None };
        let context_key = ".attn2.to_k.weight";
        let is_context = |name: &&str| name.starts_with(prefix) && name.ends_with(context_key);
        let first = weights.names().find(is_context)?;
        let &[_, context] = weights.shape(first)? else { return None };
        let linear = weights.names().any(|name| {
            name.starts_with(prefix)
                && name.ends_with(".1.proj_in.weight")
                && weights.shape(name).is_some_and(|shape| shape.len() == 2)
        });
        let vector = match (shape("label_emb.weight"), shape("label_emb.0.0.weight")) {
            (Some(_), _) => Vector::Label,
            (None, Some(&[_, length])) => Vector::Projected(length),
            (None, _) => Vector::None,
        };
        Some(Self { weights, prefix, in_channels, context, linear, vector })
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.weights.shape(&format!("{}{name}", self.prefix))
    }

    /// The number of transformer blocks of the transformer `name`.
    fn depth(&self, name: &str) -> usize {
        (0..super::MOST)
            .take_while(|at| self.shape(&format!("{name}.transformer_blocks.{at}.norm1.weight")).is_some())
            .count()
    }

    /// The levels of the way down, highest resolution first.
    fn levels(&self) -> Result<Vec<Level>> {
        let mut levels: Vec<Level> = Vec::new();
        let mut is_new = true;
        for at in 1.. {
            if self.shape(&format!("input_blocks.{at}.0.op.weight")).is_some() {
                is_new = true;
                continue;
            }
            let Some(&[channels, ..]) = self.shape(&format!("input_blocks.{at}.0.in_layers.2.weight")) else { break };
            let depth = self.depth(&format!("input_blocks.{at}.1"));
            match levels.last_mut().filter(|_| !is_new) {
                None => levels.push(Level { channels, blocks: 1, depth }),
                Some(level) if (level.channels, level.depth) == (channels, depth) => level.blocks += 1,
                Some(_) => return Err(self.uneven(&format!("input_blocks.{at}"))),
            }
            is_new = false;
        }
        match levels.iter().find(|level| level.blocks != levels[0].blocks) {
            None if !levels.is_empty() => Ok(levels),
            _ => Err(self.uneven("input_blocks")),
        }
    }

    fn uneven(&self, place: &str) -> Error {
        Error::bad_file_hint(
            self.weights.path(),
            format!("the blocks of `{}{place}` do not make up levels of equal layers", self.prefix),
            "the file is incomplete, or its network was thinned out after the training, which is not supported in \
             this layout: convert it to a diffusers folder",
        )
    }

    /// The fields of diffusers' `UNet2DConditionModel`, but those of the size of its images, and its table of names.
    pub fn part(&self) -> Result<(Map<String, Value>, Names)> {
        let levels = self.levels()?;
        let middle = self.depth("middle_block.1");
        let last = levels.iter().rev().map(|level| level.depth).find(|depth| *depth > 0).unwrap_or(0);
        if middle != last {
            return Err(self.uneven("middle_block"));
        }
        let out_channels = self.shape("out.2.weight").and_then(|shape| shape.first()).copied().unwrap_or(4);
        let down = |level: &Level| if level.depth > 0 { "CrossAttnDownBlock2D" } else { "DownBlock2D" };
        let up = |level: &Level| if level.depth > 0 { "CrossAttnUpBlock2D" } else { "UpBlock2D" };
        let heads = |level: &Level| if self.linear { (level.channels / HEAD_CHANNELS).max(1) } else { HEADS };
        // A last level without attention has the entry of the middle, which diffusers takes from there.
        let entry = |(at, level): (usize, &Level)| match level.depth {
            0 if at + 1 == levels.len() => last.max(1),
            depth => depth.max(1),
        };
        let config = json!({
            "_class_name": "UNet2DConditionModel",
            "in_channels": self.in_channels,
            "out_channels": out_channels,
            "block_out_channels": levels.iter().map(|level| level.channels).collect::<Vec<_>>(),
            "down_block_types": levels.iter().map(down).collect::<Vec<_>>(),
            "up_block_types": levels.iter().rev().map(up).collect::<Vec<_>>(),
            "layers_per_block": levels[0].blocks,
            "transformer_layers_per_block": levels.iter().enumerate().map(entry).collect::<Vec<_>>(),
            "attention_head_dim": levels.iter().map(heads).collect::<Vec<_>>(),
            "cross_attention_dim": self.context,
            "use_linear_projection": self.linear,
        });
        let Value::Object(mut config) = config else { unreachable!("an object") };
        if let Vector::Projected(length) = self.vector {
            config.insert("addition_embed_type".to_owned(), "text_time".into());
            config.insert("addition_time_embed_dim".to_owned(), 256.into());
            config.insert("projection_class_embeddings_input_dim".to_owned(), length.into());
        }
        Ok((config, self.names(levels[0].blocks, false)))
    }

    /// The table of names of the averaged weights that training keeps beside the plain ones.
    pub fn averaged(&self) -> Result<Names> {
        Ok(self.names(self.levels()?[0].blocks, true))
    }

    fn names(&self, layers: usize, averaged: bool) -> Names {
        let mut names = Names::default();
        for stored in self.weights.names() {
            let Some(name) = stored.strip_prefix(self.prefix) else { continue };
            let parts: Vec<&str> = name.split('.').collect();
            if let Some(key) = key(&parts, layers) {
                names.add(key, if averaged { averaged_name(stored) } else { stored.to_owned() });
            }
        }
        names
    }
}

/// The name of the average of a tensor: without its dots, and without the `model.` at the beginning.
pub(super) fn averaged_name(stored: &str) -> String {
    format!("model_ema.{}", stored.strip_prefix("model.").unwrap_or(stored).replace('.', ""))
}

/// Diffusers' name of a tensor; `layers` are the residual blocks of a level of the way down.
fn key(parts: &[&str], layers: usize) -> Option<String> {
    // A level of either way has one entry more than the way down has residual blocks.
    let place = |at: &str, first: usize| {
        let at = at.parse::<usize>().ok()?.checked_sub(first)?;
        Some((at / (layers + 1), at % (layers + 1)))
    };
    match parts {
        ["time_embed", "0", leaf] => Some(format!("time_embedding.linear_1.{leaf}")),
        ["time_embed", "2", leaf] => Some(format!("time_embedding.linear_2.{leaf}")),
        ["label_emb", "0", "0", leaf] => Some(format!("add_embedding.linear_1.{leaf}")),
        ["label_emb", "0", "2", leaf] => Some(format!("add_embedding.linear_2.{leaf}")),
        ["input_blocks", "0", "0", leaf] => Some(format!("conv_in.{leaf}")),
        ["out", "0", leaf] => Some(format!("conv_norm_out.{leaf}")),
        ["out", "2", leaf] => Some(format!("conv_out.{leaf}")),
        ["middle_block", "0", rest @ ..] => Some(format!("mid_block.resnets.0.{}", resnet(rest)?)),
        ["middle_block", "1", rest @ ..] => Some(format!("mid_block.attentions.0.{}", rest.join("."))),
        ["middle_block", "2", rest @ ..] => Some(format!("mid_block.resnets.1.{}", resnet(rest)?)),
        ["input_blocks", at, "0", "op", leaf] => {
            Some(format!("down_blocks.{}.downsamplers.0.conv.{leaf}", place(at, 1)?.0))
        }
        ["input_blocks", at, "0", rest @ ..] => {
            let (level, layer) = place(at, 1)?;
            Some(format!("down_blocks.{level}.resnets.{layer}.{}", resnet(rest)?))
        }
        ["input_blocks", at, "1", rest @ ..] => {
            let (level, layer) = place(at, 1)?;
            Some(format!("down_blocks.{level}.attentions.{layer}.{}", rest.join(".")))
        }
        ["output_blocks", at, "1" | "2", "conv", leaf] => {
            Some(format!("up_blocks.{}.upsamplers.0.conv.{leaf}", place(at, 0)?.0))
        }
        ["output_blocks", at, "0", rest @ ..] => {
            let (level, layer) = place(at, 0)?;
            Some(format!("up_blocks.{level}.resnets.{layer}.{}", resnet(rest)?))
        }
        ["output_blocks", at, "1", rest @ ..] => {
            let (level, layer) = place(at, 0)?;
            Some(format!("up_blocks.{level}.attentions.{layer}.{}", rest.join(".")))
        }
        _ => None,
    }
}

fn resnet(parts: &[&str]) -> Option<String> {
    Some(match parts {
        ["in_layers", "0", leaf] => format!("norm1.{leaf}"),
        ["in_layers", "2", leaf] => format!("conv1.{leaf}"),
        ["emb_layers", "1", leaf] => format!("time_emb_proj.{leaf}"),
        ["out_layers", "0", leaf] => format!("norm2.{leaf}"),
        ["out_layers", "3", leaf] => format!("conv2.{leaf}"),
        ["skip_connection", leaf] => format!("conv_shortcut.{leaf}"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, layers: usize) -> Option<String> {
        key(&name.split('.').collect::<Vec<_>>(), layers)
    }

    /// By diffusers' `convert_diffusers_to_original_stable_diffusion.py`.
    #[test]
    fn places_are_those_of_diffusers() {
        for (stored, key) in [
            ("input_blocks.0.0.bias", "conv_in.bias"),
            ("input_blocks.1.0.in_layers.2.weight", "down_blocks.0.resnets.0.conv1.weight"),
            ("input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"),
            ("input_blocks.5.1.proj_in.weight", "down_blocks.1.attentions.1.proj_in.weight"),
            ("input_blocks.11.0.skip_connection.bias", "down_blocks.3.resnets.1.conv_shortcut.bias"),
            ("middle_block.2.emb_layers.1.bias", "mid_block.resnets.1.time_emb_proj.bias"),
            ("output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
            ("output_blocks.5.2.conv.bias", "up_blocks.1.upsamplers.0.conv.bias"),
            (
                "output_blocks.11.1.transformer_blocks.0.attn2.to_out.0.weight",
                "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0.weight",
            ),
            ("out.2.weight", "conv_out.weight"),
        ] {
            assert_eq!(named(stored, 2).as_deref(), Some(key), "{stored}");
        }
        for strange in ["input_blocks.x.0.op.weight", "input_blocks.0.1.norm.bias", "middle_block.0.conv.weight", "a"] {
            assert_eq!(named(strange, 2), None, "{strange}");
        }
    }

    #[test]
    fn averages_have_names_without_dots() {
        let stored = "model.diffusion_model.input_blocks.0.0.weight";
        assert_eq!(averaged_name(stored), "model_ema.diffusion_modelinput_blocks00weight");
    }
}
