//! Images of classes: `--class-labels` by number and by name, against diffusers' `DiTPipeline` in float64.

use std::path::Path;

use downhill::formats::npy;

use crate::{Folder, distance, downhill, quietly};

const PIPELINE: &str = "tests/golden/dit/pipeline";
const TABLE: &str = "tests/golden/unet/class-table";

/// Samples from the golden's noise with the flags of the path, and returns the distance of the path from the golden's.
fn follow(folder: &Folder, golden: &str, flags: &[&str]) -> f32 {
    let path = folder.at("path.npy");
    let noise = format!("{PIPELINE}/runs/init_noise.npy");
    let call = ["sample", PIPELINE, "--init-noise", &noise, "--save-path", &path, "-o", &folder.at("x.png")];
    quietly(&[&call[..], flags].concat());
    distance(&folder.array("path.npy"), &npy::read(format!("{PIPELINE}/runs/{golden}")).expect("a golden"))
}

#[test]
fn a_pipeline_of_classes_follows_diffusers() {
    let folder = Folder::new();
    let images = folder.at("images.npy");
    let ddim = ["--sampler", "ddim", "--steps", "5", "--class-labels", "207,otter", "--save-images", &images];
    assert!(follow(&folder, "path.npy", &ddim) < 5e-5);
    let expected = npy::read(format!("{PIPELINE}/runs/images.npy")).expect("a golden");
    assert!(distance(&folder.array("images.npy"), &expected) < 2e-4);
    let unguided = ["--sampler", "ddim", "--steps", "5", "--class-labels", "207,360", "--cfg-scale", "1", "-b", "1"];
    assert!(follow(&folder, "unguided_path.npy", &unguided) < 5e-5);
    let ge = ["--sampler", "ge", "--timesteps", "901,751,566,353,166,0", "--class-labels", "207,360", "-b", "1"];
    assert!(follow(&folder, "ge_path.npy", &ge) < 5e-5);
    let info = downhill(&["info", &folder.at("x.png")]).stdout;
    assert!(info.contains("class labels") && info.contains("207,360"), "{info}");
}

#[test]
fn other_commands_take_a_pipeline_of_classes() {
    let info = downhill(&["info", PIPELINE]);
    assert!(info.code == 0 && info.stdout.contains("DiTPipeline"), "{} {}", info.stdout, info.stderr);
    let folder = Folder::new();
    let call = ["inspect", "norms", PIPELINE, "-n", "2", "--steps", "2", "-o", &folder.at("norms")];
    downhill(&call).expect_error(2, "needs a class label for each image\nhint: give `--class-label`");
    assert_eq!(downhill(&[&call[..], &["--class-label", "otter"]].concat()).code, 0);
}

#[test]
fn classes_are_checked_before_anything_runs() {
    let folder = Folder::new();
    let output = folder.at("x.png");
    let refused = |flags: &[&str], what: &str| {
        downhill(&[&["sample"], flags, &["-o", &output]].concat()).expect_error(2, what);
    };
    refused(&[PIPELINE], "needs a class label for each image");
    refused(&[PIPELINE, "--class-labels", "1000000"], "does not have a class 1000000");
    refused(&[PIPELINE, "--class-labels", "ottr"], "does not have a class `ottr`\nhint: the nearest name is `otter`");
    refused(&[PIPELINE, "--class-labels", "1", "-p", "x"], "cannot be used with");
    refused(&[TABLE, "--class-labels", "1", "--cfg-scale", "2"], "does not have a null class");
    refused(&["--class-labels", "1"], "`--class-labels` has no meaning for `digits`");
    refused(&["--cfg-scale", "2"], "`--cfg-scale` has no meaning for `digits`");
}

#[test]
fn a_network_of_pixels_takes_class_labels() {
    let golden = Path::new("tests/golden/labels");
    let about: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden.join("golden.json")).expect("golden.json")).expect("JSON");
    let labels: Vec<String> =
        about["class_labels"].as_array().expect("labels").iter().map(ToString::to_string).collect();
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("model")).expect("a folder");
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        std::fs::copy(Path::new(TABLE).join(file), folder.path("model").join(file)).expect("copied");
    }
    std::fs::copy(golden.join("scheduler_config.json"), folder.path("model/scheduler_config.json")).expect("copied");
    let path = folder.at("path.npy");
    let noise = golden.join("init_noise.npy").display().to_string();
    let call = ["sample", &folder.at("model"), "--sampler", "ddim", "--steps", "5", "--init-noise", &noise];
    let rest = ["--class-labels", &labels.join(","), "--save-path", &path, "-o", &folder.at("x.png")];
    quietly(&[&call[..], &rest].concat());
    assert!(distance(&folder.array("path.npy"), &npy::read(golden.join("path.npy")).expect("a golden")) < 5e-5);
}
