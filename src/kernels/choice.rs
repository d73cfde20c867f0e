//! The algorithms for a convolution, and the prior for layers that were not measured.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::Family;
use super::winograd::Tile;

/// An algorithm for a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// By the definition: as many products as taps.
    #[default]
    Direct,
    /// By transformed tiles: fewer products, more memory for weights, a little more rounding.
    Winograd(Tile),
    /// By transformed rows: fewer products in one dispatch; `lanes` only.
    WinogradRows(Tile),
}

impl Algorithm {
    /// The algorithms that a family has kernels for, in the order of the memory of their weights.
    #[must_use]
    pub fn of_family(family: Family) -> Vec<Self> {
        let all = [
            Self::Direct,
            Self::WinogradRows(Tile::Two),
            Self::Winograd(Tile::Two),
            Self::WinogradRows(Tile::Four),
            Self::Winograd(Tile::Four),
        ];
        let has = |algorithm: &Self| match family {
            Family::Lanes { .. } => true,
            Family::Tile => !matches!(algorithm, Self::WinogradRows(_)),
            // Winograd's transforms magnify the rounding to float16.
            Family::Matrix { .. } => *algorithm == Self::Direct,
        };
        all.into_iter().filter(has).collect()
    }

    /// The same on tiles of two. The transforms of F(4 x 4, 3 x 3) magnify the rounding of its weights: in float16
    /// the error of a whole network doubles, and hardly grows on tiles of two (`docs/lab-notes.md`).
    pub(crate) fn with_small_tiles(self) -> Self {
        match self {
            Self::Direct => Self::Direct,
            Self::Winograd(_) => Self::Winograd(Tile::Two),
            Self::WinogradRows(_) => Self::WinogradRows(Tile::Two),
        }
    }
}

impl Display for Algorithm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Winograd(tile) => write!(f, "Winograd {0}x{0}", tile.outputs()),
            Self::WinogradRows(tile) => write!(f, "Winograd 1x{}", tile.outputs()),
        }
    }
}

/// The properties of a 3 x 3 layer of stride 1 that decide. The batch is not among them: an image has the same bits
/// in any batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Channels read.
    pub input: usize,
    /// Channels written.
    pub out: usize,
    /// Rows and columns written.
    pub size: (usize, usize),
}

impl Layer {
    /// Floating-point operations per image, by the definition.
    #[must_use]
    pub const fn flops(self) -> u64 {
        2 * (9 * self.input * self.out * self.size.0 * self.size.1) as u64
    }
}

impl Display for Layer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}, {} x {}", self.input, self.out, self.size.0, self.size.1)
    }
}

/// The algorithm that was fastest for layers like this one, alone and in a batch, on llvmpipe and on an H200
/// (`docs/lab-notes.md`).
#[must_use]
pub fn prior(layer: Layer, family: Family) -> Algorithm {
    let (channels, pixels) = (layer.input.min(layer.out), layer.size.0 * layer.size.1);
    match family {
        Family::Lanes { .. } if channels >= 32 && pixels >= 49 => Algorithm::Winograd(Tile::Four),
        Family::Lanes { .. } if channels >= 128 && pixels >= 16 => Algorithm::Winograd(Tile::Two),
        // The processors of a GPU share the matrices: a small map has too few rows to occupy them otherwise.
        Family::Tile if channels >= 32 && pixels >= 256 => Algorithm::Winograd(Tile::Four),
        Family::Tile if channels >= 32 && pixels >= 16 => Algorithm::Winograd(Tile::Two),
        _ => Algorithm::Direct,
    }
}
