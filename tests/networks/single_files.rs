//! Single files in the layout of the original Stable Diffusion code: the same bits as the diffusers folders that they
//! were made of, the configurations of published models, and what is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use downhill::checkpoint::{ConfigFile, Pipeline};
use downhill::latent::tokenizer::Tokenizer;
use downhill::model::Kind;
use downhill::nets::{autoencoder_kl, clip_text, unet2d_condition};
use downhill::{Error, Model, Tensor};
use serde_json::{Map, Value};

use crate::common::engines;
use crate::single_file::{self, Tensors};

const SMALL: [&str; 4] = ["sd1-like", "sd2-like", "sdxl-like", INPAINTING];
const INPAINTING: &str = "nine-channels";
const PUBLISHED: [&str; 3] = ["stable-diffusion-v1-5", "stable-diffusion-2-1", "stable-diffusion-xl-base-1.0"];

fn name(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn folder(case: &str) -> String {
    name(&single_file::folder(case)).to_owned()
}

/// The end of a short run of a model, in latents and in pixels.
fn sampled(model: &str) -> [Tensor; 2] {
    let model = Model::open(model).unwrap_or_else(|error| panic!("{error}"));
    let run = model.sampling().prompt("a photograph of a cat").negative("blurry").steps(2).count(1).seed(5);
    let batch = run.on(&engines()[0]).unwrap().next().expect("a batch").unwrap();
    [batch.samples, batch.pixels]
}

#[test]
fn a_file_has_the_bits_of_its_folder() {
    for case in SMALL {
        let place = tempfile::tempdir().unwrap();
        let file = single_file::small(case, place.path());
        let [of_folder, of_file] = [folder(case).as_str(), name(&file)].map(|name| Pipeline::open(name).unwrap());
        let components = ["unet", "vae", "text_encoder", "text_encoder_2"];
        for component in components.into_iter().filter(|component| of_folder.has(component)) {
            let [folder, file] = [&of_folder, &of_file].map(|one| one.component(component).unwrap().weights);
            let names: BTreeSet<&str> = folder.names().collect();
            assert_eq!(file.names().collect::<BTreeSet<_>>(), names, "{case}: {component}");
            for key in names {
                let shape = folder.shape(key).unwrap();
                assert_eq!(file.dtype(key), folder.dtype(key), "{case}: {key}");
                assert_eq!(file.fetch(key, shape).unwrap(), folder.fetch(key, shape).unwrap(), "{case}: {key}");
            }
        }
        if case == INPAINTING {
            let [of_folder, of_file] = [folder(case).as_str(), name(&file)].map(|name| Model::open(name).unwrap());
            let scheduler = |model: &Model| model.network().expect("a network").scheduler.clone();
            assert_eq!(scheduler(&of_file).class_name, scheduler(&of_folder).class_name);
            let Kind::Latent(latent) = of_file.kind() else { panic!("a pipeline") };
            assert_eq!(latent.class.as_deref(), Some("StableDiffusionInpaintPipeline"));
            continue;
        }
        assert_eq!(sampled(name(&file)), sampled(&folder(case)), "{case}");
        // The folder that holds nothing but the file and what lies beside it is the same model.
        assert_eq!(sampled(name(place.path())), sampled(&folder(case)), "{case}");
    }
}

fn config(path: &str, fields: &Value) -> ConfigFile {
    ConfigFile { path: path.into(), values: fields.as_object().expect("fields").clone() }
}

#[test]
fn the_configurations_of_published_models_follow_from_shapes() {
    for model in [&PUBLISHED[..], &["stable-diffusion-inpainting"]].concat() {
        let place = tempfile::tempdir().unwrap();
        let file = single_file::published(model, place.path());
        let (pipeline, golden) = (Pipeline::open(name(&file)).unwrap(), single_file::golden(model));
        let published = |component: &str| config(component, &golden["configs"][component]);
        let derived = |component: &str| pipeline.config(component).unwrap();
        let unet = |file: ConfigFile| unet2d_condition::Config::from_map(&file.values, &file.path).unwrap();
        assert_eq!(unet(derived("unet")), unet(published("unet")), "{model}");
        let vae = |file: ConfigFile| autoencoder_kl::Config::from_map(&file.values, &file.path).unwrap();
        let without_size = |config| autoencoder_kl::Config { sample_size: None, ..config };
        assert_eq!(without_size(vae(derived("vae"))), without_size(vae(published("vae"))), "{model}");
        let text = |file: ConfigFile| clip_text::Config::from_map(&file.values, &file.path).unwrap();
        assert_eq!(text(derived("text_encoder")), text(published("text_encoder")), "{model}");
        let is_xl = model.contains("-xl-");
        assert_eq!(pipeline.has("text_encoder_2"), is_xl, "{model}");
        if is_xl {
            let mut second = published("text_encoder_2");
            second.values.insert("architectures".to_owned(), serde_json::json!(["CLIPTextModelWithProjection"]));
            assert_eq!(text(derived("text_encoder_2")), text(second), "{model}");
        }
        let origin = pipeline.component("unet").unwrap().weights.origin().expect("a single file").clone();
        let family = match model {
            _ if is_xl => "Stable Diffusion XL",
            "stable-diffusion-2-1" => "Stable Diffusion 2",
            _ => "Stable Diffusion 1",
        };
        assert!(origin.family.starts_with(family), "{model}: {}", origin.family);
    }
}

/// The whole model is opened and checked against its weights, with the embedded tokenizer.
#[test]
fn published_models_open() {
    for model in PUBLISHED {
        let place = tempfile::tempdir().unwrap();
        let file = single_file::published(model, place.path());
        let model = Model::open(name(&file)).unwrap_or_else(|error| panic!("{error}"));
        let Kind::Latent(latent) = model.kind() else { panic!("a pipeline") };
        let width = latent.network.net.context().expect("a context").channels;
        let class = if width == 2048 { "StableDiffusionXLPipeline" } else { "StableDiffusionPipeline" };
        assert_eq!(latent.class.as_deref(), Some(class));
        assert_eq!(latent.tokens(), 77);
        let run = model.sampling().prompt("a cat").resolve().unwrap();
        let is_guess = run.notes.iter().any(|note| note.contains("taken to be v"));
        assert_eq!(is_guess, width == 1024, "{:?}", run.notes);
        let side = match width {
            2048 => 1024,
            1024 => 768,
            _ => 512,
        };
        assert_eq!(latent.trained_size(), Some((side, side)));
    }
}

/// Opens the tensors of a small model after a change.
fn changed(case: &str, settings: &Value, change: impl FnOnce(&mut Tensors)) -> (tempfile::TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let mut tensors = single_file::tensors(case);
    change(&mut tensors);
    let path = single_file::small(case, place.path());
    single_file::write(&path, &tensors);
    let mut stated: Map<String, Value> =
        serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
    stated.extend(settings.as_object().expect("settings").clone());
    fs::write(path.with_extension("json"), Value::Object(stated).to_string()).unwrap();
    let path = name(&path).to_owned();
    (place, path)
}

fn added(name: &str, shape: &[usize], value: f32) -> (String, &'static str, Vec<usize>, Vec<u8>) {
    let values = vec![value; shape.iter().product()];
    (name.to_owned(), "F32", shape.to_vec(), single_file::encoded("F32", &values))
}

fn network(model: &str) -> Pipeline {
    Pipeline::open(model).unwrap_or_else(|error| panic!("{error}"))
}

fn prediction(model: &str) -> String {
    let scheduler = network(model).scheduler().unwrap().expect("a scheduler");
    scheduler.values["prediction_type"].as_str().expect("a text").to_owned()
}

#[test]
fn what_lies_beside_the_networks_changes_nothing() {
    let (_place, file) = changed("sd2-like", &Value::Object(Map::new()), |tensors| {
        tensors.push(added("alphas_cumprod", &[1000], 0.5));
        tensors.push(added("model_ema.num_updates", &[], 3.0));
        tensors.push(added("cond_stage_model.model.logit_scale", &[], 3.0));
        tensors.push(added("cond_stage_model.model.text_projection", &[24, 24], 3.0));
        tensors.push(added("cond_stage_model.model.transformer.resblocks.23.ln_1.weight", &[24], 3.0));
        tensors.push(added("first_stage_model.loss.logvar", &[], 3.0));
    });
    assert_eq!(sampled(&file), sampled(&folder("sd2-like")));
    let (_place, file) = changed("sd1-like", &Value::Object(Map::new()), |tensors| {
        tensors.push(added("embedding_manager.words", &[3], 3.0));
    });
    assert_eq!(sampled(&file), sampled(&folder("sd1-like")));
    let notes = Model::open(&file).unwrap().sampling().prompt("").resolve().unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("such as `embedding_manager.words`")), "{notes:?}");
    let (_place, file) = changed("sd1-like", &Value::Object(Map::new()), |tensors| {
        tensors.push(added("model.diffusion_model.input_blocks.1.0.unheard_of", &[1], 3.0));
    });
    let error = Model::open(&file).unwrap_err();
    assert!(matches!(&error, Error::UnexpectedKey { key, .. } if key.ends_with("unheard_of")), "{error}");
}

#[test]
fn text_encoders_without_their_wrapper_are_the_same() {
    let (_place, file) = changed("sd1-like", &Value::Object(Map::new()), |tensors| {
        for (name, ..) in tensors {
            *name = name.replace("transformer.text_model.", "transformer.");
        }
    });
    assert_eq!(sampled(&file), sampled(&folder("sd1-like")));
}

#[test]
fn averaged_weights_are_taken_on_request_and_said() {
    let with = |averaged: bool| {
        let settings = serde_json::json!({ "averaged_weights": averaged });
        changed("sd2-like", &settings, |tensors| {
            let plain: Vec<_> = tensors.iter().filter(|(name, ..)| name.starts_with("model.")).cloned().collect();
            tensors.extend(plain.into_iter().map(|(name, dtype, shape, bytes)| {
                let name = format!("model_ema.{}", name.strip_prefix("model.").unwrap().replace('.', ""));
                let zeros = vec![0; bytes.len()];
                (name, dtype, shape, zeros)
            }));
        })
    };
    for (averaged, note) in [(false, "the plain ones are used"), (true, "the averaged weights")] {
        let (_place, file) = with(averaged);
        let weights = network(&file).component("unet").unwrap().weights;
        let largest =
            weights.fetch("conv_in.bias", &[8]).unwrap().data.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        assert_eq!(largest == 0.0, averaged);
        assert!(weights.notes().any(|said| said.contains(note)), "{:?}", weights.notes().collect::<Vec<_>>());
    }
}

#[test]
fn what_a_network_predicts_is_told_by_keys_or_stated() {
    let nothing = Value::Object(Map::new());
    let of = |case: &str, settings: &Value, more: &[(&str, f32)]| {
        let (place, file) = changed(case, settings, |tensors| {
            tensors.extend(more.iter().map(|(name, value)| added(name, &[], *value)));
        });
        (prediction(&file), network(&file).component("unet").unwrap().weights.notes().count(), place)
    };
    assert_eq!(of("sd1-like", &nothing, &[]).0, "epsilon");
    assert_eq!(of("sd1-like", &nothing, &[("v_pred", 0.0)]).0, "v_prediction");
    let (found, notes, _place) = of("sd2-like", &nothing, &[]);
    assert_eq!((found.as_str(), notes), ("v_prediction", 1));
    let (found, notes, _place) = of("sd2-like", &nothing, &[("global_step", 875_000.0)]);
    assert_eq!((found.as_str(), notes), ("epsilon", 0));
    let (found, notes, _place) = of("sd2-like", &serde_json::json!({ "prediction_type": "epsilon" }), &[]);
    assert_eq!((found.as_str(), notes), ("epsilon", 0));
    let (found, _, _place) = of("sd2-like", &serde_json::json!({ "prediction_type": "w" }), &[]);
    assert_eq!(found, "w");
    let (_place, file) = changed("sd2-like", &serde_json::json!({ "prediction_type": "w" }), |_| {});
    assert!(Model::open(&file).unwrap_err().to_string().contains("`prediction_type` is \"w\""));
    let (_place, file) = changed("sd2-like", &serde_json::json!({ "predicts": "v" }), |_| {});
    assert!(Model::open(&file).unwrap_err().to_string().contains("`predicts` is not known"));
    // The descriptions of other programs have the same name.
    fs::write(Path::new(&file).with_extension("json"), r#"{"description": "", "vae": "none"}"#).unwrap();
    assert_eq!(prediction(&file), "v_prediction");
}

#[test]
fn a_component_alone_is_that_component() {
    let nothing = Value::Object(Map::new());
    for prefix in ["first_stage_model.", ""] {
        let (_place, file) = changed("sd1-like", &nothing, |tensors| {
            tensors.retain(|(name, ..)| name.starts_with("first_stage_model."));
            for (name, ..) in tensors {
                *name = name.replace("first_stage_model.", prefix);
            }
        });
        let of_folder = network(&folder("sd1-like")).component("vae").unwrap().weights;
        let of_file = network(&file).component("vae").unwrap().weights;
        assert!(of_file.names().eq(of_folder.names()));
        let error = Model::open(&file).unwrap_err();
        assert!(error.to_string().contains("the file holds `vae`, and no component `unet`"), "{error}");
    }
    for prefix in ["model.diffusion_model.", ""] {
        let (_place, file) = changed("sd1-like", &nothing, |tensors| {
            tensors.retain(|(name, ..)| name.starts_with("model."));
            for (name, ..) in tensors {
                *name = name.replace("model.diffusion_model.", prefix);
            }
        });
        let network = Model::open_network(Some(&file)).unwrap();
        assert_eq!(network.network().unwrap().net.class_name(), "UNet2DConditionModel");
        let error = Model::open(&file).unwrap_err();
        assert!(error.to_string().contains("the file holds `unet`, and no component `text_encoder`"), "{error}");
    }
}

#[test]
fn relatives_are_refused_by_name() {
    let nothing = Value::Object(Map::new());
    let with_channels = |channels: usize| {
        changed("sd1-like", &nothing, |tensors| {
            let first = tensors.iter_mut().find(|(name, ..)| name.ends_with("input_blocks.0.0.weight")).unwrap();
            *first = added(&first.0, &[8, channels, 3, 3], 0.0);
        })
    };
    for (channels, what) in [(8, "InstructPix2Pix"), (7, "upscaler"), (5, "maps of depth")] {
        let (_place, file) = with_channels(channels);
        let error = Model::open(&file).unwrap_err();
        assert!(error.to_string().contains(what) && error.hint().is_some(), "{error}");
    }
    let (_place, file) = with_channels(9);
    assert_eq!(network(&file).class_name(), Some("StableDiffusionInpaintPipeline"));
    let (_place, file) = changed("sd1-like", &nothing, |tensors| tensors.push(added("edm_mean", &[1, 4, 1, 1], 0.0)));
    assert!(Model::open(&file).unwrap_err().to_string().contains("Playground 2.5"));
    for (length, context, what) in [(2560, 1280, "refiner"), (2048, 1024, "unCLIP")] {
        let (_place, file) = changed("sd1-like", &nothing, |tensors| {
            tensors.push(added("model.diffusion_model.label_emb.0.0.weight", &[32, length], 0.0));
            for (name, _, shape, bytes) in tensors.iter_mut().filter(|(name, ..)| name.ends_with("attn2.to_k.weight")) {
                *shape = vec![shape[0], context];
                *bytes = vec![0; 2 * shape[0] * context];
                assert!(name.starts_with("model."));
            }
        });
        let error = Model::open(&file).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_folder_of_several_files_asks_which() {
    let place = tempfile::tempdir().unwrap();
    let file = single_file::small("sd1-like", place.path());
    fs::copy(&file, place.path().join("other.safetensors")).unwrap();
    let error = Model::open(name(place.path())).unwrap_err();
    let text = format!("{error} {}", error.hint().unwrap_or_default());
    assert!(text.contains("sd1-like.safetensors") && text.contains("other.safetensors"), "{text}");
}

/// A text encoder for another vocabulary than the embedded one is found out before anything is computed.
#[test]
fn the_embedded_tokenizer_is_not_taken_for_another_vocabulary() {
    let place = tempfile::tempdir().unwrap();
    let file = single_file::small("sd1-like", place.path());
    fs::remove_dir_all(place.path().join("tokenizer")).unwrap();
    let error = Model::open(name(&file)).and_then(|model| {
        model.sampling().prompt("a cat").steps(1).count(1).on(&engines()[0])?.next().expect("a batch").map(|_| ())
    });
    assert!(error.unwrap_err().to_string().contains("text encoder has"));
}

/// By transformers' `CLIPTokenizer` on the published vocabulary.
#[test]
fn the_embedded_tokenizer_is_clips() {
    let golden = single_file::golden("clip-tokens");
    for (pad, cases) in golden.as_object().expect("paddings") {
        let tokenizer = Tokenizer::clip(pad).unwrap();
        for case in cases.as_array().expect("cases") {
            let (text, ids) = (case[0].as_str().expect("a text"), case[1].as_array().expect("ids"));
            let ids: Vec<u32> =
                ids.iter().map(|id| u32::try_from(id.as_u64().expect("an id")).expect("small")).collect();
            assert_eq!(tokenizer.encode(text).unwrap().ids, ids, "{pad}: {text:?}");
        }
    }
}
