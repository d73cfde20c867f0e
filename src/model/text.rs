//! Texts of a pipeline: from a prompt to tokens, and from tokens to embeddings by one or two encoders.

use super::components::TextFiles;
use super::device::{Observer, done, make_ready};
use crate::checkpoint::{Component, Learned};
use crate::error::{Error, Result, excerpt};
use crate::graph::{Compiler, Footprint, Plan};
use crate::latent::emphasis::{looks_weighted, lora_tag};
use crate::latent::passage::{Passage, PromptStyle, most_chunks};
use crate::latent::text::{Encoded, TextEncoder};
use crate::latent::tokenizer::Tokenizer;
use crate::nets::clip_text::{self, ClipText, Readout};
use crate::tensor::Tensor;

/// The blocks at the end that SDXL's encoders leave out.
const XL_SKIP: usize = 1;

/// From texts to contexts.
#[derive(Clone, Debug)]
pub struct TextSource {
    /// The encoders, in the order of their channels in a context: one, or two for SDXL.
    pub parts: Vec<TextPart>,
    /// `true` if the embeddings to move away from are zeros without a negative prompt.
    pub zeroes_empty_negative: bool,
}

/// A text encoder with its tokenizer.
#[derive(Clone, Debug)]
pub struct TextPart {
    /// The name of the component.
    pub name: &'static str,
    /// From a text to tokens.
    pub tokenizer: Tokenizer,
    /// From tokens to embeddings.
    pub encoder: ClipText,
    /// The files of the encoder.
    pub files: Component,
    /// The vectors of learned tokens, (vectors, channels).
    pub(super) learned: Option<Tensor>,
}

/// A text to follow, and one to move away from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// The text to follow.
    pub text: String,
    /// The text to move away from. `None` is an empty text, or zeros for models that have these.
    pub negative: Option<String>,
}

/// The tokens of a prompt, by each tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenized {
    /// Tokens of the text to follow.
    pub text: Vec<Passage>,
    /// Tokens of the text to move away from, of as many chunks; `None` for zeros in place of its embeddings.
    pub negative: Option<Vec<Passage>>,
    /// Notes about texts that were cut off.
    pub notes: Vec<String>,
}

/// One of the texts of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The text to follow.
    Text,
    /// The text to move away from.
    Negative,
}

/// One call of a text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextCall {
    /// The encoder, by its place in [`TextSource::parts`].
    pub part: usize,
    /// The states that are read.
    pub readout: Readout,
    /// The texts.
    pub sides: &'static [Side],
}

impl TextSource {
    /// The encoders of a pipeline, checked against their weights and each other.
    ///
    /// # Errors
    /// Those of [`clip_text::open`]; [`Error::BadFile`] for encoders that do not make one context.
    pub(super) fn of(texts: Vec<TextFiles>, zeroes_empty_negative: bool) -> Result<Self> {
        check_projections(&texts)?;
        let open = |text: TextFiles| {
            let TextFiles { name, tokenizer, files } = text;
            let encoder = clip_text::open(&files.config, &files.weights)?;
            Ok(TextPart { name, tokenizer, encoder, files, learned: None })
        };
        let parts: Vec<TextPart> = texts.into_iter().map(open).collect::<Result<_>>()?;
        let source = Self { zeroes_empty_negative: zeroes_empty_negative && parts.len() > 1, parts };
        let lengths = source.parts.iter().map(|part| (part, part.tokenizer.length()));
        match lengths.clone().find(|(_, length)| *length != source.length()) {
            None => Ok(source),
            Some((part, length)) => {
                let what = format!("texts of {} tokens, and those of `{}` have {length}", source.length(), part.name);
                Err(Error::bad_file_hint(&part.files.config.path, what, "take all components from one model"))
            }
        }
    }

    /// Tokens of a text.
    #[must_use]
    pub fn length(&self) -> usize {
        self.parts.first().map_or(0, |part| part.tokenizer.length())
    }

    /// Channels of a context: those of all encoders.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.parts.iter().map(|part| part.encoder.config().hidden_size).sum()
    }

    /// Channels of the embedding of a whole text; `None` for models that do not read it.
    #[must_use]
    pub fn pooled_channels(&self) -> Option<usize> {
        self.parts.last().and_then(TextPart::pooled_channels)
    }

    /// The tokens of a prompt.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn tokens(&self, prompt: &Prompt, style: PromptStyle) -> Result<Tokenized> {
        let mut notes = Vec::new();
        let mut encode = |field: &str, text: &str| -> Result<Vec<Passage>> {
            notes.extend(read_as_text(field, text, style));
            let of_part = |part: &TextPart| {
                let passage = Passage::read(&part.tokenizer, text, style)?;
                if let Some(rest) = &passage.truncated {
                    let (rest, length) = (excerpt(rest), part.tokenizer.length());
                    let way = if style.long { "" } else { "; `long_prompts` keeps it" };
                    let note = format!("`{field}` is longer than {length} tokens: \"{rest}\" is cut off{way}");
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
                Ok(passage)
            };
            self.parts.iter().map(of_part).collect()
        };
        let mut negative = match &prompt.negative {
            None if self.zeroes_empty_negative => None,
            negative => Some(encode("negative", negative.as_deref().unwrap_or_default())?),
        };
        let mut text = encode("prompt", &prompt.text)?;
        let most = most_chunks(text.iter().chain(negative.iter().flatten()));
        for passages in std::iter::once(&mut text).chain(&mut negative) {
            self.parts.iter().zip(passages).for_each(|(part, passage)| passage.pad(&part.tokenizer, most));
        }
        Ok(Tokenized { text, negative, notes })
    }

    /// The states that are read of an encoder. `skip` further blocks at the end are left out.
    #[must_use]
    pub fn readout(&self, part: usize, skip: usize) -> Readout {
        match self.parts.len() {
            0 | 1 => Readout { skip, ..Readout::default() },
            parts => Readout { skip: skip + XL_SKIP, normalised: false, pooled: part + 1 == parts },
        }
    }

    /// The calls that encode these texts, in the order of the encoders. As in diffusers' pipelines, `skip` leaves out
    /// blocks for the text to follow alone.
    #[must_use]
    pub fn calls(&self, with_negative: bool, skip: usize) -> Vec<TextCall> {
        let of_part = |part: usize| {
            let call = move |skip, sides| TextCall { part, readout: self.readout(part, skip), sides };
            match (with_negative, skip) {
                (false, _) => vec![call(skip, &[Side::Text])],
                (true, 0) => vec![call(0, &[Side::Text, Side::Negative])],
                (true, _) => vec![call(skip, &[Side::Text]), call(0, &[Side::Negative])],
            }
        };
        (0..self.parts.len()).flat_map(of_part).collect()
    }

    /// Adds a learned token for texts: `token`, or the one of the file. Returns the token.
    ///
    /// # Errors
    /// [`Error::BadFile`] for vectors of another model; [`Error::Argument`] for a token that the vocabulary has.
    pub fn learn(&mut self, learned: &Learned, token: Option<&str>) -> Result<String> {
        let token = token.unwrap_or(&learned.token).to_owned();
        let found: Vec<usize> = learned.vectors.iter().map(|vectors| vectors.shape[1]).collect();
        let own: Vec<usize> = self.parts.iter().map(|part| part.encoder.config().hidden_size).collect();
        if found != own {
            let family = match found[..] {
                [768] => "; it is for Stable Diffusion 1.x",
                [1024] => "; it is for Stable Diffusion 2.x",
                [768, 1280] => "; it is for SDXL",
                _ => "",
            };
            let what = format!("vectors of {found:?} channels, and the text encoders have {own:?}");
            return Err(Error::bad_file_hint(&learned.path, what, format!("take the model of its training{family}")));
        }
        for (part, vectors) in self.parts.iter_mut().zip(&learned.vectors) {
            let channels = vectors.shape[1];
            let mut rows = part.learned.take().map_or_else(Vec::new, |known| known.data);
            let first = part.encoder.config().vocab_size + rows.len() / channels;
            let ids = (first..first + vectors.shape[0]).filter_map(|id| u32::try_from(id).ok()).collect();
            part.tokenizer.learn(&token, ids)?;
            rows.extend_from_slice(&vectors.data);
            part.learned = Some(Tensor::new([rows.len() / channels, channels], rows));
        }
        Ok(token)
    }

    /// Refuses a number of skipped blocks that leaves none.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check_skip(&self, skip: usize) -> Result<()> {
        let read = |(at, part): (usize, &TextPart)| {
            part.encoder.config().num_hidden_layers.saturating_sub(self.readout(at, 0).skip)
        };
        match self.parts.iter().enumerate().map(read).min() {
            Some(blocks) if skip >= blocks => Err(Error::argument(
                format!("a `clip_skip` of {skip} blocks leaves none of the text encoder"),
                format!("`clip_skip` is at most {}", blocks.saturating_sub(1)),
            )),
            _ => Ok(()),
        }
    }

    /// The plan of encoding `texts` texts in one call of an encoder.
    #[must_use]
    pub fn plan(&self, compiler: Compiler, part: usize, readout: Readout, texts: usize) -> Plan {
        compiler.plan(&self.parts[part].encoder.graph_of(texts, readout))
    }

    /// The tokens of several texts for each encoder, of as many chunks.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn passages(tokenizers: &[Tokenizer], texts: &[String], style: PromptStyle) -> Result<Vec<Vec<Passage>>> {
        let read = |tokenizer: &Tokenizer| {
            texts.iter().map(|text| Passage::read(tokenizer, text, style)).collect::<Result<Vec<_>>>()
        };
        let mut all: Vec<Vec<Passage>> = tokenizers.iter().map(read).collect::<Result<_>>()?;
        let most = most_chunks(all.iter().flatten());
        for (tokenizer, passages) in tokenizers.iter().zip(&mut all) {
            for passage in passages {
                passage.pad(tokenizer, most);
            }
        }
        Ok(all)
    }

    /// Encodes tokens of texts on a device by every encoder, up to `batch` or 16 texts per call, and puts their
    /// channels side by side. One encoder at a time is on the device. Returns the largest footprint, too.
    ///
    /// # Errors
    /// Those of the device; those of `observer`.
    pub fn encode_all(
        &self,
        compiler: Compiler,
        passages: &[Vec<Passage>],
        batch: usize,
        observer: &mut Observer,
    ) -> Result<(Encoded, Option<Footprint>)> {
        let (mut encoded, mut plans) = (Vec::new(), Vec::new());
        for (at, (part, passages)) in self.parts.iter().zip(passages).enumerate() {
            let ids: Vec<Vec<u32>> = passages.iter().flat_map(|passage| passage.chunks.clone()).collect();
            let plan = self.plan(compiler, at, self.readout(at, 0), batch);
            make_ready(compiler.engine, std::slice::from_ref(&plan), observer)?;
            let encoder = part.on(compiler, batch, plan.clone())?;
            plans.push(plan);
            done(observer, "upload", "")?;
            let read = encoder.read(&ids)?;
            done(observer, "call", "")?;
            if !read.hidden.is_finite() {
                encoder.trace_nonfinite(&ids)?;
            }
            encoded.push(Encoded::stacked(&by_text(passages.iter(), &read)));
        }
        Ok((Encoded::beside(&encoded)?, Footprint::largest(&plans)))
    }
}

/// Refuses a single encoder with a projection, and two of which the second has none.
fn check_projections(texts: &[TextFiles]) -> Result<()> {
    let Some(last) = texts.last() else {
        return Err(Error::argument("a pipeline of texts without a text encoder", "give its text encoder"));
    };
    let file = &last.files.config;
    let net = ClipText::new(clip_text::Config::from_map(&file.values, &file.path)?);
    let supported = match (texts.len(), net.config().projection_dim) {
        (1, Some(_)) => "CLIPTextModel, for a single text encoder",
        (2.., None) => "CLIPTextModelWithProjection, for the second of two text encoders",
        _ => return Ok(()),
    };
    Err(Error::UnsupportedField {
        file: file.path.clone(),
        field: "architectures".to_owned(),
        value: format!("\"{}\"", net.class_name()),
        supported: supported.to_owned(),
    })
}

/// The embeddings of each text from those of all chunks, which follow each other.
pub(super) fn by_text<'p>(passages: impl Iterator<Item = &'p Passage>, chunks: &Encoded) -> Vec<Encoded> {
    let mut first = 0;
    let of_text = |passage: &Passage| {
        let range = first..first + passage.chunks.len();
        first = range.end;
        let rows = |tensor: &Tensor| tensor.slice(range.clone());
        passage.joined(Encoded { hidden: rows(&chunks.hidden), pooled: chunks.pooled.as_ref().map(rows) })
    };
    passages.map(of_text).collect()
}

/// Notes on what other programs read as more than text.
fn read_as_text(field: &str, text: &str, style: PromptStyle) -> Vec<String> {
    let weighted = looks_weighted(text).filter(|_| !style.weights).map(|found| {
        format!("`{field}` holds \"{}\", which is read as text; `prompt_weights` makes it a weight", excerpt(found))
    });
    let tag = lora_tag(text)
        .map(|found| format!("`{field}` holds \"{}\", which is read as text; give the file as `lora`", excerpt(found)));
    let breaks = style.weights && text.split_whitespace().any(|word| word == "BREAK");
    let breaks = breaks.then(|| format!("`{field}` holds BREAK, which is read as a word"));
    weighted.into_iter().chain(tag).chain(breaks).collect()
}

impl TextPart {
    /// Channels of the embedding of a whole text, for an encoder that has it.
    #[must_use]
    pub fn pooled_channels(&self) -> Option<usize> {
        self.encoder.config().projection_dim
    }

    /// The encoder on a device, by a plan for `batch` texts.
    ///
    /// # Errors
    /// Those of the device.
    pub fn on<'e>(&self, compiler: Compiler<'e>, batch: usize, plan: Plan) -> Result<TextEncoder<'e>> {
        let (net, weights) = (self.encoder.clone(), self.files.weights.clone());
        Ok(TextEncoder::planned(compiler.engine, net, weights, batch, plan)?.with_learned(self.learned.clone()))
    }
}
