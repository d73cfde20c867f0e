//! Lowering: each operation of the graph as dispatches of kernels on buffers that do not share memory yet.

mod attention;
mod tangent;

use std::collections::BTreeMap;

use super::fold::{folded, worth_folding};
use super::op::{Epilogue, Graph, HeadSide, Heads, Node, Op, Value, WeightForm, WeightId};
use crate::kernels::choice::Algorithm;
use crate::kernels::combine::Combine;
use crate::kernels::concat::Concat;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::{Activate, Add};
use crate::kernels::epilogue::EpilogueSpec;
use crate::kernels::gate::Gate;
use crate::kernels::group_norm::{GroupNormFactors, GroupNormFold, Moments, ScaleShift};
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::matmul::{Layout, MatMul, Strides};
use crate::kernels::resample::{AveragePool, UpsampleNearest};
use crate::kernels::softmax::{Causal, Softmax};
use crate::kernels::timestep_embedding::TimestepEmbedding;
use crate::kernels::winograd::{self, Tile, WinogradInput, WinogradOutput, WinogradProducts, WinogradRows};
use crate::kernels::{Dispatch, Family, Normalised, Source, timestep_embedding};
use crate::tensor::{Precision, Shape, TEXEL};

/// A buffer of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// A buffer before it has a place in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Texels it holds.
    pub texels: usize,
    /// Who writes it.
    pub label: String,
    /// How its numbers are stored.
    pub precision: Precision,
}

/// What a dispatch binds at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A buffer, from this texel on.
    Buffer(BufferId, usize),
    /// A weight.
    Weight(WeightId),
}

/// One dispatch of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The module it belongs to.
    pub label: String,
    /// What runs.
    pub dispatch: Dispatch,
    /// What it reads, in the shader's order.
    pub reads: Vec<Operand>,
    /// What it writes.
    pub write: BufferId,
    /// From which texel on.
    pub write_first: usize,
    /// Floating-point operations, where they are worth counting.
    pub flops: u64,
}

/// A graph as dispatches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lowered {
    /// Every buffer; those of the graph's values come first, in their order.
    pub buffers: Vec<Buffer>,
    /// The dispatches, in order.
    pub steps: Vec<Step>,
    /// Weights made by lowering itself (tables); they continue the graph's.
    pub tables: Vec<Vec<f32>>,
}

/// The padded extents (out, in) of a kernel on the device.
#[must_use]
pub fn padded_kernel(out: usize, input: usize, heads: Option<Heads>) -> (usize, usize) {
    match heads {
        Some(heads) if heads.side == HeadSide::Out => (heads.count * heads.padded_dim(), input),
        Some(heads) => (out, heads.count * heads.padded_dim()),
        None => (out, input),
    }
}

/// Lowers a graph for a family of kernels, with the algorithm of each weight.
#[must_use]
pub fn lower(graph: &Graph, family: Family, algorithms: &[Algorithm], fold_always: bool) -> Lowered {
    let folded = if fold_always || worth_folding(graph, family) {
        folded(graph, family)
    } else {
        vec![false; graph.nodes.len()]
    };
    let buffers = graph.nodes.iter().zip(&folded).map(|(node, folded)| Buffer {
        texels: if *folded { 0 } else { node.shape.texels() },
        label: node.label.clone(),
        precision: Precision::Float32,
    });
    let lowered = Lowered { buffers: buffers.collect(), ..Lowered::default() };
    let mut lowering = Lowering { graph, family, algorithms, folded, factors: BTreeMap::new(), lowered };
    for (at, node) in graph.nodes.iter().enumerate() {
        lowering.node(Value(at), node);
    }
    lowering.lowered
}

/// Texels of a transformed map, about at most: 16 MiB where passes over a small part stay in the cache, 64 MiB where a pass has to occupy
/// all processors of a GPU.
const fn transformed_texels(family: Family) -> usize {
    match family {
        Family::Lanes { .. } => 1 << 20,
        Family::Tile | Family::Matrix { .. } => 1 << 22,
    }
}
/// Tiles that a pass has a multiple of: the rows of a block in products.
const PASS_TILES: usize = 64;

/// Texels of attention scores, at most: 32 MiB.
const SCORES_TEXELS: usize = 1 << 21;

/// Passes over the queries, at most: beyond that the scores take more memory, until the device's limit refuses them.
const MOST_PASSES: usize = 128;

/// Queries of attention to be scored at a time, which take so many texels each: queries do not see each other, and the scores
/// shall be small.
fn queries_at_once(texels: usize, tokens: usize) -> usize {
    let fitting = SCORES_TEXELS / texels;
    if fitting >= tokens { tokens } else { (fitting / 32 * 32).max(tokens.div_ceil(MOST_PASSES)) }
}

/// A convolution by Winograd's algorithm.
struct Winograd {
    tile: Tile,
    reading: Reading,
    from: Shape,
    to: Shape,
    pad: (usize, usize),
    weight: WeightId,
    epilogue: EpilogueSpec,
}

struct Lowering<'a> {
    graph: &'a Graph,
    family: Family,
    algorithms: &'a [Algorithm],
    /// Whether a node's value need not exist.
    folded: Vec<bool>,
    /// The factors of normalisations that their reader applies.
    factors: BTreeMap<Value, BufferId>,
    lowered: Lowered,
}

/// What a layer reads for a map: x, x2 and factors, and how.
#[derive(Clone, Copy)]
struct Reading {
    operands: [Operand; 3],
    source: Source,
}

/// The whole buffer of a value.
fn whole(value: Value) -> Operand {
    Operand::Buffer(BufferId(value.0), 0)
}

/// A value from a channel on, which begins a texel.
fn part((value, channel): (Value, usize)) -> Operand {
    Operand::Buffer(BufferId(value.0), channel / TEXEL)
}

/// What a step reads: `reads`, then the terms of an epilogue. One that is not there is bound to the first of `reads`, a float32
/// array as it would be, and never looked at.
fn with_terms(reads: &[Operand], terms: [Option<Operand>; 3]) -> Vec<Operand> {
    reads.iter().copied().chain(terms.map(|term| term.unwrap_or(reads[0]))).collect()
}

impl Lowering<'_> {
    fn step(&mut self, label: &str, dispatch: Dispatch, reads: Vec<Operand>, write: BufferId, flops: u64) {
        self.step_at(label, dispatch, reads, (write, 0), flops);
    }

    fn step_at(&mut self, label: &str, dispatch: Dispatch, reads: Vec<Operand>, to: (BufferId, usize), flops: u64) {
        let (write, write_first) = to;
        self.lowered.steps.push(Step { label: label.to_owned(), dispatch, reads, write, write_first, flops });
    }

    fn scratch(&mut self, texels: usize, label: &str) -> BufferId {
        self.lowered.buffers.push(Buffer { texels, label: label.to_owned(), precision: Precision::Float32 });
        BufferId(self.lowered.buffers.len() - 1)
    }

    fn node(&mut self, value: Value, node: &Node) {
        let (family, label, write) = (self.family, node.label.as_str(), BufferId(value.0));
        let shape_of = |value: Value| self.graph.shape(value);
        match &node.op {
            Op::Input { .. } => {}
            Op::Conv { x, weight, stride, pad, epilogue } => {
                self.conv(node, *x, *weight, *stride, *pad, epilogue, write);
            }
            Op::GroupNorm { .. } => self.group_norm(node, value),
            Op::Affine { factors, .. } if self.folded[value.0] => {
                self.factors.insert(value, BufferId(factors.0));
            }
            Op::Affine { x, factors, activation } => {
                let apply = ScaleShift { x: node.shape, activation: *activation };
                self.step(label, apply.dispatch(family), vec![whole(*x), whole(*factors)], write, 0);
            }
            Op::LayerNorm { x, weight, bias, eps } => {
                let norm = LayerNorm { rows: node.shape.rows(), channels: node.shape.c, eps: *eps };
                let reads = vec![whole(*x), Operand::Weight(*weight), Operand::Weight(*bias)];
                self.step(label, norm.dispatch(family), reads, write, 0);
            }
            Op::Activation { x, activation } => {
                let activate = Activate { texels: node.shape.texels(), activation: *activation };
                self.step(label, activate.dispatch(family), vec![whole(*x)], write, 0);
            }
            Op::Gate { x, activation } => {
                let gate = Gate { y: node.shape, activation: *activation };
                self.step(label, gate.dispatch(family), vec![whole(*x)], write, 0);
            }
            Op::Add { a, b, scale } => {
                let per_image = shape_of(*b).pixels() == 1 && node.shape.pixels() > 1;
                let add = Add { shape: node.shape, per_image, scale: *scale };
                self.step(label, add.dispatch(family), vec![whole(*a), whole(*b)], write, 0);
            }
            Op::Concat { .. } | Op::UpsampleNearest { .. } if self.folded[value.0] => {}
            Op::Concat { parts } => self.concat(parts, label, write),
            Op::UpsampleNearest { x } => {
                let upsample = UpsampleNearest { x: shape_of(*x), y: node.shape };
                self.step(label, upsample.dispatch(family), vec![whole(*x)], write, 0);
            }
            Op::AveragePool { x } => {
                let pool = AveragePool { x: shape_of(*x) };
                self.step(label, pool.dispatch(family), vec![whole(*x)], write, 0);
            }
            Op::Attention { .. } => self.attention(node, write),
            Op::TimestepEmbedding { x, frequencies, dim, flip } => {
                let embedding = TimestepEmbedding { images: node.shape.n, dim: *dim, flip: *flip };
                let table = WeightId(self.graph.weights.len() + self.lowered.tables.len());
                self.lowered.tables.push(timestep_embedding::table(frequencies));
                let reads = vec![whole(*x), Operand::Weight(table)];
                self.step(label, embedding.dispatch(family), reads, write, 0);
            }
            Op::Combine { coefficients, terms, clip, offset } => {
                // Images that share coefficients count as one taller image.
                let images = shape_of(*coefficients).n;
                let shape = Shape { n: images, h: node.shape.n / images * node.shape.h, ..node.shape };
                let combine = Combine { shape, terms: terms.len(), clip: *clip, offset: *offset };
                let mut reads = vec![whole(*coefficients)];
                reads.extend((0..4).map(|term| whole(*terms.get(term).unwrap_or(&terms[0]))));
                self.step(label, combine.dispatch(family), reads, write, 0);
            }
            Op::ActivationTangent { .. } => self.activation_tangent(node, value),
            Op::GroupNormTangent { .. } => self.group_norm_tangent(node, value),
            Op::AttentionTangent { .. } => self.attention_tangent(node, value),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of Op::Conv, spread out")]
    fn conv(
        &mut self,
        node: &Node,
        x: Value,
        weight: WeightId,
        stride: usize,
        pad: (usize, usize),
        epilogue: &Epilogue,
        write: BufferId,
    ) {
        let WeightForm::Kernel { height, width, .. } = self.graph.weights[weight.0].form else { return };
        let spec = EpilogueSpec {
            bias: epilogue.bias.is_some(),
            per_image: epilogue.per_image.map(|(value, _)| self.graph.shape(value).c4()),
            activation: epilogue.activation,
            residual: epilogue.residual.is_some(),
            scale: epilogue.scale,
        };
        let terms = [epilogue.bias.map(Operand::Weight), epilogue.per_image.map(part), epilogue.residual.map(whole)];
        let reading = self.reading(x);
        let source = reading.source;
        let (from, to) = (self.graph.shape(x), node.shape);
        if let Algorithm::Winograd(tile) = self.algorithms[weight.0] {
            let conv = Winograd { tile, reading, from, to, pad, weight, epilogue: spec };
            self.winograd(&node.label, &conv, terms, write);
            return;
        }
        let [first, second, factors] = reading.operands;
        let reads = with_terms(&[first, second, factors, Operand::Weight(weight)], terms);
        if let Algorithm::WinogradRows(tile) = self.algorithms[weight.0] {
            let conv = WinogradRows { tile, x: from, source, y: to, pad, epilogue: spec };
            if let Some(dispatch) = conv.dispatch(self.family) {
                self.step(&node.label, dispatch, reads, write, conv.flops());
            }
            return;
        }
        let (dispatch, flops) = if (height, width, stride) == (1, 1, 1) {
            let product = MatMul {
                layout: Layout::Packed,
                rows_per_image: to.pixels(),
                source,
                epilogue: spec,
                ..MatMul::plain(1, to.rows(), from.c, to.c)
            };
            (product.dispatch(self.family), product.flops())
        } else {
            let conv = Conv2d { x: from, source, y: to, kernel: (height, width), stride, pad, epilogue: spec };
            (conv.dispatch(self.family), conv.flops())
        };
        self.step(&node.label, dispatch, reads, write, flops);
    }

    /// Two or three dispatches for as many tiles at a time as keep the transformed map small.
    fn winograd(&mut self, label: &str, conv: &Winograd, terms: [Option<Operand>; 3], write: BufferId) {
        let Winograd { tile, reading, from, to, pad, weight, epilogue } = *conv;
        let (family, source) = (self.family, reading.source);
        let (all, tile_texels) = (to.n * tile.image_tiles(to), tile.positions() * from.c4().max(to.c4()));
        // Passes of like size, of whole blocks of a product's rows.
        let passes = all.div_ceil((transformed_texels(self.family) / tile_texels).max(1));
        let share = all.div_ceil(passes).next_multiple_of(PASS_TILES);
        for first in (0..all).step_by(share) {
            let tiles = first..(first + share).min(all);
            let input = WinogradInput { tile, x: from, y: to, pad, source, tiles: tiles.clone() };
            let transformed = self.scratch(input.texels(), label);
            self.step(label, input.dispatch(family), reading.operands.to_vec(), transformed, 0);

            let last = WinogradProducts { tile, x: from, y: to, tiles: tiles.clone(), epilogue };
            if let Some(dispatch) = last.dispatch(family) {
                let reads = with_terms(&[Operand::Buffer(transformed, 0), Operand::Weight(weight)], terms);
                self.step(label, dispatch, reads, write, last.flops());
                continue;
            }
            let products = winograd::products(tile, tiles.len(), from, to, family);
            let output = WinogradOutput { tile, y: to, tiles, epilogue };
            let multiplied = self.scratch(output.texels(), label);
            let reads = MatMul::reads(Operand::Buffer(transformed, 0), Operand::Weight(weight)).to_vec();
            self.step(label, products.dispatch(family), reads, multiplied, products.flops());

            let reads = with_terms(&[Operand::Buffer(multiplied, 0)], terms);
            self.step(label, output.dispatch(family), reads, write, 0);
        }
    }

    /// What a layer reads for `x`: the value, or what it is made of where it need not exist.
    fn reading(&self, x: Value) -> Reading {
        let op = |value: Value| &self.graph.nodes[value.0].op;
        let (mut source, mut value) = (Source::default(), x);
        if let Op::GroupNorm { x, activation, .. } | Op::Affine { x, activation, .. } = op(value)
            && self.folded[value.0]
        {
            source.normalised = Some(Normalised { activation: *activation });
            value = *x;
        }
        let mut maps = [value; 2];
        match op(value) {
            Op::Concat { parts } if self.folded[value.0] => {
                maps = [parts[0], parts[1]];
                source.joined = Some(self.graph.shape(parts[0]).c);
            }
            Op::UpsampleNearest { x } if self.folded[value.0] => {
                maps = [*x; 2];
                source.upsampled = true;
            }
            _ => {}
        }
        let [first, second] = maps.map(whole);
        let factors = self.factors.get(&x).map_or(first, |factors| Operand::Buffer(*factors, 0));
        Reading { operands: [first, second, factors], source }
    }

    fn group_norm(&mut self, node: &Node, value: Value) {
        let write = BufferId(value.0);
        let Op::GroupNorm { x, weight, bias, groups, eps, modulation, activation } = &node.op else { return };
        let (shape, family, label) = (node.shape, self.family, node.label.as_str());
        let factors = self.scratch(shape.n * shape.c4() * 2, label);
        let vectors =
            [Operand::Weight(*weight), Operand::Weight(*bias), modulation.map_or(Operand::Weight(*weight), part)];
        let modulation = modulation.map(|(value, _)| self.graph.shape(value).c4());
        let Reading { operands: [first, second, _], source } = self.reading(*x);
        let (maps, joined) = ([first, second], source.joined);
        let at_once = GroupNormFactors { x: shape, joined, groups: *groups, eps: *eps, modulation };
        if let Some(dispatch) = at_once.dispatch(family) {
            self.step(label, dispatch, [maps.as_slice(), &vectors].concat(), factors, 0);
        } else {
            let moments = Moments::new(shape, joined, family);
            let measured = self.scratch(shape.n * moments.chunks() * shape.c4() * 2, label);
            self.step(label, moments.dispatch(family), maps.to_vec(), measured, 0);
            let (images, pixels, chunk) = (shape.n, shape.pixels(), moments.chunk);
            let fold =
                GroupNormFold { images, channels: shape.c, groups: *groups, eps: *eps, pixels, chunk, modulation };
            let reads = [&[Operand::Buffer(measured, 0)], vectors.as_slice()].concat();
            self.step(label, fold.dispatch(family), reads, factors, 0);
        }

        if self.folded[value.0] {
            self.factors.insert(value, factors);
            return;
        }
        let apply = ScaleShift { x: shape, activation: *activation };
        self.step(label, apply.dispatch(family), vec![whole(*x), Operand::Buffer(factors, 0)], write, 0);
    }

    fn concat(&mut self, parts: &[Value], label: &str, write: BufferId) {
        let Some((first, rest)) = parts.split_first() else { return };
        let (mut joined, mut shape) = (BufferId(first.0), self.graph.shape(*first));
        for (at, part) in rest.iter().enumerate() {
            let concat = Concat { a: shape, b: self.graph.shape(*part) };
            shape = Shape { c: shape.c + concat.b.c, ..shape };
            let into = if at + 1 == rest.len() { write } else { self.scratch(shape.texels(), label) };
            let reads = vec![Operand::Buffer(joined, 0), whole(*part)];
            self.step(label, concat.dispatch(self.family), reads, into, 0);
            joined = into;
        }
    }

    /// scores = scale * q k^T, softmax over the keys, times v; for each image and head.
    fn attention(&mut self, node: &Node, write: BufferId) {
        let Op::Attention { q, k, v, heads, head_dim, scale, causal } = node.op else { return };
        if self.fused_attention(node, write) {
            return;
        }
        let label = node.label.as_str();
        let head_texels = head_dim.div_ceil(TEXEL);
        let (queries, keys) = (self.graph.shape(q.0), self.graph.shape(k.0));
        let (tokens, columns) = (queries.pixels(), keys.pixels());
        let columns4 = columns.div_ceil(TEXEL);
        let strides = |(value, _): (Value, usize)| {
            let shape = self.graph.shape(value);
            Strides { row: shape.c4(), image: shape.pixels() * shape.c4(), head: head_texels }
        };
        let batch = (queries.n, heads);
        let y = Strides { row: heads * head_texels, image: tokens * heads * head_texels, head: head_texels };
        let (q_strides, k_strides, v_strides) = (strides(q), strides(k), strides(v));
        let share = queries_at_once(queries.n * heads * columns4, tokens);
        for first in (0..tokens).step_by(share) {
            let rows = share.min(tokens - first);
            let scored = Strides { row: columns4, image: heads * rows * columns4, head: rows * columns4 };
            let scoring = MatMul {
                batch,
                layout: Layout::Transposed,
                a: q_strides,
                b: k_strides,
                y: scored,
                alpha: scale,
                ..MatMul::plain(1, rows, head_texels * TEXEL, columns)
            };
            let mixing =
                MatMul { batch, a: scored, b: v_strides, y, ..MatMul::plain(1, rows, columns, head_texels * TEXEL) };
            let texels = queries.n * heads * rows * columns4;
            let scores = self.scratch(texels, label);
            let from = Operand::Buffer(BufferId(q.0.0), q.1 / TEXEL + first * q_strides.row);
            let reads = MatMul::reads(from, part(k)).to_vec();
            self.step(label, scoring.dispatch(self.family), reads, scores, scoring.flops());

            let causal = causal.then_some(Causal { queries: rows, first });
            let softmax = Softmax { rows: queries.n * heads * rows, columns, causal };
            let shares = self.scratch(texels, label);
            self.step(label, softmax.dispatch(self.family), vec![Operand::Buffer(scores, 0)], shares, 0);

            let reads = MatMul::reads(Operand::Buffer(shares, 0), part(v)).to_vec();
            let to = (write, first * y.row);
            self.step_at(label, mixing.dispatch(self.family), reads, to, mixing.flops());
        }
    }
}
