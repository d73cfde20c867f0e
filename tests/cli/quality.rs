//! `inspect gamma`, `inspect compare` and `inspect frechet`: how good samples are.

use crate::{Folder, downhill, quietly};
use downhill::data::{Pixels, digits};
use downhill::tensor::Tensor;

/// A few of the digits as a file, so that little has to be measured.
fn few_digits(folder: &Folder) -> String {
    let all = digits(Pixels::Signed).unwrap().samples.slice(0..48);
    folder.write("digits.npy", &Tensor::new([48, 1, 28, 28], all.data))
}

#[test]
fn samplers_are_compared_and_a_killed_run_goes_on() {
    let folder = Folder::new();
    let (data, out) = (few_digits(&folder), folder.at("quality"));
    let arguments = [
        "inspect",
        "compare",
        "--samplers",
        "ge,heun",
        "--steps",
        "3",
        "-n",
        "4",
        "--seeds",
        "2",
        "--no-ablation",
        "--data",
        &data,
        "-o",
        &out,
        "-q",
    ];
    let first = downhill(&arguments);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    assert!(first.stdout.contains("| Frechet distance | 3 calls |\n|---|---|\n| ge |"), "{}", first.stdout);
    let report = folder.json("quality/report.json");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!((&row["made_calls"], &row["images"]), (&3.into(), &4.into()));
        let scores = row["scores"].as_array().expect("scores");
        assert_eq!(scores.len(), 2);
        assert!(scores.iter().all(|score| score["frechet"].as_f64().unwrap() > 0.0), "{row}");
        assert_ne!(scores[0], scores[1], "seeds differ");
    }
    assert_eq!(report["floor"].as_array().map(Vec::len), Some(3));
    for name in ["compare.csv", "compare.md", "compare.svg", "compare.png"] {
        assert!(!folder.bytes(&format!("quality/{name}")).is_empty(), "{name}");
    }
    assert_eq!(String::from_utf8(folder.bytes("quality/compare.md")).unwrap(), first.stdout);

    // What is lost is made again, what is there stays.
    let part = |cell: &str| format!("quality/samples/{cell}/00000.npz");
    let kept = folder.bytes(&part("heun-trailing-3-s1"));
    std::fs::remove_file(folder.path(&part("ge-paper-3-s0"))).unwrap();
    let modified = |name: &str| std::fs::metadata(folder.path(name)).unwrap().modified().unwrap();
    let before = modified(&part("heun-trailing-3-s1"));
    let second = downhill(&arguments);
    assert_eq!(modified(&part("heun-trailing-3-s1")), before);
    assert_eq!(folder.bytes(&part("heun-trailing-3-s1")), kept);
    assert_eq!(folder.json("quality/report.json")["rows"][0]["scores"], report["rows"][0]["scores"]);
    let quality = |text: &str| text.split("| milliseconds").next().map(str::to_owned);
    assert_eq!(quality(&second.stdout), quality(&first.stdout));

    downhill(&[&arguments[..], &["--clip"]].concat()).expect_error(2, "holds samples of other settings");
}

#[test]
fn the_best_gamma_of_a_gaussian_is_known() {
    let folder = Folder::new();
    let run = downhill(&[
        "inspect",
        "gamma",
        "--gaussian-only",
        "--steps",
        "5,10,20",
        "-o",
        &folder.at("gamma"),
        "--data",
        &few_digits(&folder),
    ]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let report = folder.json("gamma/report.json");
    let optima = report["gaussians"].as_array().expect("optima");
    // Of a Gaussian of unit variance on the paper's schedules, by a root finder in NumPy.
    for (row, (calls, expected)) in optima.iter().zip([(5, 1.815), (10, 1.620), (20, 1.555)]) {
        assert_eq!(row["calls"], calls);
        let best = row["best_gamma"].as_f64().unwrap();
        assert!((best - expected).abs() < 2e-3, "{calls} calls: {best}");
    }
    assert_eq!(optima.len(), 6);
    assert!(
        folder.bytes("gamma/gaussian.csv").starts_with(b"gaussian,calls,gamma,relative_distance\nunit variance,5,1,")
    );
}

#[test]
fn sets_of_images_and_statistics_are_compared() {
    let folder = Folder::new();
    let (samples, statistics, report) =
        (folder.at("samples.npz"), folder.at("statistics.npz"), folder.at("report.json"));
    quietly(&["sample", "-n", "6", "--steps", "2", "-o", &samples]);
    let said = downhill(&[
        "inspect",
        "frechet",
        &samples,
        "--against",
        &samples,
        "--save-statistics",
        &statistics,
        "--json",
        &report,
    ]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(
        said.stdout.starts_with("Frechet distance    0.0000\nsliced Wasserstein  0.0000 of features"),
        "{}",
        said.stdout
    );
    assert_eq!(folder.json("report.json")["images"], serde_json::json!([6, 6]));
    let own = downhill(&["inspect", "frechet", &statistics, "--against", &samples]);
    assert!(own.stdout.starts_with("Frechet distance  0.0000"), "{}", own.stdout);

    let golden = |name: &str| format!("tests/golden/quality/{name}.npz");
    quietly_frechet(&golden("a"), &golden("b"), &report);
    let found = folder.json("report.json")["frechet"].as_f64().unwrap();
    assert!((found / 184.952_483_327_165_4 - 1.0).abs() < 1e-9, "{found}");
    downhill(&["inspect", "frechet", &statistics, "--against", &golden("a")])
        .expect_error(2, "statistics of 64 features against those of 16");
}

fn quietly_frechet(a: &str, b: &str, report: &str) {
    let run = downhill(&["inspect", "frechet", a, "--against", b, "--json", report]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn what_cannot_be_compared_is_refused_before_the_work() {
    let folder = Folder::new();
    let out = folder.at("out");
    let refused = |flags: &[&str], code: i32, what: &str| {
        let arguments = [&["inspect"][..], flags, &["-o", &out]].concat();
        downhill(&arguments).expect_error(code, what);
    };
    refused(&["compare", "--samplers", "ge,magic"], 2, "samplers are `ge`, `ddim`,");
    refused(&["compare", "--samplers", "ge,ge"], 2, "twice");
    refused(&["compare", "--steps", "0"], 2, "numbers from 1 to 1000");
    refused(&["compare", "-n", "1"], 2, "a number from 2");
    refused(&["compare", "--data", "nowhere"], 2, "nowhere");
    refused(&["gamma", "--gammas", "1,40"], 2, "numbers from 0 to 10");
    refused(&["compare", "--schedule", "karras", "--samplers", "ddpm", "no-model"], 2, "no-model");
    assert!(!folder.path("out").exists());
    downhill(&["inspect", "frechet", "tests/golden/unet/cifar-like/x.npy"])
        .expect_error(2, "cannot be compared with digits");
}
