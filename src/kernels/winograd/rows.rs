//! Winograd's algorithm along the rows alone, F(m, 3), in one dispatch for software adapters.

use super::Tile;
use crate::kernels::conv2d::{self, Conv2d};
use crate::kernels::epilogue::EpilogueSpec;
use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::source::HostSource;
use crate::kernels::{Dispatch, Family, Kernel, Shader, Source, params, words};
use crate::tensor::{Shape, TEXEL};

/// A 3 x 3 convolution of stride 1. Reads x, x2, factors (see [`Source`]), weights (see [`pack_rows`]), bias,
/// `per_image`, residual; writes y.
#[derive(Clone, Copy, Debug)]
pub struct WinogradRows {
    /// Outputs of a row made together.
    pub tile: Tile,
    /// The map read, as the layer sees it.
    pub x: Shape,
    /// The way it is read.
    pub source: Source,
    /// The map written.
    pub y: Shape,
    /// Rows of zeros above and columns to the left.
    pub pad: (usize, usize),
    /// The end of the product.
    pub epilogue: EpilogueSpec,
}

parameters! {
    /// The twin's parameters: those of the shader and the variant's constants, which are constants of the shader.
    struct TwinParams {
        shader: conv2d::Params,
        outputs: u32,
        block: u32,
    }
}

static KERNEL: Kernel = kernel!("winograd_rows.lanes", TwinParams, twin);

/// Rows and columns of pixels per tile: those that waste the fewest pixels.
fn tile_pixels(y: Shape) -> (usize, usize) {
    let waste = |&(th, tw): &(usize, usize)| y.h.next_multiple_of(th) * y.w.next_multiple_of(tw);
    [(8, 4), (4, 8), (4, 4)].into_iter().min_by_key(waste).unwrap_or((8, 4))
}

impl WinogradRows {
    /// The dispatch of this convolution; `None` for families other than `lanes`.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Option<Dispatch> {
        let Family::Lanes { width } = family else { return None };
        let (th, tw) = tile_pixels(self.y);
        let tiles = (self.y.h.div_ceil(th), self.y.w.div_ceil(tw));
        let shape = [("LANES", width), ("TH", th as u32), ("TW", tw as u32)];
        let constants =
            [&self.tile.constants(), self.source.constants().as_slice(), &self.epilogue.constants(), &shape].concat();
        let Self { x, source, y, pad, epilogue, .. } = *self;
        let definition = Conv2d { x, source, y, kernel: (3, 3), stride: 1, pad, epilogue, tile_size: None };
        let params =
            TwinParams { shader: definition.params(tiles.1), outputs: self.tile.outputs() as u32, block: width };
        let grid = [self.y.c4().div_ceil(width as usize), tiles.0 * tiles.1, self.y.n];
        let shader = family.shader(&KERNEL, constants);
        Some(Dispatch { shader, params: words(&params), grid: grid.map(|extent| extent as u32) })
    }

    /// Multiplications and additions, without those of the transforms.
    #[must_use]
    pub fn flops(&self) -> u64 {
        let groups = self.y.n * self.y.h * self.y.w.div_ceil(self.tile.outputs());
        2 * (groups * self.tile.side() * 3 * self.y.c * self.x.c) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let mut all: Vec<Shader> = Vec::new();
        for tile in [Tile::Two, Tile::Four] {
            for (h, w) in [(8, 4), (4, 8), (4, 4)] {
                for (epilogue, source) in conv2d::epilogues_and_sources() {
                    let y = Shape::new(1, h, w, 8);
                    let rows = Self { tile, x: y, source, y, pad: (1, 1), epilogue };
                    all.extend(rows.dispatch(family).map(|dispatch| dispatch.shader));
                }
            }
        }
        Shader::with_half_weights(all)
    }
}

/// Texels of packed weights.
#[must_use]
pub fn rows_packed_texels(out: usize, input: usize, tile: Tile, family: Family) -> usize {
    conv2d::packed_texels(out, input, (3, tile.side()), family)
}

/// Transforms the rows of a 3 x 3 kernel in `PyTorch`'s order (out, in, 3, 3) in float64, and packs them as
/// [`conv2d::pack`] packs a kernel of 3 x (m + 2).
#[must_use]
pub fn pack_rows(weight: &[f32], out: usize, input: usize, tile: Tile, family: Family) -> Vec<f32> {
    let transform = tile.filter_transform();
    let dot = |g: &[f32], row: &[f64; 3]| (0..3).map(|x| row[x] * f64::from(g[x])).sum::<f64>() as f32;
    let rows: Vec<f32> = weight.chunks_exact(3).flat_map(|g| transform.iter().map(|row| dot(g, row))).collect();
    conv2d::pack(&rows, out, input, (3, tile.side()), family)
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let TwinParams { shader: p, outputs, block } = params(words);
    let [x, x2, factors, weights, bias, per_image, residual] = reads else { return };
    let tile = Tile::of_outputs(outputs);
    let [in_h, in_w, in_c4] = [p.in_h, p.in_w, p.in_c4].map(|extent| extent as usize);
    let [out_h, out_w, out_c4] = [p.out_h, p.out_w, p.out_c4].map(|extent| extent as usize);
    let (side, outputs, channels) = (tile.side(), tile.outputs(), out_c4 * TEXEL);
    let groups = out_w.div_ceil(outputs);
    let source = HostSource { params: p.source, reads: [x, x2, factors], size: (in_h, in_w), channels: in_c4 * TEXEL };
    for group in 0..p.images as usize * out_h * groups {
        let (image, oy, ox) = (group / (out_h * groups), group / groups % out_h, group % groups * outputs);
        // For each output channel the products of every position.
        let mut sums = vec![0.0f32; channels * side];
        for ky in 0..3 {
            let iy = (oy + ky).wrapping_sub(p.pad_top as usize);
            if iy >= in_h {
                continue;
            }
            for i in 0..in_c4 * TEXEL {
                let value = |j: usize| source.value(image, iy, (ox + j).wrapping_sub(p.pad_left as usize), i);
                let transformed = tile.transform_input(&(0..side).map(value).collect::<Vec<_>>());
                for (position, value) in transformed.iter().enumerate() {
                    for channel in 0..channels {
                        let at = conv2d::packed_index(channel, i, (ky, position), (3, side), in_c4, block as usize);
                        sums[channel * side + position] += value * weights[at];
                    }
                }
            }
        }
        for (channel, sums) in sums.chunks(side).enumerate() {
            for (j, value) in tile.transform_output(sums).into_iter().enumerate().filter(|(j, _)| ox + j < out_w) {
                let index = ((image * out_h + oy) * out_w + ox + j) * channels + channel;
                write[index] = p.epilogue.finish([bias, per_image, residual], value, image, channel, index);
            }
        }
    }
}
