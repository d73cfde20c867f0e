//! Folders of several networks with something missing or wrong: each fault has its own error, before a device is looked
//! for.

use std::path::Path;

use downhill::tensor::Tensor;
use serde_json::{Value, json};

use crate::{Folder, Run, downhill};

/// A copy of a small latent model that may be broken, with inputs for every stage beside it.
struct Broken(Folder);

impl Broken {
    fn new(golden: &str) -> Self {
        let folder = Folder::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/latent").join(golden);
        for part in ["", "text_encoder", "tokenizer", "unet", "vae", "scheduler"] {
            let to = folder.path(&format!("model/{part}"));
            std::fs::create_dir_all(&to).expect("a folder");
            for entry in std::fs::read_dir(source.join(part)).expect("the golden") {
                let entry = entry.expect("an entry");
                if entry.path().is_file() {
                    std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
                }
            }
        }
        folder.write("latent.npy", &Tensor::zeros([1, 4, 8, 8]));
        folder.write("image.npy", &Tensor::zeros([1, 3, 64, 64]));
        folder.write("context.npy", &Tensor::zeros([1, 77, 16]));
        Self(folder)
    }

    fn remove(&self, name: &str) -> &Self {
        let path = self.0.path(&format!("model/{name}"));
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("removed");
        self
    }

    /// Changes a field of a JSON file; null takes it away.
    fn set(&self, file: &str, field: &str, value: Value) -> &Self {
        let path = self.0.path(&format!("model/{file}"));
        let mut json: Value = serde_json::from_slice(&std::fs::read(&path).expect("the file")).expect("JSON");
        json[field] = value;
        std::fs::write(path, json.to_string()).expect("written");
        self
    }

    /// Runs the stage of a component.
    fn run(&self, component: &str) -> Run {
        let [model, latent, image, context, out] =
            ["model", "latent.npy", "image.npy", "context.npy", "out.npy"].map(|name| self.0.at(name));
        let call: &[&str] = match component {
            "text" => &["encode-text", &model, "-p", "a cat", "-o", &out],
            "unet" => &["denoise", &model, "-t", "5", "-i", &latent, "--context", &context, "-o", &out],
            "encoder" => &["encode", &model, "-i", &image, "-o", &out],
            _ => &["decode", &model, "-i", &latent, "-o", &out],
        };
        let run = downhill(&[call, &["--adapter", "no such adapter"]].concat());
        assert!(!self.0.path("out.npy").exists());
        run
    }
}

#[test]
fn a_sound_folder_is_only_without_a_device() {
    let sound = Broken::new("sd1-like");
    for component in ["text", "unet", "encoder", "decoder"] {
        sound.run(component).expect_error(3, "no such adapter");
    }
}

#[test]
fn missing_components_are_named() {
    for (component, part) in
        [("text", "text_encoder"), ("text", "tokenizer"), ("unet", "unet"), ("encoder", "vae"), ("decoder", "vae")]
    {
        let what = format!("the component `{part}` is missing");
        Broken::new("sd1-like").remove(part).run(component).expect_error(4, &what);
        let what = format!("`StableDiffusionPipeline` has no component `{part}`");
        Broken::new("sd1-like")
            .set("model_index.json", part, json!([null, null]))
            .run(component)
            .expect_error(4, &what);
    }
    for (component, file) in [
        ("text", "text_encoder/model.safetensors"),
        ("unet", "unet/diffusion_pytorch_model.safetensors"),
        ("decoder", "vae/diffusion_pytorch_model.safetensors"),
    ] {
        Broken::new("sd1-like").remove(file).run(component).expect_error(4, "no weights");
    }
    Broken::new("sd1-like").remove("vae/config.json").run("decoder").expect_error(4, "configuration is missing");
}

#[test]
fn missing_words_are_named() {
    let run = Broken::new("sd1-like").remove("tokenizer/merges.txt").run("text");
    run.expect_error(4, "merges.txt");
    Broken::new("sd1-like").remove("tokenizer/vocab.json").run("text").expect_error(4, "vocab.json");
}

#[test]
fn networks_of_another_class_are_named() {
    for (component, file, class) in [
        ("unet", "unet/config.json", "UNet3DConditionModel"),
        ("encoder", "vae/config.json", "AsymmetricAutoencoderKL"),
        ("decoder", "vae/config.json", "VQModel"),
    ] {
        let broken = Broken::new("sd1-like");
        broken
            .set(file, "_class_name", json!(class))
            .run(component)
            .expect_error(4, &format!("`_class_name` is \"{class}\""));
    }
}

#[test]
fn a_configuration_that_is_not_that_of_the_weights_names_a_tensor() {
    for (component, file, field, value, key) in [
        ("text", "text_encoder/config.json", "intermediate_size", json!(40), "mlp.fc1"),
        ("unet", "unet/config.json", "cross_attention_dim", json!(24), "attn2.to_k"),
        ("unet", "unet/config.json", "layers_per_block", json!(1), "`up_blocks."),
        ("encoder", "vae/config.json", "latent_channels", json!(8), "encoder.conv_out"),
        ("decoder", "vae/config.json", "layers_per_block", json!(3), "no tensor `"),
        ("decoder", "vae/config.json", "use_post_quant_conv", json!(false), "`post_quant_conv"),
    ] {
        Broken::new("sd1-like").set(file, field, value).run(component).expect_error(4, key);
    }
}

#[test]
fn a_context_of_another_width_is_refused() {
    let broken = Broken::new("sd1-like");
    broken.0.write("context.npy", &Tensor::zeros([1, 77, 24]));
    let run = broken.run("unet");
    assert!(run.code == 2 || run.code == 4, "{run:?}");
    assert!(run.stderr.contains("24") && run.stderr.contains("16"), "{}", run.stderr);
}
