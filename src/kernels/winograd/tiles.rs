//! The rows of the matrices of Winograd's convolution: some of the tiles of all images; the twin of
//! `shaders/shared/tiles.wgsl`.

use crate::kernels::parameters::parameters;
use std::ops::Range;

use super::Tile;
use crate::tensor::Shape;

parameters! {
    /// The tiles that the rows stand for, as the shaders read them.
    pub(super) struct TilesParams {
        tiles_x: u32,
        image_tiles: u32,
        first_tile: u32,
        /// Tiles from there on.
        pub rows: u32,
    }
}

impl TilesParams {
    /// `tiles` of those that cover the map y, counted over all its images.
    pub fn new(tile: Tile, y: Shape, tiles: &Range<usize>) -> Self {
        let (tall, wide) = tile.grid(y);
        Self {
            tiles_x: wide as u32,
            image_tiles: (tall * wide) as u32,
            first_tile: tiles.start as u32,
            rows: tiles.len() as u32,
        }
    }

    /// Texels of the matrices of all positions with `c4` texels per row.
    pub fn texels(self, tile: Tile, c4: usize) -> usize {
        tile.positions() * self.rows as usize * c4
    }

    /// The image of a row, and row and column of its tile's first output; the twin of `place_of_tile`.
    pub fn place(self, tile: Tile, row: usize) -> (usize, usize, usize) {
        let [tiles_x, image_tiles, first] =
            [self.tiles_x, self.image_tiles, self.first_tile].map(|extent| extent as usize);
        let of_all = first + row;
        let of_image = of_all % image_tiles;
        let (top, left) = (of_image / tiles_x * tile.outputs(), of_image % tiles_x * tile.outputs());
        (of_all / image_tiles, top, left)
    }
}
