//! Closed forms of scores from outside: `mixture:` and `local:`, `inspect gaussian` and `inspect local`, and an
//! analytic start.

use downhill::tensor::Tensor;

use crate::{Folder, downhill, quietly};

/// Twelve images of 5 x 6.
fn images() -> Tensor {
    let values = (0..360u16).map(|at| if at % 5 == 0 { -1.0 } else { (f32::from(at) * 2.3).sin() }).collect();
    Tensor::new([12, 5, 6], values)
}

#[test]
fn closed_forms_are_named_and_denoise() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let input = folder.write("x.npy", &Tensor::new([1, 5, 6], images().data[..30].to_vec()));
    let eps = folder.at("eps.npy");
    for model in ["gaussian:K", "mixture:K,k=3", "mixture:K,k=2,rank=4", "local:K,patch=3", "local:K,patch=3,n=5"] {
        let model = model.replace('K', &data);
        quietly(&["denoise", &model, "--sigma", "0.4", "--input", &input, "--output", &eps]);
        assert!(folder.array("eps.npy").is_finite(), "{model}");
    }
    let run = downhill(&["info", &format!("local:{data},patch=4")]);
    assert!(run.stderr.contains("is not an odd number of pixels"), "{}", run.stderr);
}

#[test]
fn studies_beside_closed_forms_fill_their_folders() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let model = format!("local:{data},patch=3");
    let common = ["--data", &data, "--images", "4", "--levels", "3", "-n", "3", "--steps", "4"];
    let gaussian = ["inspect", "gaussian", &model, "--components", "2", "-o", &folder.at("gaussian")];
    quietly(&[&gaussian[..], &common].concat());
    let report = folder.json("gaussian/report.json");
    let names = |report: &serde_json::Value| -> Vec<String> {
        let references = report["predictions"]["references"].as_array().expect("references");
        references.iter().map(|it| it["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&report), ["isotropic", "gaussian", "mixture of 2", "ideal"]);
    assert_eq!(report["predictions"]["sigmas"].as_array().map(Vec::len), Some(3));
    for file in ["predictions.csv", "departure.csv", "gaussian.svg", "gaussian.png"] {
        assert!(folder.path(&format!("gaussian/{file}")).exists(), "{file}");
    }
    let local = ["inspect", "local", &model, "--patches", "5,3", "-o", &folder.at("local")];
    quietly(&[&local[..], &common].concat());
    let report = folder.json("local/report.json");
    assert_eq!(names(&report), ["local 5", "local 3", "ideal", "gaussian"]);
    // The model is the second of the closed forms.
    assert_eq!(report["predictions"]["references"][1]["median_apart"][1], 0.0);
    assert_eq!(report["samples"][1]["r2"][0], 1.0);
    for file in ["predictions.csv", "best.csv", "samples.csv", "local.svg", "local.png"] {
        assert!(folder.path(&format!("local/{file}")).exists(), "{file}");
    }
    let run = downhill(&["inspect", "local", &model, "--data", &data, "--patches", "4", "--images", "2", "-o", "x"]);
    assert!(run.stderr.contains("do not have a centre"), "{}", run.stderr);
}

#[test]
fn an_analytic_start_takes_fewer_calls() {
    let folder = Folder::new();
    let report = folder.at("report.json");
    let sample = |rest: &[&str]| {
        let samples = folder.at("x.npy");
        let call = ["sample", "-n", "2", "--steps", "6", "--save-samples", &samples, "--json", &report];
        let run = downhill(&[&call[..], &["-o", &folder.at("x.png")], rest].concat());
        (run, folder.array("x.npy"))
    };
    let (_, whole) = sample(&[]);
    let (run, jumped) = sample(&["--analytic-start", "3"]);
    assert!(run.stderr.contains("the Gaussian of `digits-train` stands in for"), "{}", run.stderr);
    assert!(jumped.is_finite() && jumped.shape == whole.shape && jumped != whole);
    // Below the first level of the schedule nothing is left out, and the Gaussian is at its own start.
    let (_, again) = sample(&["--analytic-start", "1000"]);
    let apart = again.data.iter().zip(&whole.data).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(apart < 1e-3, "{apart}");
    for (flags, part) in [
        (&["--analytic-start", "3", "--strength", "0.5"][..], "both `--strength` and `--analytic-start`"),
        (&["--analytic-data", "digits"], "--analytic-start"),
        (&["--analytic-start", "0.0001"], "leaves none of 6 steps"),
    ] {
        let run = downhill(&[&["sample", "-n", "1", "--steps", "6", "-o", &folder.at("y.png")], flags].concat());
        assert!(run.code != 0 && run.stderr.contains(part), "{}", run.stderr);
    }
    let run = downhill(&["sample", "wiener:digits", "--analytic-start", "3", "-o", &folder.at("y.png")]);
    assert!(run.stderr.contains("`--analytic-start` has no meaning for `wiener:digits`"), "{}", run.stderr);
}
