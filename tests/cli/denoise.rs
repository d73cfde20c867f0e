//! `downhill denoise`.

use std::path::Path;

use downhill::denoise::diffusion::{BetaConfig, BetaSchedule, NoiseTable};
use downhill::formats::npy;
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
    downhill(&call).expect_error(2, "needs a class label for each image\nhint: give `--class-labels`");
    let call = ["denoise", "tests/bad/sound", "--input", "tests/bad/sound.npy", "--output", &eps, "--timesteps", "5"];
    downhill(&[&call[..], &["--class-labels", &labels]].concat()).expect_error(4, "labels.npy");
    let fitting = folder.write("y.npy", &Tensor::new([2], vec![0.0, 1.0]));
    downhill(&[&call[..], &["--class-labels", &fitting]].concat()).expect_error(2, "does not take class labels");
    downhill(&["sample", GOLDEN]).expect_error(2, "needs a class label for each image");
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

#[test]
fn images_of_a_size_that_the_network_does_not_take_are_those_of_a_file() {
    let folder = Folder::new();
    let (eps, odd) = (folder.at("eps.npy"), folder.write("odd.npy", &Tensor::zeros([1, 3, 8, 7])));
    let call = ["denoise", "tests/golden/unet/cifar-like", "-i", &odd, "-t", "5", "-o", &eps];
    downhill(&call).expect_error(4, "odd.npy");
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
    ask(f32::MAX).expect_error(7, "non-finite values in the output of the network\nhint: ");
    assert_eq!(folder.names(), ["x.npy"]);
}

const LATENT: &str = "tests/golden/latent/sd1-like";

#[test]
fn a_network_with_a_context_is_called_as_diffusers_calls_it() {
    let folder = Folder::new();
    let stage = |name: &str| format!("{LATENT}/stages/{name}.npy");
    let (x, t, context, eps) = (stage("x"), stage("t"), stage("context"), folder.at("eps.npy"));
    let call = ["denoise", LATENT, "-i", &x, "-o", &eps, "--context"];
    let report = folder.at("report.json");
    downhill(&[&call[..], &[&context, "-t", &t, "--json", &report]].concat()).expect(&format!("wrote {eps}\n"));
    let answer = folder.array("eps.npy");
    let golden = npy::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(stage("eps"))).expect("a golden");
    let apart = distance(&answer, &golden);
    assert!(apart < 5e-5, "{apart:e} from diffusers");
    assert_eq!(folder.json("report.json")["context"], serde_json::json!([3, 77, 16]));
    quietly(&[&call[..], &[&context, "-t", &t, "-b", "1"]].concat());
    assert_eq!(folder.array("eps.npy"), answer, "one image at a call");

    // One context for all images.
    let contexts = npy::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&context)).expect("a golden");
    let one = folder.write("one.npy", &Tensor::new([1, 77, 16], contexts.item(0).to_vec()));
    let three = folder.write("three.npy", &Tensor::new([3, 77, 16], contexts.item(0).repeat(3)));
    quietly(&[&call[..], &[&one, "-t", "20"]].concat());
    let shared = folder.array("eps.npy");
    quietly(&[&call[..], &[&three, "-t", "20"]].concat());
    assert_eq!(folder.array("eps.npy"), shared);

    // At a noise level, from x in the other scale.
    let betas = BetaConfig {
        beta_start: 0.00085,
        beta_end: 0.012,
        beta_schedule: BetaSchedule::ScaledLinear,
        ..BetaConfig::default()
    };
    let sigma = NoiseTable::new(&betas, Path::new("")).expect("a table").sigma(20.0);
    let mut scaled = npy::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&x)).expect("a golden");
    scaled.data.iter_mut().for_each(|value| *value *= (1.0 + sigma * sigma).sqrt() as f32);
    let scaled = folder.write("scaled.npy", &scaled);
    quietly(&["denoise", LATENT, "-i", &scaled, "-o", &eps, "--context", &one, "--sigma", &sigma.to_string()]);
    let apart = distance(&folder.array("eps.npy"), &shared);
    assert!(apart < 2e-5, "{apart:e}");
}

#[test]
fn contexts_are_asked_for_where_they_are_needed_and_only_there() {
    let folder = Folder::new();
    let (x, eps) = (format!("{LATENT}/stages/x.npy"), folder.at("eps.npy"));
    let call = ["denoise", LATENT, "-i", &x, "-t", "20", "-o", &eps];
    downhill(&call)
        .expect_error(2, "needs a context\nhint: give `--context`: (N,tokens,16), or (1,tokens,16) for all images");
    for shape in [vec![3, 77, 15], vec![2, 77, 16], vec![77, 16], vec![3, 0, 16]] {
        let values = vec![0.5; shape.iter().product()];
        let file = folder.write("c.npy", &Tensor::new(shape, values));
        downhill(&[&call[..], &["--context", &file]].concat()).expect_error(4, "expected [3, tokens, 16]");
    }
    let file = folder.write("c.npy", &Tensor::new([1, 1, 16], vec![f32::NAN; 16]));
    downhill(&[&call[..], &["--context", &file]].concat()).expect_error(7, "c.npy");
    downhill(&[&call[..], &["--context", &folder.at("none.npy")]].concat()).expect_error(2, "none.npy");
    let labels = ["--context", &format!("{LATENT}/stages/context.npy"), "--class-labels", "tests/bad/sound.npy"];
    downhill(&[&call[..], &labels].concat()).expect_error(4, "sound.npy");
    let call = ["denoise", "tests/bad/sound", "-i", "tests/bad/sound.npy", "-o", &eps];
    let file = folder.write("c.npy", &Tensor::new([1, 1, 16], vec![0.5; 16]));
    downhill(&[&call[..], &["-t", "5", "--context", &file]].concat())
        .expect_error(2, "does not take a context\nhint: omit `--context`");
    let call = ["denoise", "ideal:digits", "-i", "tests/bad/sound.npy", "-o", &eps, "--sigma", "1"];
    downhill(&[&call[..], &["--context", &file]].concat()).expect_error(2, "does not take a context");
}
