//! Convolutions by Winograd's algorithm: transformed maps, products, and the transform back.

use super::{Lowering, Operand, Reading, with_terms};
use crate::graph::op::{At, WeightId};
use crate::kernels::Family;
use crate::kernels::epilogue::EpilogueSpec;
use crate::kernels::matmul::MatMul;
use crate::kernels::winograd::{self, Tile, WinogradInput, WinogradOutput, WinogradProducts};
use crate::tensor::{Shape, TEXEL};

/// The most texels of a transformed map, about. On a software adapter a pass stays in a core's cache, unless there are
/// more weights, which every pass reads again; on a GPU it has to occupy all processors.
fn transformed_texels(family: Family, weights: usize) -> usize {
    match family {
        Family::Lanes { .. } => weights.clamp(CACHED_TEXELS, LARGEST_PASS),
        Family::Tile | Family::Matrix { .. } => GPU_TEXELS,
    }
}

/// Texels of 2 MiB: 96 channels of 28 x 28, 16 images, are transformed in 4.5 ms, and in 6.6 ms in passes of 16 MiB.
const CACHED_TEXELS: usize = 1 << 17;
/// Texels of 16 MiB.
const LARGEST_PASS: usize = 1 << 20;
/// Texels of 64 MiB.
const GPU_TEXELS: usize = 1 << 22;

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
        let weights = tile.positions() * from.c4() * TEXEL * to.c4();
        let passes = all.div_ceil((transformed_texels(family, weights) / tile_texels).max(1));
        let share = all.div_ceil(passes).next_multiple_of(PASS_TILES);
        for first in (0..all).step_by(share) {
            let tiles = first..(first + share).min(all);
            let input = WinogradInput { tile, x: from, y: to, pad, source, tiles: tiles.clone() };
            let transformed = lowering.scratch(input.texels(), at.label);
            for (part, dispatch) in input.parts(family) {
                let [x, x2, factors] = reading.operands;
                let factors = if source.normalised.is_some() { factors.skipping(part.first) } else { factors };
                let reads = vec![if part.of_second { x2 } else { x }, x2, factors];
                lowering.step_to(at, dispatch, reads, (transformed, part.first), 0);
            }

            let last = WinogradProducts { tile, x: from, y: to, tiles: tiles.clone(), epilogue, tile_size: None };
            let reads = with_terms(&[Operand::Buffer(transformed, 0), Operand::Weight(weight)], terms);
            if lowering.multiply_tiles(at, last, reads) {
                continue;
            }
            let products = winograd::products(tile, tiles.len(), from, to, family);
            let output = WinogradOutput { tile, y: to, tiles, epilogue };
            let multiplied = lowering.scratch(output.texels(), at.label);
            let reads = MatMul::reads(Operand::Buffer(transformed, 0), Operand::Weight(weight)).to_vec();
            lowering.multiply_to(at, products, reads, (multiplied, 0));

            let reads = with_terms(&[Operand::Buffer(multiplied, 0)], terms);
            lowering.step(at, output.dispatch(family), reads);
        }
    }
}
