//! The feeds of a call: images, noise levels and class labels as tensors.

use std::f64::consts::TAU;

use super::{EdmNetwork, ModelType};
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::nets::architecture::{Architecture, Inputs};
use crate::nets::feeds::{self, ClassLabels, Feeds, check_images, check_range, expect_no_context, names, vectors};

impl EdmNetwork {
    /// See [`Architecture::feeds`]. The labels of augmentations are zeros, which add nothing.
    pub(super) fn inputs_as_feeds(&self, inputs: &Inputs, weights: &WeightAccess) -> Result<Feeds> {
        let Inputs { x, timesteps, context, labels, .. } = *inputs;
        let batch = check_images(x, timesteps, self.config.img_channels)?;
        expect_no_context(context)?;
        self.labels().check(labels, batch)?;
        check_range("timestep", timesteps)?;
        let mut feeds = vec![(names::X.to_owned(), x.clone())];
        match self.frequencies() {
            None => feeds.push((names::TIMESTEP.to_owned(), feeds::parts(timesteps))),
            Some((key, shape)) => {
                let frequencies = weights(&key, &shape)?.data;
                let rows = timesteps.iter().flat_map(|t| fourier(*t, &frequencies)).collect();
                feeds.push((names::TIME_ROWS.to_owned(), vectors(batch, rows)));
            }
        }
        if let Some(ClassLabels::Numbers(numbers)) = labels {
            feeds.push((names::CLASS_ROWS.to_owned(), vectors(batch, self.class_rows(numbers, weights)?)));
        }
        Ok(feeds)
    }

    /// A vector for each label: what the linear layer makes of a vector of zeros with a one at the class, which
    /// `SongUNet` multiplies by the root of the number of classes. The label after the last class leaves out the one.
    fn class_rows(&self, numbers: &[f64], weights: &WeightAccess) -> Result<Vec<f32>> {
        let (classes, channels) = (self.config.label_dim, self.class_channels());
        let mut tensors = Vec::new();
        for (key, shape) in self.class_layer() {
            tensors.push(weights(&key, &shape)?.data);
        }
        let [matrix, bias @ ..] = &tensors[..] else { return Ok(Vec::new()) };
        let gain = match self.config.model_type {
            ModelType::Song => (classes as f64).sqrt(),
            ModelType::Dhariwal => 1.0,
        };
        let mut rows = Vec::with_capacity(numbers.len() * channels);
        for number in numbers {
            if number.fract() != 0.0 || !(0.0..=classes as f64).contains(number) {
                return Err(Error::argument(
                    format!("class label {number} is not one of this network"),
                    format!("give whole numbers from 0 to {}", classes - 1),
                ));
            }
            let class = *number as usize;
            rows.extend((0..channels).map(|channel| {
                let value = if class < classes { f64::from(matrix[channel * classes + class]) * gain } else { 0.0 };
                (value + bias.first().map_or(0.0, |bias| f64::from(bias[channel]))) as f32
            }));
        }
        Ok(rows)
    }
}

/// Sines, then cosines, of a number at these frequencies, in revolutions per unit.
fn fourier(number: f64, frequencies: &[f32]) -> Vec<f32> {
    let angles = || frequencies.iter().map(|frequency| TAU * (f64::from(*frequency) * number));
    angles().map(|angle| angle.sin() as f32).chain(angles().map(|angle| angle.cos() as f32)).collect()
}
