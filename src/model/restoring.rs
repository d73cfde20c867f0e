//! Restorations: walks of a model that fit a measurement.

use super::denoiser::{DenoiserOptions, ModelDenoiser};
use super::device::Observer;
use super::images::Facts;
use super::open::{Kind, Model};
use crate::denoise::Denoiser;
use crate::denoise::vjp::{NetworkVjp, Pullback, Symmetric};
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
    /// The index of the first image, where these are a part of a run: noise is keyed by it.
    pub first: usize,
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

/// A model on a device, ready to restore images by any method.
pub struct Restorer<'e> {
    denoiser: Box<dyn Denoiser + 'e>,
    jacobian: Transposed<'e>,
    mean: Option<Vec<f64>>,
    /// Memory, batch and algorithms of the denoiser.
    pub facts: Facts,
}

/// The transposed Jacobian of x0.
enum Transposed<'e> {
    None,
    Exact(Box<NetworkVjp<'e>>),
    /// By differences of this step at each sigma.
    Symmetric(Box<dyn Fn(f64) -> f64 + Send + Sync + 'e>),
}

impl Model {
    /// Restores images from measurements. `watch` sees every step of every batch.
    ///
    /// # Errors
    /// Those of [`Model::restorer`] and [`Restorer::restore`].
    pub fn restore<'e>(
        self,
        compiler: impl Into<Compiler<'e>>,
        settings: &Restoring,
        observer: &mut Observer,
        watch: &mut dyn FnMut(&Progress) -> Result<()>,
    ) -> Result<Restored> {
        let options = DenoiserOptions { batch: settings.batch, images: settings.count(), label: settings.label };
        let mut restorer = self.restorer(compiler, &options, settings.method.pulls_back(), observer)?;
        Ok(Restored { images: restorer.restore(settings, watch)?, facts: restorer.facts })
    }

    /// Puts the model on a device for restorations; with `pulls_back`, for methods with products with the transposed
    /// Jacobian, too.
    ///
    /// # Errors
    /// Those of [`Model::denoiser`] and [`Model::vjp`]; [`Error::Argument`] for a model of latents, whose images are
    /// not those that are measured.
    pub fn restorer<'e>(
        self,
        compiler: impl Into<Compiler<'e>>,
        options: &DenoiserOptions,
        pulls_back: bool,
        observer: &mut Observer,
    ) -> Result<Restorer<'e>> {
        let compiler = compiler.into();
        let (mean, step) = match self.kind() {
            Kind::Latent(_) => {
                let what = format!("`{}` samples latents, and measurements are of images", self.name());
                return Err(Error::argument(what, "take a model of pixels"));
            }
            Kind::ClosedForm(form) => (Some(form.mean().to_vec()), Some(form.difference_step())),
            Kind::Network(_) => (None, None),
        };
        let model = self.clone();
        let ModelDenoiser { denoiser, facts } = self.denoiser(compiler, options, observer)?;
        let jacobian = match step {
            _ if !pulls_back => Transposed::None,
            Some(step) => Transposed::Symmetric(Box::new(step)),
            None => Transposed::Exact(Box::new(model.vjp(compiler, options.label, facts.batch)?)),
        };
        Ok(Restorer { denoiser, jacobian, mean, facts })
    }
}

impl Restorer<'_> {
    /// (channels, height, width) of an image.
    #[must_use]
    pub fn image_shape(&self) -> [usize; 3] {
        self.denoiser.image_shape()
    }

    /// Returns the restored images in the scale of the model, (n, c, h, w). The batch and the class label are those
    /// that the restorer was made for. `watch` sees every step of every batch.
    ///
    /// # Errors
    /// Those of the walk ([`sample`]).
    pub fn restore(&mut self, settings: &Restoring, watch: &mut dyn FnMut(&Progress) -> Result<()>) -> Result<Tensor> {
        let Course { schedule, method, .. } = settings.course.clone();
        let last = settings.first + settings.count();
        let mut run = Run::new(schedule.clone(), method.clone(), last);
        run.images = (settings.first..last).collect();
        (run.batch, run.seed, run.mean) = (self.facts.batch, settings.seed, self.mean.clone());
        let scale = run.clone();
        let restoration =
            Restoration { measurement: &settings.measurement, method: settings.method, mean: self.mean.as_deref() };
        let mut symmetric;
        let mut pullback: Option<&mut dyn Pullback> = match &mut self.jacobian {
            Transposed::None => None,
            Transposed::Exact(vjp) => Some(vjp.as_mut()),
            Transposed::Symmetric(step) => {
                symmetric = Symmetric::new(&**step);
                Some(&mut symmetric)
            }
        };
        let [channels, height, width] = self.denoiser.image_shape();
        let mut batches = run.batches([channels, height, width])?;
        let mut data = Vec::new();
        loop {
            let which: Vec<usize> =
                batches.upcoming().iter().map(|image| (image - settings.first) / settings.each).collect();
            let next = batches.next_batch_by(&mut |x, noise| {
                let pullback = pullback.as_mut().map(|pullback| &mut **pullback as &mut dyn Pullback);
                let denoiser = self.denoiser.as_mut();
                sample(denoiser, pullback, &schedule, &method, (&restoration, &which), x, noise, watch)
            });
            match next {
                None => break,
                Some(samples) => data.extend(scale.in_model_scale(&samples?.x).data),
            }
        }
        Ok(Tensor::new([settings.count(), channels, height, width], data))
    }
}
