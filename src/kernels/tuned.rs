//! Measured algorithms and tiles kept between runs: a cache file for each adapter, driver, family and version of the
//! kernels.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::choice::{Algorithm, Layer};
use super::tiling::{ProductShape, TileSize};
use super::{Family, Shader, all_variants};
use crate::error::{Error, Result};
use crate::formats::{json, write_atomically};
use crate::gpu::Described;
use crate::input::read_regular;
use crate::paths::finding_file;
use crate::tensor::Precision;

/// The fastest algorithms of layers and the fastest tiles of products, those for weights in float16 apart from those
/// for weights in float32.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    float32: OfPrecision,
    float16: OfPrecision,
}

/// The choices for weights of one precision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfPrecision {
    layers: BTreeMap<Layer, Algorithm>,
    tiles: BTreeMap<ProductShape, TileSize>,
}

impl OfPrecision {
    const NONE: Self = Self { layers: BTreeMap::new(), tiles: BTreeMap::new() };

    fn extend(&mut self, other: &Self) {
        self.layers.extend(&other.layers);
        self.tiles.extend(&other.tiles);
    }
}

impl Choices {
    /// No choices: nothing was measured.
    pub const NONE: Self = Self { float32: OfPrecision::NONE, float16: OfPrecision::NONE };

    /// Algorithms for weights of one precision.
    #[must_use]
    pub fn of(weights: Precision, layers: BTreeMap<Layer, Algorithm>) -> Self {
        Self::NONE.with(weights, OfPrecision { layers, ..OfPrecision::NONE })
    }

    /// Tiles for weights of one precision.
    #[must_use]
    pub fn of_tiles(weights: Precision, tiles: BTreeMap<ProductShape, TileSize>) -> Self {
        Self::NONE.with(weights, OfPrecision { tiles, ..OfPrecision::NONE })
    }

    fn with(self, weights: Precision, choices: OfPrecision) -> Self {
        match weights {
            Precision::Float32 => Self { float32: choices, ..self },
            Precision::Float16 => Self { float16: choices, ..self },
        }
    }

    const fn of_precision(&self, weights: Precision) -> &OfPrecision {
        match weights {
            Precision::Float32 => &self.float32,
            Precision::Float16 => &self.float16,
        }
    }

    /// The algorithms for weights of a precision.
    #[must_use]
    pub const fn layers(&self, weights: Precision) -> &BTreeMap<Layer, Algorithm> {
        &self.of_precision(weights).layers
    }

    /// The tiles for weights of a precision.
    #[must_use]
    pub const fn tiles(&self, weights: Precision) -> &BTreeMap<ProductShape, TileSize> {
        &self.of_precision(weights).tiles
    }

    /// Adds choices, which replace older ones for the same layers, products and precision.
    pub fn extend(&mut self, other: &Self) {
        self.float32.extend(&other.float32);
        self.float16.extend(&other.float16);
    }
}

/// The conditions of a measurement, which is meaningless under others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    adapter: String,
    backend: String,
    driver: String,
    family: String,
    version: String,
    /// A fingerprint of every shader's text.
    kernels: String,
}

/// The content of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    key: Key,
    /// The choices for weights in float32.
    layers: Vec<(Layer, Algorithm)>,
    /// Those for weights in float16; absent from files of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    half_layers: Vec<(Layer, Algorithm)>,
    /// The tiles for weights in float32, and those for weights in float16; absent from files of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tiles: Vec<(ProductShape, TileSize)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    half_tiles: Vec<(ProductShape, TileSize)>,
}

impl Key {
    /// The key of an adapter's kernels of this version of the program.
    #[must_use]
    pub fn new(adapter: &Described, family: Family) -> Self {
        Self {
            adapter: adapter.name.clone(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            family: format!("{family:?}"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernels: format!("{:016x}", fingerprint(&all_variants(family))),
        }
    }

    /// The file in the user's cache folder; the next version of the kernels overwrites it. `None` without a home
    /// folder.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let name = [&self.adapter, &self.backend, &self.driver, &self.family].map(String::as_str).join(" ");
        finding_file("algorithms", &name)
    }

    /// The choices in `file` for this key; empty if there is no such file.
    ///
    /// # Errors
    /// The reason in words if the file cannot be read, or was measured for another key.
    pub fn load(&self, file: &Path) -> std::result::Result<Choices, String> {
        let text = match read_regular(file, json::LARGEST_LIST) {
            Ok(text) => text,
            Err(Error::FileNotFound { .. }) => return Ok(Choices::NONE),
            Err(error) => return Err(error.to_string()),
        };
        let kept: Kept = json::parse(&text)?;
        if kept.key != *self {
            return Err("it was measured for another driver or version".to_owned());
        }
        let of = |layers: Vec<(Layer, Algorithm)>, tiles: Vec<(ProductShape, TileSize)>| OfPrecision {
            layers: layers.into_iter().collect(),
            tiles: tiles.into_iter().collect(),
        };
        Ok(Choices { float32: of(kept.layers, kept.tiles), float16: of(kept.half_layers, kept.half_tiles) })
    }

    /// Adds `choices` to those in `file` for this key and replaces older ones for the same layers and products. Other
    /// content is overwritten.
    ///
    /// # Errors
    /// Those of [`write_atomically`].
    pub fn save(&self, file: &Path, choices: &Choices) -> Result<()> {
        let mut all = self.load(file).unwrap_or_default();
        all.extend(choices);
        let Choices { float32, float16 } = all;
        let kept = Kept {
            key: self.clone(),
            layers: float32.layers.into_iter().collect(),
            half_layers: float16.layers.into_iter().collect(),
            tiles: float32.tiles.into_iter().collect(),
            half_tiles: float16.tiles.into_iter().collect(),
        };
        let text = serde_json::to_vec_pretty(&kept)
            .map_err(|error| Error::Io { file: file.to_path_buf(), source: error.into() })?;
        write_atomically(file, |writer| writer.write_all(&text))
    }
}

/// FNV-1a, 64 bits, over the templates of `shaders`, each once: the same on every machine and with every compiler.
fn fingerprint(shaders: &[Shader]) -> u64 {
    let templates: BTreeMap<_, _> = shaders.iter().map(|shader| (shader.kernel.name, shader.kernel)).collect();
    let bytes = templates.values().flat_map(|kernel| kernel.lines()).flat_map(|line| line.bytes().chain(*b"\n"));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matmul::Layout;
    use crate::kernels::tiling::ProductKind;
    use crate::kernels::winograd::Tile;

    const LAYER: Layer = Layer { input: 64, out: 96, size: (16, 24) };
    const OTHER: Layer = Layer { input: 96, ..LAYER };

    fn float32<const N: usize>(layers: [(Layer, Algorithm); N]) -> Choices {
        Choices::of(Precision::Float32, layers.into())
    }

    fn key() -> Key {
        let text = str::to_owned;
        Key {
            adapter: text("a"),
            backend: text("b"),
            driver: text("d"),
            family: text("f"),
            version: text("1"),
            kernels: text("2"),
        }
    }

    #[test]
    fn what_is_kept_is_found_and_merged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/choices.json");
        let key = key();
        assert_eq!(key.load(&file), Ok(Choices::NONE));
        let (four, two) = (Algorithm::Winograd(Tile::Four), Algorithm::Winograd(Tile::Two));
        let first = float32([(LAYER, four), (OTHER, Algorithm::WinogradRows(Tile::Two))]);
        key.save(&file, &first).unwrap();
        assert_eq!(key.load(&file), Ok(first));
        key.save(&file, &float32([(OTHER, Algorithm::Direct)])).unwrap();
        let mut all = float32([(LAYER, four), (OTHER, Algorithm::Direct)]);
        assert_eq!(key.load(&file), Ok(all.clone()));
        // Weights in float16 have choices apart from those.
        key.save(&file, &Choices::of(Precision::Float16, [(LAYER, two)].into())).unwrap();
        all.float16.layers.insert(LAYER, two);
        assert_eq!(key.load(&file), Ok(all));
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn tiles_are_kept_beside_algorithms() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("choices.json");
        let kinds = [
            ProductKind::Matrix(Layout::Packed),
            ProductKind::Matrix(Layout::Transposed),
            ProductKind::Winograd(Tile::Four),
            ProductKind::Convolution(3, 3, 2),
        ];
        let shape = |kind| ProductShape { kind, matrices: 1, rows: 196, k: 64, columns: 96 };
        let tiles = |rows| Choices::of_tiles(Precision::Float32, kinds.map(|kind| (shape(kind), rows)).into());
        let [few, many] = [8, 32].map(|rows| TileSize { rows, columns: 32 });
        let mut all = float32([(LAYER, Algorithm::Direct)]);
        key().save(&file, &all).unwrap();
        key().save(&file, &tiles(few)).unwrap();
        key().save(&file, &tiles(many)).unwrap();
        all.extend(&tiles(many));
        assert_eq!(key().load(&file), Ok(all.clone()));
        let half = Choices::of_tiles(Precision::Float16, [(shape(kinds[0]), few)].into());
        key().save(&file, &half).unwrap();
        all.extend(&half);
        let found = key().load(&file).unwrap();
        assert_eq!(found, all);
        assert_eq!(found.tiles(Precision::Float16).get(&shape(kinds[0])), Some(&few));
        assert_eq!(found.tiles(Precision::Float32).get(&shape(kinds[0])), Some(&many));
    }

    #[test]
    fn what_was_measured_for_something_else_is_ignored_and_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("choices.json");
        let choices = float32([(LAYER, Algorithm::Winograd(Tile::Two))]);
        let changes: [fn(&mut Key); 4] = [
            |key| key.kernels.push('x'),
            |key| key.version.push('x'),
            |key| key.driver.push('x'),
            |key| key.family.push('x'),
        ];
        for change in changes {
            let mut other = key();
            change(&mut other);
            other.save(&file, &choices).unwrap();
            assert!(key().load(&file).unwrap_err().contains("another"));
            key().save(&file, &float32([(OTHER, Algorithm::Direct)])).unwrap();
            assert_eq!(key().load(&file), Ok(float32([(OTHER, Algorithm::Direct)])), "nothing of it is mixed in");
        }
    }

    #[test]
    fn a_file_without_choices_for_float16_and_tiles_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("choices.json");
        let choices = float32([(LAYER, Algorithm::Direct)]);
        key().save(&file, &choices).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("half_layers") && !text.contains("tiles"), "as an earlier version wrote it");
        assert_eq!(key().load(&file), Ok(choices));
    }

    #[test]
    fn what_cannot_be_understood_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("choices.json");
        key().save(&file, &float32([(LAYER, Algorithm::Winograd(Tile::Four))])).unwrap();
        let sound = std::fs::read_to_string(&file).unwrap();
        let broken = [
            String::new(),
            "null".to_owned(),
            sound[..sound.len() / 2].to_owned(),
            sound.replace("winograd", "strassen"),
            sound.replace("four", "six"),
            sound.replace("64", "-64"),
            sound.replace("input", "inputs"),
        ];
        for text in broken {
            assert_ne!(text, sound);
            std::fs::write(&file, &text).unwrap();
            assert!(key().load(&file).is_err(), "{text}");
        }
        assert!(key().load(folder.path()).is_err(), "a folder");
    }

    #[test]
    fn the_fingerprint_is_that_of_all_text_but_of_nothing_else() {
        let (lanes, tile) = (all_variants(Family::Lanes { width: 8 }), all_variants(Family::Tile));
        assert_eq!(fingerprint(&lanes), fingerprint(&all_variants(Family::Lanes { width: 4 })));
        assert_ne!(fingerprint(&lanes), fingerprint(&tile));
        let reversed: Vec<_> = lanes.iter().rev().cloned().collect();
        assert_eq!(fingerprint(&lanes), fingerprint(&reversed));
        let shorter: Vec<_> = lanes.iter().filter(|shader| shader.kernel.name != "softmax").cloned().collect();
        assert_ne!(fingerprint(&lanes), fingerprint(&shorter));
    }
}
