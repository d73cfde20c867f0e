//! Layers: nodes of a [`Graph`] together with the checkpoint tensors they read. A layer is stated once, and the graph
//! and the list of checkpoint keys both follow from it.

use crate::graph::counters::count_graph;
use crate::graph::op::{
    Activate, Activation, Add, Attention, AveragePool, Concat, Conv2d, Epilogue, Fir, Gate, Graph, GroupNorm, HeadSide,
    Heads, Input, LayerNorm, Modulate, Op, Pool, ResizeBilinear, Unpatchify, UpsampleNearest, Value, Weight,
    WeightForm, WeightSource,
};
use crate::tensor::Shape;

/// A checkpoint key and the shape its tensor has there.
pub type Key = (String, Vec<usize>);

/// The number of parameters in these tensors.
#[must_use]
pub fn parameters(keys: &[Key]) -> u64 {
    keys.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}

/// A graph under construction.
#[derive(Debug)]
pub struct Builder {
    /// The nodes and weights so far.
    pub graph: Graph,
    /// The checkpoint tensors behind the weights, in the order of the graph.
    pub keys: Vec<Key>,
}

/// A convolution with zeros around its input.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Height and width of the kernel.
    pub side: usize,
    pub stride: usize,
    /// Rows of zeros above and columns of zeros left of the input.
    pub pad_before: usize,
    /// Rows of zeros below and columns of zeros right of the input.
    pub pad_after: usize,
}

impl Window {
    /// 3 x 3 that keeps the resolution.
    pub const THREE: Self = Self { side: 3, stride: 1, pad_before: 1, pad_after: 1 };
    /// 1 x 1: a matrix product over pixels.
    pub const ONE: Self = Self { side: 1, stride: 1, pad_before: 0, pad_after: 0 };

    /// Rows of output for this many rows of input.
    #[must_use]
    pub const fn output(self, input: usize) -> usize {
        (input + self.pad_before + self.pad_after - self.side) / self.stride + 1
    }
}

/// A convolution whose kernel has any height and width, with zeros around its input, as many on both sides.
#[derive(Clone, Copy, Debug)]
pub struct Oblong {
    /// Height and width of the kernel.
    pub kernel: (usize, usize),
    pub stride: usize,
    /// Rows of zeros above and below, columns of zeros left and right.
    pub pad: (usize, usize),
}

impl Builder {
    /// An empty graph of the network `name`.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        count_graph(name);
        Self { graph: Graph::default(), keys: Vec::new() }
    }

    /// An input of the graph, fed at each call.
    pub fn input(&mut self, name: &str, shape: Shape) -> Value {
        self.graph.push(Input { name: name.to_owned() }, shape, name)
    }

    /// `Conv2d` at `path`: weight (out, in, side, side) and bias.
    pub fn conv(&mut self, path: &str, x: Value, out: usize, window: Window) -> Value {
        self.convolution(path, x, out, window, true)
    }

    /// As [`Self::conv`], without a bias.
    pub fn conv_plain(&mut self, path: &str, x: Value, out: usize, window: Window) -> Value {
        self.convolution(path, x, out, window, false)
    }

    /// As [`Self::conv`], with a kernel of any height and width, and as many zeros on both sides.
    pub fn conv_oblong(&mut self, path: &str, x: Value, out: usize, window: Oblong) -> Value {
        let Shape { n, h, w, .. } = self.graph.shape(x);
        let Oblong { kernel, stride, pad } = window;
        let output = |side: usize, kernel: usize, pad: usize| (side + 2 * pad - kernel) / stride + 1;
        let shape = Shape::new(n, output(h, kernel.0, pad.0), output(w, kernel.1, pad.1), out);
        self.convolution_to(path, x, shape, window, true)
    }

    fn convolution(&mut self, path: &str, x: Value, out: usize, window: Window, has_bias: bool) -> Value {
        let Shape { n, h, w, .. } = self.graph.shape(x);
        let Window { side, stride, pad_before, .. } = window;
        let shape = Shape::new(n, window.output(h), window.output(w), out);
        let window = Oblong { kernel: (side, side), stride, pad: (pad_before, pad_before) };
        self.convolution_to(path, x, shape, window, has_bias)
    }

    fn convolution_to(&mut self, path: &str, x: Value, shape: Shape, window: Oblong, has_bias: bool) -> Value {
        let (input, out) = (self.graph.shape(x).c, shape.c);
        let Oblong { kernel: (height, width), stride, pad } = window;
        let weight = self.weight(
            vec![(format!("{path}.weight"), vec![out, input, height, width])],
            WeightForm::Kernel { out, input, height, width, heads: None },
        );
        let bias = has_bias.then(|| self.vector(vec![format!("{path}.bias")], out, None));
        let op = Conv2d { x, weight, stride, pad, epilogue: Epilogue { bias, ..Epilogue::default() } };
        self.graph.push(op, shape, path)
    }

    /// `Linear` at `path`: weight (out, in) and bias, applied to the channels of every pixel.
    pub fn linear(&mut self, path: &str, x: Value, out: usize) -> Value {
        let input = self.graph.shape(x).c;
        self.matrix(path, vec![path.to_owned()], x, (out, input), None, true)
    }

    /// As [`Self::linear`], of a `Linear` without a bias.
    pub fn linear_plain(&mut self, path: &str, x: Value, out: usize) -> Value {
        let input = self.graph.shape(x).c;
        self.matrix(path, vec![path.to_owned()], x, (out, input), None, false)
    }

    /// `Linear`s at `paths` (each over the same channels of x), one after the other, with room for attention heads:
    /// their `heads.count` heads together are padded to whole texels each.
    pub fn linear_to_heads(&mut self, label: &str, paths: Vec<String>, x: Value, heads: Heads) -> Value {
        let input = self.graph.shape(x).c;
        let heads = Heads { side: HeadSide::Out, ..heads };
        self.matrix(label, paths, x, (heads.count * heads.dim, input), Some(heads), true)
    }

    /// As [`Self::linear_to_heads`] of one `Linear`, whose output i is row `order[i]` of the tensors at `path`.
    pub fn linear_to_heads_in_order(&mut self, path: &str, x: Value, heads: Heads, order: &[usize]) -> Value {
        let value = self.linear_to_heads(path, vec![path.to_owned()], x, heads);
        let Op::Conv2d(Conv2d { weight, epilogue, .. }) = &self.graph.nodes[value.0].op else {
            unreachable!("a linear layer is a convolution")
        };
        let ids = [Some(*weight), epilogue.bias];
        for id in ids.into_iter().flatten() {
            let weight = &mut self.graph.weights[id.0];
            weight.source = WeightSource::Rows { key: weight.name.clone(), order: order.to_vec() };
        }
        value
    }

    /// As [`Self::linear_to_heads`], of `Linear`s without a bias.
    pub fn linear_to_heads_plain(&mut self, label: &str, paths: Vec<String>, x: Value, heads: Heads) -> Value {
        let input = self.graph.shape(x).c;
        let heads = Heads { side: HeadSide::Out, ..heads };
        self.matrix(label, paths, x, (heads.count * heads.dim, input), Some(heads), false)
    }

    /// `Linear` at `path` that reads attention heads padded to whole texels.
    pub fn linear_from_heads(&mut self, path: &str, x: Value, heads: Heads, out: usize) -> Value {
        let heads = Heads { side: HeadSide::In, ..heads };
        self.matrix(path, vec![path.to_owned()], x, (out, heads.count * heads.dim), Some(heads), true)
    }

    /// `GroupNorm` at `path`; `modulation` is the (scale, shift) vector of each image.
    pub fn group_norm(
        &mut self,
        path: &str,
        x: Value,
        (groups, eps): (usize, f64),
        modulation: Option<Value>,
    ) -> Value {
        let shape = self.graph.shape(x);
        let weight = self.vector(vec![format!("{path}.weight")], shape.c, None);
        let bias = self.vector(vec![format!("{path}.bias")], shape.c, None);
        let op = GroupNorm {
            x,
            weight,
            bias,
            groups,
            eps: eps as f32,
            modulation: modulation.map(|vector| (vector, 0)),
            activation: None,
        };
        self.graph.push(op, shape, path)
    }

    /// `LayerNorm` over the channels of every pixel, at `path`: weight and bias.
    pub fn layer_norm(&mut self, path: &str, x: Value, eps: f64) -> Value {
        let shape = self.graph.shape(x);
        let weight = self.vector(vec![format!("{path}.weight")], shape.c, None);
        let bias = self.vector(vec![format!("{path}.bias")], shape.c, None);
        self.graph.push(LayerNorm { x, weight, bias, eps: eps as f32 }, shape, path)
    }

    /// Normalisation over the channels of every pixel, without weights.
    pub fn layer_norm_plain(&mut self, label: &str, x: Value, eps: f64) -> Value {
        let shape = self.graph.shape(x);
        let mut constant = |value: f32| {
            let form = WeightForm::Vector { len: shape.c, heads: None };
            let source = WeightSource::Constant(vec![value; shape.c]);
            self.graph.weight(Weight { name: format!("{label} of {value}"), source, form })
        };
        let (weight, bias) = (constant(1.0), constant(0.0));
        self.graph.push(LayerNorm { x, weight, bias, eps: eps as f32 }, shape, label)
    }

    /// `x * (1 + scale) + shift` with channel ranges of one vector per image: adaptive normalisation.
    pub fn modulate(&mut self, label: &str, x: Value, scale: (Value, usize), shift: (Value, usize)) -> Value {
        let shape = self.graph.shape(x);
        self.graph.push(Modulate { x, scale, shift, offset: 1.0 }, shape, label)
    }

    /// `x * gate + residual` with a channel range of one vector per image.
    pub fn gated_sum(&mut self, label: &str, x: Value, gate: (Value, usize), residual: Value) -> Value {
        let shape = self.graph.shape(x);
        self.graph.push(Modulate { x, scale: gate, shift: (residual, 0), offset: 0.0 }, shape, label)
    }

    /// Each token becomes a patch of `side` x `side` pixels.
    pub fn unpatchify(&mut self, label: &str, x: Value, side: usize) -> Value {
        let Shape { n, h, w, c } = self.graph.shape(x);
        self.graph.push(Unpatchify { x, side }, Shape::new(n, h * side, w * side, c / (side * side)), label)
    }

    /// A nonlinearity.
    pub fn activation(&mut self, label: &str, x: Value, activation: Activation) -> Value {
        let shape = self.graph.shape(x);
        self.graph.push(Activate { x, activation }, shape, label)
    }

    /// The first half of the channels times a nonlinearity of the second; each half was padded to whole texels (two
    /// [`Heads`]) and has `channels`.
    pub fn gate(&mut self, label: &str, x: Value, channels: usize, activation: Activation) -> Value {
        let shape = Shape { c: channels, ..self.graph.shape(x) };
        self.graph.push(Gate { x, activation }, shape, label)
    }

    /// `(a + b) * scale`.
    pub fn add(&mut self, label: &str, a: Value, b: Value, scale: f64) -> Value {
        let shape = self.graph.shape(a);
        self.graph.push(Add { a, b, scale: scale as f32 }, shape, label)
    }

    /// The channels of `a`, then those of `b`.
    pub fn concat(&mut self, label: &str, a: Value, b: Value) -> Value {
        let mut shape = self.graph.shape(a);
        shape.c += self.graph.shape(b).c;
        self.graph.push(Concat { parts: vec![a, b] }, shape, label)
    }

    /// Doubles the resolution with nearest neighbours.
    pub fn upsample_nearest(&mut self, label: &str, x: Value) -> Value {
        let Shape { h, w, .. } = self.graph.shape(x);
        self.upsample_nearest_to(label, x, (2 * h, 2 * w))
    }

    /// Nearest neighbours at `size` (height, width).
    pub fn upsample_nearest_to(&mut self, label: &str, x: Value, (h, w): (usize, usize)) -> Value {
        let Shape { n, c, .. } = self.graph.shape(x);
        self.graph.push(UpsampleNearest { x }, Shape::new(n, h, w, c), label)
    }

    /// Halves the resolution with means of 2 x 2.
    pub fn average_pool(&mut self, label: &str, x: Value) -> Value {
        let Shape { n, h, w, c } = self.graph.shape(x);
        self.graph.push(AveragePool { x }, Shape::new(n, h / 2, w / 2, c), label)
    }

    /// The channels of all `parts`, one after the other.
    pub fn concat_all(&mut self, label: &str, parts: Vec<Value>) -> Value {
        let mut shape = self.graph.shape(parts[0]);
        shape.c = parts.iter().map(|part| self.graph.shape(*part).c).sum();
        self.graph.push(Concat { parts }, shape, label)
    }

    /// Means or largest values of windows.
    pub fn pool(&mut self, label: &str, op: Pool) -> Value {
        let shape = op.output(self.graph.shape(op.x));
        self.graph.push(op, shape, label)
    }

    /// Bilinear interpolation to `size` (height, width); `centred` as in [`ResizeBilinear`].
    pub fn resize_bilinear(&mut self, label: &str, x: Value, (h, w): (usize, usize), centred: bool) -> Value {
        let Shape { n, c, .. } = self.graph.shape(x);
        self.graph.push(ResizeBilinear { x, centred }, Shape::new(n, h, w, c), label)
    }

    /// Halves the resolution with the filter (1, 3, 3, 1); `pad` as in [`Fir`].
    pub fn fir_halve(&mut self, label: &str, x: Value, pad: usize) -> Value {
        self.fir(label, Fir { x, doubles: false, pad })
    }

    /// Doubles the resolution with the filter (1, 3, 3, 1).
    pub fn fir_double(&mut self, label: &str, x: Value) -> Value {
        self.fir(label, Fir { x, doubles: true, pad: 0 })
    }

    fn fir(&mut self, label: &str, op: Fir) -> Value {
        let shape = op.output(self.graph.shape(op.x));
        self.graph.push(op, shape, label)
    }

    /// The parts of a value's attention: `heads` per query, key and value, all in the one map `qkv`.
    pub fn self_attention(&mut self, label: &str, qkv: Value, heads: Heads) -> Value {
        self.attention_within(label, qkv, heads, false)
    }

    /// As [`Self::self_attention`], where nothing sees what comes after it.
    pub fn causal_self_attention(&mut self, label: &str, qkv: Value, heads: Heads) -> Value {
        self.attention_within(label, qkv, heads, true)
    }

    fn attention_within(&mut self, label: &str, qkv: Value, heads: Heads, causal: bool) -> Value {
        let Shape { n, h, w, .. } = self.graph.shape(qkv);
        let channels = heads.count * heads.padded_dim();
        let parts = [(qkv, 0), (qkv, channels), (qkv, 2 * channels)];
        self.attention(label, parts, Shape::new(n, h, w, channels), heads, causal)
    }

    /// Attention of the queries in `q` to the keys and values of a context, which `kv` holds one after the other.
    pub fn cross_attention(&mut self, label: &str, q: Value, kv: Value, heads: Heads) -> Value {
        let Shape { n, h, w, .. } = self.graph.shape(q);
        let channels = heads.count * heads.padded_dim();
        self.attention(label, [(q, 0), (kv, 0), (kv, channels)], Shape::new(n, h, w, channels), heads, false)
    }

    fn attention(
        &mut self,
        label: &str,
        [q, k, v]: [(Value, usize); 3],
        shape: Shape,
        heads: Heads,
        causal: bool,
    ) -> Value {
        let scale = (heads.dim as f64).sqrt().recip() as f32;
        self.graph.push(Attention { q, k, v, heads: heads.count, head_dim: heads.dim, scale, causal }, shape, label)
    }

    /// A 1 x 1 kernel (out, in) stacked from the `Linear`s at `paths`, with their biases where `biased`.
    fn matrix(
        &mut self,
        label: &str,
        paths: Vec<String>,
        x: Value,
        (out, input): (usize, usize),
        heads: Option<Heads>,
        biased: bool,
    ) -> Value {
        let part = out / paths.len();
        let keys = paths.iter().map(|path| (format!("{path}.weight"), vec![part, input])).collect();
        let weight = self.weight(keys, WeightForm::Kernel { out, input, height: 1, width: 1, heads });
        let out_heads = heads.filter(|heads| heads.side == HeadSide::Out);
        let biases = paths.iter().map(|path| format!("{path}.bias")).collect();
        let bias = biased.then(|| self.vector(biases, out, out_heads));
        let op = Conv2d { x, weight, stride: 1, pad: (0, 0), epilogue: Epilogue { bias, ..Epilogue::default() } };
        let Shape { n, h, w, .. } = self.graph.shape(x);
        let channels = out_heads.map_or(out, |heads| heads.count * heads.padded_dim());
        self.graph.push(op, Shape::new(n, h, w, channels), label)
    }

    fn vector(&mut self, keys: Vec<String>, len: usize, heads: Option<Heads>) -> crate::graph::op::WeightId {
        let part = len / keys.len();
        let keys = keys.into_iter().map(|key| (key, vec![part])).collect();
        self.weight(keys, WeightForm::Vector { len, heads })
    }

    fn weight(&mut self, keys: Vec<Key>, form: WeightForm) -> crate::graph::op::WeightId {
        let names: Vec<String> = keys.iter().map(|(name, _)| name.clone()).collect();
        self.keys.extend(keys);
        self.graph.weight(Weight { name: names[0].clone(), source: WeightSource::Checkpoint(names), form })
    }
}
