//! `inspect`: the studies of denoisers from outside: folders, reports, refusals.

use downhill::tensor::Tensor;

use crate::{Folder, downhill, quietly};

/// Eight samples of three values.
fn samples() -> Tensor {
    let values = (0..24u8).map(|at| (f32::from(at) * 1.7).sin() * (1.0 + f32::from(at % 3))).collect();
    Tensor::new([8, 3], values)
}

/// Asserts that a study left these files, and a report that names them.
#[track_caller]
fn expect_files(folder: &Folder, study: &str, files: &[&str]) -> serde_json::Value {
    let mut names: Vec<String> = std::fs::read_dir(folder.path(study))
        .unwrap_or_else(|error| panic!("{study}: {error}"))
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, files, "{study}");
    let report = folder.json(&format!("{study}/report.json"));
    assert_eq!(report["command"], format!("inspect {study}"));
    assert_eq!(report["outputs"].as_array().expect("outputs").len(), files.len() - 1);
    report
}

#[test]
fn studies_of_a_closed_form_fill_their_folders() {
    let folder = Folder::new();
    let ideal = format!("ideal:{}", folder.write("k.npy", &samples()));
    let run = |study: &str, rest: &[&str]| {
        quietly(&[&["inspect", study, &ideal, "-o", &folder.at(study), "-n", "4"], rest].concat());
    };
    run("norms", &["--steps", "6"]);
    let report = expect_files(&folder, "norms", &["norms.csv", "norms.npy", "norms.png", "norms.svg", "report.json"]);
    assert_eq!(report["trajectories"]["steps"], 6);
    assert_eq!(folder.array("norms/norms.npy").shape, [6, 4]);

    run("error", &["--levels", "5", "--data", &folder.at("k.npy")]);
    expect_files(&folder, "error", &["errors.csv", "errors.npy", "errors.png", "errors.svg", "report.json"]);
    let errors = folder.array("error/errors.npy");
    assert_eq!(errors.shape, [5, 4]);
    // Among its own samples the ideal denoiser finds all of a little noise.
    assert!(errors.item(4).iter().all(|error| *error < 1e-3), "{errors:?}");

    run("projection", &["--steps", "20"]);
    let files = ["end_distance.npy", "nu.npy", "projection.csv", "projection.png", "projection.svg"];
    let report = expect_files(&folder, "projection", &[&files[..], &["relative_error.npy", "report.json"]].concat());
    assert!(report["end_distance"]["most"].as_f64().expect("a number") < 1e-3);
    assert!(report["last_median"].as_f64().expect("a number") < 1e-4);

    run("constancy", &["--steps", "8", "--segments", "4"]);
    let files = ["along_segments.npy", "along_trajectories.npy", "constancy.csv", "constancy.png", "constancy.svg"];
    let report = expect_files(&folder, "constancy", &[&files[..], &["report.json"]].concat());
    assert_eq!(folder.array("constancy/along_segments.npy").shape, [4, 4, 4]);
    assert!(report["exact"]["share_below_0.1"].is_number());
}

#[test]
fn an_error_model_goes_from_the_study_to_the_schedule_and_the_sampler() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &samples());
    let (ideal, errors) = (format!("ideal:{data}"), folder.at("error-model"));
    quietly(&["inspect", "error-model", &ideal, "-n", "6", "--steps", "12", "-o", &errors]);
    let files = ["curve.csv", "error-model.json", "error-model.png", "error-model.svg", "points.npy", "report.json"];
    let report = expect_files(&folder, "error-model", &files);
    let (file, model) = (folder.at("error-model/error-model.json"), folder.json("error-model/error-model.json"));
    assert_eq!(report["error_model"]["eta"], model["eta"]);
    let eta = model["eta"].as_f64().expect("eta");
    assert!((0.0..1.0).contains(&eta) && model["nu"].as_f64().expect("nu") >= 1.0, "{model}");

    let schedule = folder.at("schedule");
    let ask = ["inspect", "schedule", &ideal, "--error-model", &file, "--schedule", "admissible", "--steps", "7"];
    let run = downhill(&[&ask[..], &["-o", &schedule]].concat());
    assert!(run.stdout.starts_with("admissible: 7 steps"), "{}", run.stdout);
    let report = expect_files(&folder, "schedule", &["report.json", "schedule.csv", "schedule.png", "schedule.svg"]);
    assert_eq!(report["schedule"]["admissible"], true);
    let sigmas: Vec<f64> =
        report["schedule"]["sigmas"].as_array().expect("sigmas").iter().map(|s| s.as_f64().expect("sigma")).collect();
    let beta = report["schedule"]["longest_constant_step"].as_f64().expect("beta");
    assert!(sigmas.windows(2).all(|pair| 1.0 - pair[1] / pair[0] <= beta + 1e-9), "{sigmas:?}");

    let (out, json) = (folder.at("x.npy"), folder.at("run.json"));
    let call = ["sample", &ideal, "--error-model", &file, "--steps", "7", "-n", "2", "--save-samples", &out];
    quietly(&[&call[..], &["--json", &json]].concat());
    let levels = folder.json("run.json")["schedule"]["levels"].clone();
    for (level, sigma) in levels.as_array().expect("levels").iter().zip(sigmas) {
        assert!((level["sigma"].as_f64().expect("sigma") / sigma - 1.0).abs() < 1e-9, "{levels}");
    }
}

/// Without a folder the verdict is all there is, and no device is opened.
#[test]
fn a_schedule_is_judged_on_standard_output() {
    let run = downhill(&["inspect", "schedule", "--error-model", "0.05,2", "--steps", "10"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("verdict", run.stdout);
}

#[test]
fn dimensions_are_measured() {
    let folder = Folder::new();
    let plane: Vec<f32> = (0..400u16)
        .flat_map(|at| {
            let (a, b) = ((f32::from(at) * 0.731).sin(), (f32::from(at) * 1.973).cos());
            [a, b, a + b, a - b, 2.0 * a]
        })
        .collect();
    let data = folder.write("k.npy", &Tensor::new([400, 5], plane));
    let out = folder.at("dimension");
    quietly(&[
        "inspect",
        "dimension",
        "--data",
        &data,
        "--neighbours",
        "20",
        "--neighbourhoods",
        "10",
        "--drawn",
        "24",
        "-o",
        &out,
    ]);
    let files = ["dimension.png", "dimension.svg", "local.csv", "manifolds.csv", "manifolds.png", "manifolds.svg"];
    let report =
        expect_files(&folder, "dimension", &[&files[..], &["report.json", "spectrum.npy", "two_nearest.csv"]].concat());
    assert_eq!(report["spectrum"]["for_99"], 2);
    assert_eq!(report["local"]["for_95"]["median"], 2.0);
    assert_eq!(report["manifolds"].as_array().expect("manifolds").len(), 29);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &samples());
    let (ideal, out) = (format!("ideal:{data}"), folder.at("out"));
    let ask = |arguments: &[&str]| downhill(&[&["inspect"], arguments].concat());
    ask(&["norms", "ideal:none.npy", "-o", &out]).expect_error(2, "`none.npy` does not exist");
    ask(&["projection", &ideal, "--data", "digits", "-o", &out]).expect_error(2, "have 784 values");
    ask(&["error", &format!("wiener:{data}"), "-o", &out]).expect_error(2, "give `--data`");
    ask(&["error", "-n", "20000", "-o", &out]).expect_error(2, "`digits-held-out` holds 2000 images");
    ask(&["error-model", &ideal, "--share", "0", "-o", &out]).expect_error(2, "`--share` of 0");
    ask(&["schedule", "--error-model", "1.2,2"]).expect_error(2, "an error model of eta 1.2");
    ask(&["schedule", "--error-model", "none.json"]).expect_error(2, "`none.json` does not exist");
    ask(&["schedule", "--error-model", &data]).expect_error(4, "not an error model");
    ask(&["schedule", "--error-model", "0.3,2", "--schedule", "admissible"]).expect_error(2, "no admissible schedule");
    let draw = |rest: &[&str]| downhill(&[&["sample", "-o", &folder.at("x.png")], rest].concat());
    draw(&["--error-model", "0.1,2", "--schedule", "paper"]).expect_error(2, "`--error-model` has no meaning");
    draw(&["--schedule", "admissible"]).expect_error(2, "needs an error model");
    draw(&["--metric", "1,1,1"]).expect_error(2, "not positive definite");
    draw(&["--metric", "median:digits"]).expect_error(2, "a metric is");
    draw(&["--metric", "2,-1,1", "--sampler", "ddim"]).expect_error(2, "`--metric` has no meaning for the sampler");
    draw(&["--metric", "2,-1,1", "--gamma", "2"]).expect_error(2, "`--gamma` contradicts `--metric`");
    draw(&["--metric", &format!("pca:{data}")]).expect_error(2, "have 3 values, and the images 784");
    assert_eq!(folder.names(), ["k.npy"]);
}

/// The pair whose gamma is 2 samples as gamma 2 does.
#[test]
fn a_metric_samples() {
    let folder = Folder::new();
    let wiener = format!("wiener:{}", folder.write("k.npy", &samples()));
    let draw = |name: &str, rest: &[&str]| {
        let call =
            ["sample", &wiener, "--sampler", "ge", "--steps", "6", "-n", "3", "--save-samples", &folder.at(name)];
        quietly(&[&call[..], rest].concat());
        folder.array(name)
    };
    let two = draw("two.npy", &["--gamma", "2"]);
    let pair = draw("pair.npy", &["--metric", "2,-1.3333333333333333,1"]);
    assert!(crate::distance(&two, &pair) < 1e-6);
    let pca = draw("pca.npy", &["--metric", &format!("pca:{}", folder.at("k.npy"))]);
    assert!(crate::distance(&two, &pca) > 1e-3);
}
