//! Images of classes: `--class-labels` by number and by name, against diffusers in float64.

use std::path::Path;

use downhill::formats::npy;

use crate::{Folder, distance, downhill, quietly};

const TABLE: &str = "tests/golden/unet/class-table";

#[test]
fn classes_are_checked_before_anything_runs() {
    let folder = Folder::new();
    let output = folder.at("x.png");
    let refused = |flags: &[&str], what: &str| {
        downhill(&[&["sample"], flags, &["-o", &output]].concat()).expect_error(2, what);
    };
    refused(&[TABLE], "needs a class label for each image");
    refused(&[TABLE, "--class-labels", "1000000"], "does not have a class 1000000");
    refused(&[TABLE, "--class-labels", "otter"], "do not name classes");
    refused(&[TABLE, "--class-labels", "1", "-p", "x"], "cannot be used with");
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
