//! `linear`: the arrays and reports of the linear studies.

use crate::{Folder, downhill, quietly};
use downhill::report::npy;
use downhill::tensor::Tensor;

fn golden(file: &str) -> String {
    format!("tests/golden/spectra/uncentred/{file}.npy")
}

/// max |a - b| / max |b|, where the rows of b may have another sign.
fn apart(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape, b.shape);
    let largest = b.data.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let rows = (0..a.shape[0]).map(|at| {
        let (a, b) = (a.item(at), b.item(at));
        let sign = if a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() < 0.0 { -1.0 } else { 1.0 };
        a.iter().zip(b).map(|(a, b)| (sign * a - b).abs()).fold(0.0, f32::max)
    });
    rows.fold(0.0, f32::max) / largest
}

#[test]
fn components_are_those_of_scipy_and_scikit_learn() {
    let folder = Folder::new();
    let out = folder.at("pca");
    for (prefix, flags) in [("", &[][..]), ("centred_", &["--center"])] {
        for route in ["moment", "gram", "matrix-free"] {
            let arguments = ["linear", "pca", "--data", &golden("x"), "-k", "6", "--route", route, "-o", &out];
            quietly(&[&arguments, flags].concat());
            for (name, tolerance) in [("eigenvalues", 1e-5), ("eigenvectors", 2e-3)] {
                let expected = npy::read(golden(&format!("{prefix}{name}"))).unwrap();
                let apart = apart(&folder.array(&format!("pca/{name}.npy")), &expected);
                assert!(apart < tolerance, "{prefix}{name} by {route}: {apart:e}");
            }
            let report = folder.json("pca/report.json");
            assert_eq!(report["components"]["route"], route);
            assert_eq!(report["data"]["centred"], !flags.is_empty());
            assert_eq!(report["components"]["settings"]["seed"], 0);
            let residuals = report["components"]["residuals"].as_array().expect("residuals");
            assert!(residuals.len() == 6 && residuals.iter().all(|r| r.as_f64().unwrap() < 1e-5), "{residuals:?}");
        }
    }
}

#[test]
fn the_embedded_digits_are_data() {
    let folder = Folder::new();
    quietly(&["linear", "pca", "--data", "digits", "-k", "3", "--center", "-o", &folder.at("pca")]);
    let values = folder.array("pca/eigenvalues.npy");
    // The spectrum of MNIST's pixels in 0..1: about 5.1, 3.7, 3.3.
    for (value, expected) in values.data.iter().zip([5.1, 3.7, 3.3]) {
        assert!((value / expected - 1.0).abs() < 0.1, "{values:?}");
    }
    assert_eq!(folder.array("pca/mean.npy").shape, [784]);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let out = folder.at("pca");
    let ask = |data: &str, rest: &[&str]| downhill(&[&["linear", "pca", "--data", data, "-o", &out], rest].concat());
    ask("missing.npy", &[]).expect_error(2, "`missing.npy` does not exist");
    ask(&golden("x"), &["-k", "25"]).expect_error(2, "more components than the 24 values");
    ask(&golden("x"), &["--tolerance", "-1"]).expect_error(2, "tolerance");
    ask("Cargo.toml", &[]).expect_error(4, "Cargo.toml: neither an `.npy`, an `.npz` nor an IDX file");
    let mut broken = npy::read(golden("x")).unwrap();
    broken.data[30] = f32::NAN;
    let broken = folder.write("x.npy", &broken);
    ask(&broken, &[]).expect_error(7, "value 6 of sample 1");
    assert_eq!(folder.names(), ["x.npy"]);
}
