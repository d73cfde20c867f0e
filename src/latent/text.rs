//! Text to embeddings: a `CLIPTextModel` on a device.

use crate::checkpoint::{Component, Weights};
use crate::error::{Error, Result};
use crate::graph::{Compiler, Plan, Program};
use crate::kernels::Engine;
use crate::nets::clip_text::{self, ClipText, Config, names};
use crate::tensor::Tensor;

/// A text encoder on a device, for up to `batch` texts per call.
pub struct TextEncoder<'e> {
    net: ClipText,
    weights: Weights,
    /// The rows of the position table.
    positions: Tensor,
    program: Program<'e>,
    batch: usize,
}

impl<'e> TextEncoder<'e> {
    /// Creates the encoder of a component for `batch` texts per call. The token table stays on the host, in its file.
    ///
    /// # Errors
    /// As [`clip_text::open`]; then those of the device.
    pub fn new(compiler: impl Into<Compiler<'e>>, component: Component, batch: usize) -> Result<Self> {
        let net = clip_text::open(&component.config, &component.weights)?;
        let compiler = compiler.into();
        let plan = compiler.plan(&net.graph(batch));
        Self::planned(compiler.engine, net, component.weights, batch, plan)
    }

    /// As [`TextEncoder::new`], by a plan for `batch` texts, for a network that was checked against its weights.
    ///
    /// # Errors
    /// What the device reports.
    pub fn planned(engine: &'e Engine, net: ClipText, weights: Weights, batch: usize, plan: Plan) -> Result<Self> {
        let (key, shape) = net.position_table();
        let positions = weights.fetch(&key, &shape)?;
        let program = Program::new(engine, plan, &|key, shape| weights.fetch(key, shape))?;
        Ok(Self { net, weights, positions, program, batch })
    }

    /// The program of the network.
    #[must_use]
    pub fn program(&self) -> &Program<'e> {
        &self.program
    }

    /// Returns the embeddings of texts, given by the ids of their tokens, the same number per text: (n, tokens,
    /// `hidden_size`), after the final normalisation.
    ///
    /// # Errors
    /// [`Error::Argument`] if a text has more tokens than the network has positions, another number than the first, or
    /// an id outside the token table; [`Error::Device`].
    pub fn encode(&self, texts: &[Vec<u32>]) -> Result<Tensor> {
        let tokens = self.check(texts)?;
        let hidden = self.net.config().hidden_size;
        let mut data = Vec::with_capacity(texts.len() * tokens * hidden);
        for texts in texts.chunks(self.batch) {
            let answer = self.program.run(&[(names::EMBEDDINGS, &self.embeddings(texts)?)])?.remove(0);
            for text in 0..texts.len() {
                data.extend_from_slice(&transposed(answer.item(text), hidden)[..tokens * hidden]);
            }
        }
        Ok(Tensor::new([texts.len(), tokens, hidden], data))
    }

    /// Names the first operation that makes a non-finite value of the first texts.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming it; [`Error::Device`].
    pub fn trace_nonfinite(&self, texts: &[Vec<u32>]) -> Result<()> {
        let first = &texts[..texts.len().min(self.batch)];
        self.program.trace_nonfinite(&[(names::EMBEDDINGS, &self.embeddings(first)?)])
    }

    /// Checks texts and returns the number of tokens per text.
    fn check(&self, texts: &[Vec<u32>]) -> Result<usize> {
        let Config { vocab_size, max_position_embeddings: places, .. } = *self.net.config();
        let tokens = texts.first().map_or(0, Vec::len);
        if tokens == 0 {
            return Err(Error::argument("no tokens to encode", "give at least one text"));
        }
        for text in texts {
            if text.len() > places || text.len() != tokens {
                let what = format!("a text of {} tokens for an encoder of {places} positions", text.len());
                return Err(Error::argument(what, "use the tokenizer and the text encoder of the same model"));
            }
            if let Some(id) = text.iter().find(|id| **id as usize >= vocab_size) {
                let what = format!("the tokenizer returns token {id}, but the text encoder has {vocab_size} tokens");
                return Err(Error::argument(what, "use the tokenizer and the text encoder of the same model"));
            }
        }
        Ok(tokens)
    }

    /// Returns the input for these texts, (batch, channels, 1, places): the sum of rows of both tables, and zeros where
    /// there is no token.
    fn embeddings(&self, texts: &[Vec<u32>]) -> Result<Tensor> {
        let Config { vocab_size, hidden_size, max_position_embeddings: places, .. } = *self.net.config();
        let (key, _) = self.net.token_table();
        let mut embeddings = Tensor::zeros([self.batch, hidden_size, 1, places]);
        for (text, input) in texts.iter().zip(embeddings.data.chunks_mut(hidden_size * places)) {
            let ids: Vec<usize> = text.iter().map(|id| *id as usize).collect();
            let rows = self.weights.fetch_rows(&key, (vocab_size, hidden_size), &ids)?;
            for place in 0..text.len() {
                let pairs = rows.item(place).iter().zip(self.positions.item(place)).enumerate();
                pairs.for_each(|(channel, (token, position))| input[channel * places + place] = token + position);
            }
        }
        Ok(embeddings)
    }
}

/// Transposes (channels, places) to (places, channels).
fn transposed(values: &[f32], channels: usize) -> Vec<f32> {
    let places = values.len() / channels;
    (0..values.len()).map(|at| values[at % channels * places + at / channels]).collect()
}
