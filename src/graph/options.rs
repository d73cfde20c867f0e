//! Inputs of planning besides the graph: the target, and the options of compilation.

use std::collections::BTreeMap;

use super::Aliasing;
use crate::gpu::Gpu;
use crate::kernels::choice::{Algorithm, Layer, prior};
use crate::kernels::tiling::{ProductShape, TileSize};
use crate::kernels::tuned::Choices;
use crate::kernels::{Engine, Family};
use crate::tensor::Precision;

/// Options of compiling a graph: they belong to a model, so that models of different precisions share an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompileOptions {
    /// The algorithm of every convolution, whatever memory it takes; `None` for the fastest one that is known.
    pub forced: Option<Algorithm>,
    /// The size of the tiles of every product that has such tiles; `None` for the fastest that is known. No bit of a
    /// result depends on it.
    pub tile_size: Option<TileSize>,
    /// The precision of the kernels of convolutions and matrix products; vectors are always float32.
    pub weights: Precision,
    /// The precision of the maps between the layers, where they lie in storage buffers; inputs, outputs and vectors
    /// are always float32.
    pub maps: Precision,
    /// Fold maps into their readers in networks of any size; by default only where that is worth the additional
    /// shaders (see [`super::fold`]).
    pub fold_always: bool,
    /// The sharing of memory between buffers.
    pub aliasing: Aliasing,
}

impl CompileOptions {
    /// Every convolution by its definition.
    #[must_use]
    pub fn exact() -> Self {
        Self::forced(Algorithm::Direct)
    }

    /// Every convolution by this algorithm.
    #[must_use]
    pub fn forced(algorithm: Algorithm) -> Self {
        Self { forced: Some(algorithm), ..Self::default() }
    }

    /// The same options with every convolution by this algorithm.
    #[must_use]
    pub fn with_forced(self, algorithm: Algorithm) -> Self {
        Self { forced: Some(algorithm), ..self }
    }

    /// The same options with tiles of this size in every product that has such tiles.
    #[must_use]
    pub fn with_tile_size(self, tile_size: TileSize) -> Self {
        Self { tile_size: Some(tile_size), ..self }
    }

    /// The same options with a slot for every buffer.
    #[must_use]
    pub fn without_aliasing(self) -> Self {
        Self { aliasing: Aliasing::None, ..self }
    }

    /// The algorithm for a layer on a target: the forced one, else the measured one, else the prior. An algorithm that
    /// the family has no kernels for is replaced by the definition.
    #[must_use]
    pub fn algorithm(&self, layer: Layer, target: &Target) -> Algorithm {
        let algorithm = self.forced.unwrap_or_else(|| {
            let measured = target.measured.layers(self.weights).get(&layer).copied();
            let fastest = measured.unwrap_or_else(|| prior(layer, target.family));
            match self.weights {
                Precision::Float32 => fastest,
                Precision::Float16 => fastest.with_small_tiles(),
            }
        });
        if Algorithm::of_family(target.family).contains(&algorithm) { algorithm } else { Algorithm::Direct }
    }

    /// The sizes of tiles on a target: the forced one, else the measured ones.
    #[must_use]
    pub fn tile_sizes<'a>(&self, target: &Target<'a>) -> TileSizes<'a> {
        TileSizes { forced: self.tile_size, measured: target.measured.tiles(self.weights) }
    }

    /// The origin of the algorithms on a target, in words.
    #[must_use]
    pub fn origin(&self, target: &Target) -> String {
        match (self.forced, target.measured.layers(self.weights).len()) {
            (Some(algorithm), _) => format!("{algorithm} for every layer"),
            (None, 0) => "by prior".to_owned(),
            (None, count) => format!("{count} layers by measurement, others by prior"),
        }
    }
}

/// The sizes of tiles of products.
#[derive(Clone, Copy, Debug)]
pub struct TileSizes<'a> {
    forced: Option<TileSize>,
    measured: &'a BTreeMap<ProductShape, TileSize>,
}

impl TileSizes<'_> {
    /// The size for a product; `None` for that of the rule of its kernel.
    #[must_use]
    pub fn of(&self, product: &ProductShape) -> Option<TileSize> {
        self.forced.or_else(|| self.measured.get(product).copied())
    }
}

/// Texels of the largest storage of each precision on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageLimits {
    /// Of float32.
    pub float32: usize,
    /// Of float16.
    pub float16: usize,
}

impl StorageLimits {
    /// No limits: for plans that are never run on a device.
    pub const UNLIMITED: Self = Self { float32: usize::MAX, float16: usize::MAX };

    /// The limits of a device for the kernels of a family.
    #[must_use]
    pub fn of(gpu: &Gpu, family: Family) -> Self {
        let most = |precision| gpu.max_texels(family.storage_kind(precision)).0;
        Self { float32: most(Precision::Float32), float16: most(Precision::Float16) }
    }

    /// The limit of one precision.
    #[must_use]
    pub const fn texels(self, precision: Precision) -> usize {
        match precision {
            Precision::Float32 => self.float32,
            Precision::Float16 => self.float16,
        }
    }
}

static NOTHING_MEASURED: Choices = Choices::NONE;

/// Everything about an adapter that a plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The kernels.
    pub family: Family,
    /// The fastest algorithm of each layer, and the fastest tile of each product, that was measured.
    pub measured: &'a Choices,
    /// The largest storages of the device.
    pub limits: StorageLimits,
}

impl<'a> Target<'a> {
    /// The target of an engine.
    #[must_use]
    pub fn of(engine: &'a Engine) -> Self {
        let limits = StorageLimits::of(&engine.gpu, engine.family);
        Self { family: engine.family, measured: &engine.measured, limits }
    }

    /// The kernels of a family without a device: no limits, nothing measured.
    #[must_use]
    pub fn without_device(family: Family) -> Self {
        Self { family, measured: &NOTHING_MEASURED, limits: StorageLimits::UNLIMITED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matmul::{Layout, MatMul};
    use crate::kernels::winograd::Tile;

    const LANES: Family = Family::Lanes { width: 8 };
    const LAYER: Layer = Layer { input: 128, out: 128, size: (16, 16) };

    #[test]
    fn a_forced_algorithm_beats_a_measured_one_and_that_the_prior() {
        let rows = Algorithm::WinogradRows(Tile::Two);
        let unmeasured = Target::without_device(LANES);
        assert_eq!(CompileOptions::default().algorithm(LAYER, &unmeasured), Algorithm::Winograd(Tile::Four));
        let measured = Choices::of(Precision::Float32, [(LAYER, rows)].into());
        let target = Target { measured: &measured, ..unmeasured };
        assert_eq!(CompileOptions::default().algorithm(LAYER, &target), rows);
        let two = Algorithm::Winograd(Tile::Two);
        assert_eq!(CompileOptions::forced(two).algorithm(LAYER, &target), two);
        assert_eq!(CompileOptions::exact().algorithm(LAYER, &target), Algorithm::Direct);
    }

    #[test]
    fn a_measurement_counts_for_weights_of_its_precision_alone() {
        let measured = Choices::of(Precision::Float16, [(LAYER, Algorithm::WinogradRows(Tile::Two))].into());
        let target = Target { measured: &measured, ..Target::without_device(LANES) };
        let half = CompileOptions { weights: Precision::Float16, ..CompileOptions::default() };
        assert_eq!(half.algorithm(LAYER, &target), Algorithm::WinogradRows(Tile::Two));
        assert_eq!(CompileOptions::default().algorithm(LAYER, &target), Algorithm::Winograd(Tile::Four));
        assert_eq!(half.origin(&target), "1 layers by measurement, others by prior");
        assert_eq!(CompileOptions::default().origin(&target), "by prior");
    }

    #[test]
    fn a_forced_tile_beats_a_measured_one_and_that_the_rule() {
        let product = MatMul { layout: Layout::Packed, ..MatMul::plain(1, 196, 64, 96) }.shape();
        let [few, many] = [4, 32].map(|rows| TileSize { rows, columns: 32 });
        let measured = Choices::of_tiles(Precision::Float16, [(product, few)].into());
        let target = Target { measured: &measured, ..Target::without_device(LANES) };
        let half = CompileOptions { weights: Precision::Float16, ..CompileOptions::default() };
        assert_eq!(half.tile_sizes(&target).of(&product), Some(few));
        assert_eq!(half.with_tile_size(many).tile_sizes(&target).of(&product), Some(many));
        assert_eq!(half.tile_sizes(&target).of(&ProductShape { rows: 197, ..product }), None);
        assert_eq!(CompileOptions::default().tile_sizes(&target).of(&product), None, "of another precision");
    }

    #[test]
    fn an_algorithm_without_kernels_is_replaced_by_the_definition() {
        for algorithm in Algorithm::of_family(LANES) {
            let tile = Target::without_device(Family::Tile);
            let on_tile = CompileOptions::forced(algorithm).algorithm(LAYER, &tile);
            let rows = matches!(algorithm, Algorithm::WinogradRows(_));
            assert_eq!(on_tile, if rows { Algorithm::Direct } else { algorithm });
        }
    }

    #[test]
    fn half_weights_are_never_transformed_by_large_tiles() {
        let target = Target::without_device(LANES);
        let half = CompileOptions { weights: Precision::Float16, ..CompileOptions::default() };
        let of = |channels: usize, side: usize| {
            let layer = Layer { input: channels, out: channels, size: (side, side) };
            [CompileOptions::default(), half].map(|options| options.algorithm(layer, &target))
        };
        assert_eq!(of(128, 32), [Tile::Four, Tile::Two].map(Algorithm::Winograd));
        assert_eq!(of(256, 4), [Algorithm::Winograd(Tile::Two); 2]);
        assert_eq!(of(16, 32), [Algorithm::Direct; 2]);
        let four = Algorithm::Winograd(Tile::Four);
        assert_eq!(half.with_forced(four).algorithm(LAYER, &target), four, "a forced algorithm is never replaced");
    }
}
