//! Last stage of Winograd's convolution: products become outputs.

use crate::kernels::parameters::{kernel, parameters};
use std::ops::Range;

use super::tiles::TilesParams;
use super::{Tile, both_ways};
use crate::kernels::epilogue::{EpilogueParams, EpilogueSpec};
use crate::kernels::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::tensor::{Shape, TEXEL};

/// Transforms products back. Reads the products (one row of channels per tile, one matrix per position), bias,
/// `per_image`, residual; writes y.
#[derive(Clone, Debug)]
pub struct WinogradOutput {
    /// The tile.
    pub tile: Tile,
    /// The map written.
    pub y: Shape,
    /// The tiles, counted over all images.
    pub tiles: Range<usize>,
    /// The end of the product.
    pub epilogue: EpilogueSpec,
}

parameters! {
    /// The parameters of `winograd_output.wgsl`.
    struct Params {
        out_h: u32,
        out_w: u32,
        c4: u32,
        tiles: TilesParams,
        epilogue: EpilogueParams,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and the variant's constant.
    struct TwinParams {
        shader: Params,
        outputs: u32,
    }
}

static KERNEL: Kernel = kernel!("winograd_output", TwinParams, twin);

impl WinogradOutput {
    fn rows(&self) -> TilesParams {
        TilesParams::new(self.tile, self.y, &self.tiles)
    }

    /// Texels of the products read.
    #[must_use]
    pub fn texels(&self) -> usize {
        self.rows().texels(self.tile, self.y.c4())
    }

    /// The dispatch of this stage.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let shader_params = Params {
            out_h: self.y.h as u32,
            out_w: self.y.w as u32,
            c4: self.y.c4() as u32,
            tiles: self.rows(),
            epilogue: self.epilogue.params(),
        };
        let params = TwinParams { shader: shader_params, outputs: self.tile.outputs() as u32 };
        let constants = [self.tile.constants(), self.epilogue.constants().to_vec()].concat();
        let shader = family.shader(&KERNEL, constants);
        Dispatch { shader, params: words(&params), grid: flat_grid(shader_params.tiles.rows as usize * self.y.c4()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let y = Shape::new(1, 4, 4, 4);
        let of = |tile, epilogue| Self { tile, y, tiles: 0..1, epilogue }.dispatch(family).shader;
        let tiles = [Tile::Two, Tile::Four];
        EpilogueSpec::kinds().into_iter().flat_map(|epilogue| tiles.map(|tile| of(tile, epilogue))).collect()
    }
}

/// The common end of both last stages on the host.
pub(super) struct HostOutputs<'a> {
    pub tile: Tile,
    /// Rows, columns and channels, with padding, of the map written.
    pub size: (usize, usize, usize),
    pub epilogue: EpilogueParams,
    /// Bias, one vector per image, residual.
    pub terms: [&'a [f32]; 3],
}

impl HostOutputs<'_> {
    /// Transforms the products of a channel of the tile at (image, row, column) back and writes the outputs inside
    /// the map.
    pub fn write(&self, products: &[f32], (image, top, left): (usize, usize, usize), channel: usize, y: &mut [f32]) {
        let (tile, (out_h, out_w, channels)) = (self.tile, self.size);
        let values = both_ways(products, tile.side(), |line| tile.transform_output(line));
        for (at, value) in values.into_iter().enumerate() {
            let (row, column) = (top + at / tile.outputs(), left + at % tile.outputs());
            if row < out_h && column < out_w {
                let index = ((image * out_h + row) * out_w + column) * channels + channel;
                y[index] = self.epilogue.finish(self.terms, value, image, channel, index);
            }
        }
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let TwinParams { shader: p, outputs } = params(words);
    let [m, bias, per_image, residual] = reads else { return };
    let tile = Tile::of_outputs(outputs);
    let [out_h, out_w, rows] = [p.out_h, p.out_w, p.tiles.rows].map(|extent| extent as usize);
    let (channels, positions) = (p.c4 as usize * TEXEL, tile.positions());
    let size = (out_h, out_w, channels);
    let made = HostOutputs { tile, size, epilogue: p.epilogue, terms: [bias, per_image, residual] };
    for row in 0..rows {
        let place = p.tiles.place(tile, row);
        for channel in 0..channels {
            let products: Vec<f32> = (0..positions).map(|at| m[(at * rows + row) * channels + channel]).collect();
            made.write(&products, place, channel, write);
        }
    }
}
