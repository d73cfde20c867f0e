//! The feeds of a call: images, timesteps, contexts, labels and what is added to the time embedding, as tensors.

use std::f64::consts::TAU;

use super::{Addition, UNet2dCondition, names};
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::nets::architecture::{Architecture, Inputs};
use crate::nets::blocks::positional_frequencies;
use crate::nets::feeds::{Added, ClassLabels, Feeds, center_feed, check_images, check_range, gather, parts, vectors};
use crate::tensor::Tensor;

impl UNet2dCondition {
    /// See [`Architecture::feeds`]: the table behind a class embedding is looked up here.
    pub(super) fn inputs_as_feeds(&self, inputs: &Inputs, weights: &WeightAccess) -> Result<Feeds> {
        let Inputs { x, timesteps, context, labels, added, guidance } = *inputs;
        let batch = check_images(x, timesteps, self.config.in_channels)?;
        self.labels().check(labels, batch)?;
        inputs.check_extras(self)?;
        check_range("timestep", timesteps)?;
        let context = match context {
            Some(context) => self.context_feed(context, batch)?,
            None if self.config.has_cross_attention() => {
                let hint = format!("give a context of shape [{batch}, tokens, {}]", self.config.cross_attention_dim);
                return Err(Error::argument("this network needs a context", hint));
            }
            None => Tensor::zeros([batch, self.config.cross_attention_dim, 1, 1]),
        };
        let mut feeds = vec![
            (names::X.to_owned(), x.clone()),
            (names::TIMESTEP.to_owned(), parts(timesteps)),
            (names::CONTEXT.to_owned(), context),
        ];
        if self.config.center_input_sample {
            feeds.push(center_feed(batch));
        }
        feeds.extend(labels.map(|labels| self.class_feed(labels, weights)).transpose()?);
        if let (Some(Addition { per_number, .. }), Some(added)) = (self.config.addition, added) {
            feeds.push((names::ADDED_ROWS.to_owned(), self.added_feed(added, per_number)?));
        }
        if let Some(channels) = self.config.time_cond_proj_dim {
            let row = guidance.map_or_else(|| vec![0.0; channels], |scale| guidance_embedding(scale, channels));
            feeds.push((names::GUIDANCE_ROWS.to_owned(), vectors(batch, row.repeat(batch))));
        }
        Ok(feeds)
    }

    /// The embeddings of texts, each before those of its numbers.
    fn added_feed(&self, added: &Added, per_number: usize) -> Result<Tensor> {
        let batch = added.pooled.shape[0];
        let mut data = Vec::new();
        for image in 0..batch {
            data.extend_from_slice(added.pooled.item(image));
            let numbers: Vec<f64> = added.numbers.item(image).iter().map(|number| f64::from(*number)).collect();
            check_range("time id", &numbers)?;
            for number in numbers {
                let angles = positional_frequencies(per_number, self.config.freq_shift);
                let angles: Vec<f64> = angles.iter().map(|one| number * one * TAU).collect();
                data.extend(waves(&angles, per_number, self.config.flip_sin_to_cos));
            }
        }
        Ok(vectors(batch, data))
    }

    /// Contexts (n, tokens, dim) as a map of tokens, (n, dim, 1, tokens).
    fn context_feed(&self, context: &Tensor, batch: usize) -> Result<Tensor> {
        let dim = self.config.cross_attention_dim;
        match context.shape[..] {
            [n, tokens, found] if n == batch && tokens > 0 && found == dim => {
                let mut data = Vec::with_capacity(context.data.len());
                for image in context.data.chunks(tokens * dim) {
                    for channel in 0..dim {
                        data.extend(image.iter().skip(channel).step_by(dim));
                    }
                }
                Ok(Tensor::new([n, dim, 1, tokens], data))
            }
            _ => Err(Error::argument(
                format!("a context of shape {:?} does not fit this network", context.shape),
                format!("give shape [{batch}, tokens, {dim}]"),
            )),
        }
    }

    fn class_feed(&self, labels: &ClassLabels, weights: &WeightAccess) -> Result<(String, Tensor)> {
        let numbers = match labels {
            ClassLabels::Rows(rows) => {
                return Ok((names::CLASS_ROWS.to_owned(), vectors(rows.shape[0], rows.data.clone())));
            }
            ClassLabels::Numbers(numbers) => numbers,
        };
        if let Some((key, shape)) = self.class_table() {
            let rows = gather("class label", numbers, &weights(&key, &shape)?)?;
            return Ok((names::CLASS_ROWS.to_owned(), vectors(numbers.len(), rows)));
        }
        check_range("class label", numbers)?;
        Ok((names::CLASS_TIMESTEP.to_owned(), parts(numbers)))
    }
}

/// `get_guidance_scale_embedding` of diffusers' pipelines, of w = scale - 1: sines and cosines of 1000 w at frequencies
/// that fall from 1 to 1e-4.
fn guidance_embedding(scale: f64, channels: usize) -> Vec<f32> {
    let half = channels / 2;
    let exponent = -10_000f64.ln() / (half as f64 - 1.0);
    let angles: Vec<f64> = (0..half).map(|at| 1000.0 * (scale - 1.0) * (exponent * at as f64).exp()).collect();
    waves(&angles, channels, false)
}

/// The sines of angles, then their cosines, or the cosines first; an odd last channel is zero.
fn waves(angles: &[f64], channels: usize, cosines_first: bool) -> Vec<f32> {
    let sines = angles.iter().map(|angle| angle.sin() as f32);
    let cosines = angles.iter().map(|angle| angle.cos() as f32);
    let mut waves: Vec<f32> =
        if cosines_first { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() };
    waves.resize(channels, 0.0);
    waves
}
