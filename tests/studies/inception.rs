//! InceptionV3 on the device against pytorch-fid's network in float64, and distances between sets against pytorch-fid,
//! torch-fidelity and prdc (`tests/golden/inception`). Weights and arrays are a function of a name and a place, the
//! same in `tools/goldens/inception.py`.

use std::path::{Path, PathBuf};

use crate::common::{distance, engines};
use crate::random_inception::{numbers, tensors};
use downhill::checkpoint::Weights;
use downhill::data::{Pixels, Source, digits};
use downhill::formats::npy;
use downhill::nets::inception::Preparation;
use downhill::nets::inception::weights::InceptionWeights;
use downhill::quality::kid::{self, SEED, Subsets};
use downhill::quality::moments::of_rows;
use downhill::quality::neighbours::{self, Balls};
use downhill::quality::{Features, frechet};
use downhill::tensor::Tensor;

const SMALL: usize = 107;
const SET: usize = 16;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inception").join(name)
}

fn figures(set: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(golden("golden.json")).expect("golden.json");
    let values: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    values[set].clone()
}

fn features(preparation: Preparation) -> Features {
    let weights = InceptionWeights::new(Weights::from_tensors(tensors())).unwrap();
    Features::Inception { weights, preparation }
}

/// Three digits, one in each channel.
fn images(count: usize) -> Tensor {
    let all = digits(Pixels::Signed).unwrap().samples;
    let of = |at: usize| (at..at + 3).flat_map(|digit| all.item(digit).to_vec());
    Tensor::new([count, 3, 28, 28], (0..count).flat_map(of).collect())
}

#[test]
fn features_are_those_of_both_packages() {
    let two = images(2);
    for (name, preparation) in Preparation::NAMES {
        let features = features(preparation);
        let small = npy::read(golden(&format!("{name}-{SMALL}.npy"))).unwrap();
        for engine in engines() {
            let extractor = features.on_side(engine, [3, 28, 28], SMALL).unwrap();
            let found = extractor.of(&two).unwrap();
            assert_eq!((found.features.shape.as_slice(), found.logits.is_none()), ([2, 2048].as_slice(), true));
            for image in 0..2 {
                let apart = distance(found.features.item(image), small.item(image));
                assert!(apart < 1e-4, "{name}, image {image}: {apart:e}");
            }
            assert_eq!(extractor.of(&two.slice(1..2)).unwrap().features.data, found.features.item(1));
        }
        let whole = npy::read(golden(&format!("{name}-299.npy"))).unwrap();
        let extractor = features.on(&engines()[0], [3, 28, 28]).unwrap();
        let found = extractor.of(&two.slice(1..2)).unwrap().features;
        let apart = distance(&found.data, whole.item(1));
        assert!(apart < 1e-4, "{name} at 299 x 299: {apart:e}");
    }
}

/// Three images of Fashion-MNIST, one in each channel.
fn fashion(count: usize) -> Tensor {
    let file = golden("fashion.npy");
    let all = Source::parse(file.to_str().unwrap()).unwrap().load(Pixels::Signed).unwrap().samples;
    let of = |at: usize| (at..at + 3).flat_map(|image| all.item(image).to_vec());
    Tensor::new([count, 3, 28, 28], (0..count).flat_map(of).collect())
}

#[test]
fn a_second_data_set_has_the_features_and_the_distances_of_the_packages() {
    let engine = &engines()[0];
    let mut rows = None;
    for (name, preparation) in Preparation::NAMES {
        let extractor = features(preparation).on_side(engine, [3, 28, 28], SMALL).unwrap();
        let expected = npy::read(golden(&format!("fashion-{name}-{SMALL}.npy"))).unwrap();
        let found = extractor.of(&fashion(2)).unwrap().features;
        for image in 0..2 {
            let apart = distance(found.item(image), expected.item(image));
            assert!(apart < 1e-4, "{name}, image {image}: {apart:e}");
        }
        if preparation == Preparation::PytorchFid {
            let digits = extractor.of(&images(SET)).unwrap().features;
            rows = Some((extractor.of(&fashion(2 * SET)).unwrap().features, digits));
        }
    }
    let (clothes, digits) = rows.expect("pytorch-fid's preparation is among them");
    assert_measures(&clothes.slice(0..SET), &clothes.slice(SET..2 * SET), (3, 12), &figures("fashion"));
    assert_measures(&digits, &clothes, (3, 12), &figures("digits_of_fashion"));
}

#[test]
fn grey_images_are_of_three_equal_channels() {
    let features = features(Preparation::PytorchFid);
    let engine = &engines()[0];
    let grey = digits(Pixels::Signed).unwrap().samples.slice(0..1);
    let coloured = Tensor::new([1, 3, 28, 28], grey.data.repeat(3));
    let of = |shape: [usize; 3], images: &Tensor| {
        features.on_side(engine, shape, 75).unwrap().of(images).unwrap().features.data
    };
    assert_eq!(of([1, 28, 28], &grey), of([3, 28, 28], &coloured));
}

fn close(found: f64, figures: &serde_json::Value, name: &str) {
    let expected = figures[name].as_f64().unwrap_or_else(|| panic!("no `{name}`"));
    assert!((found - expected).abs() <= 1e-3 * expected.abs(), "{name}: {found} against {expected}");
}

/// Compares the distances of samples from data with those of the packages.
fn assert_measures(samples: &Tensor, data: &Tensor, (k, subset): (usize, usize), figures: &serde_json::Value) {
    let statistics = |rows: &Tensor| of_rows(&rows.data, rows.stride()).unwrap();
    let fid = frechet::distance(&statistics(samples), &statistics(data)).unwrap();
    close(fid, figures, "pytorch_fid");
    close(fid, figures, "torch_fidelity_fid");
    let found = kid::distance(samples, data, Subsets { count: 10, size: subset, seed: SEED }).unwrap();
    close(found.mean, figures, "kid_mean");
    close(found.deviation, figures, "kid_deviation");
    let balls = |set: &Tensor| Balls::new(set, k).unwrap();
    let shares = neighbours::shares(&balls(data), &balls(samples)).unwrap();
    close(shares.precision, figures, "precision");
    close(shares.recall, figures, "recall");
    close(shares.density, figures, "density");
    close(shares.coverage, figures, "coverage");
}

#[test]
fn distances_between_arrays_are_those_of_the_packages() {
    let rows = |name: &str, count: usize, scale: f64, shift: f64| {
        let values = numbers(name, count * 24).into_iter().map(|value| (scale * value + shift) as f32);
        Tensor::new([count, 24], values.collect())
    };
    let (samples, data) = (rows("samples", 300, 1.0, 0.0), rows("data", 400, 0.9, 0.05));
    assert_measures(&samples, &data, (5, 100), &figures("arrays"));
}

#[test]
fn distances_between_images_are_those_of_the_packages() {
    let extractor = features(Preparation::PytorchFid).on_side(&engines()[0], [3, 28, 28], SMALL).unwrap();
    let all = extractor.of(&images(2 * SET)).unwrap().features;
    assert_measures(&all.slice(0..SET), &all.slice(SET..2 * SET), (3, 12), &figures("images"));
}
