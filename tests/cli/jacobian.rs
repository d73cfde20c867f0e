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
    assert!(
        run.stderr.starts_with("note: there is no Wiener filter beside it without `--data DATA`"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("rank correlation of component and slope"), "{}", run.stderr);
    let (sines, floors) = (folder.array("jacobian/sines.npy"), folder.array("jacobian/floors.npy"));
    assert_eq!((sines.shape.as_slice(), &floors.shape), ([2, 4, 3].as_slice(), &sines.shape));
    let sigmas = folder.array("jacobian/sigmas.npy").data;
    assert!(sigmas.len() == 4 && sigmas.is_sorted_by(|a, b| a > b) && sigmas[3] < 0.02, "{sigmas:?}");
    for sample in 0..2 {
        // Each is itself at the end, and turned at the beginning.
        let (sines, floors) = (sines.item(sample), floors.item(sample));
        assert!(sines[9..].iter().all(|sine| *sine < 1e-3), "{sines:?}");
        assert!(sines[..3].iter().all(|sine| *sine > 0.1), "{sines:?}");
        assert!(floors.iter().all(|floor| *floor <= 0.02), "{floors:?}");
    }
    let vectors = folder.array("jacobian/eigenvectors.npy");
    assert_eq!(vectors.shape, [2, 4, 3, 192]);
    for vector in vectors.data.chunks(192) {
        let length: f32 = vector.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }
    let report = folder.json("jacobian/report.json");
    assert_eq!((&report["jacobian"]["products"], &report["jacobian"]["whole"]), (&"exact".into(), &true.into()));
    let correlation = &report["correlation"]["spearman"];
    let [low, mean, high] = ["low", "mean", "high"].map(|part| correlation[part].as_f64().unwrap());
    assert!(-1.0 <= low && low <= mean && mean <= high && high <= 1.0, "{correlation}");
    let chance = report["correlation"]["chance_of_spearman"].as_f64().unwrap();
    assert!(chance > 0.0 && chance <= 1.0, "{chance}");
    let place = &report["samples"][1]["places"][1];
    assert!(place["asymmetry"].as_f64().unwrap() > 0.0 && place["products"].as_u64().unwrap() == 192, "{place}");
    // Products in float32 are known to their rounding, no better and hardly worse.
    assert!((1e-8..1e-3).contains(&place["error"].as_f64().unwrap()), "{place}");
    let roles: Vec<&str> =
        report["controls"].as_array().unwrap().iter().map(|control| control["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["untrained", "zero"]);
    assert!(report["controls"][1]["largest_sine"].is_null(), "the identity has no directions");
    for name in ["angles.svg", "angles.png", "spectra.svg", "angles.csv", "controls.csv", "slopes.npy", "shares.npy"] {
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
        let flags = ["linear", "jacobian", NETWORK, "-n", "1", "-k", "2", "--steps", "2", "--no-controls", "-o", &out];
        downhill(&[&flags, more].concat());
        (folder.json(&format!("{name}/report.json")), folder.array(&format!("{name}/eigenvalues.npy")).data)
    };
    let (whole, exact) = run("whole", &["--whole"]);
    let (blocks, found) = run("blocks", &["--krylov", "--tolerance", "0.001"]);
    assert_eq!(whole["samples"][0]["places"][0]["products"], 192);
    assert_eq!(whole["samples"][0]["places"][0]["solver"], "the whole matrix");
    assert_eq!(blocks["samples"][0]["places"][0]["solver"], "block Arnoldi");
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
        let flags = ["linear", "jacobian", NETWORK, "-n", "2", "-k", "2", "--steps", "2", "--block", "24"];
        downhill(&[&flags[..], &["--no-controls", "-o", &out], more].concat());
        let report = folder.json(&format!("{name}/report.json"));
        let of = |sample: usize, at: usize| report["samples"][sample]["places"][at]["asymmetry"].as_f64().unwrap();
        [of(0, 0), of(0, 1), of(1, 0), of(1, 1)]
    };
    let (whole, sampled) = (run("whole", &["--whole"]), run("blocks", &["--krylov", "--most-blocks", "3"]));
    println!("{whole:?}, {sampled:?}");
    for (whole, sampled) in whole.iter().zip(sampled) {
        assert!((sampled / whole - 1.0).abs() < 0.25, "{sampled} is not {whole}");
    }
}

/// The Wiener filter's eigenvectors are the same at every level, however close its eigenvalues: by either solver no
/// sine is above what the solver's errors can make.
#[test]
fn nothing_turns_where_nothing_turns() {
    let folder = Folder::new();
    let data = "tests/golden/spectra/uncentred/x.npy";
    let run = |name: &str, more: &[&str]| {
        let (out, model) = (folder.at(name), format!("wiener:{data}"));
        let flags = ["linear", "jacobian", &model, "-n", "1", "-k", "3", "--steps", "6", "-o", &out];
        quietly(&[&flags[..], more].concat());
        (folder.array(&format!("{name}/sines.npy")).data, folder.array(&format!("{name}/floors.npy")).data)
    };
    let (whole, floors) = run("whole", &[]);
    let determined = whole.iter().filter(|sine| sine.is_finite()).count();
    assert!(determined > whole.len() / 2, "{whole:?}");
    assert!(whole.iter().filter(|sine| sine.is_finite()).all(|sine| *sine < 0.01), "{whole:?}");
    let report = folder.json("whole/report.json");
    assert_eq!(report["jacobian"]["products"], "central differences");
    assert!(report["samples"][0]["places"][0]["asymmetry"].as_f64().unwrap() < 0.02, "{report}");
    let control = &report["controls"][0];
    assert_eq!(control["role"], "null");
    assert!(control["largest_sine"].as_f64().unwrap() <= control["largest_floor"].as_f64().unwrap(), "{control}");
    let (krylov, other_floors) = run("krylov", &["--krylov", "--tolerance", "1e-6", "--floor", "0.1", "--no-controls"]);
    let all = whole.iter().zip(&krylov).zip(floors.iter().zip(&other_floors));
    let both = all.filter(|((a, b), _)| a.is_finite() && b.is_finite()).collect::<Vec<_>>();
    assert!(!both.is_empty(), "{krylov:?}");
    for ((a, b), (floor, other)) in both {
        assert!((a - b).abs() <= floor + other, "{a} and {b}, with floors {floor} and {other}");
    }
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
    refuse(&["--floor", "1.5"], 2, "`--floor 1.5` is not a sine between 0 and 1");
    refuse(&["--data", "digits"], 2, "samples of `digits` have 784 values");
    let labelled = ["linear", "jacobian", "tests/golden/unet/class-table", "-o", &out];
    downhill(&labelled).expect_error(2, "needs a class label for each image");
    assert!(!folder.path("jacobian").exists(), "nothing is written for what is refused");
}
