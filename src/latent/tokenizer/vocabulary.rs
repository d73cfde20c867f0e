//! Vocabulary and merges, from either of the two layouts, and CLIP's own.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::{Map, Value};

use super::{DAMAGED, END_OF_WORD};
use crate::checkpoint::ConfigFile;
use crate::error::{Error, Result, excerpt};
use crate::formats::json::LARGEST_LIST;
use crate::input::read_regular;

const WHOLE: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";

static CLIP: &[u8] = include_bytes!("../../../weights/clip-tokenizer/merges.txt.gz");
/// The tokens before and after a text.
pub(super) const START: &str = "<|startoftext|>";
pub(super) const END: &str = "<|endoftext|>";

/// The letters that stand for the 256 bytes, in the order of their ids: first those that are visible by themselves.
fn letters() -> Vec<char> {
    let visible: Vec<u32> = (0x21..=0x7e).chain(0xa1..=0xac).chain(0xae..=0xff).collect();
    let others = (0u32..256).filter(|byte| !visible.contains(byte)).count();
    let invisible = (0u32..).map(|at| 256 + at).take(others);
    visible.iter().copied().chain(invisible).filter_map(char::from_u32).collect()
}

/// The learned part of a byte-pair encoding.
pub(super) struct Vocabulary {
    /// The file of the merges, for messages.
    pub file: PathBuf,
    /// The id of each token.
    pub ids: HashMap<String, u32>,
    /// Pairs of tokens that are merged, the most frequent first.
    pub merges: Vec<(String, String)>,
    /// The tokens outside the vocabulary that `tokenizer.json` lists, unchanged.
    pub added: Vec<Value>,
}

impl Vocabulary {
    /// Reads the files in `folder`, and checks that each merge makes a token.
    pub fn read(folder: &Path) -> Result<Self> {
        let vocabulary = Self::find(folder)?;
        for (first, second) in &vocabulary.merges {
            let joined = format!("{first}{second}");
            if let Some(token) = [first, second, &joined].into_iter().find(|token| !vocabulary.ids.contains_key(*token))
            {
                let what = format!(
                    "the merge `{}` needs the token `{}`, which the vocabulary lacks",
                    excerpt(&format!("{first} {second}")),
                    excerpt(token)
                );
                return Err(Error::bad_file_hint(&vocabulary.file, what, DAMAGED));
            }
        }
        Ok(vocabulary)
    }

    /// CLIP's own vocabulary, which is embedded (see `weights/clip-tokenizer/README.md`). The order of its tokens is
    /// that of openai/CLIP, `clip/simple_tokenizer.py`.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn clip() -> Result<Self> {
        let file = PathBuf::from("(embedded tokenizer)/merges.txt.gz");
        let mut text = String::new();
        GzDecoder::new(CLIP).read_to_string(&mut text).map_err(|source| Error::io(&file, source))?;
        let pair = |line: &str| {
            halves(line).ok_or_else(|| Error::bad_file(&file, format!("not a pair of tokens: `{}`", excerpt(line))))
        };
        let merges: Vec<(String, String)> = text.lines().map(pair).collect::<Result<_>>()?;
        let letters = letters();
        let ends = letters.iter().map(|letter| format!("{letter}{END_OF_WORD}"));
        let joined = merges.iter().map(|(first, second)| format!("{first}{second}"));
        let tokens =
            letters.iter().map(char::to_string).chain(ends).chain(joined).chain([START, END].map(str::to_owned));
        let ids = tokens.zip(0u32..).collect();
        Ok(Self { file, ids, merges, added: Vec::new() })
    }

    fn find(folder: &Path) -> Result<Self> {
        let whole = folder.join(WHOLE);
        if whole.is_file() {
            return Self::from_whole(&ConfigFile::read_list(&whole)?);
        }
        let (vocabulary, merges) = (folder.join(VOCABULARY), folder.join(MERGES));
        match (vocabulary.is_file(), merges.is_file()) {
            (true, true) => Self::from_parts(&ConfigFile::read_list(&vocabulary)?, merges),
            (true, false) => Err(missing(merges, VOCABULARY)),
            (false, true) => Err(missing(vocabulary, MERGES)),
            (false, false) => Err(Error::bad_file_hint(
                folder,
                format!("no tokenizer: neither `{WHOLE}` nor `{VOCABULARY}` with `{MERGES}`"),
                "download or copy the model's `tokenizer` folder",
            )),
        }
    }

    fn from_whole(file: &ConfigFile) -> Result<Self> {
        let bad = |what: String| Error::bad_file_hint(&file.path, what, DAMAGED);
        let Some(Value::Object(model)) = file.values.get("model") else {
            return Err(file.wrong_value("model", "an object"));
        };
        let kind = model.get("type").and_then(Value::as_str).unwrap_or("none");
        if kind != "BPE" {
            return Err(Error::UnsupportedField {
                file: file.path.clone(),
                field: "model.type".to_owned(),
                value: kind.to_owned(),
                supported: "BPE".to_owned(),
            });
        }
        let Some(Value::Object(vocabulary)) = model.get("vocab") else {
            return Err(bad("`model.vocab` is not an object".to_owned()));
        };
        let Some(Value::Array(merges)) = model.get("merges") else {
            return Err(bad("`model.merges` is not a list".to_owned()));
        };
        // A merge is a string of two parts in older files, and a pair in newer ones.
        let pair = |(at, merge): (usize, &Value)| {
            match merge {
                Value::String(merge) => halves(merge),
                Value::Array(parts) => match parts.as_slice() {
                    [Value::String(first), Value::String(second)] => Some((first.clone(), second.clone())),
                    _ => None,
                },
                _ => None,
            }
            .ok_or_else(|| bad(format!("merge {at} is not a pair of tokens")))
        };
        let merges = merges.iter().enumerate().map(pair).collect::<Result<_>>()?;
        let added = file.values.get("added_tokens").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(Self { file: file.path.clone(), ids: ids(&file.path, vocabulary)?, merges, added })
    }

    fn from_parts(vocabulary: &ConfigFile, file: PathBuf) -> Result<Self> {
        let text = String::from_utf8(read_regular(&file, LARGEST_LIST)?)
            .map_err(|error| Error::bad_file_hint(&file, format!("not a text in UTF-8: {error}"), DAMAGED))?;
        let is_merge = |(_, line): &(usize, &str)| !line.is_empty() && !line.starts_with("#version");
        let pair = |(at, line)| {
            halves(line).ok_or_else(|| {
                let what = format!("line {} is not a pair of tokens: `{}`", at + 1, excerpt(line));
                Error::bad_file_hint(&file, what, DAMAGED)
            })
        };
        let merges = text.lines().enumerate().filter(is_merge).map(pair).collect::<Result<_>>()?;
        Ok(Self { ids: ids(&vocabulary.path, &vocabulary.values)?, merges, added: Vec::new(), file })
    }
}

fn missing(file: PathBuf, beside: &str) -> Error {
    Error::bad_file_hint(file, format!("missing, although there is a `{beside}`"), "download or copy the missing file")
}

fn halves(merge: &str) -> Option<(String, String)> {
    let (first, second) = merge.split_once(' ')?;
    (!second.contains(' ')).then(|| (first.to_owned(), second.to_owned()))
}

fn ids(file: &Path, vocabulary: &Map<String, Value>) -> Result<HashMap<String, u32>> {
    let id = |(token, id): (&String, &Value)| match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
        Some(id) => Ok((token.clone(), id)),
        None => Err(Error::bad_file_hint(
            file,
            format!("token `{}` has the id {}", excerpt(token), excerpt(&id.to_string())),
            DAMAGED,
        )),
    };
    vocabulary.iter().map(id).collect()
}
