//! What a call feeds to the graph: images, timesteps and labels as tensors.

use std::f64::consts::TAU;

use super::{ClassEmbedding, ClassLabels, TimeEmbedding, UNet2d, names};
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::nets::feeds::{self, Labels, center_feed, check_images, check_range, gather, vectors};
use crate::tensor::Tensor;

impl UNet2d {
    /// Every input of the graph for images `x` (n, `in_channels`, h, w) at one timestep an image, by name; each tensor
    /// is (n, c, h, w), or (n, c, 1, 1) for a vector an image. `weights` is asked for the tables behind learned, Fourier
    /// and class embeddings only.
    ///
    /// # Errors
    /// [`Error::Argument`] where images, timesteps or labels do not fit the network or each other.
    pub fn feeds(
        &self,
        x: &Tensor,
        timesteps: &[f64],
        labels: Option<ClassLabels>,
        weights: &WeightAccess,
    ) -> Result<Vec<(String, Tensor)>> {
        let batch = check_images(x, timesteps, self.config.in_channels)?;
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

    /// What it takes as class labels.
    fn labels(&self) -> Labels {
        match self.config.class_embedding {
            None => Labels::None,
            Some(ClassEmbedding::Identity) => Labels::Rows(self.config.time_embedding_dim),
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

/// `GaussianFourierProjection`: sines, then cosines, of log t at these frequencies in turns.
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
