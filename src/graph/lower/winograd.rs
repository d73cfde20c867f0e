//! Convolutions by Winograd's algorithm: transformed maps, products, and the transform back.

use super::{Lowering, Operand, Reading, with_terms};
use crate::graph::op::{At, WeightId};
use crate::kernels::Family;
use crate::kernels::epilogue::EpilogueSpec;
use crate::kernels::matmul::MatMul;
use crate::kernels::winograd::{self, Tile, WinogradInput, WinogradOutput, WinogradProducts};
use crate::tensor::Shape;

/// The most texels of a transformed map, about: 16 MiB where passes over a small part stay in the cache, 64 MiB where a
/// pass has to occupy all processors of a GPU.
const fn transformed_texels(family: Family) -> usize {
    match family {
        Family::Lanes { .. } => 1 << 20,
        Family::Tile | Family::Matrix { .. } => 1 << 22,
    }
}

/// A pass has a multiple of these tiles: the rows of a block in products.
const PASS_TILES: usize = 64;

/// A convolution by Winograd's algorithm.
pub struct Winograd {
    pub tile: Tile,
    pub reading: Reading,
    pub from: Shape,
    pub to: Shape,
    pub pad: (usize, usize),
    pub weight: WeightId,
    pub epilogue: EpilogueSpec,
}

impl Winograd {
    /// Two or three dispatches for as many tiles at a time as keep the transformed map small.
    pub fn lower(&self, at: &At, terms: [Option<Operand>; 3], lowering: &mut Lowering) {
        let Self { tile, reading, from, to, pad, weight, epilogue } = *self;
        let (family, source) = (lowering.family, reading.source);
        let (all, tile_texels) = (to.n * tile.image_tiles(to), tile.positions() * from.c4().max(to.c4()));
        // Passes of like size, of whole blocks of a product's rows.
        let passes = all.div_ceil((transformed_texels(family) / tile_texels).max(1));
        let share = all.div_ceil(passes).next_multiple_of(PASS_TILES);
        for first in (0..all).step_by(share) {
            let tiles = first..(first + share).min(all);
            let input = WinogradInput { tile, x: from, y: to, pad, source, tiles: tiles.clone() };
            let transformed = lowering.scratch(input.texels(), at.label);
            lowering.step_to(at, input.dispatch(family), reading.operands.to_vec(), (transformed, 0), 0);

            let last = WinogradProducts { tile, x: from, y: to, tiles: tiles.clone(), epilogue };
            if let Some(dispatch) = last.dispatch(family) {
                let reads = with_terms(&[Operand::Buffer(transformed, 0), Operand::Weight(weight)], terms);
                lowering.product(at, dispatch, reads, last.flops());
                continue;
            }
            let products = winograd::products(tile, tiles.len(), from, to, family);
            let output = WinogradOutput { tile, y: to, tiles, epilogue };
            let multiplied = lowering.scratch(output.texels(), at.label);
            let reads = MatMul::reads(Operand::Buffer(transformed, 0), Operand::Weight(weight)).to_vec();
            lowering.step_to(at, products.dispatch(family), reads, (multiplied, 0), products.flops());

            let reads = with_terms(&[Operand::Buffer(multiplied, 0)], terms);
            lowering.step(at, output.dispatch(family), reads);
        }
    }
}
