//! `downhill denoise`.

use std::path::Path;

use downhill::report::npy;
use downhill::tensor::Tensor;

use crate::{Folder, distance, downhill, quietly};

const GOLDEN: &str = "tests/golden/unet/class-table";

fn golden(name: &str) -> Tensor {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN).join(name);
    npy::read(file).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_call_is_that_of_diffusers_in_any_batch() {
    let folder = Folder::new();
    let [x, t, labels] = ["x", "t", "labels"].map(|name| format!("{GOLDEN}/{name}.npy"));
    let (eps, report) = (folder.at("eps.npy"), folder.at("report.json"));
    let call = ["denoise", GOLDEN, "--input", &x, "--timesteps", &t, "--class-labels", &labels, "--output", &eps];
    let run = downhill(&[&call[..], &["--json", &report]].concat());
    run.expect(&format!("wrote {eps}\n"));
    let answer = folder.array("eps.npy");
    let apart = distance(&answer, &golden("eps.npy"));
    assert!(apart < 5e-5, "{apart:e} from diffusers");
    assert_eq!(folder.json("report.json")["timesteps"].as_array().map(Vec::len), Some(answer.shape[0]));

    quietly(&[&call[..], &["-b", "1"]].concat());
    assert_eq!(folder.array("eps.npy"), answer, "one image at a call");
}

#[test]
fn weights_in_float16_are_half_as_large_and_nearly_as_good() {
    let folder = Folder::new();
    let golden = "tests/golden/unet/one-level";
    let [x, t] = ["x", "t"].map(|name| format!("{golden}/{name}.npy"));
    let (eps, report) = (folder.at("eps.npy"), folder.at("report.json"));
    let call = |dtype: &str| {
        quietly(&["denoise", golden, "-i", &x, "-t", &t, "-o", &eps, "--dtype", dtype, "--json", &report]);
        let memory = folder.json("report.json")["memory"].clone();
        (folder.array("eps.npy"), memory["dtype"].clone(), memory["weights_bytes"].as_f64().expect("bytes"))
    };
    let (full, half) = (call("f32"), call("f16"));
    assert_eq!((full.1.as_str(), half.1.as_str()), (Some("f32"), Some("f16")));
    assert!((0.5..0.6).contains(&(half.2 / full.2)), "{} of {} bytes", half.2, full.2);
    let apart = distance(&half.0, &full.0);
    assert!((1e-6..3.3e-3).contains(&apart), "{apart:e} from float32");
    assert_eq!(call("float16").0, half.0);
    assert_eq!(call("float32").0, full.0);
}

#[test]
fn class_labels_are_asked_for_where_they_are_needed_and_only_there() {
    let folder = Folder::new();
    let (x, eps) = (format!("{GOLDEN}/x.npy"), folder.at("eps.npy"));
    let labels = format!("{GOLDEN}/labels.npy");
    let call = ["denoise", GOLDEN, "--input", &x, "--timesteps", "5", "--output", &eps];
    downhill(&call).expect_error(2, "needs a class label for each image\nhint: give `--class-labels FILE.npy`");
    let call = ["denoise", "tests/bad/sound", "--input", "tests/bad/sound.npy", "--output", &eps, "--timesteps", "5"];
    downhill(&[&call[..], &["--class-labels", &labels]].concat()).expect_error(4, "labels.npy");
    let fitting = folder.write("y.npy", &Tensor::new([2], vec![0.0, 1.0]));
    downhill(&[&call[..], &["--class-labels", &fitting]].concat()).expect_error(2, "takes no class labels");
    downhill(&["sample", GOLDEN]).expect_error(4, "needs a class label for each image");
}

#[test]
fn timesteps_are_one_for_all_or_one_for_each() {
    let folder = Folder::new();
    let eps = folder.at("eps.npy");
    let ask = |timesteps: &str| {
        let input = "tests/bad/sound.npy";
        quietly(&["denoise", "tests/bad/sound", "-i", input, "-t", timesteps, "-o", &eps]);
        folder.array("eps.npy")
    };
    let (early, late) = (ask("400.5"), ask("20"));
    let each = folder.write("t.npy", &Tensor::new([2], vec![400.5, 20.0]));
    let both = ask(&each);
    assert_eq!((both.item(0), both.item(1)), (early.item(0), late.item(1)));
    assert_ne!(early, late);
    let one = folder.write("t.npy", &Tensor::new([1], vec![20.0]));
    assert_eq!(ask(&one), late);
    let three = folder.write("t.npy", &Tensor::new([3], vec![1.0; 3]));
    let call = ["denoise", "tests/bad/sound", "-i", "tests/bad/sound.npy", "-o", &eps, "-t", &three];
    downhill(&call).expect_error(4, "holds 3 timesteps for 2 images");
}

/// The levels of the DDPM paper at a timestep: z = x sqrt(alpha bar), and the network is trained to answer eps.
#[test]
fn a_sigma_is_a_timestep_in_the_other_scale() {
    let folder = Folder::new();
    let table = downhill::denoise::diffusion::NoiseTable::default();
    let sigma = table.sigma(300.0);
    let z = npy::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/sound.npy")).expect("the control");
    let scale = (1.0 + sigma * sigma).sqrt() as f32;
    let x = Tensor::new(z.shape.clone(), z.data.iter().map(|value| value * scale).collect::<Vec<_>>());
    let x = folder.write("x.npy", &x);
    let (raw, eps, sigma) = (folder.at("raw.npy"), folder.at("eps.npy"), sigma.to_string());
    quietly(&["denoise", "tests/bad/sound", "-i", "tests/bad/sound.npy", "-t", "300", "-o", &raw]);
    quietly(&["denoise", "tests/bad/sound", "-i", &x, "--sigma", &sigma, "-o", &eps]);
    let apart = distance(&folder.array("eps.npy"), &folder.array("raw.npy"));
    assert!(apart < 1e-5, "{apart:e}");
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let folder = Folder::new();
    let eps = folder.at("eps.npy");
    let ask = |value: f32| {
        let mut x = Tensor::zeros([1, 1, 8, 8]);
        x.data[7] = value;
        let x = folder.write("x.npy", &x);
        downhill(&["denoise", "tests/bad/sound", "-i", &x, "-t", "1", "-o", &eps])
    };
    ask(f32::NAN).expect_error(7, "non-finite values in ").expect_error(7, "x.npy");
    ask(f32::MAX).expect_error(7, "non-finite values in the network's answer\nhint: ");
    assert_eq!(folder.names(), ["x.npy"]);
}
