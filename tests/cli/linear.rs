//! `linear`: the arrays and reports of the linear studies.

use crate::{Folder, distance, downhill, quietly};
use downhill::formats::npy;
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
fn data_that_are_read_in_passes_have_the_same_components() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("rows")).unwrap();
    let whole = npy::read(golden("x")).unwrap();
    let cut = whole.shape[0] / 3;
    npy::write(folder.path("rows/a.npy"), &whole.slice(0..cut)).unwrap();
    npy::write(folder.path("rows/b.npy"), &whole.slice(cut..whole.shape[0])).unwrap();
    let (data, out) = (folder.at("rows/*.npy"), folder.at("pca"));
    let call = ["linear", "pca", "--data", &data, "-k", "6", "--center", "--stream", "-o", &out];
    for (route, passes) in [("moment", Some(1)), ("matrix-free", None)] {
        quietly(&[&call[..], &["--route", route]].concat());
        let values = npy::read(golden("centred_eigenvalues")).unwrap();
        assert!(apart(&folder.array("pca/eigenvalues.npy"), &values) < 1e-6);
        let vectors = npy::read(golden("centred_eigenvectors")).unwrap();
        assert!(apart(&folder.array("pca/eigenvectors.npy"), &vectors) < 2e-3);
        let report = folder.json("pca/report.json");
        assert_eq!(
            (&report["components"]["arithmetic"], &report["data"]["streamed"]),
            (&"float64".into(), &true.into())
        );
        let made = report["passes"].as_u64().unwrap();
        assert!(passes.map_or(made > 2, |passes| made == passes), "{made} passes by {route}");
    }
    downhill(&[&call[..], &["--route", "gram"]].concat()).expect_error(2, "is not formed of");
    downhill(&[&call[..], &["--samples", "2", "-k", "3"]].concat()).expect_error(2, "cannot be used multiple times");
}

#[test]
fn runs_that_share_data_find_the_components_of_one_pass_to_the_last_bit() {
    let folder = Folder::new();
    let (data, out, alone) = (golden("x"), folder.at("shared"), folder.at("alone"));
    let call = ["linear", "pca", "--data", &data, "-k", "6", "--center"];
    quietly(&[&call[..], &["--stream", "-o", &alone]].concat());
    for shard in ["2/3", "0/3"] {
        let run = downhill(&[&call[..], &["--shard", shard, "-o", &out]].concat());
        assert!(run.code == 0 && run.stderr.contains("other runs add the rest (`--shard` "), "{}", run.stderr);
        assert!(!folder.path("shared/eigenvalues.npy").exists());
    }
    downhill(&[&call[..], &["--shard", "1/2", "-o", &out]].concat()).expect_error(2, "holds parts of 3 runs");
    quietly(&[&call[..], &["--shard", "1/3", "-o", &out]].concat());
    for name in ["eigenvalues", "eigenvectors", "mean"] {
        let read = |of: &str| std::fs::read(folder.path(&format!("{of}/{name}.npy"))).unwrap();
        assert_eq!(read("shared"), read("alone"), "{name}");
    }
    downhill(&[&call[..], &["--shard", "0/3", "--route", "gram", "-o", &out]].concat()).expect_error(2, "one matrix");
    let other = ["linear", "pca", "--data", "digits", "-k", "6", "--shard", "0/3", "-o", &out];
    downhill(&other).expect_error(2, "is");
}

#[test]
fn eigenvalues_that_float32_does_not_hold_are_found_in_float64_with_a_note() {
    let folder = Folder::new();
    let data = "tests/golden/spectra/one-large-column/x.npy";
    let call = ["linear", "pca", "--data", data, "-k", "4", "--center", "-o", &folder.at("pca")];
    let run = downhill(&call);
    assert!(run.code == 0 && run.stderr.contains("found in float64 on the host"), "{}", run.stderr);
    let values = npy::read_f64(folder.path("pca/eigenvalues.npy")).unwrap();
    let expected = npy::read_f64("tests/golden/spectra/one-large-column/centred_eigenvalues.npy").unwrap();
    for (value, expected) in values.iter().zip(expected) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{values:?}");
    }
    let components = &folder.json("pca/report.json")["components"];
    assert_eq!((&components["arithmetic"], &components["converged"]), (&"float64".into(), &true.into()));
}

fn chain(file: &str) -> String {
    format!("tests/golden/chains/tall/{file}.npy")
}

const SIGMAS: &str = "0.5,0.5,1,0.25,0,1.5";

#[test]
fn products_are_those_of_numpy() {
    let folder = Folder::new();
    let out = folder.at("product");
    for coupling in ["nested", "fresh", "shared"] {
        let (data, noise, eps) = (chain("x"), chain("noise"), chain("eps"));
        quietly(&[
            "linear",
            "product",
            "--data",
            &data,
            "--noise",
            &noise,
            "--sigmas",
            SIGMAS,
            "--coupling",
            coupling,
            "-k",
            "3",
            "--eps",
            &eps,
            "-o",
            &out,
        ]);
        for name in ["cos_adjacent", "cos_to_first", "product", "log_norm", "energy"] {
            let expected = npy::read(chain(&format!("{coupling}/{name}"))).unwrap();
            let apart = distance(&folder.array(&format!("product/{name}.npy")), &expected);
            assert!(apart < 1e-6, "{coupling}: {name} is {apart:e} apart");
        }
        let expected = npy::read(chain(&format!("{coupling}/basis"))).unwrap();
        let found = folder.array("product/basis.npy");
        assert_eq!(found.shape, expected.shape);
        let rows = |basis: &Tensor| Tensor::new([21, 14], basis.data.clone());
        assert!(apart(&rows(&found), &rows(&expected)) < 1e-5, "{coupling}");
        let report = folder.json("product/report.json");
        assert_eq!((report["chain"]["steps"].as_u64(), report["data"]["centred"].as_bool()), (Some(6), Some(false)));
    }
    assert!(folder.path("product/partial.svg").exists() && folder.path("product/cosines.png").exists());
}

#[test]
fn a_mean_that_is_left_in_is_spoken_of() {
    let folder = Folder::new();
    let out = folder.at("product");
    let data = "tests/golden/chains/uncentred/x.npy";
    let ask = |rest: &[&str]| {
        downhill(&[&["linear", "product", "--data", data, "--steps", "1", "-k", "1", "-o", &out], rest].concat())
    };
    let said = ask(&[]).stderr;
    assert!(said.contains("of the second moment of") && said.contains("`--center` subtracts it"), "{said}");
    // A study with nothing to say says where its files are.
    ask(&["--center"]).expect(&format!("wrote {out}: 11 files and the report\n"));
}

#[test]
fn products_of_seeded_noise_are_the_same_each_time() {
    let folder = Folder::new();
    let ask = |out: &str, seed: &str| {
        let out = folder.at(out);
        quietly(&[
            "linear",
            "product",
            "--data",
            "spiked:n=50,p=12,spikes=4/2/1",
            "--steps",
            "5",
            "--schedule",
            "geometric",
            "-k",
            "2",
            "--coupling",
            "fresh",
            "--seed",
            seed,
            "-o",
            &out,
        ]);
        folder_bytes(&folder, "product.npy", &out)
    };
    assert_eq!(ask("a", "3"), ask("b", "3"));
    assert_ne!(ask("a", "3"), ask("c", "4"));
    assert_eq!(folder.array("a/cos_adjacent.npy").shape, [5, 2]);
}

fn folder_bytes(folder: &Folder, name: &str, out: &str) -> Vec<u8> {
    let out = std::path::Path::new(out).file_name().and_then(|name| name.to_str()).expect("a folder");
    folder.bytes(&format!("{out}/{name}"))
}

#[test]
fn products_that_cannot_be_are_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let out = folder.at("product");
    let (data, noise) = (chain("x"), chain("noise"));
    let ask = |rest: &[&str]| {
        let own: &[&str] = if rest.contains(&"--data") { &[] } else { &["--data", &data] };
        downhill(&[&["linear", "product", "-o", &out], own, rest].concat())
    };
    ask(&["-k", "15"]).expect_error(2, "more components than the 14 values");
    ask(&["--noise", &noise, "--sigmas", "1,1"]).expect_error(2, "`--sigmas` gives 2 steps, and `--noise` 6");
    ask(&["--sigmas", "1,-1"]).expect_error(2, "`-1` of `--sigmas` is not a standard deviation");
    ask(&["--sigmas", "1,nan"]).expect_error(2, "`NaN` of `--sigmas`");
    ask(&["--sigmas", "1,,2"]).expect_error(2, "is not a number");
    ask(&["--sigmas", "1", "--steps", "3"]).expect_error(2, "cannot be used with");
    ask(&["--noise", &data, "--sigmas", "1"])
        .expect_error(4, "noise of shape [60, 14] does not fit data of 60 samples");
    ask(&["--noise", &noise, "--samples", "20"]).expect_error(4, "does not fit data of 20 samples");
    ask(&["--noise", "missing.npy"]).expect_error(2, "`missing.npy` does not exist");
    ask(&["--eps", &chain("sigmas")]).expect_error(4, "draws of shape [6] do not fit samples of 14 values");
    ask(&["--variance", "0"]).expect_error(2, "`--variance 0` is not above 0");
    ask(&["--steps", "0"]).expect_error(2, "expected a whole number from 1 to 10000");
    ask(&["--samples", "61"]).expect_error(2, "more than the 60 samples");
    ask(&["--data", "spiked:n=3,p=20000,spikes=1"])
        .expect_error(2, "a product of 20000 x 20000 values is too large to write");
    ask(&["--data", "digits", "--steps", "10000", "-k", "700"]).expect_error(2, "10001 bases of 700 x 784 values");
    let mut broken = npy::read(&noise).unwrap();
    broken.data[100] = f32::INFINITY;
    let broken = folder.write("noise.npy", &broken);
    ask(&["--noise", &broken, "--sigmas", SIGMAS]).expect_error(7, "value 100");
    downhill(&["linear", "product", "--data", "spiked:p=none", "-o", &out]).expect_error(2, "`p=none`");
    assert_eq!(folder.names(), ["noise.npy"]);
}

const SPIKED: &str = "spiked:n=60,p=16,spikes=6/3/1";

#[test]
fn studies_leave_a_report_data_and_plots() {
    let folder = Folder::new();
    let at = |name: &str| folder.at(name);
    quietly(&["linear", "angles", "--data", SPIKED, "-k", "3", "--steps", "4", "--draws", "3", "-o", &at("angles")]);
    assert_eq!(folder.array("angles/sines.npy").shape, [3, 5, 3]);
    let (mean, expansion) = (folder.array("angles/mean.npy"), folder.array("angles/expansion.npy"));
    assert!(mean.item(0).iter().all(|sine| *sine == 0.0) && expansion.item(4)[0] > 0.0);
    assert_eq!(folder.json("angles/report.json")["data"]["centred"], true);

    let ratios = ["--gammas", "0.5", "--ratios", "4,0.1,1"];
    quietly(&[&["linear", "transition", "-n", "40", "--draws", "3", "-o", &at("transition")], &ratios[..]].concat());
    let curves = &folder.json("transition/report.json")["curves"];
    assert_eq!(curves[0][2]["ratio"], 4.0);
    assert!(curves[0][0]["cos_squared"]["mean"].as_f64() < curves[0][2]["cos_squared"]["mean"].as_f64());

    quietly(&["linear", "energy", "--data", SPIKED, "-k", "3", "--steps", "2,5", "--draws", "2", "-o", &at("energy")]);
    assert_eq!(folder.array("energy/energy.npy").shape, [18, 2, 3]);
    let cases = &folder.json("energy/report.json")["cases"];
    let sum: f64 =
        cases[0]["draws"][0]["energy"].as_array().unwrap().iter().filter_map(serde_json::Value::as_f64).sum();
    assert!((sum - 1.0).abs() < 1e-9 && cases[17]["case"]["steps"] == 5, "{sum}");
    let text = String::from_utf8(folder.bytes("energy/modes.csv")).unwrap();
    assert!(text.starts_with("coupling,schedule,steps,draws,effective_modes,") && text.lines().count() == 19, "{text}");
    for name in ["angles/angles", "transition/transition", "energy/energy", "energy/participation", "energy/injected"] {
        assert!(downhill::formats::png::is_complete(folder.path(&format!("{name}.png"))), "{name}");
        assert!(folder.bytes(&format!("{name}.svg")).starts_with(b"<svg"), "{name}");
    }
}

/// The controls tell the statistic apart: spikes that fall by halves leave in their order, equal ones in none.
#[test]
fn assumptions_are_measured_beside_spikes_with_and_without_an_order() {
    let folder = Folder::new();
    let out = folder.at("assumptions");
    let data = "power-law:n=120,p=40,exponent=1.5";
    let flags = ["linear", "assumptions", "--data", data, "-k", "5", "--steps", "16", "--draws", "5", "-o", &out];
    quietly(&[&flags[..], &["--variance", "0.3"]].concat());
    assert_eq!(folder.array("assumptions/leaves.npy").shape, [5, 5, 5]);
    assert_eq!(folder.array("assumptions/off_diagonal.npy").shape, [5, 5, 16, 5]);
    let order = String::from_utf8(folder.bytes("assumptions/order.csv")).unwrap();
    let rows: Vec<Vec<&str>> = order.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 5);
    // The name of the data holds commas and is quoted: columns are counted from the end.
    let of = |row: &[&str], from_end: usize| row[row.len() - from_end].parse::<f64>().unwrap();
    let (halves, equal) = (&rows[3], &rows[4]);
    assert!(of(halves, 9) < -0.6 && of(halves, 6) < 0.01, "{order}");
    assert!(of(equal, 9).abs() < of(halves, 9).abs() && of(equal, 6) > 0.005, "{order}");
    // Equation 24 is close where components hardly mix: one draw of noise for all levels.
    let cosines: Vec<f64> = rows[..3].iter().map(|row| of(row, 2)).collect();
    assert!(cosines.iter().all(|cosine| (0.0..=1.0 + 1e-9).contains(cosine)), "{order}");
    assert!(downhill::formats::png::is_complete(folder.path("assumptions/assumptions.png")));
}

#[test]
fn a_trained_linear_denoiser_comes_near_its_closed_form() {
    let folder = Folder::new();
    let out = folder.at("train");
    let data = "power-law:n=200,p=12";
    let flags = ["linear", "train", "--data", data, "-k", "4", "--steps", "4", "--iterations", "1500", "-o", &out];
    quietly(&[&flags[..], &["--runs", "2"]].concat());
    let gains = folder.array("train/gains.npy");
    assert_eq!(gains.shape, [4, 4]);
    for trained in [2, 3] {
        for (trained, exact) in gains.item(trained).iter().zip(gains.item(0)) {
            assert!((trained / exact - 1.0).abs() < 0.3, "{gains:?}");
        }
    }
    let report = folder.json("train/report.json");
    for level in report["levels"].as_array().unwrap() {
        let [exact, formula] = ["exact", "formula"].map(|name| level[name].as_f64().unwrap());
        assert!((exact - formula).abs() < 1e-9, "{level}");
    }
    downhill(&["linear", "train", "--rate", "2", "-o", &out]).expect_error(2, "`--rate 2` does not converge");
}

#[test]
fn a_linear_denoiser_has_one_environment_and_an_ideal_one_has_many() {
    let folder = Folder::new();
    let out = folder.at("environments");
    let ideal = format!("ideal:{}", golden("x"));
    let flags = ["linear", "environments", &ideal, "-n", "4", "--steps", "6", "-o", &out];
    quietly(&flags);
    assert_eq!(folder.array("environments/pairs.npy").shape, [7, 4, 4]);
    let report = folder.json("environments/report.json");
    for level in report["null"]["levels"].as_array().unwrap() {
        assert_eq!(level["shared"]["mean"], 1.0, "a linear denoiser is its own linearisation");
        assert_eq!(level["radius"]["random"]["least"], 4.0);
    }
    let shared: Vec<f64> =
        report["levels"].as_array().unwrap().iter().map(|level| level["shared"]["mean"].as_f64().unwrap()).collect();
    assert!(shared.iter().any(|shared| *shared < 1.0), "{shared:?}");
}

#[test]
fn studies_that_cannot_be_are_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let out = folder.at("study");
    let ask = |arguments: &[&str]| downhill(&[&["linear"], arguments, &["-o", &out]].concat());
    ask(&["angles", "--data", SPIKED, "-k", "17"]).expect_error(2, "more components than the 16 values");
    ask(&["angles", "--draws", "0"]).expect_error(2, "expected a whole number from 1 to 10000");
    ask(&["angles", "--ratio", "-1"]).expect_error(2, "`--ratio -1` is not above 0");
    ask(&["transition", "--gammas", "0.5,0"]).expect_error(2, "`0` of `--gammas` is not above 0");
    ask(&["transition", "--ratios", "inf"]).expect_error(2, "`inf` of `--ratios`");
    ask(&["energy", "--steps", "10,2.5"]).expect_error(2, "`2.5` of `--steps` is not a number of steps");
    ask(&["energy", "--steps", "0"]).expect_error(2, "`0` of `--steps`");
    ask(&["energy", "--variance", "nan"]).expect_error(2, "`--variance NaN` is not above 0");
    ask(&["assumptions", "--mass", "0"]).expect_error(2, "`--mass 0` is not a share");
    ask(&["environments", "--tolerance", "1"]).expect_error(2, "`--tolerance 1` is not a share");
    assert!(folder.names().is_empty());
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let out = folder.at("pca");
    let ask = |data: &str, rest: &[&str]| downhill(&[&["linear", "pca", "--data", data, "-o", &out], rest].concat());
    ask("missing.npy", &[]).expect_error(2, "`missing.npy` does not exist");
    ask(&golden("x"), &["-k", "25"]).expect_error(2, "more components than the 24 values");
    ask(&golden("x"), &["--tolerance", "-1"]).expect_error(2, "tolerance");
    ask("Cargo.toml", &[]).expect_error(4, "Cargo.toml: not a file of a known format");
    let mut broken = npy::read(golden("x")).unwrap();
    broken.data[30] = f32::NAN;
    let broken = folder.write("x.npy", &broken);
    ask(&broken, &[]).expect_error(7, "value 6 of sample 1");
    assert_eq!(folder.names(), ["x.npy"]);
}
