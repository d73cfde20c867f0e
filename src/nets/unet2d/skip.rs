//! The levels of NCSN++ (Song et al., 2021) in diffusers: `SkipDownBlock2D`, `AttnSkipDownBlock2D`, `SkipUpBlock2D` and
//! `AttnSkipUpBlock2D`. Their groups follow from their channels, their resolution changes by a filter, and the image
//! goes down and an output comes up beside them.

use std::f64::consts::SQRT_2;

use super::config::{BlockType, Config};
use super::{Body, TimeScaleShift};
use crate::error::Result;
use crate::graph::op::{Activation, Value};
use crate::nets::blocks::ladder::{Place, Way};
use crate::nets::blocks::{Attention, Resize};
use crate::nets::builder::{Builder, Window};
use crate::nets::fields::Fields;

/// Channels of the image beside the levels, which diffusers fixes.
pub const IMAGE_CHANNELS: usize = 3;
/// Groups of the normalisation before an attention, which diffusers fixes.
const ATTENTION_GROUPS: usize = 32;

/// Groups of a normalisation of `channels`: 32, or as many as have four channels each.
#[must_use]
pub fn groups(channels: usize) -> usize {
    (channels / 4).min(32)
}

/// Groups of the first normalisation of a residual block on the way up that reads `before` and `kept` channels.
fn joined_groups(kind: BlockType, before: usize, kept: usize) -> usize {
    match kind {
        // As diffusers computes it.
        BlockType::AttentionSkip => (before + kept / 4).min(32),
        _ => groups(before + kept),
    }
}

/// Refuses channels that do not divide into their groups.
pub fn check_channels(fields: &Fields, channels: usize) -> Result<()> {
    check_groups(fields, channels, groups(channels))
}

fn check_groups(fields: &Fields, channels: usize, groups: usize) -> Result<()> {
    if groups > 0 && channels.is_multiple_of(groups) {
        return Ok(());
    }
    Err(fields.bad(format!(
        "`block_out_channels` gives {channels} channels, which do not divide into the {groups} groups of a block with \
         `Skip`"
    )))
}

/// Refuses channels that do not divide into the groups of these levels.
pub fn check(config: &Config, fields: &Fields) -> Result<()> {
    let channels = &config.block_out_channels;
    let of_down = channels.iter().zip(&config.down_block_types).filter(|(_, kind)| kind.is_skip());
    let of_up = channels.iter().zip(config.up_block_types.iter().rev()).filter(|(_, kind)| kind.is_skip());
    for (channels, kind) in of_down.chain(of_up) {
        check_channels(fields, *channels)?;
        if kind.has_attention() {
            check_groups(fields, *channels, ATTENTION_GROUPS)?;
        }
    }
    for (level, kind) in config.up_block_types.iter().rev().enumerate().filter(|(_, kind)| kind.is_skip()) {
        let own = channels[level];
        let before = channels.get(level + 1).copied().unwrap_or(own);
        let last = channels[level.saturating_sub(1)];
        let layers = config.layers_per_block + 1;
        for layer in 0..layers {
            let before = if layer == 0 { before } else { own };
            let kept = if layer + 1 == layers { last } else { own };
            check_groups(fields, before + kept, joined_groups(*kind, before, kept))?;
        }
    }
    Ok(())
}

/// The parts of a residual block that differ.
struct Block<'a> {
    path: &'a str,
    out: usize,
    /// Groups of the first normalisation.
    groups: usize,
    resize: Resize,
}

impl Body<'_> {
    /// `ResnetBlock2D` with `kernel` of `fir`, whose sum is divided by the root of two.
    fn skip_resnet(&mut self, block: &Block, x: Value) -> Value {
        let Block { path, out, groups: of_input, resize } = *block;
        let label = |part: &str| format!("{path}.{part}");
        let (eps, activation, time) = (self.style.eps, self.style.activation, self.time);
        let b = &mut self.b;
        let hidden = b.group_norm(&label("norm1"), x, (of_input, eps), None);
        let hidden = b.activation(&label("norm1.act"), hidden, activation);
        let hidden = filtered(b, &label("resample"), hidden, resize);
        let hidden = b.conv(&label("conv1"), hidden, out, Window::THREE);
        let norm = (groups(out), eps);
        let hidden = match self.config.resnet_time_scale_shift {
            TimeScaleShift::ScaleShift => {
                let modulation = b.linear(&label("time_emb_proj"), time, 2 * out);
                b.group_norm(&label("norm2"), hidden, norm, Some(modulation))
            }
            TimeScaleShift::Default => {
                let shift = b.linear(&label("time_emb_proj"), time, out);
                let hidden = b.add(&label("time"), hidden, shift, 1.0);
                b.group_norm(&label("norm2"), hidden, norm, None)
            }
        };
        let hidden = b.activation(&label("norm2.act"), hidden, activation);
        let hidden = b.conv(&label("conv2"), hidden, out, Window::THREE);
        let shortcut = filtered(b, &label("resample_shortcut"), x, resize);
        let is_projected = resize != Resize::Keep || b.graph.shape(x).c != out;
        let shortcut =
            if is_projected { b.conv(&label("conv_shortcut"), shortcut, out, Window::ONE) } else { shortcut };
        b.add(&label("sum"), hidden, shortcut, SQRT_2.recip())
    }

    /// A residual block of a level, and the attention after it.
    pub(super) fn skip_layer(&mut self, place: Place, layer: usize, x: Value) -> Value {
        let ((kind, channels), path) = (self.level(place), place.path);
        let input = self.b.graph.shape(x).c;
        let of_input = match place.way {
            Way::Down => groups(input),
            Way::Up => {
                let deeper = self.config.block_out_channels.get(place.level + 1).copied().unwrap_or(channels);
                let before = if layer == 0 { deeper } else { channels };
                joined_groups(kind, before, input - before)
            }
        };
        let resnet = format!("{path}.resnets.{layer}");
        let x = self.skip_resnet(&Block { path: &resnet, out: channels, groups: of_input, resize: Resize::Keep }, x);
        let attention = match place.way {
            Way::Down => Some(layer),
            Way::Up => (layer == self.config.layers_per_block).then_some(0),
        };
        let Some(index) = attention.filter(|_| kind.has_attention()) else { return x };
        let attention = Attention {
            path: &format!("{path}.attentions.{index}"),
            norm: Some((ATTENTION_GROUPS, self.style.eps)),
            head_dim: self.config.attention_head_dim.unwrap_or(channels),
            rescale_output_factor: SQRT_2,
        };
        attention.build(&mut self.b, x)
    }

    /// To the next level down: a residual block, and a product of the halved image.
    pub(super) fn skip_halve(&mut self, place: Place, x: Value) -> Value {
        let ((_, out), path) = (self.level(place), place.path);
        let resnet = format!("{path}.resnet_down");
        let block = Block { path: &resnet, out, groups: groups(out), resize: Resize::Halve };
        let hidden = self.skip_resnet(&block, x);
        self.image = self.b.fir_halve(&format!("{path}.downsamplers.0"), self.image, 1);
        let product = self.b.conv(&format!("{path}.skip_conv"), self.image, out, Window::ONE);
        self.b.add(&format!("{path}.skip_sum"), product, hidden, 1.0)
    }

    /// To the next level up: what the level adds to the output, and a residual block.
    pub(super) fn skip_double(&mut self, place: Place, x: Value) -> Value {
        let ((_, out), path) = (self.level(place), place.path);
        let label = |part: &str| format!("{path}.{part}");
        let doubled = self.output.map(|output| self.b.fir_double(&label("upsampler"), output));
        let hidden = self.b.group_norm(&label("skip_norm"), x, (groups(out), self.style.eps), None);
        let hidden = self.b.activation(&label("act"), hidden, Activation::Silu);
        let added = self.b.conv(&label("skip_conv"), hidden, IMAGE_CHANNELS, Window::THREE);
        self.output = Some(match doubled {
            Some(doubled) => self.b.add(&label("skip_sum"), doubled, added, 1.0),
            None => added,
        });
        let resnet = label("resnet_up");
        self.skip_resnet(&Block { path: &resnet, out, groups: groups(out), resize: Resize::Double }, x)
    }
}

/// Half or twice the resolution by the filter (1, 3, 3, 1).
fn filtered(b: &mut Builder, label: &str, x: Value, resize: Resize) -> Value {
    match resize {
        Resize::Keep => x,
        Resize::Halve => b.fir_halve(label, x, 1),
        Resize::Double => b.fir_double(label, x),
    }
}
