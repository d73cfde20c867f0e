//! The feeds of a call: images, timesteps, contexts and labels as tensors.

use super::{UNet2dCondition, names};
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::nets::architecture::{Architecture, Inputs};
use crate::nets::feeds::{ClassLabels, Feeds, center_feed, check_images, check_range, gather, parts, vectors};
use crate::tensor::Tensor;

impl UNet2dCondition {
    /// See [`Architecture::feeds`]: the table behind a class embedding is looked up here.
    pub(super) fn inputs_as_feeds(&self, inputs: &Inputs, weights: &WeightAccess) -> Result<Feeds> {
        let Inputs { x, timesteps, context, labels } = *inputs;
        let batch = check_images(x, timesteps, self.config.in_channels)?;
        self.labels().check(labels, batch)?;
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
        Ok(feeds)
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
