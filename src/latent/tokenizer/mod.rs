//! CLIP's byte-pair encoding by the `tokenizers` crate, assembled as in transformers' `CLIPTokenizer`
//! (`models/clip/tokenization_clip.py`, 5.23).
//!
//! A folder holds `tokenizer.json`, or `vocab.json` with `merges.txt`. In both cases only the vocabulary and the merges
//! are read; normalisation and splitting are those of the class. `tokenizer_config.json` and `special_tokens_map.json`
//! determine the special tokens and the padding.

mod special;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, NormalizerWrapper, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer as Backend};

use crate::checkpoint::TokenizerFiles;
use crate::error::{Error, Result};
use special::Special;
use vocabulary::Vocabulary;

/// The pieces of a text before bytes are paired: special tokens, contractions, words, single digits, runs of other
/// characters.
const PIECES: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The mark of a token at the end of a word.
const END_OF_WORD: &str = "</w>";

/// The tokenizer of a text encoder.
#[derive(Clone)]
pub struct Tokenizer {
    backend: Backend,
    start: u32,
    end: u32,
    pad: u32,
    length: usize,
    /// The ids of the vectors of learned tokens, by the id of the token.
    learned: BTreeMap<u32, Vec<u32>>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("length", &self.length).finish_non_exhaustive()
    }
}

/// All tokens of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// The ids.
    pub ids: Vec<u32>,
    /// The place in the text where each begins, in bytes.
    pub starts: Vec<usize>,
}

/// The tokens of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The ids, [`Tokenizer::length`] of them: a start, the text, an end, and padding.
    pub ids: Vec<u32>,
    /// The truncated end of the text, if it was too long.
    pub truncated: Option<String>,
}

impl Tokenizer {
    /// Opens the tokenizer of a pipeline.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn find(files: &TokenizerFiles) -> Result<Self> {
        match files {
            TokenizerFiles::Folder(folder) => Self::open(folder),
            TokenizerFiles::Clip { pad, beside } => match beside {
                Some(folder) => Self::open(folder),
                None => Self::clip(pad),
            },
        }
    }

    /// Opens the tokenizer in `folder`.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming the file that is missing or malformed; [`Error::UnsupportedField`] for a tokenizer of
    /// another kind, or one that pads or truncates at the beginning.
    pub fn open(folder: &Path) -> Result<Self> {
        let vocabulary = Vocabulary::read(folder)?;
        let special = Special::read(folder, &vocabulary)?;
        Self::assemble(vocabulary, special)
    }

    /// CLIP's own tokenizer, which is embedded. Short texts are filled up by the token `pad`: OpenAI's text encoder
    /// was trained with `<|endoftext|>`, those of OpenCLIP with `!`.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn clip(pad: &str) -> Result<Self> {
        Self::assemble(Vocabulary::clip()?, Special::clip(pad))
    }

    fn assemble(vocabulary: Vocabulary, special: Special) -> Result<Self> {
        let file = vocabulary.file.clone();
        let wrong = |error: tokenizers::Error| Error::bad_file_hint(&file, error.to_string(), DAMAGED);
        let mut backend = backend(vocabulary, &special.unknown).map_err(wrong)?;
        backend.add_tokens(special.added.iter().cloned()).map_err(wrong)?;
        let id = |token: &str| {
            backend
                .token_to_id(token)
                .ok_or_else(|| Error::bad_file_hint(&file, format!("no token `{token}`"), DAMAGED))
        };
        let (start, end, pad) = (id(&special.start)?, id(&special.end)?, id(&special.pad)?);
        Ok(Self { start, end, pad, length: special.length, backend, learned: BTreeMap::new() })
    }

    /// The number of tokens that every text is padded or truncated to.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Returns the tokens of a text.
    ///
    /// # Errors
    /// [`Error::Argument`] if the text cannot be split into tokens.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let pieces = self.pieces(text)?;
        let kept = pieces.ids.len().min(self.room());
        let truncated = pieces.starts.get(self.room()).map(|start| text[*start..].to_owned());
        Ok(Tokens { ids: self.framed(&pieces.ids[..kept]), truncated })
    }

    /// The number of tokens of a text between its start and its end.
    #[must_use]
    pub fn room(&self) -> usize {
        self.length - 2
    }

    /// Returns all tokens of a text, without a start, an end, and padding. A learned token is one per vector.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn pieces(&self, text: &str) -> Result<Pieces> {
        let encoding = self
            .backend
            .encode(text, false)
            .map_err(|error| Error::argument(format!("the text `{text}` has no tokens: {error}"), "rephrase it"))?;
        let mut pieces = Pieces::default();
        for (id, (first, _)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            let start = (0..=*first).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let ids = self.learned.get(id).map_or(std::slice::from_ref(id), Vec::as_slice);
            pieces.ids.extend_from_slice(ids);
            pieces.starts.resize(pieces.ids.len(), start);
        }
        Ok(pieces)
    }

    /// Returns the tokens of a text, at most [`Tokenizer::room`], with a start, an end, and padding.
    #[must_use]
    pub fn framed(&self, text: &[u32]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(self.length);
        ids.push(self.start);
        ids.extend_from_slice(&text[..text.len().min(self.room())]);
        ids.push(self.end);
        ids.resize(self.length, self.pad);
        ids
    }

    /// Makes `token` in a text stand for the tokens `ids`, which are not in the vocabulary.
    ///
    /// # Errors
    /// [`Error::Argument`] for a token that the vocabulary has.
    pub fn learn(&mut self, token: &str, ids: Vec<u32>) -> Result<()> {
        let refuse = |why: &str| {
            let what = format!("`{token}` cannot be a learned token: {why}");
            Err(Error::argument(what, "give it another name, such as `<my-token>`"))
        };
        if token.trim() != token || token.is_empty() {
            return refuse("it is empty, or begins or ends with spaces");
        }
        if self.backend.token_to_id(token).is_some() {
            return refuse("the vocabulary has it");
        }
        let added = AddedToken::from(token.to_owned(), false).single_word(true);
        let id = self.backend.add_tokens([added]).ok().and_then(|_| self.backend.token_to_id(token));
        match id {
            None => refuse("the tokenizer does not take it"),
            Some(id) => {
                self.learned.insert(id, ids);
                Ok(())
            }
        }
    }
}

/// The hint for a damaged file.
const DAMAGED: &str = "restore the folder as transformers' `save_pretrained` wrote it";

/// Builds the tokenizer without special tokens.
fn backend(vocabulary: Vocabulary, unknown: &str) -> tokenizers::Result<Backend> {
    let mut model = BPE::new(vocabulary.ids.into_iter().collect(), vocabulary.merges);
    model.end_of_word_suffix = Some(END_OF_WORD.to_owned());
    model.unk_token = Some(unknown.to_owned());
    let mut backend = Backend::new(model);
    backend.with_normalizer(Some(Normalizers::new(vec![
        NormalizerWrapper::NFC(NFC),
        NormalizerWrapper::Replace(Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ")?),
        NormalizerWrapper::Lowercase(Lowercase),
    ])))?;
    let pieces = Split::new(SplitPattern::Regex(PIECES.to_owned()), SplitDelimiterBehavior::Removed, true)?;
    backend.with_pre_tokenizer(Some(PreTokenizers::new(vec![
        PreTokenizerWrapper::Split(pieces),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
    ])));
    Ok(backend)
}
