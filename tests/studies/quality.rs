//! The classifier of digits on the device against torch float64, and distances between sets against scipy and `NumPy`
//! (`tests/golden/quality`).

use std::path::{Path, PathBuf};

use crate::common::{distance, engines};
use downhill::data::{Pixels, digit_labels, digits};
use downhill::formats::npy;
use downhill::quality::sliced::Directions;
use downhill::quality::{Extractor, Moments, Statistics, frechet, sliced};
use downhill::tensor::Tensor;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/quality").join(name)
}

fn number(name: &str) -> f64 {
    let text = std::fs::read_to_string(golden("golden.json")).expect("golden.json");
    let values: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    values[name].as_f64().unwrap_or_else(|| panic!("no `{name}`"))
}

/// a is within `share` of b.
fn close(a: f64, b: f64, share: f64) {
    assert!((a - b).abs() <= share * b.abs(), "{a} against {b}");
}

#[test]
fn features_and_logits_are_those_of_torch() {
    let (features, logits) = (npy::read(golden("features.npy")).unwrap(), npy::read(golden("logits.npy")).unwrap());
    let count = features.shape[0];
    let all = digits(Pixels::Signed).unwrap().samples;
    let last = all.slice(all.shape[0] - count..all.shape[0]);
    for engine in engines() {
        let extractor = Extractor::new(engine).unwrap();
        assert_eq!(extractor.dimension(), features.shape[1]);
        let found = extractor.of(&last).unwrap();
        for image in 0..count {
            let apart = [
                distance(found.features.item(image), features.item(image)),
                distance(found.logits.as_ref().unwrap().item(image), logits.item(image)),
            ];
            assert!(apart.iter().all(|apart| *apart < 1e-4), "image {image}: {apart:?}");
        }
        // An image's features do not depend on what else is asked for.
        assert_eq!(extractor.of(&last.slice(3..4)).unwrap().features.data, found.features.item(3));
    }
}

#[test]
fn the_classifier_is_as_accurate_as_its_card_says() {
    let all = digits(Pixels::Signed).unwrap().samples;
    let (count, held_out) = (all.shape[0], number("held_out") as usize);
    let extractor = Extractor::new(&engines()[0]).unwrap();
    let classes = extractor.of(&all.slice(count - held_out..count)).unwrap().classes();
    let labels = digit_labels().unwrap();
    let right =
        classes.iter().zip(&labels[count - held_out..]).filter(|(class, label)| **class == usize::from(**label));
    let right = right.count();
    assert!(right.abs_diff(number("held_out_right") as usize) <= 1, "{right} of {held_out}");
    let card = include_str!("../../weights/digits-classifier/README.md");
    let accuracy = format!("{:.2} %", 100.0 * number("held_out_right") / held_out as f64);
    assert!(card.contains(&accuracy), "the card does not say {accuracy}");
}

#[test]
fn images_to_a_distance_as_torch_and_scipy_have_it() {
    let all = digits(Pixels::Signed).unwrap().samples;
    let extractor = Extractor::new(&engines()[0]).unwrap();
    let half = |from: usize| -> Statistics {
        let mut moments = Moments::new(extractor.dimension(), 1500).unwrap();
        for first in (from..from + 1500).step_by(500) {
            moments.add(&extractor.of(&all.slice(first..first + 500)).unwrap().features.data);
        }
        moments.statistics().unwrap()
    };
    let found = frechet::distance(&half(0), &half(1500)).unwrap();
    close(found, number("frechet_digits_halves"), 1e-3);
}

#[test]
fn statistics_of_pytorch_fid_are_read_and_compared() {
    let read = |name: &str| Statistics::read(&golden(name)).unwrap();
    let (a, b, few) = (read("a.npz"), read("b.npz"), read("few.npz"));
    close(frechet::distance(&a, &b).unwrap(), number("frechet_a_b"), 1e-9);
    close(frechet::distance(&a, &few).unwrap(), number("frechet_a_few"), 1e-7);
    close(frechet::distance(&few, &a).unwrap(), number("frechet_a_few"), 1e-7);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.npz");
    b.write(&path).unwrap();
    assert_eq!(Statistics::read(&path).unwrap(), b);
}

#[test]
fn transport_agrees_with_numpy() {
    let (left, right) = (npy::read(golden("left.npy")).unwrap(), npy::read(golden("right.npy")).unwrap());
    let directions = Directions::new(1, 3, 0);
    let found = sliced::distance(&directions.slice(&left).unwrap(), &directions.slice(&right).unwrap());
    close(found, number("wasserstein_left_right"), 1e-6);
}

#[test]
fn digits_of_another_size_are_refused() {
    let extractor = Extractor::new(&engines()[0]).unwrap();
    for shape in [vec![2, 3, 28, 28], vec![2, 1, 32, 32], vec![2, 100]] {
        assert_eq!(extractor.of(&Tensor::zeros(shape)).unwrap_err().kind(), downhill::ErrorKind::Argument);
    }
}
