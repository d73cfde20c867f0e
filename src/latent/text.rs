//! Text to embeddings: a `CLIPTextModel`, with a projection or without, on a device.

use crate::checkpoint::{Component, Weights};
use crate::error::{Error, Result};
use crate::graph::{Compiler, Plan, Program};
use crate::kernels::Engine;
use crate::nets::clip_text::{self, ClipText, Config, Readout, names};
use crate::tensor::Tensor;

/// A text encoder on a device, for up to `batch` texts per call.
pub struct TextEncoder<'e> {
    net: ClipText,
    weights: Weights,
    /// The rows of the position table.
    positions: Tensor,
    program: Program<'e>,
    batch: usize,
    /// The vectors of learned tokens, (vectors, channels), whose ids follow those of the token table.
    learned: Option<Tensor>,
}

/// The states of texts that were read.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The states of the tokens, (n, tokens, channels).
    pub hidden: Tensor,
    /// The projections of whole texts, (n, channels), if they were read.
    pub pooled: Option<Tensor>,
}

impl Encoded {
    /// The states of several texts of one encoder, one after the other.
    #[must_use]
    pub fn stacked(texts: &[Self]) -> Self {
        let stack = |all: Vec<&Tensor>| {
            let mut shape = all.first().map_or_else(|| vec![0, 0, 0], |first| first.shape.clone());
            shape[0] = all.iter().map(|one| one.shape[0]).sum();
            Tensor::new(shape, all.iter().flat_map(|one| one.data.iter().copied()).collect::<Vec<_>>())
        };
        let pooled: Vec<&Tensor> = texts.iter().filter_map(|text| text.pooled.as_ref()).collect();
        let hidden = stack(texts.iter().map(|text| &text.hidden).collect());
        Self { hidden, pooled: (!pooled.is_empty()).then(|| stack(pooled)) }
    }

    /// The states of several encoders for the same texts, their channels one after the other. The pooled state is that
    /// of the last encoder that has one.
    ///
    /// # Errors
    /// [`Error::Argument`] for other numbers of texts or tokens than those of the first, and without encoders.
    pub fn beside(parts: &[Self]) -> Result<Self> {
        let rows = |part: &Self| part.hidden.shape[..2].to_vec();
        let Some(first) = parts.first().filter(|first| parts.iter().all(|part| rows(part) == rows(first))) else {
            let shapes: Vec<_> = parts.iter().map(|part| &part.hidden.shape).collect();
            let what = format!("texts of different lengths from the encoders of one model: {shapes:?}");
            return Err(Error::argument(what, "take all tokenizers from one model"));
        };
        let rows: usize = first.hidden.shape[..2].iter().product();
        let channels: usize = parts.iter().map(|part| part.hidden.shape[2]).sum();
        let mut data = Vec::with_capacity(rows * channels);
        for row in 0..rows {
            for Self { hidden, .. } in parts {
                let width = hidden.shape[2];
                data.extend_from_slice(&hidden.data[row * width..(row + 1) * width]);
            }
        }
        let hidden = Tensor::new([first.hidden.shape[0], first.hidden.shape[1], channels], data);
        Ok(Self { hidden, pooled: parts.iter().rev().find_map(|part| part.pooled.clone()) })
    }
}

impl<'e> TextEncoder<'e> {
    /// Creates the encoder of a component for `batch` texts per call. The token table stays on the host, in its file.
    ///
    /// # Errors
    /// As [`clip_text::open`]; then those of the device.
    pub fn new(compiler: impl Into<Compiler<'e>>, component: Component, batch: usize) -> Result<Self> {
        let net = clip_text::open(&component.config, &component.weights)?;
        let compiler = compiler.into();
        let plan = compiler.plan(&net.graph_of(batch, Readout::default()));
        Self::planned(compiler.engine, net, component.weights, batch, plan)
    }

    /// As [`TextEncoder::new`], by a plan for `batch` texts, of any [`Readout`], for a network that was checked against
    /// its weights.
    ///
    /// # Errors
    /// What the device reports.
    pub fn planned(engine: &'e Engine, net: ClipText, weights: Weights, batch: usize, plan: Plan) -> Result<Self> {
        let (key, shape) = net.position_table();
        let positions = weights.fetch(&key, &shape)?;
        let program = Program::new(engine, plan, &|key, shape| weights.fetch(key, shape))?;
        Ok(Self { net, weights, positions, program, batch, learned: None })
    }

    /// The encoder with vectors of learned tokens, (vectors, channels): their ids follow those of the token table.
    #[must_use]
    pub fn with_learned(self, learned: Option<Tensor>) -> Self {
        Self { learned, ..self }
    }

    /// The program of the network.
    #[must_use]
    pub fn program(&self) -> &Program<'e> {
        &self.program
    }

    /// Returns the embeddings of texts, given by the ids of their tokens, the same number per text: (n, tokens,
    /// `hidden_size`), in the states that the plan reads.
    ///
    /// # Errors
    /// [`Error::Argument`] if a text has more tokens than the network has positions, another number than the first, or
    /// an id outside the token table; [`Error::Device`].
    pub fn encode(&self, texts: &[Vec<u32>]) -> Result<Tensor> {
        self.read(texts).map(|encoded| encoded.hidden)
    }

    /// As [`TextEncoder::encode`], with the projections of whole texts, where the plan has them.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    pub fn read(&self, texts: &[Vec<u32>]) -> Result<Encoded> {
        let tokens = self.check(texts)?;
        let config = self.net.config();
        let hidden = config.hidden_size;
        let mut data = Vec::with_capacity(texts.len() * tokens * hidden);
        let mut pooled = Vec::new();
        for texts in texts.chunks(self.batch) {
            let outputs = self.program.run(&[(names::EMBEDDINGS, &self.embeddings(texts)?)])?;
            for (text, ids) in texts.iter().enumerate() {
                data.extend_from_slice(&transposed(outputs[0].item(text), hidden)[..tokens * hidden]);
                if let (Some(projected), Some(channels)) = (outputs.get(1), config.projection_dim) {
                    // The end of a text may be its largest id, and learned tokens have larger ones.
                    let stored = |id: &u32| if (*id as usize) < config.vocab_size { *id } else { 0 };
                    let place = config.pooled_token.place(&ids.iter().map(stored).collect::<Vec<_>>());
                    pooled
                        .extend_from_slice(&transposed(projected.item(text), channels)[place * channels..][..channels]);
                }
            }
        }
        let rows = texts.len();
        let pooled = (!pooled.is_empty()).then(|| Tensor::new([rows, pooled.len() / rows], pooled));
        Ok(Encoded { hidden: Tensor::new([rows, tokens, hidden], data), pooled })
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
            let learned = self.learned.as_ref().map_or(0, |learned| learned.shape[0]);
            if let Some(id) = text.iter().find(|id| **id as usize >= vocab_size + learned) {
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
            // A learned token has no row in the table.
            let ids: Vec<usize> = text.iter().map(|id| *id as usize).collect();
            let stored: Vec<usize> = ids.iter().map(|id| if *id < vocab_size { *id } else { 0 }).collect();
            let rows = self.weights.fetch_rows(&key, (vocab_size, hidden_size), &stored)?;
            for place in 0..text.len() {
                let learned = ids[place].checked_sub(vocab_size).zip(self.learned.as_ref());
                let row = learned.map_or_else(|| rows.item(place), |(at, learned)| learned.item(at));
                let pairs = row.iter().zip(self.positions.item(place)).enumerate();
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
