//! Single files in the layout of the original Stable Diffusion code, from outside.

use std::fs;

use crate::{Folder, downhill, quietly, single_file};

/// The single file of a small model, as an argument.
fn small(folder: &Folder, name: &str) -> String {
    single_file::small(name, &folder.path("")).to_str().expect("UTF-8").to_owned()
}

#[test]
fn every_stage_takes_a_file_as_it_takes_a_folder() {
    let (place, of_folder) = (Folder::new(), "tests/golden/latent/sd1-like");
    let file = small(&place, "sd1-like");
    let latent = format!("{of_folder}/stages/latent.npy");
    let image = format!("{of_folder}/stages/image.npy");
    let calls: [&[&str]; 5] = [
        &["sample", "MODEL", "-p", "a cat", "--steps", "2", "-n", "1", "-o", "X.png", "--save-samples", "OUT"],
        &["denoise", "MODEL", "-i", "X", "--timesteps", "500", "--context", "CONTEXT", "-o", "OUT"],
        &["encode-text", "MODEL", "-p", "a cat", "-o", "OUT"],
        &["decode", "MODEL", "-i", &latent, "-o", "OUT"],
        &["encode", "MODEL", "-i", &image, "-o", "OUT"],
    ];
    for call in calls {
        let outputs = [of_folder, &file].map(|model| {
            let (png, out) = (place.at("x.png"), place.at("out.npy"));
            let (x, context) = (format!("{of_folder}/stages/x.npy"), format!("{of_folder}/stages/context.npy"));
            let arguments: Vec<&str> = call
                .iter()
                .map(|argument| match *argument {
                    "MODEL" => model,
                    "X.png" => &png,
                    "OUT" => &out,
                    "X" => &x,
                    "CONTEXT" => &context,
                    other => other,
                })
                .collect();
            quietly(&arguments);
            place.bytes("out.npy")
        });
        assert!(outputs[0] == outputs[1], "{call:?}");
    }
}

/// Whoever calls a network once has to know what was taken for granted about it, as whoever samples from it.
#[test]
fn denoise_and_info_say_what_was_assumed() {
    let (place, stages) = (Folder::new(), "tests/golden/latent/sd2-like/stages");
    let file = small(&place, "sd2-like");
    let (x, context, out) = (format!("{stages}/x.npy"), format!("{stages}/context.npy"), place.at("out.npy"));
    let sampled = downhill(&["sample", &file, "-p", "a cat", "--steps", "1", "-n", "1", "-o", &place.at("x.png")]);
    let note = sampled.stderr.lines().find(|line| line.contains("prediction")).expect("a note").to_owned();
    let denoised = downhill(&["denoise", &file, "-i", &x, "-t", "500", "--context", &context, "-o", &out]);
    for run in [denoised, downhill(&["info", &file])] {
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stderr.contains(&note), "{note}: {}", run.stderr);
    }
}

#[test]
fn info_says_what_a_file_is() {
    let place = Folder::new();
    let file = small(&place, "sd1-like");
    let run = downhill(&["info", &file, "--json", &place.at("whole.json")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for fact in ["Stable Diffusion 1", "original code", "text_encoder", "vae decoder", "210,860 in F16"] {
        assert!(run.stdout.contains(fact), "{fact}: {}", run.stdout);
    }
    assert_eq!(place.json("whole.json")["model"]["family"], "Stable Diffusion 1");
    // A model without its text encoder.
    let mut tensors = single_file::tensors("sd1-like");
    tensors.retain(|(name, ..)| !name.starts_with("cond_stage_model."));
    single_file::write(&place.path("sd1-like.safetensors"), &tensors);
    let run = downhill(&["info", &file]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for fact in ["Stable Diffusion 1", "UNet2DConditionModel", "AutoencoderKL", "29,187 in F16"] {
        assert!(run.stdout.contains(fact), "{fact}: {}", run.stdout);
    }
    downhill(&["info", &file, "--plan"]).expect_error(2, "`--plan` has no meaning for a part of a model");
    downhill(&["sample", &file, "-p", "a cat"]).expect_error(4, "and no component `text_encoder`");
}

#[test]
fn a_prediction_can_be_stated() {
    let place = Folder::new();
    let file = small(&place, "sd2-like");
    let sample = |more: &[&str]| {
        let (png, out) = (place.at("x.png"), place.at("z.npy"));
        let call = ["sample", &file, "-p", "a cat", "--steps", "2", "-n", "1", "-o", &png, "--save-samples", &out];
        let run = downhill(&[&call[..], more].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        (place.bytes("z.npy"), run.stderr)
    };
    let ((guessed, said), (stated, silent)) = (sample(&[]), sample(&["--prediction", "v"]));
    assert!(guessed == stated && said.contains("taken to be v") && !silent.contains("taken to be v"), "{said}{silent}");
    assert_ne!(sample(&["--prediction", "epsilon"]).0, guessed);
    let info = downhill(&["info", &place.at("x.png")]);
    assert!(info.stdout.contains("epsilon"), "{}", info.stdout);
    downhill(&["sample", "pca:digits", "--prediction", "v"]).expect_error(2, "`--prediction` has no meaning");
}

#[test]
fn other_files_are_refused_by_their_content() {
    let place = Folder::new();
    let file = small(&place, "sd1-like");
    let whole = place.bytes("sd1-like.safetensors");
    fs::write(&file, &whole[..whole.len() - 1000]).expect("written");
    downhill(&["info", &file]).expect_error(4, "of data in the file");
    for (content, what) in [(&b"GGUF\x03\0\0\0"[..], "a GGUF file"), (b"<!DOCTYPE html>", "a web page")] {
        fs::write(place.path("model.safetensors"), content).expect("written");
        let run = downhill(&["sample", &place.at("model.safetensors")]);
        run.expect_error(4, what);
        assert!(run.stderr.contains("hint:"), "{}", run.stderr);
    }
}
