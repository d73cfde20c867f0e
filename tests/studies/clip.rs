//! CLIP's networks of texts and of images on the device against transformers in float64, and the score against
//! torchmetrics (`tests/golden/clip`).

use std::path::{Path, PathBuf};

use crate::common::{distance, engines};
use downhill::checkpoint::transformers_folder;
use downhill::data::{Dataset, Pixels, Source, digits};
use downhill::formats::npy;
use downhill::graph::Compiler;
use downhill::graph::reference;
use downhill::nets::clip_vision::{self, names};
use downhill::study::compare::clip::Clip;
use downhill::tensor::Tensor;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/clip")
}

fn golden() -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join("golden.json")).expect("golden.json")).expect("JSON")
}

/// Three digits, one in each channel.
fn images() -> Dataset {
    let all = digits(Pixels::Signed).unwrap().samples;
    let of = |at: usize| (at..at + 3).flat_map(|digit| all.item(digit).to_vec());
    Dataset::new("images", Tensor::new([3, 3, 28, 28], (0..3).flat_map(of).collect())).unwrap()
}

#[test]
fn embeddings_of_images_are_those_of_transformers() {
    let expected = npy::read(folder().join("images.npy")).unwrap();
    let clip = Clip::open(&folder()).unwrap();
    for engine in engines() {
        let found = clip.images(Compiler::from(engine), &images()).unwrap();
        for image in 0..3 {
            let apart = distance(found.item(image), expected.item(image));
            assert!(apart < 5e-5, "image {image}: {apart:e}");
        }
    }
}

#[test]
fn the_graph_is_that_of_transformers_in_float64() {
    let (config, weights) = transformers_folder(&folder()).unwrap();
    let (_, net) = clip_vision::open(&config, &weights).unwrap();
    // CLIP's mean and deviation of colours, at which the golden's images were normalised.
    let (mean, deviation) = ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]);
    let mut pixels = images().samples;
    for (at, value) in pixels.data.iter_mut().enumerate() {
        let channel = at / 784 % 3;
        *value = ((f64::midpoint(f64::from(*value), 1.0) - mean[channel]) / deviation[channel]) as f32;
    }
    let patches = net.patches(&Tensor::new([3, 3, 28, 28], pixels.data));
    let inputs =
        [(names::PATCHES.to_owned(), patches), (names::POSITIONS.to_owned(), net.positions(&weights, 3).unwrap())];
    let fetch = |key: &str, shape: &[usize]| net.fetch(&weights, key, shape);
    let outputs = reference::evaluate(&net.graph(3), &inputs, &fetch).unwrap();
    let expected = npy::read(folder().join("images.npy")).unwrap();
    let (found, tokens) = (&outputs[0].1, net.config().tokens());
    for image in 0..3 {
        let first = &found.data[image * tokens * 10..][..10];
        let first: Vec<f32> = first.iter().map(|value| *value as f32).collect();
        assert!(distance(&first, expected.item(image)) < 2e-6, "image {image}");
    }
}

#[test]
fn scores_are_those_of_torchmetrics() {
    let (golden, clip) = (golden(), Clip::open(&folder()).unwrap());
    let captions: Vec<String> = serde_json::from_value(golden["captions"].clone()).unwrap();
    let each: Vec<f64> = serde_json::from_value(golden["each"].clone()).unwrap();
    for engine in engines() {
        let found = clip.score(Compiler::from(engine), &images(), &captions).unwrap();
        for (found, expected) in found.each.iter().zip(&each) {
            assert!((found - expected).abs() < 1e-3, "{found} against {expected}");
        }
        assert!((found.mean - golden["torchmetrics"].as_f64().unwrap()).abs() < 1e-3);
        assert_eq!(found.truncated, 0);
    }
    let error = clip.check(&images(), &captions[..2]).unwrap_err();
    assert!(error.to_string().contains("2 captions for the 3 images"), "{error}");
}

#[test]
fn a_larger_picture_is_resized_as_transformers_does() {
    let file = folder().join("large.png");
    let pictures = tempfile::tempdir().unwrap();
    std::fs::copy(&file, pictures.path().join("large.png")).unwrap();
    let large = Source::parse(&pictures.path().display().to_string()).unwrap().load(Pixels::Signed).unwrap();
    let clip = Clip::open(&folder()).unwrap();
    let found = clip.images(Compiler::from(&engines()[0]), &large).unwrap();
    let expected = npy::read(folder().join("large.npy")).unwrap();
    // Both round to bytes after each of two passes, not always to the same.
    let apart = distance(found.item(0), expected.item(0));
    assert!(apart < 0.02, "{apart}");
}
