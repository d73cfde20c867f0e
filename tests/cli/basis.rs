//! `inspect basis`: the files, the controls, and refusals.

use crate::{Folder, downhill};

const NETWORK: &str = "tests/golden/unet/one-pixel";

#[test]
fn bases_are_written_with_their_controls() {
    let folder = Folder::new();
    let out = folder.at("basis");
    let flags = ["inspect", "basis", NETWORK, "-n", "2", "-k", "3", "--levels", "2", "--steps", "3", "--planes", "2"];
    let run = downhill(&[&flags[..], &["--points", "16", "-o", &out]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.starts_with("note: the mean counts as 0, and there is no Wiener filter"), "{}", run.stderr);
    for finding in
        ["degrees of freedom", "participation ratio", "over 2 images", "circulation over length", "a rotation"]
    {
        assert!(run.stderr.contains(finding), "{finding}: {}", run.stderr);
    }
    assert_eq!(folder.array("basis/basis.npy").shape, [2, 2, 3, 3, 4, 4]);
    let (values, energy) = (folder.array("basis/eigenvalues.npy"), folder.array("basis/energy.npy"));
    assert_eq!((values.shape.as_slice(), energy.shape.as_slice()), ([2, 2, 48].as_slice(), [2, 2, 48].as_slice()));
    for (values, energy) in values.data.chunks(48).zip(energy.data.chunks(48)) {
        assert!(values.is_sorted_by(|a, b| a >= b) && energy.is_sorted() && (energy[47] - 1.0).abs() < 1e-4);
    }
    let report = folder.json("basis/report.json");
    assert_eq!((&report["bases"]["products"], &report["bases"]["whole"]), (&"exact".into(), &true.into()));
    let level = &report["levels"][1];
    let sum: f64 = values.data[48..96].iter().chain(&values.data[144..]).map(|value| f64::from(*value)).sum();
    let freedom = level["degrees_of_freedom"]["mean"].as_f64().unwrap();
    assert!((freedom - 0.5 * sum).abs() < 1e-3 * sum.abs(), "{freedom} {sum}");
    // At the most noise the network is far from a gradient.
    let asymmetry = report["levels"][0]["asymmetry"]["mean"].as_f64().unwrap();
    assert!(asymmetry > 0.01, "{asymmetry}");
    let controls = report["controls"].as_array().unwrap();
    let roles: Vec<&str> = controls.iter().map(|control| control["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["rotated", "untrained"]);
    let of = |key: &str| controls[0][key].as_f64().unwrap();
    assert!(of("largest_known_circulation") > 0.01 && of("largest_difference_from_known") < 1e-4, "{}", controls[0]);
    // eps = 0 and a rotation of strength 0.1.
    assert!((of("largest_asymmetry") - 0.1).abs() < 1e-4, "{}", controls[0]);
    // Two levels; each of 3 planes and 2 radii.
    let rows = |name: &str| String::from_utf8(folder.bytes(&format!("basis/{name}"))).unwrap().lines().count();
    assert_eq!((rows("levels.csv"), rows("loops.csv")), (1 + 2 * (2 + 2), 1 + 2 * 6 * (2 + 2)));
    for name in ["sheet-0.png", "sheet-1.png", "spectra.svg", "rank.png", "energy.svg", "circulation.png"] {
        assert!(!folder.bytes(&format!("basis/{name}")).is_empty(), "{name}");
    }
    assert!(!folder.path("basis/sheet-2.png").exists());
}

/// The null of a Wiener filter is itself: symmetric, of known rank, without circulation.
#[test]
fn a_wiener_filter_reads_nothing() {
    let folder = Folder::new();
    let (out, model) = (folder.at("basis"), "wiener:tests/golden/spectra/uncentred/x.npy");
    let flags = ["inspect", "basis", model, "-n", "2", "-k", "2", "--levels", "2", "--steps", "2", "--planes", "2"];
    let run = downhill(&[&flags[..], &["-o", &out]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report = folder.json("basis/report.json");
    assert_eq!(report["bases"]["products"], "central differences");
    for level in report["levels"].as_array().unwrap() {
        assert!(level["asymmetry"]["mean"].as_f64().unwrap() < 1e-3, "{level}");
        assert!(level["nonlinearity"]["mean"].as_f64().unwrap() < 1e-3, "{level}");
        for circulation in level["circulation"].as_array().unwrap() {
            assert!(circulation["ratio"]["mean"].as_f64().unwrap() < 1e-5, "{circulation}");
        }
    }
    let roles: Vec<&str> =
        report["controls"].as_array().unwrap().iter().map(|control| control["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["null", "rotated"]);
    let of = |key: &str| report["controls"][1][key].as_f64().unwrap();
    assert!(of("largest_difference_from_known") < 0.01 * of("largest_known_circulation"), "{report}");
}

#[test]
fn what_has_no_basis_is_refused() {
    let folder = Folder::new();
    let out = folder.at("basis");
    let refuse = |model: &str, flags: &[&str], code: i32, what: &str| {
        downhill(&[&["inspect", "basis", model, "-o", &out], flags].concat()).expect_error(code, what);
    };
    refuse(NETWORK, &["-k", "49"], 2, "49 eigenpairs requested of an operator in 48 dimensions");
    refuse(NETWORK, &["--points", "9"], 2, "9 points do not make two loops");
    refuse(NETWORK, &["--radii", "0.1,0"], 2, "a loop of radius 0 is not one");
    refuse(NETWORK, &["--tolerance", "0"], 2, "a tolerance of 0 cannot be met");
    refuse(NETWORK, &["--data", "digits"], 2, "samples of `digits` have 784 values");
    refuse("tests/golden/unet/class-table", &[], 2, "needs a class label for each image");
    assert!(!folder.path("basis").exists(), "nothing is written for what is refused");
}
