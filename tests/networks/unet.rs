//! Whole networks on the device against diffusers in float64 (`tests/golden/unet`, made by `tools/make_goldens.py`).

use std::path::{Path, PathBuf};

use std::sync::LazyLock;

use crate::common::{distance, engines};
use crate::goldens::golden_folders;
use crate::half_engines;
use downhill::checkpoint::ModelFiles;
use downhill::denoise::diffusion::{NoiseTable, PredictionType};
use downhill::denoise::network::Network;
use downhill::formats::npy;
use downhill::gpu::Options;
use downhill::kernels::choice::{Algorithm, Choices};
use downhill::kernels::{Engine, FamilyName};
use downhill::nets::unet2d::ClassLabels;
use downhill::tensor::Tensor;

/// max|a-b| / max|b| against float64 that a network may be away.
const TOLERANCE: f32 = 5e-5;
/// The same with weights in float16; measured up to 1.1e-3.
const HALF_TOLERANCE: f32 = 3.3e-3;

fn goldens() -> Vec<PathBuf> {
    let cases = golden_folders("unet");
    assert!(cases.len() >= 6, "too few goldens");
    cases
}

/// The network of a golden folder called on its input, `batch` images at a time.
fn call(engine: &Engine, folder: &Path, batch: usize) -> Tensor {
    let x = npy::read(folder.join("x.npy")).expect("x.npy");
    let timesteps = npy::read_f64(folder.join("t.npy")).expect("t.npy");
    let model = ModelFiles::open(folder.to_str()).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let size = (x.shape[2], x.shape[3]);
    let network = Network::new(engine, model, NoiseTable::default(), PredictionType::Epsilon, batch, size)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let labels = folder.join("labels.npy");
    let labels =
        labels.exists().then(|| (npy::read(&labels).expect("labels"), npy::read_f64(&labels).expect("labels")));
    let labels = labels.as_ref().map(|(rows, numbers)| match rows.shape.len() {
        2 => ClassLabels::Rows(rows),
        _ => ClassLabels::Numbers(numbers),
    });
    network.call(&x, &timesteps, labels).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// An engine for each family and each algorithm that it has kernels for, forced on every layer; no map exists that need not.
fn forced_engines() -> &'static [Engine] {
    static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| {
        let forced = |family, algorithm| {
            let mut engine = Engine::open(&Options::default(), Some(family)).expect("device");
            engine.choices = Choices { fold_always: true, ..Choices::forced(algorithm) };
            engine
        };
        let of_family = |(engine, name): (&Engine, FamilyName)| {
            let algorithms = Algorithm::of_family(engine.family).into_iter();
            algorithms.map(move |one| forced(name, one)).collect()
        };
        let families = engines().iter().zip([FamilyName::Lanes, FamilyName::Tile]);
        families.flat_map(|family| -> Vec<Engine> { of_family(family) }).collect()
    });
    &ENGINES
}

/// max|a-b| / max|b| of the worst image against float64.
fn distance_from_diffusers(engine: &Engine, folder: &Path, batch: usize) -> f32 {
    let output = call(engine, folder, batch);
    let expected = npy::read(folder.join("eps.npy")).expect("eps.npy");
    assert_eq!(output.shape, expected.shape, "{}", folder.display());
    let images = 0..output.shape[0];
    images.map(|image| distance(output.item(image), expected.item(image))).fold(0.0, f32::max)
}

fn agree(engine: &Engine, folder: &Path, batch: usize) -> f32 {
    let apart = distance_from_diffusers(engine, folder, batch);
    let Engine { family, choices, .. } = engine;
    assert!(apart < TOLERANCE, "{}, {family:?}, {choices}: {apart:e} from diffusers", folder.display());
    apart
}

#[test]
fn networks_agree_with_diffusers_on_the_lanes_family() {
    for folder in goldens() {
        let apart = agree(&engines()[0], &folder, 2);
        println!("{apart:.1e} {}", folder.display());
    }
}

#[test]
fn networks_agree_with_diffusers_on_the_tile_family() {
    for folder in goldens() {
        agree(&engines()[1], &folder, 3);
    }
}

/// The budget of a whole network is 3e-4; the worst found is 3.4e-6, by tiles of 4 x 4 on every layer.
#[test]
fn networks_agree_with_diffusers_by_every_algorithm_on_every_layer() {
    assert!(forced_engines().len() >= 4, "too few algorithms");
    for engine in forced_engines() {
        let worst = goldens().iter().map(|folder| agree(engine, folder, 2)).fold(0.0, f32::max);
        let by = format!("{:?}, {}", engine.family, engine.choices);
        println!("{worst:.1e} {by}");
        assert!(worst < 1e-5, "{by}: {worst:e} from diffusers");
    }
}

#[test]
fn networks_with_weights_in_float16_stay_near_diffusers() {
    for engine in half_engines() {
        for folder in goldens() {
            let apart = distance_from_diffusers(engine, &folder, 2);
            assert!(apart < HALF_TOLERANCE, "{}, {:?}: {apart:e}", folder.display(), engine.family);
        }
    }
}

#[test]
fn an_image_has_the_same_bits_in_any_batch() {
    for folder in goldens().into_iter().step_by(4) {
        for engine in engines().iter().chain(forced_engines()) {
            let apart = format!("{}, {:?}, {}", folder.display(), engine.family, engine.choices);
            assert_eq!(call(engine, &folder, 1), call(engine, &folder, 4), "{apart}");
        }
    }
}
