//! Two-dimensional convolution over NHWC maps, zero padding, any kernel, any stride.

use super::blocking::Blocking;
use super::epilogue::{EpilogueParams, EpilogueSpec};
use super::source::{HostSource, SourceParams};
use super::tiling::{ProductKind, ProductShape, TileSize};
use super::{Dispatch, Family, Kernel, Shader, Source, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// A convolution, shapes known. Reads x, x2, factors (see [`Source`]), weights (see [`pack`]), bias, `per_image`,
/// residual; writes y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// The map read, as the layer sees it.
    pub x: Shape,
    /// The way it is read.
    pub source: Source,
    /// The map written.
    pub y: Shape,
    /// Height and width of the kernel.
    pub kernel: (usize, usize),
    /// Pixels from one output to the next, both ways.
    pub stride: usize,
    /// Rows of zeros above and columns to the left; those below and to the right follow from the output's shape.
    pub pad: (usize, usize),
    /// The end of the product.
    pub epilogue: EpilogueSpec,
    /// The pixels (as rows) and channels of a workgroup of the tile family: no bit depends on it. `None`, and a size
    /// that is not among [`Self::tile_sizes`], is the one of a rule that follows from the shape.
    pub tile_size: Option<TileSize>,
}

parameters! {
    /// The parameters of `conv2d.lanes.wgsl`, `conv2d_narrow.lanes.wgsl`, `conv2d.tile.wgsl`, `conv2d.matrix.wgsl`
    /// and `winograd_rows.lanes.wgsl`.
    pub(super) struct Params {
        pub in_h: u32,
        pub in_w: u32,
        pub in_c4: u32,
        pub out_h: u32,
        pub out_w: u32,
        pub out_c4: u32,
        pub kernel_h: u32,
        pub pad_top: u32,
        pub pad_left: u32,
        pub tiles_x: u32,
        pub images: u32,
        pub epilogue: EpilogueParams,
        pub source: SourceParams,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and the variant's constants, which are constants of the shader.
    struct TwinParams {
        shader: Params,
        kernel_w: u32,
        stride: u32,
        block: u32,
    }
}

static LANES: Kernel = kernel!("conv2d.lanes", TwinParams, twin);
static NARROW: Kernel = kernel!("conv2d_narrow.lanes", TwinParams, twin);
static TILE: Kernel = kernel!("conv2d.tile", TwinParams, twin);
static MATRIX: Kernel = kernel!("conv2d.matrix", TwinParams, rounding_twin);

/// Rows and columns of pixels in a tile of the lanes family.
fn lanes_tile(y: Shape) -> (usize, usize) {
    // Wide tiles share more input columns between taps; another tile is another shader to compile, so it has to waste
    // far fewer pixels.
    let waste = |&(th, tw): &(usize, usize)| y.h.next_multiple_of(th) * y.w.next_multiple_of(tw);
    let least = [(4, 4), (1, 16)].into_iter().min_by_key(waste).unwrap_or((4, 4));
    if waste(&least) * 5 < waste(&(2, 8)) * 4 { least } else { (2, 8) }
}

/// Rows of pixels in a tile of the narrow kernel.
const NARROW_ROWS: usize = 8;

impl Conv2d {
    /// Returns `true` if few channels are written, so that lanes are better spent on pixels.
    fn is_narrow(&self, width: u32) -> bool {
        let (height, kernel) = self.kernel;
        self.y.c4() == 1 && self.stride == 1 && height == kernel && kernel > 1 && kernel < width as usize
    }

    /// The dispatch of this convolution.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let shape = [("KX", self.kernel.1 as u32), ("STRIDE", self.stride as u32)];
        let constants = [&shape, self.source.constants().as_slice(), &self.epilogue.constants()].concat();
        let (shader, grid, tiles_x) = match family {
            Family::Lanes { width } if self.is_narrow(width) => {
                let (th, tw) = (NARROW_ROWS, width as usize + 1 - self.kernel.1);
                let tiles = (self.y.h.div_ceil(th), self.y.w.div_ceil(tw));
                let constants = [constants, vec![("LANES", width), ("TH", th as u32)]].concat();
                (family.shader(&NARROW, constants), [1, tiles.0 * tiles.1, self.y.n], tiles.1)
            }
            Family::Lanes { width } => {
                let (th, tw) = lanes_tile(self.y);
                let tiles = (self.y.h.div_ceil(th), self.y.w.div_ceil(tw));
                let constants = [constants, vec![("LANES", width), ("TH", th as u32), ("TW", tw as u32)]].concat();
                let blocks = self.y.c4().div_ceil(width as usize);
                let grid = [blocks, tiles.0 * tiles.1, self.y.n];
                (family.shader(&LANES, constants), grid, tiles.1)
            }
            Family::Matrix { width, side } => {
                let constants = [constants, vec![("WIDTH", width), ("SIDE", side)]].concat();
                let grid = [self.y.c4().div_ceil(16), self.y.rows().div_ceil(64), 1];
                (family.shader(&MATRIX, constants), grid, 1)
            }
            Family::Tile => {
                let tile = self.blocking();
                let (rows, texels) = tile.grid();
                let constants = [constants, tile.constants().to_vec()].concat();
                let grid = [self.y.c4().div_ceil(texels), self.y.rows().div_ceil(rows), 1];
                (family.shader(&TILE, constants), grid, 1)
            }
        };
        let shader_params = self.params(tiles_x);
        let params = TwinParams {
            shader: shader_params,
            kernel_w: self.kernel.1 as u32,
            stride: self.stride as u32,
            block: family.block(self.y.c4()) as u32,
        };
        Dispatch { shader, params: words(&params), grid: grid.map(|extent| extent as u32) }
    }

    /// The properties by which the fastest tile is kept.
    #[must_use]
    pub fn shape(&self) -> ProductShape {
        let (height, width) = self.kernel;
        let kind = ProductKind::Convolution(height, width, self.stride);
        ProductShape { kind, matrices: 1, rows: self.y.rows(), k: height * width * self.x.c, columns: self.y.c }
    }

    /// The sizes of tiles that the kernels of a family have for it, smallest first: none but in `tile`.
    #[must_use]
    pub fn tile_sizes(&self, family: Family) -> Vec<TileSize> {
        if family == Family::Tile { Blocking::sizes() } else { Vec::new() }
    }

    /// The size of the tiles that [`Self::dispatch`] takes, if there is a choice.
    #[must_use]
    pub fn taken(&self, family: Family) -> Option<TileSize> {
        (family == Family::Tile).then(|| self.blocking().size())
    }

    /// The tile of the tile family.
    fn blocking(&self) -> Blocking {
        let by_rule = || Blocking::of(self.y.rows(), self.y.c4(), 1);
        self.tile_size.and_then(Blocking::of_size).unwrap_or_else(by_rule)
    }

    /// The parameters of the shaders, with `tiles_x` tiles in a row of the map.
    pub(super) fn params(&self, tiles_x: usize) -> Params {
        Params {
            in_h: self.x.h as u32,
            in_w: self.x.w as u32,
            in_c4: self.x.c4() as u32,
            out_h: self.y.h as u32,
            out_w: self.y.w as u32,
            out_c4: self.y.c4() as u32,
            kernel_h: self.kernel.0 as u32,
            pad_top: self.pad.0 as u32,
            pad_left: self.pad.1 as u32,
            tiles_x: tiles_x as u32,
            images: self.y.n as u32,
            epilogue: self.epilogue.params(),
            source: self.source.params(),
        }
    }

    /// Multiplications and additions.
    #[must_use]
    pub fn flops(&self) -> u64 {
        2 * (self.y.rows() * self.y.c * self.kernel.0 * self.kernel.1 * self.x.c) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let plain = [(8, 8, 8), (4, 4, 8), (1, 16, 8), (8, 8, 4)].map(|size| (size, None));
        let sizes = match family {
            Family::Lanes { .. } => plain.to_vec(),
            Family::Tile => Blocking::sizes().into_iter().map(|size| ((8, 8, 8), Some(size))).collect(),
            Family::Matrix { .. } => vec![plain[0]],
        };
        let mut all: Vec<Shader> = Vec::new();
        for (kernel, stride) in [(3, 1), (3, 2), (1, 1), (1, 2), (2, 2)] {
            for &((h, w, channels), tile_size) in &sizes {
                let y = Shape::new(1, h, w, channels);
                for (epilogue, source) in epilogues_and_sources() {
                    let (kernel, pad) = ((kernel, kernel), (0, 0));
                    let conv = Self { x: y, source, y, kernel, stride, pad, epilogue, tile_size };
                    let shader = conv.dispatch(family).shader;
                    if !all.contains(&shader) {
                        all.push(shader);
                    }
                }
            }
        }
        Shader::with_half_weights(all)
    }
}

/// Each kind of epilogue on a plain map, each kind of source before a bias.
pub(super) fn epilogues_and_sources() -> Vec<(EpilogueSpec, Source)> {
    let [nothing, terms, activation] = EpilogueSpec::kinds();
    let plain = [nothing, activation].map(|epilogue| (epilogue, Source::default()));
    plain.into_iter().chain(Source::kinds().into_iter().map(|source| (terms, source))).collect()
}

/// Texels of packed weights.
#[must_use]
pub fn packed_texels(out: usize, input: usize, kernel: (usize, usize), family: Family) -> usize {
    let columns = out.div_ceil(TEXEL);
    let block = family.block(columns);
    columns.div_ceil(block) * block * kernel.0 * kernel.1 * input.div_ceil(TEXEL) * TEXEL
}

/// Packs a kernel in `PyTorch`'s order (out, in, height, width) for [`Conv2d`] and, as 1 x 1, for the matrix product:
/// `[block][ky][input texel][kx][channel of the texel][output texel of the block][4 outputs]`, padding zero.
#[must_use]
pub fn pack(weight: &[f32], out: usize, input: usize, kernel: (usize, usize), family: Family) -> Vec<f32> {
    let (height, width) = kernel;
    let block = family.block(out.div_ceil(TEXEL));
    let mut packed = vec![0.0; packed_texels(out, input, kernel, family) * TEXEL];
    for o in 0..out {
        for i in 0..input {
            for ky in 0..height {
                for kx in 0..width {
                    let index = packed_index(o, i, (ky, kx), (height, width), input.div_ceil(TEXEL), block);
                    packed[index] = weight[((o * input + i) * height + ky) * width + kx];
                }
            }
        }
    }
    packed
}

/// The index in a packed kernel of the weight from input channel `i` to output channel `o` at (ky, kx).
pub(super) fn packed_index(
    o: usize,
    i: usize,
    at: (usize, usize),
    kernel: (usize, usize),
    in_c4: usize,
    block: usize,
) -> usize {
    let (texel, component) = (o / TEXEL, o % TEXEL);
    let line = ((texel / block * kernel.0 + at.0) * in_c4 + i / TEXEL) * kernel.1 + at.1;
    ((line * TEXEL + i % TEXEL) * block + texel % block) * TEXEL + component
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    computed(words, reads, write, |operand| operand);
}

/// The twin of kernels that round factors to float16.
fn rounding_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    computed(words, reads, write, super::to_float16);
}

fn computed(words: &[u32], reads: &[&[f32]], write: &mut [f32], operand: impl Fn(f32) -> f32) {
    let TwinParams { shader: p, kernel_w, stride, block } = params(words);
    let [x, x2, factors, weights, bias, per_image, residual] = reads else { return };
    let [in_h, in_w, in_c4] = [p.in_h, p.in_w, p.in_c4].map(|extent| extent as usize);
    let [out_h, out_w, out_c4] = [p.out_h, p.out_w, p.out_c4].map(|extent| extent as usize);
    let kernel = (p.kernel_h as usize, kernel_w as usize);
    let (channels, block) = (out_c4 * TEXEL, block as usize);
    let mut acc = vec![0.0; channels];
    let source = HostSource { params: p.source, reads: [x, x2, factors], size: (in_h, in_w), channels: in_c4 * TEXEL };
    for pixel in 0..p.images as usize * out_h * out_w {
        let (image, oy, ox) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        acc.fill(0.0);
        for (ky, kx) in (0..kernel.0).flat_map(|ky| (0..kernel.1).map(move |kx| (ky, kx))) {
            let iy = (oy * stride as usize + ky).wrapping_sub(p.pad_top as usize);
            let ix = (ox * stride as usize + kx).wrapping_sub(p.pad_left as usize);
            if iy >= source.size.0 || ix >= source.size.1 {
                continue;
            }
            for i in 0..in_c4 * TEXEL {
                let value = operand(source.value(image, iy, ix, i));
                for (first, sums) in acc.chunks_mut(block * TEXEL).enumerate() {
                    let row = packed_index(first * block * TEXEL, i, (ky, kx), kernel, in_c4, block);
                    for (sum, weight) in sums.iter_mut().zip(&weights[row..]) {
                        *sum += value * operand(*weight);
                    }
                }
            }
        }
        for (column, sum) in acc.iter().enumerate() {
            let index = pixel * channels + column;
            write[index] = p.epilogue.finish([bias, per_image, residual], *sum, image, column, index);
        }
    }
}
