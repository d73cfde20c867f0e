//! CLIP's byte-pair encoding against transformers.

use std::path::{Path, PathBuf};

use downhill::Error;
use downhill::latent::tokenizer::Tokenizer;
use serde_json::Value;

/// Every case of a list `[[text, ids], ...]` that comes out otherwise.
fn differences(tokenizer: &Tokenizer, cases: &Value) -> (usize, Vec<String>) {
    let cases = cases.as_array().unwrap();
    let mut different = Vec::new();
    for case in cases {
        let (text, ids) = (case[0].as_str().unwrap(), &case[1]);
        let ids: Vec<u32> = ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let found = tokenizer.encode(text).unwrap().ids;
        if found != ids {
            different.push(format!("{text:?}: {found:?} instead of {ids:?}"));
        }
    }
    (cases.len(), different)
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// The tokenizer of a golden folder, some of its files changed.
fn golden(name: &str, changes: &[(&str, &str)]) -> tempfile::TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/latent").join(name).join("tokenizer");
    let copy = folder(&[]);
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    for (name, content) in changes {
        std::fs::write(copy.path().join(name), content).unwrap();
    }
    copy
}

/// How opening fails.
#[track_caller]
fn refusal(folder: &tempfile::TempDir) -> Error {
    match Tokenizer::open(folder.path()) {
        Ok(_) => panic!("it opens"),
        Err(error) => {
            assert_eq!(error.kind(), downhill::ErrorKind::File, "{error}");
            error
        }
    }
}

#[test]
fn ids_are_those_of_transformers() {
    for name in ["sd1-like", "sd2-like", "odd-sizes"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/latent").join(name);
        let tokenizer = Tokenizer::open(&folder.join("tokenizer")).unwrap();
        let tokens: Value = serde_json::from_slice(&std::fs::read(folder.join("stages/tokens.json")).unwrap()).unwrap();
        let cases = tokens.as_array().unwrap().iter().map(|case| serde_json::json!([case["text"], case["ids"]]));
        let (all, different) = differences(&tokenizer, &cases.collect());
        assert!(all >= 14 && different.is_empty(), "{name}: {different:?}");
    }
}

#[test]
fn special_tokens_in_a_text_follow_their_properties() {
    // The start is looked for after the text has become lower-case, the end before.
    let start = r#""bos_token": {"content": "<|startoftext|>", "normalized": true}, "eos_token": "<|endoftext|>""#;
    let config = format!(r#"{{"model_max_length": 12, {start}}}"#);
    let own = golden("sd1-like", &[("tokenizer_config.json", &config), ("special_tokens_map.json", "{}")]);
    let tokenizer = Tokenizer::open(own.path()).unwrap();
    let ids = |text: &str| tokenizer.encode(text).unwrap().ids;
    let (start, end) = (632, 633);
    assert_eq!(ids("<|STARTOFTEXT|>")[..3], [start, start, end]);
    assert_eq!(ids("<|endoftext|>")[..3], [start, end, end]);
    assert_ne!(ids("<|ENDOFTEXT|>")[..3], [start, end, end]);
    // Further tokens have ids of their own, beyond the vocabulary where it lacks them.
    let further = r#"{"<toy>": 634}"#;
    let own = golden("sd1-like", &[("added_tokens.json", further)]);
    let tokenizer = Tokenizer::open(own.path()).unwrap();
    assert_eq!(tokenizer.encode("a <toy>").unwrap().ids[..4], [start, 320, 634, end]);
    // Without any configuration the class's own hold.
    let own = golden("sd1-like", &[("tokenizer_config.json", "{}"), ("special_tokens_map.json", "{}")]);
    assert_eq!(Tokenizer::open(own.path()).unwrap().encode("a").unwrap().ids[..4], [start, 320, end, end]);
}

#[test]
fn what_a_text_has_no_place_for_is_told() {
    let folder = golden("sd1-like", &[]);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    assert_eq!(tokenizer.length(), 77);
    let fitting = "a ".repeat(75);
    let tokens = tokenizer.encode(&fitting).unwrap();
    assert_eq!((tokens.ids.len(), tokens.truncated), (77, None));
    let tokens = tokenizer.encode(&format!("{fitting} Über  ALLES")).unwrap();
    assert_eq!(tokens.truncated.as_deref(), Some("Über  ALLES"));
    assert_eq!((tokens.ids[0], tokens.ids[75], tokens.ids[76]), (632, 320, 633));
    // A letter of several bytes is told whole, also where only its last bytes have no place.
    let tokens = tokenizer.encode(&format!("{}日本", "a ".repeat(74))).unwrap();
    assert_eq!(tokens.truncated.as_deref(), Some("日本"));
    let short = golden("sd1-like", &[("tokenizer_config.json", r#"{"model_max_length": 5}"#)]);
    let tokens = Tokenizer::open(short.path()).unwrap().encode("a a a a a").unwrap();
    assert_eq!((tokens.ids.len(), tokens.truncated.as_deref()), (5, Some("a a")));
}

#[test]
fn missing_and_malformed_files_have_their_own_errors() {
    let without = |names: &[&str]| {
        let folder = golden("sd1-like", &[]);
        for name in names {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        refusal(&folder).to_string()
    };
    let message = without(&["vocab.json", "merges.txt"]);
    assert!(
        message.ends_with("no tokenizer: neither `tokenizer.json` nor `vocab.json` with `merges.txt`"),
        "{message}"
    );
    assert!(without(&["merges.txt"]).ends_with("merges.txt: missing, although there is a `vocab.json`"));
    assert!(without(&["vocab.json"]).ends_with("vocab.json: missing, although there is a `merges.txt`"));

    for (file, content, what) in [
        ("vocab.json", "[]", "vocab.json: not a JSON object"),
        ("vocab.json", r#"{"a": -1}"#, "vocab.json: token `a` has the id -1"),
        ("vocab.json", r#"{"a": 1}"#, "which the vocabulary lacks"),
        (
            "merges.txt",
            "#version: 0.2\ni n\nthree of them\n",
            "merges.txt: line 3 is not a pair of tokens: `three of them`",
        ),
        ("merges.txt", "in zz\n", "the merge `in zz` needs the token `zz`"),
        ("tokenizer_config.json", r#"{"tokenizer_class": "T5Tokenizer"}"#, "`tokenizer_class` is \"T5Tokenizer\""),
        ("tokenizer_config.json", r#"{"padding_side": "left"}"#, "`padding_side` is \"left\""),
        ("tokenizer_config.json", r#"{"model_max_length": 1}"#, "`model_max_length` is 1"),
        (
            "special_tokens_map.json",
            r#"{"pad_token": 3}"#,
            "special_tokens_map.json: `pad_token` is 3, expected a token",
        ),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"x": "y"}}"#, "`added_tokens_decoder`"),
        ("special_tokens_map.json", "{", "special_tokens_map.json: not a JSON object"),
        ("tokenizer.json", r#"{"model": {"type": "Unigram"}}"#, "`model.type` is Unigram"),
        ("tokenizer.json", r#"{"model": {"type": "BPE", "vocab": {}, "merges": [["a"]]}}"#, "merge 0 is not a pair"),
        ("tokenizer.json", r#"{"model": {"type": "BPE", "vocab": {}}}"#, "`model.merges` is not a list"),
        ("tokenizer.json", r#"{"model": 3}"#, "`model` is 3"),
    ] {
        let error = refusal(&golden("sd1-like", &[(file, content)]));
        assert!(error.to_string().contains(what), "{file} {content}: {error}");
    }
    // A huge number stands for none.
    let own =
        golden("sd1-like", &[("tokenizer_config.json", r#"{"model_max_length": 1000000000000000019884624838656}"#)]);
    assert_eq!(Tokenizer::open(own.path()).unwrap().length(), 77);
}

#[test]
#[ignore = "needs a list of cases, made by tools/check_tokenizer.py"]
fn ids_are_those_of_transformers_on_the_published_vocabulary() {
    let file =
        std::env::var_os("DOWNHILL_TOKENIZER_CASES").map(PathBuf::from).expect("DOWNHILL_TOKENIZER_CASES names it");
    let folders: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for folder in folders.as_array().unwrap() {
        let path = folder["folder"].as_str().unwrap();
        let tokenizer = Tokenizer::open(Path::new(path)).unwrap();
        assert_eq!(tokenizer.length() as u64, folder["length"].as_u64().unwrap());
        let (all, different) = differences(&tokenizer, &folder["cases"]);
        println!("{path}: {} of {all} differ", different.len());
        assert!(different.is_empty(), "{path}: {:#?}", &different[..different.len().min(20)]);
    }
}
