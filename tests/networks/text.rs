//! Text encoders: graphs in float64 on the host and networks on the device against transformers in float64
//! (`tests/golden/latent`, made by `tools/make_goldens.py`).

use std::path::{Path, PathBuf};

use crate::common::{distance, engines, numbers};
use crate::definition::distance_to_definition;
use crate::half_compilers;
use downhill::Error;
use downhill::checkpoint::{Component, Dtype, Pipeline, Weights};
use downhill::formats::npy;
use downhill::graph::{CompileOptions, Compiler, Plan, host, reference};
use downhill::latent::text::TextEncoder;
use downhill::latent::tokenizer::Tokenizer;
use downhill::nets::clip_text;
use downhill::tensor::Tensor;
use safetensors::tensor::TensorView;

/// max|a-b| / max|b| against float64 on the device; measured up to 6e-7.
const TOLERANCE: f32 = 5e-6;
/// The same with weights in float16; measured up to 1.1e-3.
const HALF_TOLERANCE: f32 = 3e-3;

fn goldens() -> [PathBuf; 3] {
    ["sd1-like", "sd2-like", "odd-sizes"]
        .map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/latent").join(name))
}

fn component(folder: &Path) -> Component {
    Pipeline::open(folder.to_str().unwrap()).unwrap().component("text_encoder").unwrap()
}

/// The ids of the negative prompt and of the prompt, and what transformers makes of them.
fn case(folder: &Path) -> (Vec<Vec<u32>>, Tensor) {
    let golden: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let tokenizer = Tokenizer::open(&folder.join("tokenizer")).unwrap();
    let ids = |name: &str| tokenizer.encode(golden[name].as_str().unwrap()).unwrap().ids;
    (vec![ids("negative"), ids("prompt")], npy::read(folder.join("stages/embeddings.npy")).unwrap())
}

#[test]
fn graphs_in_float64_are_those_of_transformers() {
    for folder in goldens() {
        let component = component(&folder);
        let net = clip_text::open(&component.config, &component.weights).unwrap();
        let (texts, expected) = case(&folder);
        let (hidden, tokens) = (net.config().hidden_size, texts[0].len());
        let ((token_key, _), (position_key, position_shape)) = (net.token_table(), net.position_table());
        let positions = component.weights.fetch(&position_key, &position_shape).unwrap();
        let mut data = vec![0.0; 2 * hidden * tokens];
        for (text, ids) in texts.iter().enumerate() {
            let ids: Vec<usize> = ids.iter().map(|id| *id as usize).collect();
            let rows = component.weights.fetch_rows(&token_key, (net.config().vocab_size, hidden), &ids).unwrap();
            for (at, value) in rows.data.iter().enumerate() {
                let (token, channel) = (at / hidden, at % hidden);
                data[(text * hidden + channel) * tokens + token] = value + positions.item(token)[channel];
            }
        }
        let inputs = [("embeddings".to_owned(), Tensor::new([2, hidden, 1, tokens], data))];
        let fetch = |key: &str, shape: &[usize]| component.weights.fetch(key, shape);
        let (name, answer) = reference::evaluate(&net.graph(2), &inputs, &fetch).unwrap().remove(0);
        assert_eq!(name, "hidden");
        // Rows of the map are tokens; the golden is float64 rounded to float32, as are the embeddings here.
        let apart = distance_to_definition(&expected.data, &answer.data);
        assert!(apart < 4e-7, "{}: {apart:e}", folder.display());
    }
}

#[test]
fn encoders_on_the_device_agree_with_transformers_in_any_batch() {
    for folder in goldens() {
        let (texts, expected) = case(&folder);
        for engine in engines() {
            let encode = |batch| TextEncoder::new(engine, component(&folder), batch).unwrap().encode(&texts).unwrap();
            let both = encode(2);
            assert_eq!(both.shape, expected.shape);
            let apart = distance(&both.data, &expected.data);
            println!("{}, {:?}: {apart:.1e}", folder.display(), engine.family);
            assert!(apart < TOLERANCE, "{}, {:?}: {apart:e}", folder.display(), engine.family);
            assert_eq!(encode(1), both, "one text at a call");
            assert_eq!(encode(3), both, "a batch that is not full");
        }
    }
}

#[test]
fn plans_agree_bit_for_bit_however_they_are_run() {
    for folder in goldens() {
        let component = component(&folder);
        let net = clip_text::open(&component.config, &component.weights).unwrap();
        let (hidden, tokens) = (net.config().hidden_size, net.config().max_position_embeddings);
        let input = Tensor::new([2, hidden, 1, tokens], numbers(1, 2 * hidden * tokens));
        let inputs = [("embeddings", &input)];
        let fetch = |key: &str, shape: &[usize]| component.weights.fetch(key, shape);
        for engine in engines() {
            let [shared, apart] = [CompileOptions::default(), CompileOptions::default().without_aliasing()]
                .map(|options| Compiler::new(engine, options).program(&net.graph(2), &fetch).unwrap());
            let first = shared.run(&inputs).unwrap();
            assert!(first[0].is_finite());
            for program in [&shared, &apart] {
                program.fill_slots(f32::NAN).unwrap();
                assert_eq!(first, program.run(&inputs).unwrap(), "{}", folder.display());
            }
            let on_host = |plan: &Plan, fill: f32| host::run(plan, &fetch, &inputs, fill).unwrap();
            let twins = on_host(&shared.plan, 0.0);
            assert_eq!(twins, on_host(&apart.plan, f32::NAN), "{}", folder.display());
            let difference = distance(&first[0].data, &twins[0].data);
            assert!(difference < 2e-5, "{}: device and twins are {difference:e} apart", folder.display());
        }
    }
}

#[test]
fn weights_in_float16_cost_three_digits() {
    for folder in goldens() {
        let (texts, expected) = case(&folder);
        for compiler in half_compilers() {
            let encoder = TextEncoder::new(compiler, component(&folder), 2).unwrap();
            let apart = distance(&encoder.encode(&texts).unwrap().data, &expected.data);
            println!("{}, {:?}: {apart:.1e}", folder.display(), compiler.engine.family);
            assert!(apart < HALF_TOLERANCE, "{}, {:?}: {apart:e}", folder.display(), compiler.engine.family);
        }
    }
}

#[test]
fn checkpoints_of_any_age_are_read() {
    // Without the prefix, as transformers 5 writes it; with it and the buffer of positions, as before 4.31.
    let component = component(&goldens()[1]);
    let net = clip_text::open(&component.config, &component.weights).unwrap();
    let tensors: Vec<_> =
        net.keys().iter().map(|(key, shape)| (key.clone(), component.weights.fetch(key, shape).unwrap())).collect();
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, tensor)| tensor.data.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let places: Vec<u8> = (0..77i64).flat_map(i64::to_le_bytes).collect();
    let file = |prefix: &str, extra: Option<&str>| {
        let views = tensors.iter().zip(&bytes).map(|((key, tensor), bytes)| {
            (format!("{prefix}{key}"), TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap())
        });
        let buffer =
            extra.map(|name| (format!("{prefix}{name}"), TensorView::new(Dtype::I64, vec![1, 77], &places).unwrap()));
        Weights::from_bytes("model.safetensors", safetensors::serialize(views.chain(buffer), None).unwrap()).unwrap()
    };
    for (prefix, extra) in [
        ("", None),
        ("text_model.", None),
        ("text_model.", Some("embeddings.position_ids")),
        ("", Some("embeddings.position_ids")),
    ] {
        let weights = file(prefix, extra);
        weights.check(&net.keys()).unwrap_or_else(|error| panic!("`{prefix}` {extra:?}: {error}"));
        assert_eq!(
            weights.fetch("final_layer_norm.bias", &[24]).unwrap(),
            component.weights.fetch("final_layer_norm.bias", &[24]).unwrap()
        );
    }
    let error = file("text_model.", Some("embeddings.other")).check(&net.keys()).unwrap_err();
    assert!(error.to_string().contains("stored as text_model.embeddings.other` has no place"), "{error}");
}

#[test]
fn shorter_texts_are_the_beginning_of_longer_ones() {
    let folder = &goldens()[0];
    let (texts, _) = case(folder);
    let encoder = TextEncoder::new(&engines()[0], component(folder), 2).unwrap();
    let whole = encoder.encode(&texts).unwrap();
    let short = encoder.encode(&texts.iter().map(|ids| ids[..9].to_vec()).collect::<Vec<_>>()).unwrap();
    assert_eq!(short.shape, [2, 9, whole.shape[2]]);
    for text in 0..2 {
        assert!(distance(short.item(text), &whole.item(text)[..short.stride()]) < 1e-6);
    }
    encoder.trace_nonfinite(&texts).unwrap();
}

#[test]
fn what_does_not_fit_the_encoder_is_refused() {
    let folder = &goldens()[0];
    let encoder = TextEncoder::new(&engines()[0], component(folder), 2).unwrap();
    for (texts, what) in [
        (vec![], "no tokens to encode"),
        (vec![vec![1; 78]], "a text of 78 tokens for an encoder of 77 positions"),
        (vec![vec![1; 5], vec![1; 4]], "a text of 4 tokens"),
        (vec![vec![1, 634]], "the tokenizer returns token 634, but the text encoder has 634 tokens"),
    ] {
        let error = encoder.encode(&texts).unwrap_err();
        assert!(error.to_string().starts_with(what), "{error}");
        assert!(matches!(error, Error::Argument { .. }));
    }
}
