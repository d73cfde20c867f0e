//! The autoencoder of the latent-diffusion code base (CompVis/latent-diffusion,
//! `ldm/modules/diffusionmodules/model.py`).

use serde_json::{Map, Value, json};

use super::Names;
use crate::checkpoint::keys::{level_attention, level_resnet};
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};

/// An autoencoder in a file: the prefix of its names.
#[derive(Clone, Debug)]
pub(super) struct Vae<'a> {
    weights: &'a Weights,
    /// The beginning of its names.
    pub prefix: &'static str,
}

impl<'a> Vae<'a> {
    /// The autoencoder whose names begin with `prefix`, if there is one.
    pub fn find(weights: &'a Weights, prefix: &'static str) -> Option<Self> {
        let found = Self { weights, prefix };
        let is_there = |name: &str| found.shape(name).is_some();
        (is_there("decoder.conv_in.weight") && is_there("decoder.mid.block_1.norm1.weight")).then_some(found)
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.weights.shape(&format!("{}{name}", self.prefix))
    }

    fn extent(&self, name: &str, axis: usize) -> Result<usize> {
        let found = self.shape(name).and_then(|shape| shape.get(axis)).copied();
        found.ok_or_else(|| {
            let what = format!("the autoencoder has no tensor `{}{name}` of enough dimensions", self.prefix);
            Error::bad_file_hint(self.weights.path(), what, "the file is incomplete; download or save it again")
        })
    }

    /// The fields of diffusers' `AutoencoderKL`, and its table of names.
    pub fn part(&self, scaling_factor: f64) -> Result<(Map<String, Value>, Names)> {
        let block = |level: usize, at: usize| format!("encoder.down.{level}.block.{at}.conv1.weight");
        let levels = (0..super::MOST).take_while(|level| self.shape(&block(*level, 0)).is_some()).count();
        let layers = (0..super::MOST).take_while(|at| self.shape(&block(0, *at)).is_some()).count();
        let channels = (0..levels).map(|level| self.extent(&block(level, 0), 0)).collect::<Result<Vec<_>>>()?;
        let has = |name: &str| self.shape(name).is_some();
        let config = json!({
            "_class_name": "AutoencoderKL",
            "in_channels": self.extent("encoder.conv_in.weight", 1)?,
            "out_channels": self.extent("decoder.conv_out.weight", 0)?,
            "latent_channels": self.extent("decoder.conv_in.weight", 1)?,
            "block_out_channels": channels,
            "down_block_types": vec!["DownEncoderBlock2D"; levels],
            "up_block_types": vec!["UpDecoderBlock2D"; levels],
            "layers_per_block": layers,
            "scaling_factor": scaling_factor,
            "use_quant_conv": has("quant_conv.weight"),
            "use_post_quant_conv": has("post_quant_conv.weight"),
        });
        let Value::Object(config) = config else { unreachable!("an object") };
        let mut names = Names::default();
        for stored in self.weights.names() {
            let Some(name) = stored.strip_prefix(self.prefix) else { continue };
            let parts: Vec<&str> = name.split('.').collect();
            if let Some(key) = key(&parts, levels) {
                names.add(key, stored);
            }
        }
        Ok((config, names))
    }
}

/// Diffusers' name of a tensor of an autoencoder of `levels` levels.
fn key(parts: &[&str], levels: usize) -> Option<String> {
    match parts {
        [side @ ("encoder" | "decoder"), rest @ ..] => Some(format!("{side}.{}", side_key(rest, levels)?)),
        ["quant_conv" | "post_quant_conv", _] => Some(parts.join(".")),
        _ => None,
    }
}

fn side_key(parts: &[&str], levels: usize) -> Option<String> {
    Some(match parts {
        ["conv_in" | "conv_out", _] => parts.join("."),
        ["norm_out", leaf] => format!("conv_norm_out.{leaf}"),
        ["mid", "block_1", rest @ ..] => format!("mid_block.resnets.0.{}", level_resnet(rest)),
        ["mid", "block_2", rest @ ..] => format!("mid_block.resnets.1.{}", level_resnet(rest)),
        ["mid", "attn_1", rest @ ..] => format!("mid_block.attentions.0.{}", level_attention(rest)),
        ["down", level, "block", at, rest @ ..] => format!("down_blocks.{level}.resnets.{at}.{}", level_resnet(rest)),
        ["down", level, "downsample", "conv", leaf] => format!("down_blocks.{level}.downsamplers.0.conv.{leaf}"),
        // The levels of the decoder are counted from the highest resolution there, from the lowest in diffusers.
        ["up", level, rest @ ..] => {
            let level = levels.checked_sub(1)?.checked_sub(level.parse().ok()?)?;
            match rest {
                ["block", at, rest @ ..] => format!("up_blocks.{level}.resnets.{at}.{}", level_resnet(rest)),
                ["upsample", "conv", leaf] => format!("up_blocks.{level}.upsamplers.0.conv.{leaf}"),
                _ => return None,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By diffusers' `convert_diffusers_to_original_stable_diffusion.py`.
    #[test]
    fn places_are_those_of_diffusers() {
        let named = |name: &str| key(&name.split('.').collect::<Vec<_>>(), 4);
        for (stored, key) in [
            ("encoder.down.3.block.1.norm2.bias", "encoder.down_blocks.3.resnets.1.norm2.bias"),
            ("encoder.down.0.downsample.conv.weight", "encoder.down_blocks.0.downsamplers.0.conv.weight"),
            ("encoder.mid.attn_1.q.weight", "encoder.mid_block.attentions.0.to_q.weight"),
            ("decoder.mid.attn_1.proj_out.bias", "decoder.mid_block.attentions.0.to_out.0.bias"),
            ("decoder.mid.attn_1.norm.bias", "decoder.mid_block.attentions.0.group_norm.bias"),
            ("decoder.mid.block_2.conv1.bias", "decoder.mid_block.resnets.1.conv1.bias"),
            ("decoder.up.3.block.0.conv1.bias", "decoder.up_blocks.0.resnets.0.conv1.bias"),
            ("decoder.up.0.block.2.nin_shortcut.bias", "decoder.up_blocks.3.resnets.2.conv_shortcut.bias"),
            ("decoder.up.1.upsample.conv.bias", "decoder.up_blocks.2.upsamplers.0.conv.bias"),
            ("decoder.norm_out.weight", "decoder.conv_norm_out.weight"),
            ("post_quant_conv.weight", "post_quant_conv.weight"),
        ] {
            assert_eq!(named(stored).as_deref(), Some(key), "{stored}");
        }
        for strange in ["decoder.up.4.block.0.conv1.bias", "encoder.down.0.attn.0.q.bias", "loss.logvar"] {
            assert_eq!(named(strange), None, "{strange}");
        }
    }
}
