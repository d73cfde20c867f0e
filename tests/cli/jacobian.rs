//! `linear jacobian`: what turns and what does not.

use crate::{Folder, downhill, quietly};

const NETWORK: &str = "tests/golden/unet/cifar-like";

#[test]
fn eigenvectors_are_followed_to_the_end_of_each_trajectory() {
    let folder = Folder::new();
    let out = folder.at("jacobian");
    let flags = ["linear", "jacobian", NETWORK, "-n", "2", "-k", "3", "--steps", "3", "--block", "8", "-o", &out];
    let run = downhill(&flags);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.starts_with("rank correlation of component and slope"), "{}", run.stderr);
    let sines = folder.array("jacobian/sines.npy");
    assert_eq!(sines.shape, [2, 4, 3]);
    let sigmas = folder.array("jacobian/sigmas.npy").data;
    assert!(sigmas.len() == 4 && sigmas.is_sorted_by(|a, b| a > b) && sigmas[3] < 0.02, "{sigmas:?}");
    for sample in 0..2 {
        // Each is itself at the end, and turned at the beginning.
        assert!(sines.item(sample)[9..].iter().all(|sine| *sine < 1e-3), "{sines:?}");
        assert!(sines.item(sample)[..3].iter().all(|sine| *sine > 0.1), "{sines:?}");
    }
    let vectors = folder.array("jacobian/eigenvectors.npy");
    assert_eq!(vectors.shape, [2, 4, 3, 192]);
    for vector in vectors.data.chunks(192) {
        let length: f32 = vector.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }
    let report = folder.json("jacobian/report.json");
    assert_eq!(report["jacobian"]["products"], "exact");
    let correlation = &report["correlation"]["spearman"];
    let [low, mean, high] = ["low", "mean", "high"].map(|part| correlation[part].as_f64().unwrap());
    assert!(-1.0 <= low && low <= mean && mean <= high && high <= 1.0, "{correlation}");
    let place = &report["samples"][1]["places"][1];
    assert!(place["asymmetry"].as_f64().unwrap() > 0.0 && place["products"].as_u64().unwrap() < 192, "{place}");
    for name in ["angles.svg", "angles.png", "spectra.svg", "angles.csv", "slopes.npy", "shares.npy"] {
        assert!(!folder.bytes(&format!("jacobian/{name}")).is_empty(), "{name}");
    }
    let table = String::from_utf8(folder.bytes("jacobian/angles.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 2 * 4 * 3);
}

#[test]
fn the_whole_matrix_says_the_same_without_an_error() {
    let folder = Folder::new();
    let run = |name: &str, more: &[&str]| {
        let out = folder.at(name);
        let flags = ["linear", "jacobian", NETWORK, "-n", "1", "-k", "2", "--steps", "2", "-o", &out];
        quietly(&[&flags, more].concat());
        (folder.json(&format!("{name}/report.json")), folder.array(&format!("{name}/eigenvalues.npy")).data)
    };
    let (whole, exact) = run("whole", &["--whole"]);
    let (_, found) = run("blocks", &["--tolerance", "0.001"]);
    assert_eq!(whole["samples"][0]["places"][0]["products"], 192);
    assert_eq!(whole["samples"][0]["places"][0]["solver"], "the whole matrix");
    for (exact, found) in exact.iter().zip(&found) {
        assert!((exact - found).abs() < 0.1 * exact.abs(), "{exact} and {found}");
    }
}

/// The asymmetry is estimated by random vectors, which are not the start states of the trajectories: those of the same
/// seed would be the directions in which the network moves the most.
#[test]
fn the_sampled_asymmetry_is_that_of_the_whole_matrix() {
    let folder = Folder::new();
    let run = |name: &str, more: &[&str]| {
        let out = folder.at(name);
        let flags = ["linear", "jacobian", NETWORK, "-n", "2", "-k", "2", "--steps", "2", "--block", "24", "-o", &out];
        quietly(&[&flags, more].concat());
        let report = folder.json(&format!("{name}/report.json"));
        let of = |sample: usize, at: usize| report["samples"][sample]["places"][at]["asymmetry"].as_f64().unwrap();
        [of(0, 0), of(0, 1), of(1, 0), of(1, 1)]
    };
    let (whole, sampled) = (run("whole", &["--whole"]), run("blocks", &["--most-blocks", "3"]));
    println!("{whole:?}, {sampled:?}");
    for (whole, sampled) in whole.iter().zip(sampled) {
        assert!((sampled / whole - 1.0).abs() < 0.25, "{sampled} is not {whole}");
    }
}

#[test]
fn the_eigenvectors_of_a_wiener_filter_stay_where_they_are() {
    let folder = Folder::new();
    let out = folder.at("wiener");
    let flags = ["linear", "jacobian", "wiener:tests/golden/spectra/uncentred/x.npy", "-n", "1", "-k", "3"];
    quietly(&[&flags, ["--steps", "4", "--sigma-max", "30", "--sigma-min", "0.5", "-o", &out].as_slice()].concat());
    let sines = folder.array("wiener/sines.npy");
    assert!(sines.data.iter().all(|sine| *sine < 0.02), "{sines:?}");
    let report = folder.json("wiener/report.json");
    assert_eq!(report["jacobian"]["products"], "central differences");
    assert!(report["samples"][0]["places"][0]["asymmetry"].as_f64().unwrap() < 0.02, "{report}");
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let folder = Folder::new();
    let out = folder.at("jacobian");
    let refuse = |flags: &[&str], code: i32, what: &str| {
        downhill(&[&["linear", "jacobian", NETWORK, "-o", &out], flags].concat()).expect_error(code, what);
    };
    refuse(&["-k", "193"], 2, "193 eigenpairs requested of an operator in 192 dimensions");
    refuse(&["--tolerance", "0"], 2, "a tolerance of 0 cannot be met");
    let labelled = ["linear", "jacobian", "tests/golden/unet/class-table", "-o", &out];
    downhill(&labelled).expect_error(2, "needs a class label for each image");
    assert!(!folder.path("jacobian").exists(), "nothing is written for what is refused");
}
