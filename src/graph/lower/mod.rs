//! Lowering: each operator of the graph as dispatches of kernels on buffers that do not share memory yet. The operators
//! lower themselves ([`super::op::Operator::lower`]) with the help of [`Lowering`].

mod adjoint;
mod attention;
mod tangent;
pub(super) mod winograd;

use std::collections::BTreeMap;

use super::fold::{Folding, folded, worth_folding};
use super::op::{At, Graph, Value, WeightId};
use super::options::TileSizes;
use crate::kernels::choice::Algorithm;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::matmul::MatMul;
use crate::kernels::tiling::Product;
use crate::kernels::winograd::WinogradProducts;
use crate::kernels::{Dispatch, Family, Normalised, Source};
use crate::tensor::{Precision, TEXEL};

/// A buffer of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// A buffer before it has a place in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Texels it holds.
    pub texels: usize,
    /// The label of the node that writes it.
    pub label: String,
    /// The precision of its numbers.
    pub precision: Precision,
}

/// The binding of a dispatch at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A buffer, from this texel on.
    Buffer(BufferId, usize),
    /// A weight.
    Weight(WeightId),
}

impl Operand {
    /// The same buffer from a later texel on. A weight is read whole.
    fn skipping(self, texels: usize) -> Self {
        match self {
            Self::Buffer(buffer, first) => Self::Buffer(buffer, first + texels),
            Self::Weight(weight) => Self::Weight(weight),
        }
    }
}

/// One dispatch of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The module it belongs to.
    pub label: String,
    /// The node of the graph that it computes, or a part of.
    pub node: Value,
    /// The shader, its parameters and its grid.
    pub dispatch: Dispatch,
    /// The operands that it reads, in the shader's order.
    pub reads: Vec<Operand>,
    /// The buffer that it writes.
    pub write: BufferId,
    /// The first texel that it writes.
    pub write_first: usize,
    /// Floating-point operations of products; 0 for other kernels.
    pub flops: u64,
    /// The product that it is, where there is a choice of tiles.
    pub product: Option<Product>,
}

/// A graph as dispatches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lowered {
    /// Every buffer; those of the graph's values come first, in their order.
    pub buffers: Vec<Buffer>,
    /// The dispatches, in order.
    pub steps: Vec<Step>,
    /// Weights made by lowering itself (tables); their numbers continue those of the graph.
    pub tables: Vec<Vec<f32>>,
}

/// Lowers a graph for a family of kernels, with the algorithm of each weight and the sizes of tiles.
#[must_use]
pub fn lower(
    graph: &Graph,
    family: Family,
    algorithms: &[Algorithm],
    tile_sizes: TileSizes,
    fold_always: bool,
) -> Lowered {
    let folded =
        if fold_always || worth_folding(graph, family) { folded(graph, family) } else { vec![None; graph.nodes.len()] };
    let buffers = graph.nodes.iter().zip(&folded).map(|(node, folded)| Buffer {
        texels: if folded.is_some() { 0 } else { node.shape.texels() },
        label: node.label.clone(),
        precision: Precision::Float32,
    });
    let lowered = Lowered { buffers: buffers.collect(), ..Lowered::default() };
    let mut lowering = Lowering { graph, family, algorithms, tile_sizes, folded, factors: BTreeMap::new(), lowered };
    for (at, node) in graph.nodes.iter().enumerate() {
        node.op.operator().lower(&graph.at(Value(at)), &mut lowering);
    }
    lowering.lowered
}

/// A graph on its way to dispatches.
pub struct Lowering<'a> {
    graph: &'a Graph,
    /// The kernels.
    pub family: Family,
    algorithms: &'a [Algorithm],
    tile_sizes: TileSizes<'a>,
    /// The way each value is read without being materialised, for those that are not.
    folded: Vec<Option<Folding>>,
    /// The factors of normalisations that their reader applies.
    factors: BTreeMap<Value, BufferId>,
    lowered: Lowered,
}

/// A map as a layer reads it.
#[derive(Clone, Copy)]
pub struct Reading {
    /// x, x2 and factors.
    pub operands: [Operand; 3],
    /// The way they are read.
    pub source: Source,
}

/// The whole buffer of a value.
pub(super) fn whole(value: Value) -> Operand {
    Operand::Buffer(BufferId(value.0), 0)
}

/// A value from a channel on, which begins a texel.
pub(super) fn part((value, channel): (Value, usize)) -> Operand {
    Operand::Buffer(BufferId(value.0), channel / TEXEL)
}

/// The operands of a step: `reads`, then the terms of an epilogue. A term that is absent is bound to the first of
/// `reads`, which is a float32 array as the term would be, and never read.
pub(super) fn with_terms(reads: &[Operand], terms: [Option<Operand>; 3]) -> Vec<Operand> {
    reads.iter().copied().chain(terms.map(|term| term.unwrap_or(reads[0]))).collect()
}

impl Lowering<'_> {
    /// Adds a dispatch that writes the result of a node.
    pub fn step(&mut self, at: &At, dispatch: Dispatch, reads: Vec<Operand>) {
        self.step_to(at, dispatch, reads, (BufferId(at.value.0), 0), 0);
    }

    /// Adds a matrix product that writes the result of a node.
    pub fn multiply(&mut self, at: &At, product: MatMul, reads: Vec<Operand>) {
        self.multiply_to(at, product, reads, (BufferId(at.value.0), 0));
    }

    /// Adds a matrix product that writes a buffer from a texel on.
    pub fn multiply_to(&mut self, at: &At, product: MatMul, reads: Vec<Operand>, to: (BufferId, usize)) {
        let product = MatMul { tile_size: self.tile_sizes.of(&product.shape()), ..product };
        self.product_to(at, product.dispatch(self.family), reads, to, product.into());
    }

    /// Adds a convolution by its definition that writes the result of a node.
    pub fn convolve(&mut self, at: &At, conv: Conv2d, reads: Vec<Operand>) {
        let conv = Conv2d { tile_size: self.tile_sizes.of(&conv.shape()), ..conv };
        self.product_to(at, conv.dispatch(self.family), reads, (BufferId(at.value.0), 0), conv.into());
    }

    /// Adds the last stages of Winograd's convolution in one, which write the result of a node. Returns `false` if the
    /// family has no kernel for them.
    pub fn multiply_tiles(&mut self, at: &At, products: WinogradProducts, reads: Vec<Operand>) -> bool {
        let products = WinogradProducts { tile_size: self.tile_sizes.of(&products.shape()), ..products };
        let Some(dispatch) = products.dispatch(self.family) else { return false };
        self.product_to(at, dispatch, reads, (BufferId(at.value.0), 0), products.into());
        true
    }

    /// Adds the dispatch of a product.
    fn product_to(&mut self, at: &At, dispatch: Dispatch, reads: Vec<Operand>, to: (BufferId, usize), is: Product) {
        self.step_to(at, dispatch, reads, to, is.flops());
        if let Some(step) = self.lowered.steps.last_mut() {
            step.product = is.tile_size(self.family).map(|_| is);
        }
    }

    /// Adds a dispatch that writes a buffer from a texel on.
    pub fn step_to(
        &mut self,
        at: &At,
        dispatch: Dispatch,
        reads: Vec<Operand>,
        (write, write_first): (BufferId, usize),
        flops: u64,
    ) {
        let (label, node) = (at.label.to_owned(), at.value);
        self.lowered.steps.push(Step { label, node, dispatch, reads, write, write_first, flops, product: None });
    }

    /// Adds a buffer for intermediate results.
    pub fn scratch(&mut self, texels: usize, label: &str) -> BufferId {
        self.lowered.buffers.push(Buffer { texels, label: label.to_owned(), precision: Precision::Float32 });
        BufferId(self.lowered.buffers.len() - 1)
    }

    /// Adds numbers as a weight.
    pub fn table(&mut self, numbers: Vec<f32>) -> Operand {
        self.lowered.tables.push(numbers);
        Operand::Weight(WeightId(self.graph.weights.len() + self.lowered.tables.len() - 1))
    }

    /// The algorithm that a weight is packed for.
    #[must_use]
    pub fn algorithm(&self, weight: WeightId) -> Algorithm {
        self.algorithms[weight.0]
    }

    /// Returns `true` if the readers of a value read its operands instead.
    #[must_use]
    pub fn is_folded(&self, value: Value) -> bool {
        self.folded[value.0].is_some()
    }

    /// Hands the factors of a folded normalisation to its reader.
    pub fn give_factors(&mut self, value: Value, factors: BufferId) {
        self.factors.insert(value, factors);
    }

    /// The operands of a layer that reads `x`: the value, or the operands it is folded into.
    #[must_use]
    pub fn reading(&self, x: Value) -> Reading {
        let mut source = Source::default();
        let mut value = x;
        if let Some(Folding::Normalised { x, activation }) = self.folded[value.0] {
            source.normalised = Some(Normalised { activation });
            value = x;
        }
        let maps = match self.folded[value.0] {
            // A normalisation that is read by another one is never folded.
            None | Some(Folding::Normalised { .. }) => [value; 2],
            Some(Folding::Joined { parts, channels }) => {
                source.joined = Some(channels);
                parts
            }
            Some(Folding::Upsampled { x }) => {
                source.upsampled = true;
                [x; 2]
            }
        };
        let [first, second] = maps.map(whole);
        let factors = self.factors.get(&x).map_or(first, |factors| Operand::Buffer(*factors, 0));
        Reading { operands: [first, second, factors], source }
    }
}
