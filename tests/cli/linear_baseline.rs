//! `linear baseline` and `linear schedule`: files, what is said, what is refused.

use crate::{Folder, downhill, quietly};

const DATA: &str = "spiked:n=200,p=24,spikes=5/3/1,noise=0.1";

#[test]
fn a_baseline_fills_its_folder() {
    let folder = Folder::new();
    let call = ["linear", "baseline", "--data", DATA, "-k", "3", "--steps", "4,30", "--draws", "8", "-o"];
    quietly(&[&call[..], &[&folder.at("out")]].concat());
    let (gains, formulas) = (folder.array("out/gains.npy"), folder.array("out/formulas.npy"));
    assert_eq!((gains.shape.as_slice(), &formulas.shape), ([4, 4, 2, 3].as_slice(), &gains.shape));
    assert!(gains.data.iter().zip(&formulas.data).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_eq!(folder.array("out/eigenvalues.npy").shape, [3]);
    let report = folder.json("out/report.json");
    assert_eq!(report["chains"].as_array().map(Vec::len), Some(4 * 4 * 2));
    assert_eq!(report["draws"]["draws"], 8);
    assert_eq!(report["data"]["centred"], true);
    assert_eq!(report["outputs"].as_array().map(Vec::len), Some(7));
}

#[test]
fn a_schedule_fills_its_folder() {
    let folder = Folder::new();
    let call = ["linear", "schedule", "--data", DATA, "-k", "3", "-T", "5", "--repeats", "1", "--probes", "2", "-o"];
    quietly(&[&call[..], &[&folder.at("out")]].concat());
    for (name, shape) in [
        ("eigenvalues", vec![3]),
        ("concentration_levels", vec![5, 5]),
        ("energies", vec![5, 2, 3]),
        ("recovery_levels", vec![6, 6]),
        ("over_flow", vec![6, 2, 3]),
    ] {
        assert_eq!(folder.array(&format!("out/{name}.npy")).shape, shape, "{name}");
    }
    let report = folder.json("out/report.json");
    assert_eq!((&report["concentration"][0]["name"], &report["recovery"][0]["name"]), (&"best".into(), &"best".into()));
    assert_eq!(report["kept"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["outputs"].as_array().map(Vec::len), Some(10));
}

#[test]
fn what_makes_no_schedule_is_refused() {
    let folder = Folder::new();
    let ask = |study: &str, rest: &[&str]| {
        downhill(&[&["linear", study, "--data", DATA, "-o", &folder.at("out")], rest].concat())
    };
    for study in ["baseline", "schedule"] {
        ask(study, &["-k", "25"]).expect_error(2, "more components than the 24 values");
        ask(study, &["--sigma-max", "-1"]).expect_error(2, "-1");
        ask(study, &["--samples", "201"]).expect_error(2, "more than the 200 samples");
    }
    ask("baseline", &["--steps", "0"]).expect_error(2, "--steps");
    ask("schedule", &["--chain-sigma-max", "0"]).expect_error(2, "0");
    assert_eq!(folder.names(), Vec::<String>::new());
}
