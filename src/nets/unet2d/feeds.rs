//! What a call feeds to the graph: images, timesteps and labels as tensors.

use std::f64::consts::TAU;

use super::{ClassEmbedding, TimeEmbedding, UNet2d, names};
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::kernels::timestep_embedding::split_in_three;
use crate::tensor::Tensor;

/// The labels of a batch.
#[derive(Clone, Copy, Debug)]
pub enum ClassLabels<'a> {
    /// A number an image: a row of the table, or a label that is embedded like a timestep.
    Numbers(&'a [f64]),
    /// A vector an image, (n, `time_embedding_dim`): `class_embed_type` identity.
    Rows(&'a Tensor),
}

impl UNet2d {
    /// Every input of the graph for images `x` (n, `in_channels`, h, w) at one timestep an image, by name; each tensor
    /// is (n, c, h, w), or (n, c, 1, 1) for a vector an image. `weights` is asked for the tables behind learned, Fourier
    /// and class embeddings only.
    ///
    /// # Errors
    /// [`Error::Usage`] where images, timesteps or labels do not fit the network or each other.
    pub fn feeds(
        &self,
        x: &Tensor,
        timesteps: &[f64],
        labels: Option<ClassLabels>,
        weights: &WeightAccess,
    ) -> Result<Vec<(String, Tensor)>> {
        let batch = self.check_images(x, timesteps)?;
        let mut feeds = vec![(names::X.to_owned(), x.clone())];
        if self.config.center_input_sample {
            feeds.push((names::CENTER_COEFFICIENTS.to_owned(), vectors(batch, vec![2.0; batch])));
        }
        feeds.push(self.projected("timestep", timesteps, (names::TIMESTEP, names::TIME_ROWS), weights)?);
        if self.config.time_embedding_type == TimeEmbedding::Fourier {
            let reciprocals = timesteps.iter().map(|t| t.recip() as f32).collect();
            feeds.push((names::OUTPUT_COEFFICIENTS.to_owned(), vectors(batch, reciprocals)));
        }
        feeds.extend(self.class_feed(batch, labels, weights)?);
        Ok(feeds)
    }

    fn check_images(&self, x: &Tensor, timesteps: &[f64]) -> Result<usize> {
        let channels = self.config.in_channels;
        let [batch, found, ..] = x.shape[..] else {
            return Err(images_error(&x.shape, channels));
        };
        if x.shape.len() != 4 || found != channels {
            return Err(images_error(&x.shape, channels));
        }
        if timesteps.len() != batch {
            return Err(Error::usage(
                format!("{} timesteps for {batch} images", timesteps.len()),
                "give one timestep an image",
            ));
        }
        Ok(batch)
    }

    fn class_feed(
        &self,
        batch: usize,
        labels: Option<ClassLabels>,
        weights: &WeightAccess,
    ) -> Result<Option<(String, Tensor)>> {
        let dim = self.config.time_embedding_dim;
        match (self.config.class_embedding, labels) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Error::usage("this network takes no class labels", "leave the class labels away")),
            (Some(_), None) => Err(Error::usage("this network needs class labels", "give one class label an image")),
            (Some(ClassEmbedding::Identity), Some(ClassLabels::Rows(rows))) if rows.shape == [batch, dim] => {
                Ok(Some((names::CLASS_ROWS.to_owned(), vectors(batch, rows.data.clone()))))
            }
            (Some(ClassEmbedding::Identity), Some(_)) => Err(Error::usage(
                "the class labels do not fit this network",
                format!("give a vector of {dim} numbers an image: class labels of shape [{batch}, {dim}]"),
            )),
            (Some(_), Some(ClassLabels::Numbers(numbers))) if numbers.len() == batch => {
                self.class_numbers(numbers, weights).map(Some)
            }
            (Some(_), Some(_)) => Err(Error::usage(
                "the class labels do not fit this network",
                format!("give one number an image: {batch} class labels"),
            )),
        }
    }

    fn class_numbers(&self, numbers: &[f64], weights: &WeightAccess) -> Result<(String, Tensor)> {
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
        let batch = numbers.len();
        if let Some(number) = numbers.iter().find(|number| !(number.is_finite() && number.abs() < LARGEST_NUMBER)) {
            return Err(Error::usage(format!("{what} {number} is out of range"), "give a finite number"));
        }
        let Some((key, shape)) = self.time_table() else {
            let split = numbers.iter().flat_map(|t| split_in_three(*t)).collect();
            return Ok((parts.to_owned(), vectors(batch, split)));
        };
        let table = weights(&key, &shape)?;
        let data = match self.config.time_embedding_type {
            TimeEmbedding::Fourier => fourier(what, numbers, &table.data)?,
            TimeEmbedding::Positional | TimeEmbedding::Learned => gather(what, numbers, &table)?,
        };
        Ok((rows.to_owned(), vectors(batch, data)))
    }
}

/// Far beyond any schedule; the three parts of a number below it are ordinary float32 numbers.
const LARGEST_NUMBER: f64 = 1e30;

/// One vector an image, as (n, c, 1, 1).
fn vectors(batch: usize, data: Vec<f32>) -> Tensor {
    Tensor::new([batch, data.len() / batch.max(1), 1, 1], data)
}

/// Rows of a table.
fn gather(what: &str, numbers: &[f64], table: &Tensor) -> Result<Vec<f32>> {
    let rows = table.shape.first().copied().unwrap_or(0);
    let mut gathered = Vec::with_capacity(numbers.len() * table.stride());
    for number in numbers {
        if number.fract() != 0.0 || *number < 0.0 || *number >= rows as f64 {
            return Err(Error::usage(
                format!("{what} {number} is not in this network's table"),
                format!("give whole numbers from 0 to {}", rows.saturating_sub(1)),
            ));
        }
        gathered.extend_from_slice(table.item(*number as usize));
    }
    Ok(gathered)
}

/// `GaussianFourierProjection`: sines, then cosines, of log t at these frequencies in turns.
fn fourier(what: &str, numbers: &[f64], frequencies: &[f32]) -> Result<Vec<f32>> {
    let mut rows = Vec::with_capacity(2 * numbers.len() * frequencies.len());
    for number in numbers {
        if *number <= 0.0 {
            return Err(Error::usage(
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

fn images_error(shape: &[usize], channels: usize) -> Error {
    Error::usage(
        format!("images of shape {shape:?} do not fit this network"),
        format!("give shape [n, {channels}, height, width]"),
    )
}
