//! Which algorithm computes a convolution: measured where it was measured, a prior elsewhere.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::Family;
use super::winograd::Tile;
use crate::tensor::Precision;

/// How a convolution is computed.
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
    /// Those that a family has kernels for, in the order of the memory that their weights take.
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

    /// The same on tiles of two. The transforms of F(4 x 4, 3 x 3) magnify the rounding of its weights: in float16 a whole network
    /// is then twice as far off as with weights as they are, on tiles of two hardly more (`docs/lab-notes.md`).
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

/// What of a 3 x 3 layer of stride 1 decides. The batch is not in it: an image has the same bits in any batch.
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
    /// Floating-point operations of an image, by the definition.
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

/// The choices for an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// This one for every layer, whatever memory it takes.
    pub forced: Option<Algorithm>,
    /// What was fastest where it was measured.
    pub measured: BTreeMap<Layer, Algorithm>,
    /// Maps that need not exist do not, in networks of any size (see `graph::fold`); otherwise where it is worth the shaders.
    pub fold_always: bool,
    /// How kernels of convolutions and matrix products are stored; vectors are always float32.
    pub weights: Precision,
    /// How the maps between the layers of a network are stored, where they lie in storage buffers; what is fed or read back and vectors
    /// are always float32.
    pub maps: Precision,
}

impl Choices {
    /// Only the definition.
    #[must_use]
    pub fn exact() -> Self {
        Self::forced(Algorithm::Direct)
    }

    /// Only this one.
    #[must_use]
    pub fn forced(algorithm: Algorithm) -> Self {
        Self { forced: Some(algorithm), ..Self::default() }
    }

    /// What was measured, and the prior elsewhere.
    #[must_use]
    pub fn measured(measured: BTreeMap<Layer, Algorithm>) -> Self {
        Self { measured, ..Self::default() }
    }

    /// These, but only one algorithm.
    #[must_use]
    pub fn but(&self, algorithm: Algorithm) -> Self {
        Self { forced: Some(algorithm), ..self.clone() }
    }

    /// The algorithm for a layer; the definition in place of one that the family has no kernels for.
    #[must_use]
    pub fn of(&self, layer: Layer, family: Family) -> Algorithm {
        let algorithm = self.forced.unwrap_or_else(|| {
            let fastest = self.measured.get(&layer).copied().unwrap_or_else(|| prior(layer, family));
            match self.weights {
                Precision::Float32 => fastest,
                Precision::Float16 => fastest.with_small_tiles(),
            }
        });
        if Algorithm::of_family(family).contains(&algorithm) { algorithm } else { Algorithm::Direct }
    }
}

impl Display for Choices {
    /// Where they come from.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.forced, self.measured.len()) {
            (Some(algorithm), _) => write!(f, "{algorithm} for every layer"),
            (None, 0) => f.write_str("by prior"),
            (None, count) => write!(f, "{count} layers by measurement, others by prior"),
        }
    }
}

/// What was fastest for layers like this one, alone and in a batch, on llvmpipe and on an H200 (`docs/lab-notes.md`).
fn prior(layer: Layer, family: Family) -> Algorithm {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: Family = Family::Lanes { width: 8 };
    const LAYER: Layer = Layer { input: 128, out: 128, size: (16, 16) };

    #[test]
    fn what_is_forced_beats_what_was_measured_and_that_the_prior() {
        let rows = Algorithm::WinogradRows(Tile::Two);
        assert_eq!(Choices::default().of(LAYER, LANES), Algorithm::Winograd(Tile::Four));
        let mut choices = Choices::measured([(LAYER, rows)].into());
        assert_eq!(choices.of(LAYER, LANES), rows);
        choices.forced = Some(Algorithm::Winograd(Tile::Two));
        assert_eq!(choices.of(LAYER, LANES), Algorithm::Winograd(Tile::Two));
        assert_eq!(Choices::exact().of(LAYER, LANES), Algorithm::Direct);
    }

    #[test]
    fn a_family_is_never_asked_for_kernels_that_it_lacks() {
        for algorithm in Algorithm::of_family(LANES) {
            let on_tile = Choices::forced(algorithm).of(LAYER, Family::Tile);
            let rows = matches!(algorithm, Algorithm::WinogradRows(_));
            assert_eq!(on_tile, if rows { Algorithm::Direct } else { algorithm });
        }
    }

    #[test]
    fn half_weights_are_never_transformed_by_large_tiles() {
        let half = Choices { weights: Precision::Float16, ..Choices::default() };
        let of = |channels: usize, side: usize| {
            let layer = Layer { input: channels, out: channels, size: (side, side) };
            [Choices::default().of(layer, LANES), half.of(layer, LANES)]
        };
        assert_eq!(of(128, 32), [Tile::Four, Tile::Two].map(Algorithm::Winograd));
        assert_eq!(of(256, 4), [Algorithm::Winograd(Tile::Two); 2]);
        assert_eq!(of(16, 32), [Algorithm::Direct; 2]);
        let four = Algorithm::Winograd(Tile::Four);
        assert_eq!(half.but(four).of(LAYER, LANES), four, "what is forced is what is wanted");
    }
}
