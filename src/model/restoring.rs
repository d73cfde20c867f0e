//! Restorations: walks of a model that fit a measurement.

use super::denoiser::{DenoiserOptions, ModelDenoiser};
use super::device::Observer;
use super::images::Facts;
use super::open::{Kind, Model};
use crate::denoise::vjp::{Pullback, Symmetric};
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::restore::{Measurement, Method, Restoration, sample};
use crate::sample::run::Run;
use crate::sample::settings::Course;
use crate::sample::walk::Progress;
use crate::tensor::Tensor;

/// The settings of restorations.
#[derive(Clone, Debug)]
pub struct Restoring {
    /// The measurements.
    pub measurement: Measurement,
    /// The way in which walks fit them.
    pub method: Method,
    /// The sampler with its noise levels, of [`Model::course`].
    pub course: Course,
    /// Restorations of each measurement.
    pub each: usize,
    /// Images per call, in place of the usual number.
    pub batch: Option<usize>,
    /// The seed of all noise.
    pub seed: u64,
    /// The class label of all images, for networks that take class labels.
    pub label: Option<f64>,
}

/// Restored images.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The images in the scale of the model, (n, c, h, w): those of the first measurement, then those of the next.
    pub images: Tensor,
    /// Memory, batch and algorithms of the denoiser.
    pub facts: Facts,
}

impl Restoring {
    /// The number of images.
    #[must_use]
    pub fn count(&self) -> usize {
        self.measurement.count() * self.each
    }
}

impl Model {
    /// Restores images from measurements. `watch` sees every step of every batch.
    ///
    /// # Errors
    /// Those of [`Model::denoiser`] and of the walk ([`sample`]); [`Error::Argument`] for a model of latents, whose
    /// images are not what is measured.
    pub fn restore<'e>(
        self,
        compiler: impl Into<Compiler<'e>>,
        settings: &Restoring,
        observer: &mut Observer,
        watch: &mut dyn FnMut(&Progress) -> Result<()>,
    ) -> Result<Restored> {
        let compiler = compiler.into();
        if let Kind::Latent(_) = self.kind() {
            let what = format!("`{}` samples latents, and measurements are of images", self.name());
            return Err(Error::argument(what, "take a model of pixels"));
        }
        let (mean, step) = match self.kind() {
            Kind::ClosedForm(form) => (Some(form.mean().to_vec()), Some(form.difference_step())),
            Kind::Network(_) | Kind::Latent(_) => (None, None),
        };
        let options = DenoiserOptions { batch: settings.batch, images: settings.count(), label: settings.label };
        let model = self.clone();
        let ModelDenoiser { mut denoiser, facts } = self.denoiser(compiler, &options, observer)?;
        let step = step.as_ref().map(|step| step as &(dyn Fn(f64) -> f64 + Sync));
        let mut pullback: Option<Box<dyn Pullback + '_>> = match step {
            _ if !settings.method.pulls_back() => None,
            Some(step) => Some(Box::new(Symmetric::new(step))),
            None => Some(Box::new(model.vjp(compiler, settings.label, facts.batch)?)),
        };
        let Course { schedule, method, .. } = settings.course.clone();
        let mut run = Run::new(schedule.clone(), method.clone(), settings.count());
        (run.batch, run.seed, run.mean) = (facts.batch, settings.seed, mean.clone());
        let scale = run.clone();
        let restoration =
            Restoration { measurement: &settings.measurement, method: settings.method, mean: mean.as_deref() };
        let mut batches = run.batches(denoiser.image_shape())?;
        let [channels, height, width] = denoiser.image_shape();
        let mut data = Vec::new();
        loop {
            let which: Vec<usize> = batches.upcoming().iter().map(|image| image / settings.each).collect();
            let next = batches.next_batch_by(&mut |x, noise| {
                let pullback = pullback.as_mut().map(|pullback| pullback.as_mut() as &mut dyn Pullback);
                let denoiser = denoiser.as_mut();
                sample(denoiser, pullback, &schedule, &method, (&restoration, &which), x, noise, watch)
            });
            match next {
                None => break,
                Some(samples) => data.extend(scale.in_model_scale(&samples?.x).data),
            }
        }
        Ok(Restored { images: Tensor::new([settings.count(), channels, height, width], data), facts })
    }
}
