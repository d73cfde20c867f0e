//! `downhill restore`.

use downhill::formats::npy;
use downhill::tensor::Tensor;

use crate::{Folder, downhill};

/// A Gaussian of 16 values, with a mask-like matrix, as files.
fn gaussian(folder: &Folder) -> (String, String) {
    let (mean, covariance, matrix) = (folder.at("mean.npy"), folder.at("cov.npy"), folder.at("A.npy"));
    npy::write(&mean, &Tensor::new([16], (0..16).map(|at| 0.1 * at as f32).collect::<Vec<_>>())).unwrap();
    let diagonal = |at: usize| if at / 16 == at % 16 { 0.5 } else { 0.0 };
    npy::write(&covariance, &Tensor::new([16, 16], (0..256).map(diagonal).collect::<Vec<_>>())).unwrap();
    let rows = (0..4 * 16).map(|at| if at % 16 / 4 == at / 16 { 0.25 } else { 0.0 });
    npy::write(&matrix, &Tensor::new([4, 16], rows.collect::<Vec<_>>())).unwrap();
    (format!("wiener:mean={mean},cov={covariance}"), format!("matrix:{matrix}"))
}

#[test]
fn a_measurement_of_a_gaussian_is_met_or_weighed() {
    let folder = Folder::new();
    let (model, matrix) = gaussian(&folder);
    let (y, out, report) = (folder.at("y.npy"), folder.at("x.npy"), folder.at("report.json"));
    npy::write(&y, &Tensor::new([2, 4], vec![1.0, 0.0, -1.0, 2.0, 0.0, 0.5, 1.0, 1.5])).unwrap();
    let call = ["restore", &model, "--operator", &matrix, "-i", &y, "-o", &out, "--json", &report, "--steps", "30"];
    let run = downhill(&[&call[..], &["-n", "3"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("misfit"), "{}", run.stdout);
    let found = folder.array("x.npy");
    assert_eq!(found.shape[0], 6);
    for at in 0..6 {
        for row in 0..4 {
            let mean = found.item(at)[4 * row..][..4].iter().sum::<f32>() / 4.0;
            let measured = [1.0, 0.0, -1.0, 2.0, 0.0, 0.5, 1.0, 1.5][at / 3 * 4 + row];
            assert!((mean - measured).abs() < 1e-5, "{at}, {row}: {mean} and {measured}");
        }
    }
    let report = folder.json("report.json");
    assert_eq!(report["operator"]["measured_modes"], 4);
    assert!(report["quality"]["misfit"].as_f64().unwrap() < 1e-5);

    // The posterior mean of a mean of four values of variance 0.5 is between the prior's and the measurement.
    let weighed =
        ["--noise", "0.5", "--method", "pigdm", "--variance", "0.5", "--steps", "200", "-n", "16", "--seed", "3"];
    let run = downhill(&[&call[..10], &weighed].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let found = folder.array("x.npy");
    let gain = 0.125 / (0.125 + 0.25);
    let (prior, measured) = (0.15, 1.0);
    let expected = prior + gain * (measured - prior);
    let mean = (0..16).flat_map(|at| found.item(at)[..4].to_vec()).sum::<f32>() / 64.0;
    // The standard error of the mean of 16 posterior samples is 0.07.
    assert!((mean - expected).abs() < 0.25, "{mean} and {expected}");
}

#[test]
fn digits_are_measured_and_compared() {
    let folder = Folder::new();
    let (out, report) = (folder.at("x.png"), folder.at("report.json"));
    for method in ["project", "ddrm", "dps", "pigdm"] {
        let call = ["restore", "--operator", "downsample:4", "--data", "digits", "-n", "2", "--noise", "0.05"];
        let rest = ["--method", method, "--steps", "4", "-o", &out, "--json", &report];
        let run = downhill(&[&call[..], &rest].concat());
        assert_eq!(run.code, 0, "{method}: {}", run.stderr);
        assert!(run.stdout.contains("PSNR") && run.stdout.contains("Frechet"), "{}", run.stdout);
        let report = folder.json("report.json");
        let psnr = report["quality"]["psnr"].clone();
        assert_eq!(psnr["each"].as_array().map(Vec::len), Some(2));
        assert!(psnr["mean"].as_f64().unwrap() > 5.0, "{method}: {psnr}");
        assert_eq!(report["method"]["name"], method);
    }
}

#[test]
fn walks_that_diverge_are_named_with_the_way_out() {
    let folder = Folder::new();
    let call = ["restore", "--operator", "downsample:4", "--data", "digits", "-n", "2", "--noise", "0.05"];
    let rest = ["--method", "pigdm", "--steps", "8", "-o", &folder.at("x.npy")];
    let run = downhill(&[&call[..], &rest].concat());
    assert!(run.code == 0 && !run.stderr.contains("diverged"), "{}", run.stderr);
    // The data vary more than that along the means of 4 x 4 pixels.
    let run = downhill(&[&call[..], &rest, &["--variance", "0.3", "--no-clip"]].concat());
    assert!(run.stderr.contains("diverged") || run.code != 0, "{}", run.stderr);
    let reason = ["misfit of", "has values up to"].iter().any(|reason| run.stderr.contains(reason));
    assert!(reason || run.code != 0, "{}", run.stderr);
    assert!(run.stderr.contains("omit `--variance`, or give a larger one"), "{}", run.stderr);
    let run = downhill(&[&call[..], &rest, &["--variance", "1", "--products", "2"]].concat());
    run.expect_error(2, "`--products` without `--method pigdm`, or beside `--variance`");
}

#[test]
fn methods_are_compared_in_one_folder() {
    let folder = Folder::new();
    let out = folder.at("restorations");
    let call = ["inspect", "restore", "--operators", "downsample:4", "--methods", "project,ddrm,pigdm", "-n", "3"];
    let rest = ["--samplers", "ddim,ge", "--steps", "3", "-o", &out];
    let run = downhill(&[&call[..], &rest].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("| pigdm, ge |") && run.stdout.contains("| ddrm |"), "{}", run.stdout);
    let table = std::fs::read_to_string(folder.at("restorations/restore.csv")).unwrap();
    // Two samplers of two methods, DDRM, the pseudo-inverse, the mean and the Wiener filter.
    assert_eq!(table.lines().count(), 1 + 5 + 3, "{table}");
    let psnr = |name: &str| -> f64 {
        let line = table.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {table}"));
        line.split(',').nth(6).unwrap().parse().unwrap()
    };
    assert!(psnr("Wiener filter") > psnr("mean of the data") + 1.0, "{table}");
    assert!(psnr("Wiener filter") > psnr("pseudo-inverse"), "{table}");
    assert!(folder.json("restorations/report.json")["frechet_of_other_images"].as_f64().unwrap() > 0.0);

    // What is there is not made again.
    let kept = |name: &str| std::fs::metadata(folder.at(name)).unwrap().modified().unwrap();
    let cell = std::fs::read_dir(folder.at("restorations/restorations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.contains("ddrm"))
        .unwrap();
    let part = format!("restorations/restorations/{cell}/00000.npz");
    let before = kept(&part);
    let run = downhill(&[&call[..], &rest].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!((kept(&part), std::fs::read_to_string(folder.at("restorations/restore.csv")).unwrap()), (before, table));
    let run = downhill(&[&call[..5], &["sharpen", "-o", &out]].concat());
    run.expect_error(2, "`sharpen` is not a method of restoration");
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = Folder::new();
    let y = folder.at("y.npy");
    npy::write(&y, &Tensor::zeros([1, 1, 7, 7])).unwrap();
    let refused = |rest: &[&str], code: i32, text: &str| {
        let run = downhill(&[&["restore", "-o", &folder.at("x.png")], rest].concat());
        run.expect_error(code, text);
    };
    refused(&["--operator", "sharpen:2", "-i", &y], 2, "`sharpen:2` is not an operator");
    refused(&["--operator", "blur:2", "-i", &y], 4, "a measurement has shape [1, 28, 28]");
    refused(&["--operator", "downsample:3", "-i", &y], 2, "means of 3 x 3 pixels of 28 x 28");
    refused(&["--operator", "downsample:4", "-i", &y, "--noise", "-1"], 2, "noise of -1");
    let own = ["--operator", "downsample:4", "-i", &y, "--method", "ddrm", "--sampler", "ge"];
    refused(&own, 2, "`--sampler` has no meaning for the method `ddrm`");
    refused(&["--operator", "downsample:4", "-i", &y, "--step-size", "2"], 2, "`--step-size` has no meaning");
    refused(&["--operator", "downsample:4", "--data", "digits", "-n", "99999"], 2, "images 0 to 99999");
    refused(&["--operator", "downsample:4"], 2, "required");
}
