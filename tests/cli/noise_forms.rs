//! Networks of other forms than eps: the preconditioned ones of Karras et al., consistency models, scores.

use std::path::Path;

use serde_json::json;

use crate::{Folder, downhill, quietly};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// Copies the network of a golden into a folder.
fn copied(golden: &str, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for file in ["config.json", WEIGHTS] {
        std::fs::copy(Path::new("tests/golden/unet").join(golden).join(file), to.join(file)).expect("copied");
    }
}

fn scheduler(folder: &Path, fields: &serde_json::Value) {
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("scheduler_config.json"), fields.to_string()).expect("written");
}

/// A pipeline of a network of a golden.
fn pipeline(folder: &Folder, class: &str, golden: &str, fields: &serde_json::Value) -> String {
    let root = folder.path(class);
    copied(golden, &root.join("unet"));
    scheduler(&root.join("scheduler"), fields);
    let index = json!({
        "_class_name": class,
        "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", fields["_class_name"]],
    });
    std::fs::write(root.join("model_index.json"), index.to_string()).expect("written");
    folder.at(class)
}

#[test]
fn an_edm_network_is_described_and_sampled_by_its_own_sampler() {
    let folder = Folder::new();
    copied("edm-ddpmpp", &folder.path("model"));
    let (model, report, image) = (folder.at("model"), folder.at("report.json"), folder.at("x.png"));
    let info = downhill(&["info", &model]);
    for part in ["SongUNet (DDPM++)", "EDM, sigma_data 0.5", "images that are sampled have none", "0.0020 to 80.0000"] {
        assert!(info.code == 0 && info.stdout.contains(part), "{part}: {} {}", info.stdout, info.stderr);
    }
    let call = ["sample", &model, "-n", "2", "--steps", "3", "-o", &image, "--json", &report];
    let run = downhill(&call);
    assert!(run.code == 0 && run.stderr.contains("the defaults of its code"), "{}", run.stderr);
    assert_eq!(folder.json("report.json")["method"]["sampler"], "edm-heun");
    for sampler in ["ge", "ddim", "dpm++2m", "heun", "edm-euler"] {
        let run = downhill(&[&call[..], &["--sampler", sampler]].concat());
        assert_eq!(run.code, 0, "{sampler}: {}", run.stderr);
    }
    scheduler(&folder.path("model"), &json!({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}));
    quietly(&call);
    assert_eq!(folder.json("report.json")["method"]["sampler"], "edm-euler");
    for other in
        [json!({"_class_name": "EDMEulerScheduler", "sigma_data": 0.7}), json!({"_class_name": "DDPMScheduler"})]
    {
        scheduler(&folder.path("model"), &other);
        downhill(&call).expect_error(4, "not the noise of the network");
    }
}

#[test]
fn classes_of_an_edm_network_may_be_guided_where_it_has_seen_none() {
    let folder = Folder::new();
    copied("edm-ncsnpp", &folder.path("model"));
    let call = ["sample", &folder.at("model"), "--steps", "2", "-o", &folder.at("x.png")];
    downhill(&call).expect_error(2, "needs a class label for each image");
    quietly(&[&call[..], &["--class-labels", "3,0"]].concat());
    quietly(&[&call[..], &["--class-labels", "3,0", "--cfg-scale", "1"]].concat());
    downhill(&[&call[..], &["--class-labels", "4"]].concat()).expect_error(2, "does not have a class 4");
}

#[test]
fn a_pickle_of_a_network_is_refused_with_a_way_out() {
    const PERSISTENT: &[u8] = b"\x80\x02ctorch_utils.persistence\n_reconstruct_persistent_obj\n.";
    let folder = Folder::new();
    std::fs::write(folder.path("network-snapshot.pkl"), PERSISTENT).expect("written");
    downhill(&["info", &folder.at("network-snapshot.pkl")]).expect_error(4, "tools/convert_edm.py");
}

#[test]
fn a_consistency_model_takes_one_step_or_the_levels_that_are_listed() {
    let folder = Folder::new();
    let fields = json!({"_class_name": "CMStochasticIterativeScheduler"});
    let model = pipeline(&folder, "ConsistencyModelPipeline", "consistency-like", &fields);
    let (image, report) = (folder.at("x.png"), folder.at("report.json"));
    let info = downhill(&["info", &model]);
    assert!(info.code == 0 && info.stdout.contains("a consistency model"), "{} {}", info.stdout, info.stderr);
    let call = ["sample", &model, "--class-labels", "4,1", "-o", &image, "--json", &report];
    let levels = |flags: &[&str]| {
        quietly(&[&call[..], flags].concat());
        let levels = folder.json("report.json")["schedule"]["levels"].clone();
        let sigmas = levels.as_array().expect("levels").iter().map(|level| level["sigma"].as_f64().expect("a number"));
        sigmas.collect::<Vec<_>>()
    };
    let close = |found: Vec<f64>, expected: &[f64]| {
        assert!(found.len() == expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3 * b.abs() + 1e-12), "{found:?}");
    };
    assert_eq!(folder.names(), ["ConsistencyModelPipeline"]);
    close(levels(&[]), &[80.0, 0.0]);
    // diffusers' `timesteps=[22, 0]`.
    close(levels(&["--timesteps", "39,17,-1"]), &[80.0, 1.3824, 0.0]);
    close(levels(&["--sigmas", "80,5,0"]), &[80.0, 5.0, 0.0]);
    downhill(&[&call[..], &["--timesteps", "40,-1"]].concat()).expect_error(2, "40 is not a timestep");
    downhill(&[&call[..], &["--timesteps", "3.5,-1"]].concat()).expect_error(2, "3.5 is not a timestep");
    downhill(&[&call[..], &["--steps", "41"]].concat()).expect_error(2, "41 steps on a model of 40 levels");
    let other = downhill(&[&call[..], &["--sampler", "ddim", "--steps", "3"]].concat());
    assert!(other.code == 0 && other.stderr.contains("an end of its paths"), "{}", other.stderr);
}

#[test]
fn a_network_of_scores_has_images_from_zero_to_one() {
    let folder = Folder::new();
    let fields = json!({"_class_name": "ScoreSdeVeScheduler", "sigma_max": 5.0, "num_train_timesteps": 50});
    let model = pipeline(&folder, "ScoreSdeVePipeline", "ncsnpp-like", &fields);
    let info = downhill(&["info", &model]);
    for part in ["the score, -eps / sigma", "50 timesteps, sigma 0.0100 to 5.0000"] {
        assert!(info.code == 0 && info.stdout.contains(part), "{part}: {} {}", info.stdout, info.stderr);
    }
    let (samples, images, report) = (folder.at("z.npy"), folder.at("images.npy"), folder.at("report.json"));
    let call = ["sample", &model, "-n", "2", "--steps", "4", "--save-samples", &samples, "--save-images", &images];
    let rest = ["-o", &folder.at("x.png"), "--json", &report];
    quietly(&[&call[..], &rest].concat());
    assert_eq!(folder.json("report.json")["method"]["sampler"], "sde-ve");
    let (z, pixels) = (folder.array("z.npy"), folder.array("images.npy"));
    for (z, pixel) in z.data.iter().zip(&pixels.data) {
        assert!((z.clamp(0.0, 1.0) - pixel).abs() < 1e-5, "{z} became {pixel}");
    }
    for sampler in ["ge", "ddim", "euler"] {
        let flags = ["--sampler", sampler];
        quietly(&[&call[..], &rest, &flags].concat());
        let first = folder.json("report.json")["schedule"]["levels"][0]["sigma"].as_f64().expect("a number");
        assert!(first > 3.0, "{sampler} begins at {first}");
    }
}
