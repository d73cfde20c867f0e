//! Guidance by a classifier of noised images (Dhariwal and Nichol, 2021).

use std::sync::Arc;

use super::network::{numbers, rows};
use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::graph::{Plan, Program};
use crate::kernels::Engine;
use crate::nets::adm::AdmClassifier;
use crate::nets::architecture::CallSize;
use crate::tensor::Tensor;

/// A classifier on a device, with the classes of the images under way.
pub struct ClassifierGradient<'e> {
    net: Arc<AdmClassifier>,
    weights: Weights,
    program: Program<'e>,
    size: CallSize,
    scale: f64,
    classes: Vec<usize>,
}

impl<'e> ClassifierGradient<'e> {
    /// Puts a classifier with its weights on the device, by the plan of [`AdmClassifier::gradient_graph`] of `size`.
    /// The gradient is taken `scale` times.
    ///
    /// # Errors
    /// What the device reports.
    pub fn with_plan(
        engine: &'e Engine,
        (net, weights): (Arc<AdmClassifier>, Weights),
        (size, plan): (CallSize, Plan),
        scale: f64,
    ) -> Result<Self> {
        let program = Program::new(engine, plan, &|key, shape| weights.fetch(key, shape))?;
        Ok(Self { net, weights, program, size, scale, classes: Vec::new() })
    }

    /// Sets the classes of the images of the next calls, one per image.
    pub fn set_classes(&mut self, classes: Vec<usize>) {
        self.classes = classes;
    }

    /// Returns the gradient of log p(class | z, t) with respect to images `z`, (n, c, h, w) in the variance-preserving
    /// scale, times the scale of the guidance.
    ///
    /// # Errors
    /// [`Error::Argument`] for another number of images than of classes or timesteps; [`Error::Device`].
    pub fn gradient(&self, z: &Tensor, timesteps: &[f64]) -> Result<Tensor> {
        let images = z.shape.first().copied().unwrap_or(0);
        if self.classes.len() != images || timesteps.len() != images {
            let what = format!("{} classes and {} timesteps for {images} images", self.classes.len(), timesteps.len());
            return Err(Error::argument(what, "give one class and one timestep per image"));
        }
        let mut data = Vec::with_capacity(z.data.len());
        for first in (0..images).step_by(self.size.batch) {
            // A batch that is not full repeats its last image.
            let picks: Vec<usize> = (first..first + self.size.batch).map(|image| image.min(images - 1)).collect();
            let classes: Vec<usize> = picks.iter().map(|image| self.classes[*image]).collect();
            let fetch = |key: &str, shape: &[usize]| self.weights.fetch(key, shape);
            let (z, timesteps) = (rows(z, &picks), numbers(timesteps, &picks));
            let feeds = self.net.feeds(&z, &timesteps, &classes, self.scale, &fetch)?;
            let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            // The first output is the logits.
            let gradient = self.program.run(&feeds)?.swap_remove(1);
            data.extend_from_slice(&gradient.data[..self.size.batch.min(images - first) * gradient.stride()]);
        }
        Ok(Tensor::new(z.shape.clone(), data))
    }
}
