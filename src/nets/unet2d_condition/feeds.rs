//! What a call feeds to the graph: images, timesteps, contexts and labels as tensors.

use super::{ClassEmbedding, ClassLabels, UNet2dCondition, names};
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::nets::feeds::{Labels, center_feed, check_images, check_range, gather, parts, vectors};
use crate::tensor::Tensor;

impl UNet2dCondition {
    /// Every input of the graph for images `x` (n, `in_channels`, h, w) at one timestep an image with a context each
    /// (n, tokens, `cross_attention_dim`), by name; each tensor is (n, c, h, w), or (n, c, 1, 1) for a vector an image.
    /// `weights` is asked for the table behind a class embedding only.
    ///
    /// # Errors
    /// [`Error::Argument`] where images, timesteps, contexts or labels do not fit the network or each other.
    pub fn feeds(
        &self,
        x: &Tensor,
        timesteps: &[f64],
        context: &Tensor,
        labels: Option<ClassLabels>,
        weights: &WeightAccess,
    ) -> Result<Vec<(String, Tensor)>> {
        let batch = check_images(x, timesteps, self.config.in_channels)?;
        self.labels().check(labels, batch)?;
        check_range("timestep", timesteps)?;
        let mut feeds = vec![
            (names::X.to_owned(), x.clone()),
            (names::TIMESTEP.to_owned(), parts(timesteps)),
            (names::CONTEXT.to_owned(), self.context_feed(context, batch)?),
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

    /// What it takes as class labels.
    fn labels(&self) -> Labels {
        match self.config.class_embedding {
            None => Labels::None,
            Some(ClassEmbedding::Identity) => Labels::Rows(self.config.time_embedding_dim),
            Some(ClassEmbedding::Projection(dim) | ClassEmbedding::SimpleProjection(dim)) => Labels::Rows(dim),
            Some(ClassEmbedding::Table(_) | ClassEmbedding::Timestep) => Labels::Numbers,
        }
    }

    fn class_feed(&self, labels: ClassLabels, weights: &WeightAccess) -> Result<(String, Tensor)> {
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
