//! Which algorithm computes a convolution: measured where it was measured, a prior elsewhere.

use std::collections::BTreeMap;

use super::Family;
use super::winograd::Tile;
use crate::tensor::Precision;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// The same on tiles of two. The transforms of F(4 x 4, 3 x 3) magnify the rounding of its weights: in float16 a whole network
    /// is then twice as far off as with weights as they are, on tiles of two hardly more (`docs/lab-notes.md`).
    fn with_small_tiles(self) -> Self {
        match self {
            Self::Direct => Self::Direct,
            Self::Winograd(_) => Self::Winograd(Tile::Two),
            Self::WinogradRows(_) => Self::WinogradRows(Tile::Two),
        }
    }
}

/// What of a 3 x 3 layer of stride 1 decides. The batch is not in it: an image has the same bits in any batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Layer {
    /// Channels read.
    pub input: usize,
    /// Channels written.
    pub out: usize,
    /// Rows and columns written.
    pub size: (usize, usize),
}

/// The choices for an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Only algorithms that round as the definition does, and need no more memory.
    pub exact: bool,
    /// What was fastest where it was measured.
    pub measured: BTreeMap<Layer, Algorithm>,
    /// How kernels of convolutions and matrix products are stored; vectors are always float32.
    pub weights: Precision,
}

impl Choices {
    /// Only the definition.
    #[must_use]
    pub fn exact() -> Self {
        Self { exact: true, ..Self::default() }
    }

    /// The algorithm for a layer.
    #[must_use]
    pub fn of(&self, layer: Layer, family: Family) -> Algorithm {
        if self.exact {
            return Algorithm::Direct;
        }
        let fastest = self.measured.get(&layer).copied().unwrap_or_else(|| prior(layer, family));
        match self.weights {
            Precision::Float32 => fastest,
            Precision::Float16 => fastest.with_small_tiles(),
        }
    }
}

/// What was fastest on llvmpipe for layers like this one (`docs/lab-notes.md`); elsewhere the definition, until measured.
fn prior(layer: Layer, family: Family) -> Algorithm {
    let (channels, pixels) = (layer.input.min(layer.out), layer.size.0 * layer.size.1);
    match family {
        Family::Lanes { .. } if channels >= 64 && pixels >= 256 => Algorithm::Winograd(Tile::Four),
        Family::Lanes { .. } if channels >= 64 && pixels >= 64 => Algorithm::WinogradRows(Tile::Four),
        _ => Algorithm::Direct,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_weights_are_never_transformed_by_large_tiles() {
        let family = Family::Lanes { width: 8 };
        let half = Choices { weights: Precision::Float16, ..Choices::default() };
        let of = |channels: usize, side: usize| {
            let layer = Layer { input: channels, out: channels, size: (side, side) };
            [Choices::default().of(layer, family), half.of(layer, family)]
        };
        assert_eq!(of(128, 32), [Tile::Four, Tile::Two].map(Algorithm::Winograd));
        assert_eq!(of(256, 8), [Tile::Four, Tile::Two].map(Algorithm::WinogradRows));
        assert_eq!(of(32, 32), [Algorithm::Direct; 2]);
    }
}
