//! Winograd's minimal filtering for 3 x 3 convolutions of stride 1: F(m x m, 3 x 3) makes m x m outputs of a channel
//! pair from (m + 2)^2 products instead of 9 m^2. Three stages: [`WinogradInput`] transforms tiles of the map, a
//! batched [`MatMul`] multiplies them with transformed weights ([`pack`]), [`WinogradOutput`] transforms back. On
//! software adapters [`WinogradProducts`] is the last two in one.
//!
//! The transforms are Cook and Toom's, on the points 0, +-1, infinity for m = 2 and 0, +-3/4, +-3/2, infinity for m =
//! 4. With N(x) the product of (x - p) over the finite points p, row p of B^T holds the coefficients of N(x) / (x -
//! p), the last row those of N; row p of G is (1, p, p^2) / N'(p), the last (0, 0, 1); row j of A^T is p^j, the last
//! point counting for the last row alone. All points are dyadic, so B and A are exact in float32. Against the usual
//! points 0, +-1, +-2 the error is a third (measured over 128 channels: 1.7e-6 instead of 6.1e-6 of the largest
//! output; see `docs/lab-notes.md`).

mod input;
mod output;
mod products;
mod rows;
mod tiles;

pub use input::{Part, WinogradInput};
pub use output::WinogradOutput;
pub use products::WinogradProducts;
pub use rows::{WinogradRows, pack_rows, rows_packed_texels};

use super::Family;
use super::conv2d;
use super::matmul::{Layout, MatMul, Strides};
use crate::tensor::{Shape, TEXEL};

/// The outputs of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tile {
    /// F(2 x 2, 3 x 3): 16 products for 36.
    Two,
    /// F(4 x 4, 3 x 3): 36 products for 144.
    Four,
}

impl Tile {
    /// The tile with this number of outputs along a side ([`Self::outputs`]).
    const fn of_outputs(outputs: u32) -> Self {
        if outputs == 2 { Self::Two } else { Self::Four }
    }

    /// Outputs along a side of a tile.
    #[must_use]
    pub const fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Inputs, and products, along a side of a tile.
    #[must_use]
    pub const fn side(self) -> usize {
        self.outputs() + 2
    }

    /// Matrices multiplied.
    #[must_use]
    pub const fn positions(self) -> usize {
        self.side() * self.side()
    }

    /// The tiles that cover a map of this shape: rows and columns of tiles per image.
    #[must_use]
    pub const fn grid(self, y: Shape) -> (usize, usize) {
        (y.h.div_ceil(self.outputs()), y.w.div_ceil(self.outputs()))
    }

    /// Tiles per image of a map of this shape.
    #[must_use]
    pub const fn image_tiles(self, y: Shape) -> usize {
        let (tall, wide) = self.grid(y);
        tall * wide
    }

    /// The constants of the shaders.
    fn constants(self) -> Vec<(&'static str, u32)> {
        vec![("OUT", self.outputs() as u32), ("SIDE", self.side() as u32)]
    }

    /// The points but infinity.
    const fn points(self) -> &'static [f64] {
        match self {
            Self::Two => &[0.0, 1.0, -1.0],
            Self::Four => &[0.0, 0.75, -0.75, 1.5, -1.5],
        }
    }

    /// A row of G for each point: the filter's values there over N'(p), then its leading coefficient.
    fn filter_transform(self) -> Vec<[f64; 3]> {
        let points = self.points();
        let slope = |p: f64| points.iter().filter(|q| **q != p).map(|q| p - q).product::<f64>();
        let finite = points.iter().map(|p| [1.0, *p, p * p].map(|power| power / slope(*p)));
        finite.chain([[0.0, 0.0, 1.0]]).collect()
    }

    /// B^T d.
    fn transform_input(self, d: &[f32]) -> Vec<f32> {
        match self {
            Self::Two => vec![d[2] - d[0], d[2] + d[1], d[2] - d[1], d[3] - d[1]],
            Self::Four => {
                let (even1, odd1) = (d[4] - 2.25 * d[2], 0.75 * (d[3] - 2.25 * d[1]));
                let (even2, odd2) = (d[4] - 0.5625 * d[2], 1.5 * (d[3] - 0.5625 * d[1]));
                let first = 1.265_625 * d[0] - 2.8125 * d[2] + d[4];
                let last = 1.265_625 * d[1] - 2.8125 * d[3] + d[5];
                vec![first, even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, last]
            }
        }
    }

    /// A^T m.
    fn transform_output(self, m: &[f32]) -> Vec<f32> {
        match self {
            Self::Two => vec![m[0] + m[1] + m[2], m[1] - m[2] + m[3]],
            Self::Four => {
                let (sum1, difference1) = (m[1] + m[2], m[1] - m[2]);
                let (sum2, difference2) = (m[3] + m[4], m[3] - m[4]);
                vec![
                    m[0] + sum1 + sum2,
                    0.75 * difference1 + 1.5 * difference2,
                    0.5625 * sum1 + 2.25 * sum2,
                    0.421_875 * difference1 + 3.375 * difference2 + m[5],
                ]
            }
        }
    }
}

/// A square of `side` x `side` values, row-major, with `line` applied to its columns, then to its rows.
fn both_ways(values: &[f32], side: usize, line: impl Fn(&[f32]) -> Vec<f32>) -> Vec<f32> {
    let columns: Vec<Vec<f32>> =
        (0..side).map(|j| line(&(0..side).map(|i| values[i * side + j]).collect::<Vec<_>>())).collect();
    (0..columns[0].len()).flat_map(|i| line(&columns.iter().map(|column| column[i]).collect::<Vec<_>>())).collect()
}

/// The products of the middle stage for `rows` tiles: reads the transformed map and packed weights, writes the
/// products; the epilogue's operands are not read.
#[must_use]
pub fn products(tile: Tile, rows: usize, from: Shape, to: Shape, family: Family) -> MatMul {
    let plain = MatMul::plain(tile.positions(), rows, from.c, to.c);
    MatMul {
        layout: Layout::Packed,
        b: Strides { image: conv2d::packed_texels(to.c, from.c, (1, 1), family), ..plain.b },
        ..plain
    }
}

/// Texels of packed weights.
#[must_use]
pub fn packed_texels(out: usize, input: usize, tile: Tile, family: Family) -> usize {
    tile.positions() * conv2d::packed_texels(out, input, (1, 1), family)
}

/// Transforms a 3 x 3 kernel in `PyTorch`'s order (out, in, 3, 3) in float64 and packs it for the middle stage: the
/// matrices of G g G^T, one after the other, each packed as [`conv2d::pack`] packs a kernel of 1 x 1.
#[must_use]
pub fn pack(weight: &[f32], out: usize, input: usize, tile: Tile, family: Family) -> Vec<f32> {
    let transform = tile.filter_transform();
    let mut packed = Vec::with_capacity(packed_texels(out, input, tile, family) * TEXEL);
    for along_y in &transform {
        // The kernel's rows weighted and summed: three numbers are left of nine.
        let lines: Vec<[f64; 3]> = weight
            .chunks_exact(9)
            .map(|g| [0, 1, 2].map(|x| (0..3).map(|y| along_y[y] * f64::from(g[y * 3 + x])).sum()))
            .collect();
        for along_x in &transform {
            let matrix: Vec<f32> =
                lines.iter().map(|line| (0..3).map(|x| along_x[x] * line[x]).sum::<f64>() as f32).collect();
            packed.extend(conv2d::pack(&matrix, out, input, (1, 1), family));
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A^T [(G g G^T) * (B^T d B)] A is the convolution of the definition.
    #[test]
    fn the_transforms_make_a_convolution() {
        for tile in [Tile::Two, Tile::Four] {
            let (side, outputs) = (tile.side(), tile.outputs());
            let d: Vec<f32> = (0..side * side).map(|i| ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0).collect();
            let g: Vec<f32> = (0..9).map(|i| ((i * 31 + 5) % 17) as f32 / 8.0 - 1.0).collect();
            let packed = pack(&g, 1, 1, tile, Family::Tile);
            let filter: Vec<f32> = packed.chunks(TEXEL * TEXEL).map(|matrix| matrix[0]).collect();
            let input = both_ways(&d, side, |line| tile.transform_input(line));
            let products: Vec<f32> = filter.iter().zip(&input).map(|(u, v)| u * v).collect();
            let found = both_ways(&products, side, |line| tile.transform_output(line));
            for (at, found) in found.iter().enumerate() {
                let (y, x) = (at / outputs, at % outputs);
                let taps = (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx)));
                let wanted: f32 = taps.map(|(ky, kx)| g[ky * 3 + kx] * d[(y + ky) * side + x + kx]).sum();
                assert!((found - wanted).abs() < 1e-5, "{tile:?} ({y}, {x}): {found} instead of {wanted}");
            }
        }
    }

    #[test]
    fn the_matrices_of_the_shaders_follow_from_the_points() {
        for tile in [Tile::Two, Tile::Four] {
            let (points, side) = (tile.points(), tile.side());
            let unit = |i: usize| (0..side).map(|j| f32::from(u8::from(i == j))).collect::<Vec<_>>();
            // The coefficients of the product of (x - p) over some points.
            let product = |points: &[f64]| {
                points.iter().fold(vec![1.0], |poly, p| {
                    let mut next = vec![0.0; poly.len() + 1];
                    for (power, c) in poly.iter().enumerate() {
                        next[power + 1] += c;
                        next[power] -= p * c;
                    }
                    next
                })
            };
            for column in 0..side {
                let b = tile.transform_input(&unit(column));
                let a = tile.transform_output(&unit(column));
                for (row, found) in b.iter().enumerate() {
                    let others: Vec<f64> = points.iter().copied().filter(|p| points.get(row) != Some(p)).collect();
                    let wanted = product(&others).get(column).copied().unwrap_or(0.0);
                    assert_eq!(f64::from(*found), wanted, "{tile:?}: B^T ({row}, {column})");
                }
                for (power, value) in a.iter().enumerate() {
                    let infinity = f64::from(u8::from(power + 1 == tile.outputs()));
                    let wanted = points.get(column).map_or(infinity, |p| p.powi(power as i32));
                    assert_eq!(f64::from(*value), wanted, "{tile:?}: A^T ({power}, {column})");
                }
            }
        }
    }
}
