//! The blocks that diffusers' networks share: residual block, attention, resampling, timestep embedding.

pub mod clip_layer;
pub mod ladder;
pub mod transformer;

use crate::graph::op::{Activation, Combine, HeadSide, Heads, TimestepEmbedding, Value};
use crate::nets::builder::{Builder, Window};
use crate::nets::feeds::names;
use crate::tensor::Shape;

/// The settings that all residual blocks of a network share.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub activation: Activation,
    /// Groups of every normalisation.
    pub groups: usize,
    pub eps: f64,
    /// The time embedding scales and shifts (`resnet_time_scale_shift`); otherwise it is added.
    pub scale_shift: bool,
}

/// The change of resolution in a residual block, on both of its branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    Keep,
    /// Means of 2 x 2.
    Halve,
    /// Nearest neighbours.
    Double,
}

/// `ResnetBlock2D` at `path` (`models/resnet.py`).
#[derive(Clone, Copy, Debug)]
pub struct Resnet<'a> {
    pub style: &'a Style,
    pub path: &'a str,
    /// Channels of the output; a 1 x 1 shortcut appears where the input has others.
    pub out: usize,
    /// The sum of the branches is divided by it.
    pub output_scale_factor: f64,
    pub resize: Resize,
}

impl Resnet<'_> {
    /// Adds the block; `time` is the time embedding after its nonlinearity, one vector per image, or `None` in an
    /// autoencoder.
    pub fn build(&self, b: &mut Builder, x: Value, time: Option<Value>) -> Value {
        let Self { style, path, out, .. } = *self;
        let label = |part: &str| format!("{path}.{part}");
        let norm = (style.groups, style.eps);
        let hidden = b.group_norm(&label("norm1"), x, norm, None);
        let hidden = b.activation(&label("norm1.act"), hidden, style.activation);
        let hidden = self.resized(b, &label("resample"), hidden);
        let hidden = b.conv(&label("conv1"), hidden, out, Window::THREE);

        let hidden = match time {
            None => b.group_norm(&label("norm2"), hidden, norm, None),
            Some(time) if style.scale_shift => {
                let modulation = b.linear(&label("time_emb_proj"), time, 2 * out);
                b.group_norm(&label("norm2"), hidden, norm, Some(modulation))
            }
            Some(time) => {
                let shift = b.linear(&label("time_emb_proj"), time, out);
                let hidden = b.add(&label("time"), hidden, shift, 1.0);
                b.group_norm(&label("norm2"), hidden, norm, None)
            }
        };
        let hidden = b.activation(&label("norm2.act"), hidden, style.activation);
        let hidden = b.conv(&label("conv2"), hidden, out, Window::THREE);

        let shortcut = self.resized(b, &label("resample_shortcut"), x);
        let shortcut = if b.graph.shape(x).c == out {
            shortcut
        } else {
            b.conv(&label("conv_shortcut"), shortcut, out, Window::ONE)
        };
        b.add(&label("sum"), hidden, shortcut, self.output_scale_factor.recip())
    }

    fn resized(&self, b: &mut Builder, label: &str, x: Value) -> Value {
        match self.resize {
            Resize::Keep => x,
            Resize::Halve => b.average_pool(label, x),
            Resize::Double => b.upsample_nearest(label, x),
        }
    }
}

/// `Attention` at `path` over the pixels of a map, with a residual connection (`models/attention_processor.py`).
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    pub path: &'a str,
    /// Groups and epsilon of the normalisation, where there is one.
    pub norm: Option<(usize, f64)>,
    /// Channels of a head; there are as many heads as whole ones fit.
    pub head_dim: usize,
    /// The sum with the residual is divided by it.
    pub rescale_output_factor: f64,
}

impl Attention<'_> {
    /// Adds the block.
    pub fn build(&self, b: &mut Builder, x: Value) -> Value {
        let path = self.path;
        let label = |part: &str| format!("{path}.{part}");
        let channels = b.graph.shape(x).c;
        let heads = Heads { count: channels / self.head_dim, dim: self.head_dim, side: HeadSide::Out };
        let hidden = match self.norm {
            Some(norm) => b.group_norm(&label("group_norm"), x, norm, None),
            None => x,
        };
        let projections = ["to_q", "to_k", "to_v"].map(label).to_vec();
        let stacked = Heads { count: 3 * heads.count, ..heads };
        let qkv = b.linear_to_heads(&label("to_qkv"), projections, hidden, stacked);
        let hidden = b.self_attention(&label("attention"), qkv, heads);
        let hidden = b.linear_from_heads(&label("to_out.0"), hidden, heads, channels);
        b.add(&label("sum"), hidden, x, self.rescale_output_factor.recip())
    }
}

/// `Downsample2D` with a convolution at `path`: padding 0 pads one row below and one column right.
pub fn downsample_conv(b: &mut Builder, path: &str, x: Value, padding: usize) -> Value {
    let channels = b.graph.shape(x).c;
    b.conv(&format!("{path}.conv"), x, channels, Window { side: 3, stride: 2, pad_before: padding, pad_after: 1 })
}

/// `Upsample2D` with a convolution at `path`, to `size` (height, width).
pub fn upsample_conv(b: &mut Builder, path: &str, x: Value, size: (usize, usize)) -> Value {
    let channels = b.graph.shape(x).c;
    let doubled = b.upsample_nearest_to(&format!("{path}.nearest"), x, size);
    b.conv(&format!("{path}.conv"), doubled, channels, Window::THREE)
}

/// The images that a call feeds as [`names::X`], or 2x - 1 where they are `centered`.
pub fn image_input(b: &mut Builder, shape: Shape, centered: bool) -> Value {
    let x = b.input(names::X, shape);
    if !centered {
        return x;
    }
    let coefficients = b.input(names::CENTER_COEFFICIENTS, Shape::vector(shape.n, 1));
    b.graph.push(Combine { coefficients, terms: vec![x], clip: None, offset: -1.0 }, shape, "center")
}

/// `TimestepEmbedding` at `path`: two linear layers with a nonlinearity between them.
pub fn timestep_mlp(b: &mut Builder, path: &str, x: Value, dim: usize, activation: Activation) -> Value {
    let hidden = b.linear(&format!("{path}.linear_1"), x, dim);
    let hidden = b.activation(&format!("{path}.act"), hidden, activation);
    b.linear(&format!("{path}.linear_2"), hidden, dim)
}

/// The angular frequencies of `get_timestep_embedding` (`models/embeddings.py`) in revolutions per unit of t:
/// `10000^(-i / (half - freq_shift)) / 2 pi` for i below half of `dim`.
#[must_use]
pub fn positional_frequencies(dim: usize, freq_shift: f64) -> Vec<f64> {
    let half = dim / 2;
    let exponent = -10_000f64.ln() / (half as f64 - freq_shift);
    (0..half).map(|i| (exponent * i as f64).exp() / std::f64::consts::TAU).collect()
}

/// Sines and cosines of timesteps, by [`TimestepEmbedding`]; `timestep` is (n, 1, 1, 3), see
/// [`crate::kernels::timestep_embedding::split_in_three`].
pub fn positional_embedding(
    b: &mut Builder,
    label: &str,
    timestep: Value,
    dim: usize,
    freq_shift: f64,
    flip: bool,
) -> Value {
    let shape = Shape::vector(b.graph.shape(timestep).n, dim);
    let frequencies = positional_frequencies(dim, freq_shift);
    b.graph.push(TimestepEmbedding { x: timestep, frequencies, dim, flip }, shape, label)
}
