//! Second and last stage of Winograd's convolution in one, for software adapters: the products are never stored.

use crate::kernels::parameters::{kernel, parameters};
use std::ops::Range;

use super::Tile;
use super::output::HostOutputs;
use super::tiles::TilesParams;
use crate::kernels::conv2d;
use crate::kernels::epilogue::{EpilogueParams, EpilogueSpec};
use crate::kernels::selftest::LONGEST_LOOP;
use crate::kernels::tiling::{ProductKind, ProductShape, TileSize};
use crate::kernels::{Dispatch, Family, Kernel, Shader, params, words};
use crate::tensor::{Shape, TEXEL};

/// Multiplies transformed tiles with transformed weights and transforms the products back. Reads the tiles (see
/// [`super::WinogradInput`]), weights (see [`super::pack`]), bias, `per_image`, residual; writes y.
#[derive(Clone, Debug, PartialEq)]
pub struct WinogradProducts {
    /// The tile.
    pub tile: Tile,
    /// The map that the tiles are of.
    pub x: Shape,
    /// The map written.
    pub y: Shape,
    /// The tiles, counted over all images.
    pub tiles: Range<usize>,
    /// The end of the product.
    pub epilogue: EpilogueSpec,
    /// The tiles (as rows) and channels of a workgroup: no bit depends on it. `None`, and a size that is not among
    /// [`Self::tile_sizes`], is the one of a rule that follows from the shape.
    pub tile_size: Option<TileSize>,
}

parameters! {
    /// The parameters of `winograd_products.lanes.wgsl`.
    struct Params {
        c4: u32,
        out_h: u32,
        out_w: u32,
        out_c4: u32,
        tiles: TilesParams,
        epilogue: EpilogueParams,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and the variant's constants.
    struct TwinParams {
        shader: Params,
        outputs: u32,
        block: u32,
    }
}

static KERNEL: Kernel = kernel!("winograd_products.lanes", TwinParams, twin);

/// Tiles that a workgroup may take: multiples of four.
const ROWS: [u32; 5] = [4, 8, 16, 32, 64];
/// Those that the rule chooses among.
const RULE_ROWS: [u32; 4] = [4, 16, 32, 64];
const MOST_ROWS: u32 = ROWS[4];
/// From this many multiplications a convolution justifies the longest kernel for tiles of two.
const LARGE: usize = 1 << 27;

impl WinogradProducts {
    /// The dispatch of this stage; `None` for families other than `lanes`, and beyond the limit of iterations of some
    /// drivers.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Option<Dispatch> {
        let Family::Lanes { width } = family else { return None };
        if self.iterations() > LONGEST_LOOP as usize {
            return None;
        }
        let rows = self.block_rows(width);
        let shader_params = Params {
            c4: self.x.c4() as u32,
            out_h: self.y.h as u32,
            out_w: self.y.w as u32,
            out_c4: self.y.c4() as u32,
            tiles: TilesParams::new(self.tile, self.y, &self.tiles),
            epilogue: self.epilogue.params(),
        };
        let constants =
            [self.tile.constants(), self.epilogue.constants().to_vec(), vec![("LANES", width), ("ROWS", rows)]];
        let params = TwinParams { shader: shader_params, outputs: self.tile.outputs() as u32, block: width };
        let grid = [self.y.c4().div_ceil(width as usize), self.tiles.len().div_ceil(rows as usize), 1];
        let shader = family.shader(&KERNEL, constants.concat());
        Some(Dispatch { shader, params: words(&params), grid: grid.map(|extent| extent as u32) })
    }

    /// Iterations of the loops of a workgroup, counted together: over positions, channels, and at the end outputs.
    fn iterations(&self) -> usize {
        let (c4, side) = (self.x.c4(), self.tile.side());
        let epilogue = MOST_ROWS as usize * (2 + self.tile.outputs().pow(2));
        self.tile.positions() * (1 + c4) + side + epilogue
    }

    /// The properties by which the fastest size of tiles is kept.
    #[must_use]
    pub fn shape(&self) -> ProductShape {
        let kind = ProductKind::Winograd(self.tile);
        ProductShape { kind, matrices: 1, rows: self.tiles.len(), k: self.x.c, columns: self.y.c }
    }

    /// The sizes of tiles that the kernels of a family have for it, smallest first: none but in `lanes`. With four by
    /// four outputs more than 16 rows take long to compile.
    #[must_use]
    pub fn tile_sizes(&self, family: Family) -> Vec<TileSize> {
        let Family::Lanes { width } = family else { return Vec::new() };
        self.rows().map(|rows| TileSize::of_lanes(rows, width)).collect()
    }

    /// The size of the tiles that [`Self::dispatch`] takes; `None` without a kernel.
    #[must_use]
    pub fn taken(&self, family: Family) -> Option<TileSize> {
        let Family::Lanes { width } = family else { return None };
        Some(TileSize::of_lanes(self.block_rows(width), width))
    }

    /// The possible tiles per workgroup.
    fn rows(&self) -> impl Iterator<Item = u32> + use<> {
        let most = match self.tile {
            Tile::Two => MOST_ROWS,
            Tile::Four => 16,
        };
        ROWS.into_iter().filter(move |rows| *rows <= most)
    }

    /// Tiles per workgroup.
    fn block_rows(&self, width: u32) -> u32 {
        let wanted = |rows: &u32| self.tile_size == Some(TileSize::of_lanes(*rows, width));
        self.rows().find(wanted).unwrap_or_else(|| self.usual_rows())
    }

    /// The rule for tiles per workgroup. Many tiles share a weight, but a large tile keeps many outputs: with 32 tiles
    /// of four by four outputs a kernel is at most 3 % faster than with 16, and takes three seconds more to compile.
    fn usual_rows(&self) -> u32 {
        let all_tiles = self.y.n * self.tile.image_tiles(self.y);
        let large = self.tile.positions() * all_tiles * self.x.c * self.y.c >= LARGE;
        let most = match (self.tile, large) {
            (Tile::Two, true) => 64,
            (Tile::Two, false) => 32,
            (Tile::Four, _) => 16,
        };
        let fitting = RULE_ROWS.into_iter().find(|rows| *rows as usize >= self.tiles.len());
        fitting.map_or(most, |rows| rows.min(most))
    }

    /// Multiplications and additions, without those of the transform.
    #[must_use]
    pub fn flops(&self) -> u64 {
        2 * (self.tile.positions() * self.tiles.len() * self.x.c * self.y.c) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let mut all: Vec<Shader> = Vec::new();
        for tile in [Tile::Two, Tile::Four] {
            let y = Shape::new(1, tile.outputs(), tile.outputs(), TEXEL);
            for epilogue in EpilogueSpec::kinds() {
                let stage = Self { tile, x: y, y, tiles: 0..1, epilogue, tile_size: None };
                for size in stage.tile_sizes(family) {
                    let stage = Self { tile_size: Some(size), ..stage.clone() };
                    all.extend(stage.dispatch(family).map(|dispatch| dispatch.shader));
                }
            }
        }
        Shader::with_half_weights(all)
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let TwinParams { shader: p, outputs, block } = params(words);
    let [tiles, weights, bias, per_image, residual] = reads else { return };
    let tile = Tile::of_outputs(outputs);
    let [c4, out_h, out_w, out_c4, rows, block] =
        [p.c4, p.out_h, p.out_w, p.out_c4, p.tiles.rows, block].map(|extent| extent as usize);
    let (inputs, channels) = (c4 * TEXEL, out_c4 * TEXEL);
    let matrix = out_c4.div_ceil(block) * block * inputs * TEXEL;
    let size = (out_h, out_w, channels);
    let made = HostOutputs { tile, size, epilogue: p.epilogue, terms: [bias, per_image, residual] };
    for row in 0..rows {
        let place = p.tiles.place(tile, row);
        for channel in 0..channels {
            let product = |position: usize| {
                let from = &tiles[(position * rows + row) * inputs..][..inputs];
                let weight =
                    |i: usize| weights[position * matrix + conv2d::packed_index(channel, i, (0, 0), (1, 1), c4, block)];
                from.iter().enumerate().map(|(i, value)| value * weight(i)).sum::<f32>()
            };
            let products: Vec<f32> = (0..tile.positions()).map(product).collect();
            made.write(&products, place, channel, write);
        }
    }
}
