//! Denoisers in closed form: `denoise --sigma` and `sample` with `pca:`, `wiener:` and `ideal:`.

use downhill::formats::{npy, png};
use downhill::tensor::Tensor;

use crate::{Folder, distance, downhill, quietly};

/// Five samples of three values.
fn samples() -> Tensor {
    Tensor::new([5, 3], vec![1.0, 0.0, 2.0, -1.0, 0.5, 0.0, 0.0, 2.0, 1.0, 3.0, -1.0, 0.5, 2.0, 2.0, -2.0])
}

#[test]
fn a_closed_form_answers_in_the_shape_of_its_input() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &samples());
    let query = Tensor::new([2, 3], vec![0.9, 0.2, 1.5, 0.0, 1.0, 1.0]);
    let (input, eps, report) = (folder.write("q.npy", &query), folder.at("eps.npy"), folder.at("report.json"));
    let sigma = 0.5f64;
    let call = |model: &str, rest: &[&str]| {
        downhill(&[&["denoise", model, "--sigma", "0.5", "--input", &input, "--output", &eps], rest].concat())
    };
    call(&format!("ideal:{data}"), &["--json", &report]).expect(&format!("wrote {eps}\n"));
    let expected = query.data.chunks(3).flat_map(|x| {
        let samples = samples();
        let square = |k: &[f32]| x.iter().zip(k).map(|(x, k)| f64::from(x - k).powi(2)).sum::<f64>();
        let weights: Vec<f64> = (0..5).map(|at| (-square(samples.item(at)) / (2.0 * sigma * sigma)).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mean = |at: usize| -> f64 { (0..5).map(|k| weights[k] / total * f64::from(samples.item(k)[at])).sum() };
        (0..3).map(|at| ((f64::from(x[at]) - mean(at)) / sigma) as f32).collect::<Vec<_>>()
    });
    let expected = Tensor::new([2, 3], expected.collect::<Vec<_>>());
    let apart = distance(&folder.array("eps.npy"), &expected);
    assert!(apart < 1e-5, "{apart:e}");
    let report = folder.json("report.json");
    assert_eq!((&report["model"]["closed_form"], &report["model"]["samples"]), (&"ideal".into(), &5.into()));

    // A Gaussian of independent values: eps = sigma x / (lambda + sigma^2).
    let mean = folder.write("m.npy", &Tensor::new([3], vec![1.0, 0.0, 0.0]));
    let covariance = Tensor::new([3, 3], vec![4.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let covariance = folder.write("c.npy", &covariance);
    call(&format!("wiener:mean={mean},cov={covariance}"), &["-q"]).expect("");
    let expected: Vec<f32> = (query.data.iter().enumerate())
        .map(|(at, x)| {
            let (mean, lambda) = [(1.0, 4.0), (0.0, 1.0), (0.0, 0.0)][at % 3];
            0.5 * (x - mean) / (lambda + 0.25)
        })
        .collect();
    let apart = distance(&folder.array("eps.npy"), &Tensor::new([2, 3], expected));
    assert!(apart < 1e-6, "{apart:e}");
}

#[test]
fn what_a_closed_form_cannot_do_is_refused() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &samples());
    let input = folder.write("q.npy", &Tensor::zeros([2, 4]));
    let eps = folder.at("eps.npy");
    let ask = |model: &str, rest: &[&str]| downhill(&[&["denoise", model, "-i", &input, "-o", &eps], rest].concat());
    let ideal = format!("ideal:{data}");
    ask(&ideal, &["--sigma", "1"]).expect_error(4, "q.npy: the array has shape [2, 4], samples of `ideal:");
    ask(&ideal, &["--sigma", "0"]).expect_error(2, "`--sigma` of 0 is not a noise level");
    ask(&ideal, &["--sigma", "-1"]).expect_error(2, "`--sigma` of -1 is not a noise level");
    ask(&ideal, &["--timesteps", "5"]).expect_error(2, "has noise levels and does not have timesteps");
    ask(&ideal, &["--sigma", "1", "-b", "2"]).expect_error(2, "`--batch` has no meaning");
    ask(&ideal, &["--sigma", "1", "--dtype", "f16"]).expect_error(2, "`--dtype` has no meaning");
    ask(&ideal, &[]).expect_error(2, "--sigma");
    ask(&format!("pca:{data},k=4"), &["--sigma", "1"]).expect_error(2, "more components than the 3 values");
    ask("median:digits", &["--sigma", "1"])
        .expect_error(2, "`median` of `median:digits` is not a kind of denoiser\nhint: ");
    ask("ideal:none.npy", &["--sigma", "1"]).expect_error(2, "`none.npy` does not exist");
    let draw = |rest: &[&str]| downhill(&[&["sample", "pca:digits", "-o", &folder.at("x.png")], rest].concat());
    draw(&["--timesteps", "9,0"]).expect_error(2, "no timesteps");
    draw(&["--schedule", "paper"]).expect_error(2, "no timesteps");
    draw(&["--size", "32"]).expect_error(2, "images of 32x32, and those of `pca:digits` are 28x28");
    draw(&["--dtype", "f16"]).expect_error(2, "`--dtype` has no meaning");
    draw(&["--trace-nonfinite"]).expect_error(2, "`--trace-nonfinite` has no meaning for");
    downhill(&["sample", &ideal]).expect_error(2, "samples of 3 values are not images");
    assert_eq!(folder.names(), ["k.npy", "q.npy"]);
}

/// Images in the span of the components, the same in any batch, and the same for the same seed.
#[test]
fn images_are_drawn_from_a_projection() {
    let folder = Folder::new();
    let (image, values, report) = (folder.at("x.png"), folder.at("x.npy"), folder.at("report.json"));
    let call = ["sample", "pca:digits,k=3", "-n", "5", "--save-samples", &values, "-o", &image];
    quietly(&[&call[..], &["--json", &report]].concat());
    let drawn = folder.array("x.npy");
    assert_eq!(drawn.shape, [5, 1, 28, 28]);
    let metadata = png::read_metadata(&image).unwrap();
    for (keyword, text) in
        [("model", "pca:digits,k=3"), ("sampler", "ddim"), ("schedule", "exponential"), ("steps", "50")]
    {
        assert!(metadata.contains(&(keyword.into(), text.into())), "{metadata:?}");
    }
    assert_eq!(folder.json("report.json")["model"]["components"], 3);
    // What is drawn lies in the span: nothing is left of it after the projection.
    let eps = folder.at("eps.npy");
    quietly(&["denoise", "pca:digits,k=3", "-i", &values, "--sigma", "1", "-o", &eps]);
    let left = folder.array("eps.npy").data.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    assert!(left < 1e-5, "{left:e}");
    quietly(&[&call[..], &["-b", "2"]].concat());
    assert_eq!(folder.array("x.npy"), drawn);
}

/// Trajectories of the ideal denoiser end on samples.
#[test]
fn trajectories_of_the_ideal_denoiser_end_on_the_data() {
    let folder = Folder::new();
    let (data, out) = (folder.write("k.npy", &samples()), folder.at("x.npy"));
    let ideal = format!("ideal:{data}");
    let samples = samples();
    for sampler in ["ddim", "ge", "euler-a", "heun", "dpm++2m"] {
        quietly(&["sample", &ideal, "-n", "40", "--sampler", sampler, "--steps", "30", "--save-samples", &out]);
        let drawn = npy::read(&out).unwrap();
        assert_eq!(drawn.shape, [40, 3, 1, 1]);
        let mut met = [false; 5];
        for at in 0..40 {
            let far = |k: usize| {
                let pairs = drawn.item(at).iter().zip(samples.item(k));
                pairs.map(|(x, k)| (x - k).abs()).fold(0.0, f32::max)
            };
            let nearest = (0..5).min_by(|a, b| far(*a).total_cmp(&far(*b))).unwrap();
            assert!(far(nearest) < 1e-3, "{sampler}: image {at} is {} from the data", far(nearest));
            met[nearest] = true;
        }
        assert!(met.iter().filter(|met| **met).count() > 2, "{sampler}: {met:?}");
    }
}
