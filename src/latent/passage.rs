//! Texts as tokens: in one chunk or several, with weights or without.

use super::emphasis::{Segment, emphasise, segments};
use super::text::Encoded;
use super::tokenizer::Tokenizer;
use crate::error::Result;
use crate::tensor::Tensor;

/// The most chunks of a text, more than any network was trained with.
const MOST_CHUNKS: usize = 64;

/// The way in which texts are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptStyle {
    /// Brackets are weights ([`super::emphasis`]).
    pub weights: bool,
    /// A text that is too long for one chunk goes on in further ones, each with its own start and end.
    pub long: bool,
}

/// The tokens of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// The ids of each chunk, [`Tokenizer::length`] of them.
    pub chunks: Vec<Vec<u32>>,
    /// The weights of the tokens of each chunk, if any differs from 1.
    weights: Option<Vec<Vec<f64>>>,
    /// The end of the text that was cut off.
    pub truncated: Option<String>,
}

impl Passage {
    /// Reads a text.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn read(tokenizer: &Tokenizer, text: &str, style: PromptStyle) -> Result<Self> {
        let room = tokenizer.room();
        let parts = if style.weights { segments(text) } else { vec![Segment { text: text.to_owned(), weight: 1.0 }] };
        let (mut ids, mut weights): (Vec<u32>, Vec<f64>) = (Vec::new(), Vec::new());
        let mut rest: Option<String> = None;
        let most = if style.long { MOST_CHUNKS * room } else { room };
        for Segment { text, weight } in parts {
            let pieces = tokenizer.pieces(&text)?;
            let kept = pieces.ids.len().min(most - ids.len());
            ids.extend_from_slice(&pieces.ids[..kept]);
            weights.resize(ids.len(), weight);
            if let Some(cut) = pieces.starts.get(kept) {
                rest.get_or_insert_with(String::new).push_str(&text[*cut..]);
            } else if let Some(rest) = &mut rest {
                rest.push_str(&text);
            }
        }
        let mut chunks: Vec<Vec<u32>> = ids.chunks(room).map(|ids| tokenizer.framed(ids)).collect();
        if chunks.is_empty() {
            chunks.push(tokenizer.framed(&[]));
        }
        let framed = |weights: &[f64]| {
            let mut framed = vec![1.0; tokenizer.length()];
            framed[1..=weights.len()].copy_from_slice(weights);
            framed
        };
        let is_weighted = weights.iter().any(|weight| *weight != 1.0);
        let weights = is_weighted.then(|| weights.chunks(room).map(framed).collect());
        Ok(Self { chunks, weights, truncated: rest })
    }

    /// Adds empty chunks until there are `count`.
    pub fn pad(&mut self, tokenizer: &Tokenizer, count: usize) {
        while self.chunks.len() < count {
            self.chunks.push(tokenizer.framed(&[]));
            self.weights.iter_mut().for_each(|weights| weights.push(vec![1.0; tokenizer.length()]));
        }
    }

    /// Returns the embeddings of the text, from those of its chunks: weighted, and one after the other. The pooled
    /// state is that of the first chunk.
    #[must_use]
    pub fn joined(&self, chunks: Encoded) -> Encoded {
        let Encoded { mut hidden, pooled } = chunks;
        if let Some(weights) = &self.weights {
            let stride = hidden.stride();
            let embeddings = hidden.data.chunks_mut(stride.max(1));
            embeddings.zip(weights).for_each(|(embeddings, weights)| emphasise(embeddings, weights));
        }
        let (tokens, channels) = (hidden.shape[1], hidden.shape[2]);
        let hidden = Tensor::new([1, self.chunks.len() * tokens, channels], hidden.data);
        Encoded { hidden, pooled: pooled.map(|pooled| pooled.slice(0..1)) }
    }
}

/// The number of chunks of the longest of some texts.
pub fn most_chunks<'p>(passages: impl Iterator<Item = &'p Passage>) -> usize {
    passages.map(|passage| passage.chunks.len()).max().unwrap_or(1)
}
