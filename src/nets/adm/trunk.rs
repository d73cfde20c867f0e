//! The parts that U-Net and classifier share: residual blocks, attentions, the way down and the middle.

use super::config::{Config, GROUPS};
use crate::graph::op::{Activation, HeadSide, Heads, Value};
use crate::nets::blocks::Resize;
use crate::nets::builder::{Builder, Window};

/// Of every normalisation.
const EPS: f64 = 1e-5;
/// A convolution that halves the resolution.
const HALVING: Window = Window { side: 3, stride: 2, pad_before: 1, pad_after: 1 };

/// A network under construction.
pub(super) struct Trunk<'a> {
    pub(super) config: &'a Config,
    pub(super) b: Builder,
    /// The time embedding after its `SiLU`, which is the same for every residual block.
    pub(super) time: Value,
}

impl Trunk<'_> {
    /// The way down and the middle, from the images. Returns the deepest map and every map of the way, the first
    /// first.
    pub(super) fn down(&mut self, x: Value) -> (Value, Vec<Value>) {
        let config = self.config;
        let mut x = self.b.conv("input_blocks.0.0", x, config.channels[0], Window::THREE);
        let mut skips = vec![x];
        for (level, channels) in config.channels.iter().enumerate() {
            for _ in 0..config.num_res_blocks {
                let path = format!("input_blocks.{}", skips.len());
                x = self.resnet(&format!("{path}.0"), x, *channels, Resize::Keep);
                if config.attends(level) {
                    x = self.attention(&format!("{path}.1"), x, false);
                }
                skips.push(x);
            }
            if level < config.halvings() {
                x = self.halve(&format!("input_blocks.{}.0", skips.len()), x);
                skips.push(x);
            }
        }
        let channels = self.b.graph.shape(x).c;
        x = self.resnet("middle_block.0", x, channels, Resize::Keep);
        x = self.attention("middle_block.1", x, false);
        (self.resnet("middle_block.2", x, channels, Resize::Keep), skips)
    }

    /// `normalization` and `SiLU` at `path`.
    pub(super) fn normalised(&mut self, path: &str, x: Value) -> Value {
        let normal = self.b.group_norm(path, x, (GROUPS, EPS), None);
        self.b.activation(&format!("{path}.silu"), normal, Activation::Silu)
    }

    /// `ResBlock` at `path`.
    pub(super) fn resnet(&mut self, path: &str, x: Value, out: usize, resize: Resize) -> Value {
        let label = |part: &str| format!("{path}.{part}");
        let hidden = self.normalised(&label("in_layers.0"), x);
        let hidden = self.resized(&label("h_upd"), hidden, resize);
        let hidden = self.b.conv(&label("in_layers.2"), hidden, out, Window::THREE);
        let (time, norm) = (self.time, (GROUPS, EPS));
        let b = &mut self.b;
        let hidden = if self.config.use_scale_shift_norm {
            let modulation = b.linear(&label("emb_layers.1"), time, 2 * out);
            b.group_norm(&label("out_layers.0"), hidden, norm, Some(modulation))
        } else {
            let shift = b.linear(&label("emb_layers.1"), time, out);
            let hidden = b.add(&label("emb_sum"), hidden, shift, 1.0);
            b.group_norm(&label("out_layers.0"), hidden, norm, None)
        };
        let hidden = b.activation(&label("out_layers.1"), hidden, Activation::Silu);
        let hidden = b.conv(&label("out_layers.3"), hidden, out, Window::THREE);
        let skip = self.resized(&label("x_upd"), x, resize);
        let b = &mut self.b;
        let skip =
            if b.graph.shape(x).c == out { skip } else { b.conv(&label("skip_connection"), skip, out, Window::ONE) };
        b.add(&label("sum"), hidden, skip, 1.0)
    }

    fn resized(&mut self, label: &str, x: Value, resize: Resize) -> Value {
        match resize {
            Resize::Keep => x,
            Resize::Halve => self.b.average_pool(label, x),
            Resize::Double => self.b.upsample_nearest(label, x),
        }
    }

    /// `AttentionBlock` at `path`.
    pub(super) fn attention(&mut self, path: &str, x: Value, up: bool) -> Value {
        let label = |part: &str| format!("{path}.{part}");
        let channels = self.b.graph.shape(x).c;
        let count = self.config.heads.count(channels, up);
        let heads = Heads { count, dim: channels / count, side: HeadSide::Out };
        let hidden = self.b.group_norm(&label("norm"), x, (GROUPS, EPS), None);
        let qkv = self.projection(&label("qkv"), hidden, heads, self.config.use_new_attention_order);
        let hidden = self.b.self_attention(&label("attention"), qkv, heads);
        let hidden = self.b.linear_from_heads(&label("proj_out"), hidden, heads, channels);
        self.b.add(&label("sum"), x, hidden, 1.0)
    }

    /// The projection to queries, keys and values at `path`, which are stored for all heads one after the other, or
    /// for each head.
    pub(super) fn projection(&mut self, path: &str, x: Value, heads: Heads, new_order: bool) -> Value {
        let stacked = Heads { count: 3 * heads.count, ..heads };
        if new_order {
            return self.b.linear_to_heads(path, vec![path.to_owned()], x, stacked);
        }
        let Heads { count, dim, .. } = heads;
        let rows = (0..3).flat_map(|part| (0..count).map(move |head| (3 * head + part) * dim));
        let order: Vec<usize> = rows.flat_map(|first| first..first + dim).collect();
        self.b.linear_to_heads_in_order(path, x, stacked, &order)
    }

    /// To the next level down, at `path`.
    fn halve(&mut self, path: &str, x: Value) -> Value {
        let channels = self.b.graph.shape(x).c;
        match (self.config.resblock_updown, self.config.conv_resample) {
            (true, _) => self.resnet(path, x, channels, Resize::Halve),
            (false, true) => self.b.conv(&format!("{path}.op"), x, channels, HALVING),
            (false, false) => self.b.average_pool(path, x),
        }
    }

    /// To the next level up, at `path`.
    pub(super) fn double(&mut self, path: &str, x: Value) -> Value {
        let channels = self.b.graph.shape(x).c;
        if self.config.resblock_updown {
            return self.resnet(path, x, channels, Resize::Double);
        }
        let doubled = self.b.upsample_nearest(path, x);
        if self.config.conv_resample {
            self.b.conv(&format!("{path}.conv"), doubled, channels, Window::THREE)
        } else {
            doubled
        }
    }
}
