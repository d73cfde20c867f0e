//! `downhill encode-text`.

use std::path::Path;

use downhill::formats::npy;

use crate::{Folder, distance, downhill, quietly};

const GOLDEN: &str = "tests/golden/latent/sd1-like";

/// Copies a golden folder without its references, so that a test may break it.
fn copy(folder: &Folder, golden: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/latent").join(golden);
    for part in ["text_encoder", "tokenizer"] {
        std::fs::create_dir_all(folder.path(&format!("model/{part}"))).expect("a folder");
        for entry in std::fs::read_dir(source.join(part)).expect("the golden") {
            let entry = entry.expect("an entry");
            let to = folder.path(&format!("model/{part}")).join(entry.file_name());
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
    std::fs::copy(source.join("model_index.json"), folder.path("model/model_index.json")).expect("copied");
    folder.at("model")
}

#[test]
fn embeddings_are_those_of_transformers_in_any_batch() {
    let folder = Folder::new();
    let (e, report) = (folder.at("e.npy"), folder.at("report.json"));
    for golden in ["sd1-like", "sd2-like", "odd-sizes"] {
        let golden = format!("tests/golden/latent/{golden}");
        let about: serde_json::Value =
            serde_json::from_slice(&std::fs::read(format!("{golden}/golden.json")).expect("golden.json"))
                .expect("JSON");
        let (prompt, negative) = (about["prompt"].as_str().expect("text"), about["negative"].as_str().expect("text"));
        let call = ["encode-text", &golden, "-p", negative, "--prompt", prompt, "--output", &e];
        downhill(&[&call[..], &["--json", &report]].concat()).expect(&format!("wrote {e}\n"));
        let answer = folder.array("e.npy");
        let expected = npy::read(format!("{golden}/stages/embeddings.npy")).expect("embeddings.npy");
        assert!(distance(&answer, &expected) < 5e-6, "{golden}");

        let told = folder.json("report.json");
        assert_eq!((told["batch"].as_u64(), told["tokens"][1].as_array().map(Vec::len)), (Some(2), Some(77)));
        assert_eq!(told["parameters"], about["parameters"]["text_encoder"]);
        quietly(&[&call[..], &["-b", "1"]].concat());
        assert_eq!(folder.array("e.npy"), answer, "one text at a call");
        quietly(&[&call[..], &["--dtype", "f16"]].concat());
        assert!(distance(&folder.array("e.npy"), &expected) < 3e-3, "{golden} in float16");
    }
}

#[test]
fn ids_are_printed_a_line_a_text_and_need_no_device() {
    let run = downhill(&["encode-text", GOLDEN, "-p", "a horse", "-p", "", "--tokens"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let padding = " 633".repeat(70);
    let expected = [format!("632 320 520 81 528 633 633{padding}"), format!("632 633{padding} 633 633 633 633 633")];
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), expected);
    // No adapter of that name is looked for.
    let nowhere = ["encode-text", GOLDEN, "-p", "a horse", "--tokens", "--adapter", "no such adapter"];
    assert_eq!(downhill(&nowhere).code, 0);
    let folder = Folder::new();
    let e = folder.at("e.npy");
    let run = downhill(&["encode-text", GOLDEN, "-p", "a", "--tokens", "-o", &e]);
    assert_eq!(run.stderr, format!("wrote {e}\n"));
    assert!(run.stdout.starts_with("632 320 633 ") && folder.array("e.npy").shape == [1, 77, 16]);
}

#[test]
fn what_is_left_out_of_a_long_text_is_said_and_reported() {
    let folder = Folder::new();
    let report = folder.at("report.json");
    let long = format!("{}Ü the END", "a ".repeat(75));
    let call = ["encode-text", GOLDEN, "-p", "a", "-p", &long, "--tokens", "--json", &report];
    let run = downhill(&call);
    assert_eq!(run.code, 0);
    assert_eq!(run.stderr, "warning: a text has more than 77 tokens; cut off: Ü the END\n");
    assert_eq!(folder.json("report.json")["truncated"], serde_json::json!([null, "Ü the END"]));
}

#[test]
fn every_broken_folder_has_its_own_error() {
    type Change = fn(&Folder);
    let remove = |folder: &Folder, name: &str| std::fs::remove_file(folder.path(name)).expect("removed");
    let cases: [(Change, &str); 9] = [
        (
            |f| std::fs::remove_dir_all(f.path("model/tokenizer")).expect("removed"),
            "the component `tokenizer` is missing",
        ),
        (
            |f| std::fs::remove_dir_all(f.path("model/text_encoder")).expect("removed"),
            "the component `text_encoder` is missing",
        ),
        (|f| rewrite(f, "model_index.json", "CLIPTextModel", "T5EncoderModel"), "wrote"),
        (
            |f| rewrite(f, "text_encoder/config.json", "CLIPTextModel", "CLIPTextModelWithProjection"),
            "`architectures` is \"CLIPTextModelWithProjection\", which is not supported\n\
             hint: supported: CLIPTextModel",
        ),
        (
            |f| rewrite(f, "text_encoder/config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
            "no tensor `encoder.layers.2.layer_norm1.weight`",
        ),
        (
            |f| rewrite(f, "text_encoder/config.json", "\"vocab_size\": 634", "\"vocab_size\": 600"),
            "has shape [634, 16], expected [600, 16]",
        ),
        (|f| rewrite(f, "text_encoder/config.json", "quick_gelu", "gelu_new"), "`hidden_act` is \"gelu_new\""),
        (|f| rewrite(f, "tokenizer/vocab.json", "\"a</w>\"", "\"b</w>\""), "which the vocabulary lacks"),
        (
            |f| rewrite(f, "tokenizer/tokenizer_config.json", "CLIPTokenizer", "T5Tokenizer"),
            "`tokenizer_class` is \"T5Tokenizer\"",
        ),
    ];
    for (change, what) in cases {
        let folder = Folder::new();
        let model = copy(&folder, "sd1-like");
        change(&folder);
        let e = folder.at("e.npy");
        let run = downhill(&["encode-text", &model, "-p", "a cat", "-o", &e]);
        if what == "wrote" {
            // The index is a list of contents; what counts is what the component says of itself.
            assert_eq!(run.code, 0, "{}", run.stderr);
        } else {
            run.expect_error(4, what);
            assert!(!folder.path("e.npy").exists());
        }
    }
    for (missing, what) in [
        ("merges.txt", "missing, although there is a `vocab.json`"),
        ("vocab.json", "missing, although there is a `merges.txt`"),
    ] {
        let folder = Folder::new();
        let model = copy(&folder, "sd1-like");
        remove(&folder, &format!("model/tokenizer/{missing}"));
        downhill(&["encode-text", &model, "-p", "a cat", "--tokens"]).expect_error(4, what);
    }
}

/// Replaces a text that is in a file of the model.
#[track_caller]
fn rewrite(folder: &Folder, file: &str, from: &str, to: &str) {
    let path = folder.path(&format!("model/{file}"));
    let text = std::fs::read_to_string(&path).expect("a text file");
    assert!(text.contains(from), "{file} has no `{from}`");
    std::fs::write(path, text.replace(from, to)).expect("written");
}

#[test]
fn what_is_not_asked_for_rightly_is_a_usage_error() {
    downhill(&["encode-text", GOLDEN, "-p", "a"]).expect_error(2, "--output <FILE.npy>|--pooled <FILE.npy>|--tokens");
    downhill(&["encode-text", GOLDEN, "--tokens"]).expect_error(2, "--prompt <TEXT>");
    downhill(&["encode-text", "no-such-folder", "-p", "a", "--tokens"]).expect_error(2, "no-such-folder");
    downhill(&["encode-text", GOLDEN, "-p", "a", "--tokens", "--exact"])
        .expect_error(2, "unexpected argument '--exact'");
    downhill(&["encode-text", "tests/bad/sound", "-p", "a", "--tokens"]).expect_error(4, "no tokenizer");
}
