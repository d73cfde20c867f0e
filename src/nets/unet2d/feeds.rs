//! The feeds of a call: images, timesteps and labels as tensors.

use std::f64::consts::TAU;

use super::{TimeEmbedding, UNet2d, names};
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::nets::architecture::{Architecture, Inputs};
use crate::nets::feeds::{
    self, ClassLabels, Feeds, center_feed, check_images, check_range, expect_no_context, gather, vectors,
};
use crate::tensor::Tensor;

impl UNet2d {
    /// See [`Architecture::feeds`]: the tables behind learned, Fourier and class embeddings are looked up here.
    pub(super) fn inputs_as_feeds(&self, inputs: &Inputs, weights: &WeightAccess) -> Result<Feeds> {
        let Inputs { x, timesteps, context, labels, .. } = *inputs;
        let batch = check_images(x, timesteps, self.config.in_channels)?;
        expect_no_context(context)?;
        self.labels().check(labels, batch)?;
        let mut feeds = vec![(names::X.to_owned(), x.clone())];
        if self.config.center_input_sample {
            feeds.push(center_feed(batch));
        }
        feeds.push(self.projected("timestep", timesteps, (names::TIMESTEP, names::TIME_ROWS), weights)?);
        if self.config.time_embedding_type == TimeEmbedding::Fourier {
            let reciprocals = timesteps.iter().map(|t| t.recip() as f32).collect();
            feeds.push((names::OUTPUT_COEFFICIENTS.to_owned(), vectors(batch, reciprocals)));
        }
        feeds.extend(labels.map(|labels| self.class_feed(labels, weights)).transpose()?);
        Ok(feeds)
    }

    fn class_feed(&self, labels: &ClassLabels, weights: &WeightAccess) -> Result<(String, Tensor)> {
        let numbers = match labels {
            ClassLabels::Rows(rows) => {
                return Ok((names::CLASS_ROWS.to_owned(), vectors(rows.shape[0], rows.data.clone())));
            }
            ClassLabels::Numbers(numbers) => numbers,
        };
        let Some((key, shape)) = self.class_table() else {
            return self.projected("class label", numbers, (names::CLASS_TIMESTEP, names::CLASS_ROWS), weights);
        };
        let rows = gather("class label", numbers, &weights(&key, &shape)?)?;
        Ok((names::CLASS_ROWS.to_owned(), vectors(numbers.len(), rows)))
    }

    /// The feed of a timestep or of a label treated as one: `parts` where the graph embeds it, `rows` otherwise.
    fn projected(
        &self,
        what: &str,
        numbers: &[f64],
        (parts, rows): (&str, &str),
        weights: &WeightAccess,
    ) -> Result<(String, Tensor)> {
        check_range(what, numbers)?;
        let Some((key, shape)) = self.time_table() else {
            return Ok((parts.to_owned(), feeds::parts(numbers)));
        };
        let table = weights(&key, &shape)?;
        let data = match self.config.time_embedding_type {
            TimeEmbedding::Fourier => fourier(what, numbers, &table.data)?,
            TimeEmbedding::Positional | TimeEmbedding::Learned => gather(what, numbers, &table)?,
        };
        Ok((rows.to_owned(), vectors(numbers.len(), data)))
    }
}

/// `GaussianFourierProjection`: sines, then cosines, of log t at these frequencies, in revolutions per unit.
fn fourier(what: &str, numbers: &[f64], frequencies: &[f32]) -> Result<Vec<f32>> {
    let mut rows = Vec::with_capacity(2 * numbers.len() * frequencies.len());
    for number in numbers {
        if *number <= 0.0 {
            return Err(Error::argument(
                format!("{what} {number} has no logarithm, which this network's Fourier embedding needs"),
                "give numbers above 0",
            ));
        }
        let angles: Vec<f64> = frequencies.iter().map(|f| TAU * (f64::from(*f) * number.ln())).collect();
        rows.extend(angles.iter().map(|angle| angle.sin() as f32));
        rows.extend(angles.iter().map(|angle| angle.cos() as f32));
    }
    Ok(rows)
}
