//! The special tokens of a folder, determined as transformers' `from_pretrained` does.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::vocabulary::{END, START, Vocabulary};
use crate::checkpoint::ConfigFile;
use crate::error::{Error, Result, excerpt};

const CONFIG: &str = "tokenizer_config.json";
const MAP: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// The supported classes, which are assembled alike.
const CLASSES: [&str; 2] = ["CLIPTokenizer", "CLIPTokenizerFast"];

/// The fields of named tokens.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// The fields of lists of further tokens.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// The default number of tokens per text, and the number above which a limit means "none".
const LENGTH: usize = 77;
const MOST_TOKENS: f64 = 65536.0;

/// The special tokens of a folder.
pub(super) struct Special {
    pub start: String,
    pub end: String,
    pub unknown: String,
    pub pad: String,
    /// The tokens found in a text before anything else, in the order in which they are added.
    pub added: Vec<AddedToken>,
    /// The number of tokens that a text is padded or truncated to (`model_max_length`).
    pub length: usize,
}

impl Special {
    pub fn read(folder: &Path, vocabulary: &Vocabulary) -> Result<Self> {
        let config = read(folder, CONFIG)?;
        check(&config)?;
        let mut map = ConfigFile { path: folder.join(MAP), values: Map::new() };
        let mut added: BTreeMap<u64, AddedToken> = BTreeMap::new();
        if let Some(listed) = config.values.get("added_tokens_decoder") {
            let Value::Object(listed) = listed else {
                return Err(config.wrong_value("added_tokens_decoder", "an object"));
            };
            for (id, token) in listed {
                let id = id.parse().map_err(|_| config.wrong_value("added_tokens_decoder", "tokens by their ids"))?;
                added.insert(id, token_of(&config, "added_tokens_decoder", token, false)?);
            }
        } else {
            map = read(folder, MAP)?;
            let named = Named { config: &config, map: &map };
            let names: Vec<String> = NAMED.iter().filter_map(|name| named.get(name).1).filter_map(content).collect();
            let file = read(folder, ADDED)?;
            for (token, id) in &file.values {
                let id = id.as_u64().ok_or_else(|| file.wrong_value(token, "an id"))?;
                added.insert(id, AddedToken::from(token.clone(), names.contains(token)));
            }
            for token in &vocabulary.added {
                let id = token.get("id").and_then(Value::as_u64).unwrap_or(u64::MAX);
                added.insert(id, token_of(&config, "added_tokens", token, false)?);
            }
        }
        let mut added: Vec<AddedToken> = added.into_values().collect();
        let named = Named { config: &config, map: &map };
        let name_of = |field: &str, default: &str| match named.get(field) {
            (file, Some(token)) => content(token).ok_or_else(|| file.wrong_value(field, "a token")),
            (_, None) => Ok(default.to_owned()),
        };
        let [start, end, unknown, pad] =
            [("bos_token", START), ("eos_token", END), ("unk_token", END), ("pad_token", END)]
                .map(|(field, default)| name_of(field, default));
        let special = Self {
            start: start?,
            end: end?,
            unknown: unknown?,
            pad: pad?,
            added: Vec::new(),
            length: length(&config)?,
        };
        // Of several with the same text the last one is used, except for those from a list of ids.
        let listed: Vec<String> = added.iter().map(|token| token.content.clone()).collect();
        let further = named.tokens(&special)?;
        added.extend(further.into_iter().filter(|token| !listed.contains(&token.content)));
        Ok(Self { added, ..special })
    }
}

impl Special {
    /// The special tokens of CLIP, with short texts filled up by `pad`.
    pub fn clip(pad: &str) -> Self {
        // The published tokenizers look for the marks of a text after normalisation, and for the padding before it.
        let marks = [START, END].map(|token| AddedToken::from(token.to_owned(), true).normalized(true));
        let padding = AddedToken::from(pad.to_owned(), true).normalized(false);
        let added = marks.into_iter().chain([padding]).collect();
        let [start, end, unknown, pad] = [START, END, END, pad].map(str::to_owned);
        Self { start, end, unknown, pad, added, length: LENGTH }
    }
}

/// The files that name tokens. The second takes precedence.
struct Named<'a> {
    config: &'a ConfigFile,
    map: &'a ConfigFile,
}

impl<'a> Named<'a> {
    /// Returns the value of a field, and the file that has it.
    fn get(&self, field: &str) -> (&'a ConfigFile, Option<&'a Value>) {
        let file = if self.map.has(field) { self.map } else { self.config };
        (file, file.values.get(field))
    }

    /// Returns the named special tokens, then those of lists.
    fn tokens(&self, special: &Special) -> Result<Vec<AddedToken>> {
        let mut tokens = Vec::new();
        for field in NAMED {
            let default = match field {
                "bos_token" => Some(&special.start),
                "eos_token" => Some(&special.end),
                "unk_token" => Some(&special.unknown),
                "pad_token" => Some(&special.pad),
                _ => None,
            };
            let (file, token) = self.get(field);
            match (token, default) {
                (Some(Value::Null), _) | (None, None) => {}
                (Some(token), _) => tokens.push(token_of(file, field, token, true)?),
                (None, Some(default)) => tokens.push(AddedToken::from(default.clone(), true)),
            }
        }
        for field in LISTS {
            let (file, list) = self.get(field);
            for token in list.and_then(Value::as_array).into_iter().flatten() {
                tokens.push(token_of(file, field, token, true)?);
            }
        }
        Ok(tokens)
    }
}

/// Refuses settings of a file that are not supported.
fn check(config: &ConfigFile) -> Result<()> {
    if let Some(class) = config.opt_string("tokenizer_class", None)?
        && !CLASSES.contains(&class.as_str())
    {
        return Err(config.unsupported("tokenizer_class", CLASSES.join(", ")));
    }
    for field in ["padding_side", "truncation_side"] {
        if config.string(field, "right")? != "right" {
            return Err(config.unsupported(field, "right"));
        }
    }
    if config.bool("split_special_tokens", false)? {
        return Err(config.unsupported("split_special_tokens", "false"));
    }
    Ok(())
}

/// Reads `model_max_length`. Transformers writes a huge number for "none".
fn length(config: &ConfigFile) -> Result<usize> {
    let length = config.opt_f64("model_max_length", None)?.unwrap_or(LENGTH as f64);
    match length {
        2.0..=MOST_TOKENS => Ok(length as usize),
        _ if length > MOST_TOKENS => Ok(LENGTH),
        _ => Err(config.wrong_value("model_max_length", "room for a start and an end")),
    }
}

/// Reads a JSON object in the folder, empty if there is no such file.
fn read(folder: &Path, name: &str) -> Result<ConfigFile> {
    let path = folder.join(name);
    if path.is_file() { ConfigFile::read_list(&path) } else { Ok(ConfigFile { path, values: Map::new() }) }
}

/// Returns the text of a token, which is stored alone or with properties.
fn content(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
}

/// Returns a token with its properties. `special` is the default of the property.
fn token_of(config: &ConfigFile, field: &str, token: &Value, special: bool) -> Result<AddedToken> {
    let wrong =
        || Error::bad_file(&config.path, format!("`{field}` has {}, expected a token", excerpt(&token.to_string())));
    let content = content(token).ok_or_else(wrong)?;
    let flag = |name: &str, default: bool| token.get(name).and_then(Value::as_bool).unwrap_or(default);
    let special = flag("special", special);
    let added = AddedToken::from(content, special)
        .single_word(flag("single_word", false))
        .lstrip(flag("lstrip", false))
        .rstrip(flag("rstrip", false));
    let normalized = flag("normalized", !special);
    Ok(added.normalized(normalized))
}
