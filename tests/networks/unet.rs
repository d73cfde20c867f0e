//! Whole networks on the device against diffusers in float64 (`tests/golden/unet`, made by `tools/make_goldens.py`).

use std::path::{Path, PathBuf};

use crate::common::distance;
use crate::goldens::golden_folders;
use crate::{by, compilers, forced_compilers, half_compilers};
use downhill::checkpoint::ModelFiles;
use downhill::denoise::Network;
use downhill::formats::npy;
use downhill::graph::Compiler;
use downhill::nets::{CallSize, ClassLabels, Inputs, open};
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
fn call(compiler: Compiler, folder: &Path, batch: usize) -> Tensor {
    let x = npy::read(folder.join("x.npy")).expect("x.npy");
    let timesteps = npy::read_f64(folder.join("t.npy")).expect("t.npy");
    let model = ModelFiles::open(folder.to_str()).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let net = open(&model.config, &model.weights).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let size = CallSize::images(batch, (x.shape[2], x.shape[3]));
    let network = Network::new(compiler, net, model.weights, size)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let labels = folder.join("labels.npy");
    let labels = labels.exists().then(|| match npy::read(&labels).expect("labels") {
        rows if rows.shape.len() == 2 => ClassLabels::Rows(rows),
        _ => ClassLabels::Numbers(npy::read_f64(&labels).expect("labels")),
    });
    network
        .call(&Inputs::new(&x, &timesteps).with_labels(labels.as_ref()))
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// max|a-b| / max|b| of the worst image against float64.
fn distance_from_diffusers(compiler: Compiler, folder: &Path, batch: usize) -> f32 {
    let output = call(compiler, folder, batch);
    let expected = npy::read(folder.join("eps.npy")).expect("eps.npy");
    assert_eq!(output.shape, expected.shape, "{}", folder.display());
    let images = 0..output.shape[0];
    images.map(|image| distance(output.item(image), expected.item(image))).fold(0.0, f32::max)
}

fn agree(compiler: Compiler, folder: &Path, batch: usize) -> f32 {
    let apart = distance_from_diffusers(compiler, folder, batch);
    assert!(apart < TOLERANCE, "{}, {}: {apart:e} from diffusers", folder.display(), by(compiler));
    apart
}

#[test]
fn networks_agree_with_diffusers_on_the_lanes_family() {
    for folder in goldens() {
        let apart = agree(compilers()[0], &folder, 2);
        println!("{apart:.1e} {}", folder.display());
    }
}

#[test]
fn networks_agree_with_diffusers_on_the_tile_family() {
    for folder in goldens() {
        agree(compilers()[1], &folder, 3);
    }
}

/// The budget of a whole network is 3e-4; the worst found is 3.4e-6, by tiles of 4 x 4 on every layer.
#[test]
fn networks_agree_with_diffusers_by_every_algorithm_on_every_layer() {
    assert!(forced_compilers().len() >= 4, "too few algorithms");
    for compiler in forced_compilers() {
        let worst = goldens().iter().map(|folder| agree(compiler, folder, 2)).fold(0.0, f32::max);
        let by = by(compiler);
        println!("{worst:.1e} {by}");
        assert!(worst < 1e-5, "{by}: {worst:e} from diffusers");
    }
}

#[test]
fn networks_with_weights_in_float16_stay_near_diffusers() {
    for compiler in half_compilers() {
        for folder in goldens() {
            let apart = distance_from_diffusers(compiler, &folder, 2);
            assert!(apart < HALF_TOLERANCE, "{}, {:?}: {apart:e}", folder.display(), compiler.engine.family);
        }
    }
}

#[test]
fn an_image_has_the_same_bits_in_any_batch() {
    for folder in goldens().into_iter().step_by(4) {
        for compiler in compilers().into_iter().chain(forced_compilers()) {
            let apart = format!("{}, {}", folder.display(), by(compiler));
            assert_eq!(call(compiler, &folder, 1), call(compiler, &folder, 4), "{apart}");
        }
    }
}
