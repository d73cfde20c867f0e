//! LoRA files against the weights that diffusers and PEFT merge them to (`tools/goldens/lora.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use downhill::checkpoint::{Dialect, Lora, Part, Weights};
use downhill::model::{Kind, Model, Source};
use downhill::tensor::Tensor;
use downhill::{Error, ErrorKind};

/// Sums of a few products in float32 there, in float64 here.
const TOLERANCE: f32 = 1e-6;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn base() -> Model {
    Model::open(golden("latent/sd1-like").to_str().expect("UTF-8")).expect("a model")
}

/// The weights of network and text encoder, by the names of their folders.
fn weights(model: &Model) -> BTreeMap<&'static str, Weights> {
    let Kind::Latent(latent) = model.kind() else { panic!("not a pipeline") };
    let Source::Text(source) = &latent.source else { panic!("not from texts") };
    [("unet", latent.network.weights.clone()), ("text_encoder", source.parts[0].files.weights.clone())].into()
}

fn all_tensors(model: &Model) -> BTreeMap<String, Tensor> {
    let of = |(part, weights): (&'static str, Weights)| {
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        let read = move |name: String| {
            let shape = weights.shape(&name).expect("a tensor").to_vec();
            let whole = weights.fetch(&name, &shape).unwrap_or_else(|error| panic!("{error}"));
            (format!("{part}/{name}"), whole)
        };
        names.into_iter().filter(|name| !name.ends_with("position_ids")).map(read).collect::<Vec<_>>()
    };
    weights(model).into_iter().flat_map(of).collect()
}

#[test]
fn merged_weights_are_those_of_diffusers_and_peft() {
    let cases = std::fs::read(golden("lora/cases.json")).expect("cases.json");
    let cases: BTreeMap<String, Vec<(String, f64)>> = serde_json::from_slice(&cases).expect("cases");
    assert!(cases.len() >= 5, "the goldens are missing");
    let before = all_tensors(&base());
    for (name, files) in cases {
        let mut model = base();
        for (file, weight) in &files {
            model = model.lora(golden("lora").join(file), *weight).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!(model.loras().len(), files.len());
        let expected = Weights::open(&golden("lora").join(format!("{name}.merged.safetensors"))).expect("goldens");
        let (mut changed, mut furthest) = (0, 0f32);
        for (key, found) in all_tensors(&model) {
            let Some(shape) = expected.shape(&key).map(<[usize]>::to_vec) else {
                assert_eq!(found, before[&key], "{name}: {key} is not changed there");
                continue;
            };
            changed += 1;
            let expected = expected.fetch(&key, &shape).expect("a tensor");
            let largest = expected.data.iter().fold(0f32, |most, value| most.max(value.abs()));
            let apart = found.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            furthest = furthest.max(apart / largest);
            assert_ne!(found, before[&key], "{name}: {key}");
        }
        println!("{name}: {changed} tensors, at most {furthest:.1e} apart");
        assert_eq!(changed, expected.names().count(), "{name}");
        assert!(furthest < TOLERANCE, "{name}: {furthest:.1e}");
    }
}

#[test]
fn a_weight_of_nothing_changes_nothing() {
    let none = base().lora(golden("lora/kohya.safetensors"), 0.0).expect("a LoRA");
    assert_eq!(all_tensors(&none), all_tensors(&base()));
    let error = base().lora(golden("lora/kohya.safetensors"), f64::NAN).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
}

#[test]
fn files_are_described() {
    for (file, dialect, ranks, alphas) in [
        ("diffusers.safetensors", Dialect::Diffusers, vec![2], vec!["3"]),
        ("kohya.safetensors", Dialect::Kohya, vec![3], vec!["1.5", "2"]),
        ("old.safetensors", Dialect::Diffusers, vec![1], vec![]),
        ("peft", Dialect::Peft, vec![2, 3], vec!["1.5", "4"]),
    ] {
        assert!(Lora::is_at(&golden("lora").join(file)), "{file}");
        let lora = Lora::open(&golden("lora").join(file)).unwrap_or_else(|error| panic!("{error}"));
        let summary = lora.summary();
        assert_eq!(lora.dialect, dialect, "{file}");
        assert_eq!(summary.ranks.into_iter().collect::<Vec<_>>(), ranks, "{file}");
        assert_eq!(summary.alphas.iter().map(String::as_str).collect::<Vec<_>>(), alphas, "{file}");
        assert_eq!(lora.sha256.len(), 64);
    }
    assert!(!Lora::is_at(&golden("latent/sd1-like/unet/diffusion_pytorch_model.safetensors")));
}

/// Names of kohya in the layout of the original authors, for a network with the blocks of SDXL, by diffusers' own
/// conversion: each changes the module that diffusers says.
#[test]
fn names_of_the_original_layout_are_those_of_diffusers() {
    let names = std::fs::read(golden("lora/original-names.json")).expect("names");
    let names: serde_json::Value = serde_json::from_slice(&names).expect("JSON");
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_value(names["weights"].clone()).expect("shapes");
    let pairs: BTreeMap<String, String> = serde_json::from_value(names["pairs"].clone()).expect("pairs");
    assert!(pairs.len() > 40);
    let whole = |value: f32| {
        let tensor = |(name, shape): (&String, &Vec<usize>)| {
            (name.clone(), Tensor::new(shape.clone(), vec![value; shape.iter().product()]))
        };
        Weights::from_tensors(shapes.iter().map(tensor).collect())
    };
    let folder = tempfile::tempdir().expect("a folder");
    for (theirs, module) in pairs {
        let shape = &shapes[&format!("{module}.weight")];
        let down: Vec<usize> = [&[1], &shape[1..]].concat();
        let tensors =
            [(format!("{theirs}.lora_down.weight"), down), (format!("{theirs}.lora_up.weight"), vec![shape[0], 1])];
        let file = folder.path().join("x.safetensors");
        std::fs::write(&file, ones(&tensors)).expect("written");
        let mut changed = whole(0.0);
        let lora = Lora::open(&file).expect("a LoRA");
        lora.merge(1.0, &mut [(Part::Network, &mut changed)], "x").unwrap_or_else(|error| panic!("{error}"));
        for (key, shape) in &shapes {
            let expected = if *key == format!("{module}.weight") { 1.0 } else { 0.0 };
            assert_eq!(changed.fetch(key, shape).expect("a tensor").data[0], expected, "{theirs}: {key}");
        }
    }
}

/// A safetensors file of float32 ones.
fn ones<N: AsRef<str>>(tensors: &[(N, Vec<usize>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let start = data.len();
        data.extend((0..shape.iter().product()).flat_map(|_: usize| 1f32.to_le_bytes()));
        let about = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.as_ref().to_owned(), about);
    }
    let json = serde_json::Value::Object(header).to_string();
    [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &data].concat()
}

#[test]
fn what_is_no_plain_product_or_has_no_place_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.safetensors");
    let refused = |tensors: &[(&str, Vec<usize>)]| {
        std::fs::write(&file, ones(tensors)).expect("written");
        let error = base().lora(&file, 1.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::File, "{error}");
        format!("{error}; {}", error.hint().unwrap_or_default())
    };
    let q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
    let down = format!("{q}.lora_down.weight");
    let up = format!("{q}.lora_up.weight");
    for (name, method) in [
        ("lora_mid.weight", "Tucker"),
        ("dora_scale", "DoRA"),
        ("hada_w1_a", "LoHa"),
        ("lokr_w1", "LoKr"),
        ("diff", "whole differences"),
    ] {
        let (own, sound) = (format!("{q}.{name}"), [(&*down, vec![2, 8]), (&*up, vec![8, 2])]);
        let message = refused(&[&[(&*own, vec![2, 2])][..], &sound].concat());
        assert!(message.contains(&own) && message.contains(method), "{message}");
    }
    let message = refused(&[(&down, vec![2, 8])]);
    assert!(message.contains("lacks one of its two factors"), "{message}");
    let message = refused(&[(&down, vec![2, 8]), (&up, vec![8, 3])]);
    assert!(message.contains("not two factors of one change"), "{message}");
    let message = refused(&[(&down, vec![2, 9]), (&up, vec![8, 2])]);
    assert!(message.contains("do not make the shape [8, 8]"), "{message}");
    let message = refused(&[(&down, vec![2, 8]), (&up, vec![8, 2]), ("conv_in.weight", vec![1])]);
    assert!(message.contains("`conv_in.weight` is not one of a LoRA"), "{message}");
    // A file for SDXL: by the second text encoder, and by the width of the texts.
    let block = "lora_unet_input_blocks_4_1_transformer_blocks_9_attn2_to_k";
    let (down, up) = (format!("{block}.lora_down.weight"), format!("{block}.lora_up.weight"));
    let message = refused(&[(&down, vec![1, 2048]), (&up, vec![640, 1])]);
    assert!(message.contains("1 of its 1 changes have no place in"), "{message}");
    assert!(message.contains(&down) && message.contains("a LoRA for SDXL"), "{message}");
    let te = "lora_te2_text_model_encoder_layers_0_self_attn_q_proj";
    let (down, up) = (format!("{te}.lora_down.weight"), format!("{te}.lora_up.weight"));
    let message = refused(&[(&down, vec![1, 1280]), (&up, vec![1280, 1])]);
    assert!(message.contains("a LoRA for SDXL"), "{message}");
    assert!(matches!(base().lora(folder.path().join("none"), 1.0), Err(Error::FileNotFound { .. })));
    let error = Model::open("pca:digits").expect("a closed form").lora(golden("lora/peft"), 1.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
}
