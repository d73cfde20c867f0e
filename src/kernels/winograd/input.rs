//! First stage of Winograd's convolution: tiles of the map, transformed.

use crate::kernels::parameters::{kernel, parameters};
use std::ops::Range;

use super::tiles::TilesParams;
use super::{Tile, both_ways};
use crate::kernels::source::{HostSource, SourceParams};
use crate::kernels::{Dispatch, Family, Kernel, Shader, Source, flat_grid, params, words};
use crate::tensor::{Shape, TEXEL};

/// Transforms the tiles of a map. Reads x, x2, factors (see [`Source`]); writes one matrix per position of a tile,
/// with one row of channels per tile.
#[derive(Clone, Debug)]
pub struct WinogradInput {
    /// The tile.
    pub tile: Tile,
    /// The map read, as the layer sees it.
    pub x: Shape,
    /// The way it is read.
    pub source: Source,
    /// The map that the convolution writes.
    pub y: Shape,
    /// Rows of zeros above and columns to the left.
    pub pad: (usize, usize),
    /// The tiles, counted over all images.
    pub tiles: Range<usize>,
}

/// The channels that one dispatch transforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The texel of channels where it begins, in the factors and in each row that is written.
    pub first: usize,
    /// `true` for those of the second of two joined maps, which the dispatch then reads as x.
    pub of_second: bool,
}

parameters! {
    /// The parameters of `winograd_input.wgsl`.
    struct Params {
        in_h: u32,
        in_w: u32,
        c4: u32,
        part_c4: u32,
        pad_top: u32,
        pad_left: u32,
        tiles: TilesParams,
        source: SourceParams,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and the variant's constants.
    struct TwinParams {
        shader: Params,
        outputs: u32,
    }
}

static KERNEL: Kernel = kernel!("winograd_input", TwinParams, twin);

impl WinogradInput {
    fn rows(&self) -> TilesParams {
        TilesParams::new(self.tile, self.y, &self.tiles)
    }

    /// Texels written.
    #[must_use]
    pub fn texels(&self) -> usize {
        self.rows().texels(self.tile, self.x.c4())
    }

    /// The dispatch of this stage.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        self.dispatch_of(self.x.c4(), self.source, family)
    }

    /// The dispatches of this stage, each with the part of the channels that it transforms. On software adapters, which
    /// execute both sides of a branch, a joined map takes two, one for each of its maps; the bits are the same.
    #[must_use]
    pub fn parts(&self, family: Family) -> Vec<(Part, Dispatch)> {
        let whole = Part { first: 0, of_second: false };
        let (Family::Lanes { .. }, Some(joined)) = (family, self.source.joined) else {
            return vec![(whole, self.dispatch(family))];
        };
        let (first, plain) = (joined / TEXEL, Source { joined: None, ..self.source });
        let second = Part { first, of_second: true };
        [(whole, first), (second, self.x.c4() - first)]
            .map(|(part, c4)| (part, self.dispatch_of(c4, plain, family)))
            .into()
    }

    fn dispatch_of(&self, part_c4: usize, source: Source, family: Family) -> Dispatch {
        let shader_params = Params {
            in_h: self.x.h as u32,
            in_w: self.x.w as u32,
            c4: self.x.c4() as u32,
            part_c4: part_c4 as u32,
            pad_top: self.pad.0 as u32,
            pad_left: self.pad.1 as u32,
            tiles: self.rows(),
            source: source.params(),
        };
        let params = TwinParams { shader: shader_params, outputs: self.tile.outputs() as u32 };
        let in_a_loop = u32::from(matches!(family, Family::Lanes { .. }));
        let constants = [self.tile.constants(), source.constants().to_vec(), vec![("LOOP", in_a_loop)]];
        let shader = family.shader(&KERNEL, constants.concat());
        Dispatch { shader, params: words(&params), grid: flat_grid(shader_params.tiles.rows as usize * part_c4) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let x = Shape::new(1, 4, 4, 4);
        let of = |tile, source| Self { tile, x, source, y: x, pad: (1, 1), tiles: 0..1 }.dispatch(family).shader;
        Source::kinds().into_iter().flat_map(|source| [of(Tile::Two, source), of(Tile::Four, source)]).collect()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let TwinParams { shader: p, outputs } = params(words);
    let [x, x2, factors] = reads else { return };
    let tile = Tile::of_outputs(outputs);
    let [in_h, in_w, rows] = [p.in_h, p.in_w, p.tiles.rows].map(|extent| extent as usize);
    let (channels, part, side) = (p.c4 as usize * TEXEL, p.part_c4 as usize * TEXEL, tile.side());
    // A part has the factors of all channels, and a map that has its channels alone, like the first of two joined maps.
    let read = if part < channels { p.source.with_first(p.part_c4) } else { p.source };
    let source = HostSource { params: read, reads: [x, x2, factors], size: (in_h, in_w), channels };
    for row in 0..rows {
        let (image, top, left) = p.tiles.place(tile, row);
        for channel in 0..part {
            let value = |at: usize| {
                let y = (top + at / side).wrapping_sub(p.pad_top as usize);
                let x_at = (left + at % side).wrapping_sub(p.pad_left as usize);
                source.value(image, y, x_at, channel)
            };
            let d: Vec<f32> = (0..side * side).map(value).collect();
            let transformed = both_ways(&d, side, |line| tile.transform_input(line));
            for (position, value) in transformed.into_iter().enumerate() {
                write[(position * rows + row) * channels + channel] = value;
            }
        }
    }
}
