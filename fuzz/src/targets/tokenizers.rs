//! Tokenizers: their files, several in one input with a byte between them, and the texts they split.

use std::path::Path;
use std::sync::OnceLock;

use downhill::latent::tokenizer::Tokenizer;

use super::said;
use super::scratch::{at, put, remove};
use super::seeds::repository;

/// Separates the files of an input: a control character that JSON does not allow in strings.
pub const SEPARATOR: u8 = 0x1e;

/// A vocabulary, its merges and the three files of special tokens, then a text.
pub fn parts(bytes: &[u8]) {
    let files = ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];
    split("parts", &files, bytes);
}

/// A `tokenizer.json` and two files of special tokens, then a text.
pub fn whole(bytes: &[u8]) {
    split("whole", &["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"], bytes);
}

fn split(folder: &str, files: &[&str], bytes: &[u8]) {
    let mut parts = bytes.splitn(files.len() + 1, |byte| *byte == SEPARATOR);
    for file in files {
        let name = format!("{folder}/{file}");
        match parts.next() {
            Some(part) if !part.is_empty() => drop(put(&name, part)),
            _ => remove(&name),
        }
    }
    let text = String::from_utf8_lossy(parts.next().unwrap_or(b"a cat")).into_owned();
    let _ = std::fs::create_dir(at(folder));
    if let Some(tokenizer) = said(Tokenizer::open(&at(folder))) {
        encode(&tokenizer, &text);
    }
}

/// A text, for the tokenizer of a model.
pub fn prompt(bytes: &[u8]) {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    let folder = || repository().join("tests/golden/latent/sd1-like/tokenizer");
    let tokenizer = TOKENIZER.get_or_init(|| Tokenizer::open(Path::new(&folder())).expect("a sound tokenizer"));
    encode(tokenizer, &String::from_utf8_lossy(bytes));
}

fn encode(tokenizer: &Tokenizer, text: &str) {
    if let Some(tokens) = said(tokenizer.encode(text)) {
        assert_eq!(tokens.ids.len(), tokenizer.length());
        assert!(tokens.truncated.is_none_or(|rest| text.ends_with(&rest)), "the rest of a text is its end");
    }
}
