//! Models as other programs save them, copy them and name them.

use std::path::Path;

use downhill::checkpoint::ModelFiles;
use downhill::latent::autoencoder::compiler_for;
use downhill::model::DenoiserOptions;
use downhill::model::stages::Autoencoder;
use downhill::{CompileOptions, Compiler, Error, Model, Precision, Tensor};
use serde_json::{Map, Value, json};

use crate::common::engines;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A copy of a golden, with its folders of components.
fn copied(golden: &str) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (from, to) = {
                let entry = entry.unwrap();
                (entry.path(), to.join(entry.file_name()))
            };
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::write(&to, std::fs::read(&from).unwrap()).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden), folder.path());
    folder
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Adds fields to a configuration.
fn extend(file: &Path, fields: Value) {
    let mut values: Map<String, Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    values.extend(fields.as_object().unwrap().clone());
    std::fs::write(file, serde_json::to_vec(&values).unwrap()).unwrap();
}

/// A safetensors file of one number per name.
fn tensors(names: &[&str]) -> Vec<u8> {
    let entry = |(at, name): (usize, &&str)| {
        ((*name).to_owned(), json!({"dtype": "F32", "shape": [1], "data_offsets": [4 * at, 4 * at + 4]}))
    };
    let header: Map<String, Value> = names.iter().enumerate().map(entry).collect();
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; 4 * names.len()]].concat()
}

fn eps(folder: &Path) -> Tensor {
    let model = Model::open(name(folder)).unwrap();
    let [c, h, w] = model.denoised_shape(None).unwrap();
    let x = Tensor::new([1, c, h, w], (0..c * h * w).map(|at| (at % 7) as f32 - 3.0).collect::<Vec<_>>());
    let levels = vec![model.levels(3)[1]];
    let options = DenoiserOptions { batch: None, images: 1, label: None };
    let mut placed = model.denoiser(&engines()[0], &options, &mut |_| Ok(())).unwrap();
    placed.denoiser.eps(&x, &levels).unwrap()
}

fn refused(name: &str) -> Error {
    Model::open(name).unwrap_err()
}

/// As diffusers' `EMAModel.save_pretrained` writes it, and with a field of a later release that says nothing.
#[test]
fn a_network_of_averaged_weights_is_the_network() {
    let (plain, averaged) = (copied("unet/cifar-like"), copied("unet/cifar-like"));
    let config = averaged.path().join("config.json");
    extend(
        &config,
        json!({"decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 1, "power": 0.667,
            "update_after_step": 0, "use_ema_warmup": false, "some_later_field": null}),
    );
    assert_eq!(eps(averaged.path()), eps(plain.path()));
    extend(&config, json!({"some_later_field": 1}));
    let error = refused(name(averaged.path()));
    assert!(matches!(&error, Error::UnsupportedField { field, .. } if field == "some_later_field"), "{error}");
}

#[test]
fn a_pipeline_without_its_scheduler_is_refused_by_name() {
    let folder = copied("latent/sd1-like");
    std::fs::remove_dir_all(folder.path().join("scheduler")).unwrap();
    let error = refused(name(folder.path()));
    assert!(matches!(&error, Error::BadFile { file, .. } if file.ends_with("scheduler/scheduler_config.json")));
    assert!(error.to_string().contains("lists a `scheduler`"), "{error}");
}

/// A whole CLIP holds a projection and an encoder of images beside the encoder of texts.
#[test]
fn what_lies_beside_a_text_encoder_is_passed_over() {
    let folder = copied("latent/sd1-like");
    let encoder = folder.path().join("text_encoder/model.safetensors");
    let stored = std::fs::read(&encoder).unwrap();
    let length = 8 + u64::from_le_bytes(stored[..8].try_into().unwrap()) as usize;
    let with = |names: &[&str]| {
        let mut header: Map<String, Value> = serde_json::from_slice(&stored[8..length]).unwrap();
        let end = stored.len() - length;
        for (at, name) in names.iter().enumerate() {
            let offsets = [end + 4 * at, end + 4 * at + 4];
            header.insert((*name).to_owned(), json!({"dtype": "F32", "shape": [1], "data_offsets": offsets}));
        }
        let header = serde_json::to_vec(&header).unwrap();
        let length_bytes = (header.len() as u64).to_le_bytes();
        let bytes = [&length_bytes[..], &header, &stored[length..], &vec![0; 4 * names.len()]].concat();
        std::fs::write(&encoder, bytes).unwrap();
        Model::open(name(folder.path()))
    };
    with(&["logit_scale", "text_projection.weight", "vision_model.embeddings.class_embedding"]).unwrap();
    let error = with(&["text_model.some_other.weight"]).unwrap_err();
    assert!(matches!(error, Error::UnexpectedKey { .. }), "{error}");
}

#[test]
fn single_files_of_other_kinds_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (tensor, what) in [
        ("model.diffusion_model.input_blocks.0.0.weight", "a family that is not known"),
        ("first_stage_model.decoder.conv_in.weight", "a family that is not known"),
        ("double_blocks.0.img_attn.norm.key_norm.scale", "Flux"),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", "a LoRA"),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.alpha", "a LoRA"),
    ] {
        let file = folder.path().join("x.safetensors");
        std::fs::write(&file, tensors(&[tensor])).unwrap();
        let error = refused(name(&file));
        assert!(error.to_string().contains(what) && error.hint().is_some(), "{tensor}: {error}");
    }
    std::fs::write(folder.path().join("y.safetensors"), tensors(&["conv_in.weight"])).unwrap();
    let error = refused(name(&folder.path().join("y.safetensors")));
    assert!(error.to_string().contains("configuration is missing"), "{error}");
}

#[test]
fn an_address_is_told_from_a_name() {
    for address in ["https://example.org/acme/tiny", "https://example.org/acme/tiny/tree/main?x=1"] {
        for error in [refused(address), ModelFiles::open(Some(address)).unwrap_err()] {
            assert!(error.to_string().contains("is an address"), "{error}");
            assert!(error.hint().unwrap().contains("`acme/tiny`"), "{:?}", error.hint());
        }
    }
    let hint = refused("s3://bucket").hint().unwrap();
    assert!(hint.contains("a model is a diffusers folder"), "{hint}");
}

#[test]
fn a_variant_stands_in_for_the_plain_weights_with_a_note() {
    let folder = copied("unet/cifar-like");
    let notes = || Model::open(name(folder.path())).unwrap().sampling().resolve().unwrap().notes;
    assert!(!notes().iter().any(|note| note.contains("variant")), "{:?}", notes());
    std::fs::rename(folder.path().join(WEIGHTS), folder.path().join("diffusion_pytorch_model.fp16.safetensors"))
        .unwrap();
    assert!(notes().iter().any(|note| note.contains("their variant `fp16`")), "{:?}", notes());
}

/// `force_upcast`: the maps of such a decoder may pass the range of float16.
#[test]
fn an_autoencoder_that_asks_for_it_keeps_its_maps_in_float32() {
    let folder = copied("latent/sd1-like");
    let options = CompileOptions { maps: Precision::Float16, weights: Precision::Float16, ..CompileOptions::default() };
    let compiler = Compiler::new(&engines()[0], options);
    let precisions = || {
        let options = compiler_for(Autoencoder::open(name(folder.path())).unwrap().net.as_ref(), compiler).options;
        (options.maps, options.weights)
    };
    assert_eq!(precisions(), (Precision::Float32, Precision::Float16));
    extend(&folder.path().join("vae/config.json"), json!({"force_upcast": false}));
    assert_eq!(precisions(), (Precision::Float16, Precision::Float16));
}
