//! The graph: what a network computes, with every shape known. No kernel, no device, no data in it.
//!
//! Values are NHWC maps ([`Shape`]); tokens are a map of height 1, vectors a map of 1 x 1. A graph is built in order, so
//! a node only reads nodes before it. [`super::fuse`] rewrites it, [`super::plan`] turns it into dispatches.

pub use crate::kernels::Activation;
use crate::tensor::Shape;

/// A node of the graph, and the value it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub usize);

/// A weight of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub usize);

/// Where the numbers of a weight come from and how they are seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Its name in messages: the checkpoint key of its first part.
    pub name: String,
    /// What it is made of.
    pub source: WeightSource,
    /// The form the operation that reads it expects.
    pub form: WeightForm,
}

/// Where the numbers of a weight come from.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightSource {
    /// Tensors of the checkpoint, stacked along the output dimension (several: one matrix product for q, k and v).
    Checkpoint(Vec<String>),
    /// Numbers known when the graph is built, row-major in the form's own shape.
    Constant(Vec<f32>),
    /// Other weights without attention heads, stacked along the output dimension: one product for several layers.
    Stack(Vec<Weight>),
}

/// The logical shape of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightForm {
    /// A kernel in `PyTorch`'s order (out, in, height, width); a matrix is a kernel of 1 x 1 and may be stored (out, in).
    /// `heads` pads the outputs (`HeadSide::Out`) or the inputs (`HeadSide::In`) of each attention head with zeros to
    /// whole texels, so that a head always begins on a texel.
    Kernel { out: usize, input: usize, height: usize, width: usize, heads: Option<Heads> },
    /// A vector of this length; `heads` as above.
    Vector { len: usize, heads: Option<Heads> },
}

/// How channels are cut into attention heads: `count` heads (over all stacked parts) of `dim` channels each, padded to `padded_dim()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Number of heads along the dimension, all stacked parts together (3 x heads for q, k and v in one matrix).
    pub count: usize,
    /// Channels of a head.
    pub dim: usize,
    /// Which side of a kernel the heads are on.
    pub side: HeadSide,
}

/// The side of a kernel that attention heads lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSide {
    /// The outputs: projections to queries, keys, values.
    Out,
    /// The inputs: the projection after attention.
    In,
}

impl Heads {
    /// Channels of a head on the device: `dim` rounded up to whole texels.
    #[must_use]
    pub const fn padded_dim(self) -> usize {
        self.dim.div_ceil(crate::tensor::TEXEL) * crate::tensor::TEXEL
    }
}

/// What follows a product before it is stored: `y = (act(acc + bias + per_image) + residual) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Epilogue {
    /// A vector over the output channels.
    pub bias: Option<WeightId>,
    /// A vector over the channels for each image (the time embedding): (value, first channel).
    pub per_image: Option<(Value, usize)>,
    /// Applied to the sum so far.
    pub activation: Option<Activation>,
    /// A map of the output's shape, added after the activation.
    pub residual: Option<Value>,
    /// Multiplies the result.
    pub scale: f32,
}

impl Default for Epilogue {
    fn default() -> Self {
        Self { bias: None, per_image: None, activation: None, residual: None, scale: 1.0 }
    }
}

/// An operation. `x` is always the map it works on.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Fed at each call, by name.
    Input { name: String },
    /// Convolution (a kernel of 1 x 1 with stride 1 is a matrix product over pixels). `pad` is (top, left); bottom and
    /// right padding follow from the output's shape, zeros everywhere.
    Conv { x: Value, weight: WeightId, stride: usize, pad: (usize, usize), epilogue: Epilogue },
    /// Group normalisation over (h, w, c / groups), biased variance, then `weight * x + bias`, then, where given,
    /// `* (1 + m[..c]) + m[c..]` with the modulation vector m of each image (`scale_shift` time embedding; value, first channel),
    /// then the activation.
    GroupNorm {
        x: Value,
        weight: WeightId,
        bias: WeightId,
        groups: usize,
        eps: f32,
        modulation: Option<(Value, usize)>,
        activation: Option<Activation>,
    },
    /// `x * a + b`, then the activation; a and b, a number a channel of each image, are the two pixels of `factors` (n, 1, 2, c): a
    /// group normalisation whose statistics are known.
    Affine { x: Value, factors: Value, activation: Option<Activation> },
    /// Layer normalisation over the channels of each pixel, biased variance, then `weight * x + bias`.
    LayerNorm { x: Value, weight: WeightId, bias: WeightId, eps: f32 },
    /// A nonlinearity on its own.
    Activation { x: Value, activation: Activation },
    /// `x[.., first half] * act(x[.., second half])`: the two halves of x's channels, each padded with zeros to whole texels (two
    /// [`Heads`]), become one of the result's channels.
    Gate { x: Value, activation: Activation },
    /// `(a + b) * scale`; b is a map of a's shape, or a vector an image.
    Add { a: Value, b: Value, scale: f32 },
    /// Channels of `parts`, one after the other.
    Concat { parts: Vec<Value> },
    /// Nearest neighbours: pixel (i, j) of H x W is (i * h / H, j * w / W) of x, rounded down; of twice the size each pixel
    /// becomes 2 x 2.
    UpsampleNearest { x: Value },
    /// Mean of 2 x 2 pixels, stride 2 (a last odd row or column is dropped).
    AveragePool { x: Value },
    /// softmax(scale * q k^T) v for each image and head. q, k, v are channel ranges of maps: (value, first channel);
    /// a head's channels are padded to whole texels (see [`Heads`]). Where it is `causal`, a query sees no key after its own place.
    /// Answers (n, h, w of q, heads * padded dim).
    Attention {
        q: (Value, usize),
        k: (Value, usize),
        v: (Value, usize),
        heads: usize,
        head_dim: usize,
        scale: f32,
        causal: bool,
    },
    /// sin and cos of t * frequency, from timesteps split in three (see `kernels::timestep_embedding`): x is (n,1,1,3).
    /// The frequencies are in turns a unit of t; answers (n,1,1,dim), `sin` first unless `flip`, a last odd channel zero.
    TimestepEmbedding { x: Value, frequencies: Vec<f64>, dim: usize, flip: bool },
    /// The sampler update: `sum_i coefficients[n][i] * terms[i]` for each image n; the first term is clamped to
    /// +-`clip` before it is used where given. `coefficients` is a vector of up to four numbers an image.
    ///
    /// In a graph of tangents a term may have several images for each of the coefficients', one after the other.
    Combine { coefficients: Value, terms: Vec<Value>, clip: Option<f32>, offset: f32 },
    /// The tangent of [`Op::Activation`]: `act'(x) * tangent`. Of this and the following, `tangent` has a whole number of images
    /// for each of x, one after the other, and so has the answer (see [`super::tangent`]).
    ActivationTangent { x: Value, tangent: Value, activation: Activation },
    /// The tangent of [`Op::GroupNorm`] in x.
    GroupNormTangent {
        x: Value,
        tangent: Value,
        weight: WeightId,
        bias: WeightId,
        groups: usize,
        eps: f32,
        modulation: Option<(Value, usize)>,
        activation: Option<Activation>,
    },
    /// The tangent of [`Op::Attention`] that is not causal; `tangents` of q, k and v, each a channel range of a map, none where it does not change.
    AttentionTangent {
        q: (Value, usize),
        k: (Value, usize),
        v: (Value, usize),
        tangents: [Option<(Value, usize)>; 3],
        heads: usize,
        head_dim: usize,
        scale: f32,
    },
}

/// An operation with its result's shape and a label for people (the module path in the checkpoint).
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// The shape of the result.
    pub shape: Shape,
    /// For messages, timings and the printed plan.
    pub label: String,
}

/// A computation: nodes in order, weights, and which values the caller wants back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// In an order in which each node only reads nodes before it.
    pub nodes: Vec<Node>,
    /// What the nodes read besides each other.
    pub weights: Vec<Weight>,
    /// The values to read back, by name.
    pub outputs: Vec<(String, Value)>,
}

impl Graph {
    /// Adds a node.
    pub fn push(&mut self, op: Op, shape: Shape, label: impl Into<String>) -> Value {
        self.nodes.push(Node { op, shape, label: label.into() });
        Value(self.nodes.len() - 1)
    }

    /// Adds a weight.
    pub fn weight(&mut self, weight: Weight) -> WeightId {
        self.weights.push(weight);
        WeightId(self.weights.len() - 1)
    }

    /// The shape of a value.
    #[must_use]
    pub fn shape(&self, value: Value) -> Shape {
        self.nodes[value.0].shape
    }
}

impl Op {
    /// The values this operation reads, in the order of its fields.
    #[must_use]
    pub fn reads(&self) -> Vec<Value> {
        let mut op = self.clone();
        let mut reads = Vec::new();
        op.for_each_read(|value| reads.push(*value));
        reads
    }

    /// Visits every weight this operation reads, to look at or to replace it.
    pub fn for_each_weight(&mut self, mut visit: impl FnMut(&mut WeightId)) {
        match self {
            Self::Conv { weight, epilogue, .. } => {
                visit(weight);
                epilogue.bias.iter_mut().for_each(visit);
            }
            Self::GroupNorm { weight, bias, .. }
            | Self::LayerNorm { weight, bias, .. }
            | Self::GroupNormTangent { weight, bias, .. } => {
                visit(weight);
                visit(bias);
            }
            _ => {}
        }
    }

    /// Visits every value this operation reads, to look at or to replace it.
    pub fn for_each_read(&mut self, mut visit: impl FnMut(&mut Value)) {
        match self {
            Self::Input { .. } => {}
            Self::Conv { x, epilogue, .. } => {
                visit(x);
                if let Some((value, _)) = &mut epilogue.per_image {
                    visit(value);
                }
                epilogue.residual.iter_mut().for_each(&mut visit);
            }
            Self::GroupNorm { x, modulation, .. } => {
                visit(x);
                if let Some((value, _)) = modulation {
                    visit(value);
                }
            }
            Self::LayerNorm { x, .. }
            | Self::Activation { x, .. }
            | Self::Gate { x, .. }
            | Self::UpsampleNearest { x }
            | Self::AveragePool { x }
            | Self::TimestepEmbedding { x, .. } => visit(x),
            Self::Add { a, b, .. } | Self::Affine { x: a, factors: b, .. } => {
                visit(a);
                visit(b);
            }
            Self::Concat { parts } => parts.iter_mut().for_each(visit),
            Self::Attention { q, k, v, .. } => [q, k, v].into_iter().for_each(|(value, _)| visit(value)),
            Self::Combine { coefficients, terms, .. } => {
                visit(coefficients);
                terms.iter_mut().for_each(visit);
            }
            Self::ActivationTangent { x, tangent, .. } => [x, tangent].into_iter().for_each(visit),
            Self::GroupNormTangent { x, tangent, modulation, .. } => {
                [x, tangent].into_iter().for_each(&mut visit);
                if let Some((value, _)) = modulation {
                    visit(value);
                }
            }
            Self::AttentionTangent { q, k, v, tangents, .. } => {
                let tangents = tangents.iter_mut().flatten();
                [q, k, v].into_iter().chain(tangents).for_each(|(value, _)| visit(value));
            }
        }
    }
}
