//! Weighted and long prompts, and learned tokens, against a Python twin with transformers' encoder in float64
//! (`tools/goldens/prompts.py`).

use std::path::{Path, PathBuf};

use downhill::formats::npy;
use downhill::graph::Compiler;
use downhill::latent::emphasis::segments;
use downhill::latent::passage::PromptStyle;
use downhill::model::{Kind, Model, Source, TextSource};
use downhill::{Error, ErrorKind};
use serde_json::Value;

use crate::common::{distance, engines};

/// max|a-b| / max|b|: encoders are within 5e-5, and means of few channels are differences of larger numbers.
const TOLERANCE: f32 = 2e-4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn base() -> Model {
    Model::open(golden("latent/sd1-like").to_str().expect("UTF-8")).expect("a model")
}

fn source(model: &Model) -> &TextSource {
    let Kind::Latent(latent) = model.kind() else { panic!("not a pipeline") };
    let Source::Text(source) = &latent.source else { panic!("not from texts") };
    source
}

fn cases() -> Value {
    serde_json::from_slice(&std::fs::read(golden("prompts/cases.json")).expect("cases.json")).expect("JSON")
}

fn texts(case: &Value) -> Vec<String> {
    serde_json::from_value(case["texts"].clone()).expect("texts")
}

/// The embeddings of texts on every family.
fn agree(name: &str, source: &TextSource, texts: &[String], style: PromptStyle) {
    let tokenizers = [source.parts[0].tokenizer.clone()];
    let passages = TextSource::passages(&tokenizers, texts, style).expect("tokens");
    let expected = npy::read(golden("prompts").join(format!("{name}.npy"))).expect("embeddings");
    for engine in engines() {
        let compiler = Compiler::from(engine);
        let found = source.encode(compiler, &passages, None, &mut |_| Ok(())).expect("embeddings").encoded.hidden;
        assert_eq!(found.shape, expected.shape, "{name}");
        let apart = distance(&found.data, &expected.data);
        println!("{name}: {apart:.1e}");
        assert!(apart < TOLERANCE, "{name}, {:?}: {apart:.1e}", engine.family);
    }
}

#[test]
fn weighted_and_long_texts_are_those_of_the_twin() {
    let (model, cases) = (base(), cases());
    for name in ["weights", "long", "long-weights"] {
        let case = &cases[name];
        let style = PromptStyle {
            weights: case["weights"].as_bool().expect("weights"),
            long: case["long"].as_bool().expect("long"),
        };
        let texts = texts(case);
        for (text, expected) in texts.iter().zip(case["segments"].as_array().into_iter().flatten()) {
            let expected: Vec<(String, f64)> = serde_json::from_value(expected.clone()).expect("segments");
            let found: Vec<(String, f64)> =
                segments(text).into_iter().map(|segment| (segment.text, segment.weight)).collect();
            assert_eq!(found.len(), expected.len(), "{text}");
            for ((text, weight), (expected, by)) in found.iter().zip(&expected) {
                assert!(text == expected && (weight - by).abs() < 1e-12, "{found:?}, {expected:?}");
            }
        }
        let tokenizers = [source(&model).parts[0].tokenizer.clone()];
        let passages = TextSource::passages(&tokenizers, &texts, style).expect("tokens");
        let chunks: Vec<Vec<Vec<u32>>> = passages[0].iter().map(|passage| passage.chunks.clone()).collect();
        let expected: Vec<Vec<Vec<u32>>> = serde_json::from_value(case["tokens"].clone()).expect("tokens");
        assert_eq!(chunks, expected, "{name}");
        agree(name, source(&model), &texts, style);
    }
}

#[test]
fn learned_tokens_are_those_of_diffusers() {
    let case = &cases()["learned"];
    let files: Vec<(String, Option<String>)> = serde_json::from_value(case["files"].clone()).expect("files");
    let mut model = base();
    for (file, token) in &files {
        model =
            model.embedding(golden("prompts").join(file), token.as_deref()).unwrap_or_else(|error| panic!("{error}"));
    }
    let found: Vec<(&str, usize)> = model.embeddings().iter().map(|one| (one.token.as_str(), one.vectors)).collect();
    assert_eq!(found, [("toy-style", 3), ("<cat-toy>", 1)]);
    agree("learned", source(&model), &texts(case), PromptStyle::default());
}

#[test]
fn learned_tokens_of_other_models_and_known_words_are_refused() {
    let file = golden("prompts/toy-style.safetensors");
    let refused = |model: Model, file: &Path, token: Option<&str>| model.embedding(file, token).unwrap_err();
    let sd2 = Model::open(golden("latent/sd2-like").to_str().expect("UTF-8")).expect("a model");
    let error = refused(sd2, &file, None);
    assert!(error.to_string().contains("vectors of [16] channels, and the text encoders have [24]"), "{error}");
    let known = base().embedding(&file, None).expect("an embedding");
    for token in ["toy-style", "", " x", "<|endoftext|>"] {
        let error = refused(known.clone(), &file, Some(token));
        assert_eq!(error.kind(), ErrorKind::Argument, "{token}: {error}");
    }
    let error = refused(Model::embedded().expect("digits"), &file, None);
    assert_eq!(error.kind(), ErrorKind::Argument);
    let lora = golden("lora/kohya.safetensors");
    assert!(refused(base(), &lora, None).to_string().contains("not the vectors of one token"));
    assert!(matches!(refused(base(), Path::new("none.safetensors"), None), Error::FileNotFound { .. }));
}
