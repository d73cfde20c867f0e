//! A model as a denoiser of images or of latents, called at noise levels.

use std::sync::Arc;

use super::device::{Observer, done, make_ready};
use super::images::{Facts, NETWORK, Part};
use super::memory::Algorithms;
use super::network::NetworkModel;
use super::open::{Kind, Model};
use crate::denoise::jacobian::NetworkJacobian;
use crate::denoise::vjp::NetworkVjp;
use crate::denoise::{Condition, Denoiser, Guidance, Level};
use crate::error::{Error, Result};
use crate::graph::{Compiler, Footprint};
use crate::kernels::selftest;
use crate::nets::architecture::LabelInput;
use crate::sample::settings::{Course, Settings};
use crate::spectral::samples::MOST_VECTORS;

/// Settings of a denoiser on a device.
#[derive(Clone, Debug)]
pub struct DenoiserOptions {
    /// Images per call, in place of the usual number.
    pub batch: Option<usize>,
    /// The number of images that it will be called for.
    pub images: usize,
    /// The class label of all images, for networks that take class labels.
    pub label: Option<f64>,
}

/// A denoiser on a device.
pub struct ModelDenoiser<'e> {
    /// The denoiser.
    pub denoiser: Box<dyn Denoiser + 'e>,
    /// Its memory, batch and algorithms.
    pub facts: Facts,
}

impl Model {
    /// (channels, height, width) of what it denoises: images, or latents of a pipeline. `label` is the class label of
    /// all images, for networks that take class labels.
    ///
    /// # Errors
    /// [`Error::BadFile`] for a network that is not a denoiser, or needs another condition; [`Error::Argument`] for a
    /// label that is missing or not taken, and for a network without a usual size.
    pub fn denoised_shape(&self, label: Option<f64>) -> Result<[usize; 3]> {
        match &self.kind() {
            Kind::ClosedForm(form) => match label {
                None => Ok(form.image_shape()),
                Some(_) => Err(takes_no_label(self.name())),
            },
            Kind::Network(network) => checked_shape(network, label),
            Kind::Latent(latent) => checked_shape(&latent.network, label),
        }
    }

    /// The denoiser on a device. The data of a closed form move there if no clone of the model shares them.
    ///
    /// # Errors
    /// As [`Model::denoised_shape`]; what the device reports.
    pub fn denoiser<'e>(
        self,
        compiler: impl Into<Compiler<'e>>,
        options: &DenoiserOptions,
        observer: &mut Observer,
    ) -> Result<ModelDenoiser<'e>> {
        self.denoised_shape(options.label)?;
        let compiler = compiler.into();
        match self.into_kind() {
            Kind::ClosedForm(form) => {
                selftest::ensure(compiler.engine)?;
                let denoiser = Arc::unwrap_or_clone(form).ready(compiler.engine)?;
                done(observer, "denoiser", "")?;
                let batch = options.batch.unwrap_or(MOST_VECTORS).min(options.images).max(1);
                Ok(ModelDenoiser { denoiser, facts: Facts { batch, ..Facts::default() } })
            }
            Kind::Network(network) => on_device(&network, compiler, options, observer),
            Kind::Latent(latent) => on_device(&latent.network, compiler, options, observer),
        }
    }

    /// The exact Jacobian of its network, for `block` vectors per call.
    ///
    /// # Errors
    /// As [`Model::denoised_shape`]; [`Error::Argument`] for a closed form; what the device reports.
    pub fn jacobian<'e>(
        &self,
        compiler: impl Into<Compiler<'e>>,
        label: Option<f64>,
        block: usize,
    ) -> Result<NetworkJacobian<'e>> {
        let network = self.expect_network()?;
        let [_, height, width] = self.denoised_shape(label)?;
        network.jacobian(compiler, condition(label), (height, width), block)
    }

    /// The exact transposed Jacobian of its network, for `images` images per call.
    ///
    /// # Errors
    /// As [`Model::jacobian`].
    pub fn vjp<'e>(
        &self,
        compiler: impl Into<Compiler<'e>>,
        label: Option<f64>,
        images: usize,
    ) -> Result<NetworkVjp<'e>> {
        let network = self.expect_network()?;
        let [_, height, width] = self.denoised_shape(label)?;
        network.vjp(compiler, Guidance::none(condition(label)), (height, width), images)
    }

    /// The course of sampling under these settings.
    ///
    /// # Errors
    /// Those of [`Settings::resolve`] and [`Settings::on_sigmas`].
    pub fn course(&self, settings: &Settings) -> Result<Course> {
        let of_network = |network: &NetworkModel| settings.resolve(&network.scheduler, &network.table);
        match self.kind() {
            Kind::Network(network) => of_network(network),
            Kind::Latent(latent) => of_network(&latent.network),
            Kind::ClosedForm(form) => settings.on_sigmas(form.sigma_range()),
        }
    }

    /// The least and the most noise that the model was made for.
    #[must_use]
    pub fn sigma_range(&self) -> (f64, f64) {
        let of_network = |network: &NetworkModel| (network.table.sigma_min(), network.table.sigma_max());
        match self.kind() {
            Kind::Network(network) => of_network(network),
            Kind::Latent(latent) => of_network(&latent.network),
            Kind::ClosedForm(form) => {
                let (most, least) = form.sigma_range();
                (least, most)
            }
        }
    }

    /// `count` noise levels over its range, from the most noise to the least, even in log sigma. For a network, they
    /// are distinct timesteps.
    #[must_use]
    pub fn levels(&self, count: usize) -> Vec<Level> {
        let sigmas = levels_over(self.sigma_range(), count);
        let Some(network) = self.network() else { return sigmas.map(Level::at_sigma).collect() };
        let mut indices: Vec<usize> = sigmas.map(|sigma| network.table.snap(sigma)).collect();
        indices.dedup();
        indices.into_iter().map(|index| Level::at_index(&network.table, index)).collect()
    }
}

/// `count` noise levels from the most to the least of a range (least, most), even in log sigma.
pub fn levels_over((least, most): (f64, f64), count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(move |at| most * (least / most).powf(at as f64 / (count.max(2) - 1) as f64))
}

fn condition(label: Option<f64>) -> Condition {
    label.map_or_else(Condition::default, |label| Condition::classes(vec![label]))
}

fn takes_no_label(name: &str) -> Error {
    Error::argument(format!("`{name}` does not take class labels"), "leave out the class label")
}

fn checked_shape(network: &NetworkModel, label: Option<f64>) -> Result<[usize; 3]> {
    network.expect_denoiser()?;
    match (network.net.labels(), label) {
        (LabelInput::Numbers { .. }, Some(_)) => {}
        (LabelInput::None | LabelInput::Rows(_), Some(_)) => return Err(takes_no_label(&network.name)),
        (LabelInput::None | LabelInput::Rows(_), None) => network.expect_unconditional()?,
        (LabelInput::Numbers { .. }, None) => {
            let what = format!("`{}` needs a class label for each image", network.name);
            return Err(Error::argument(what, "give `class_label`, by number or by name"));
        }
    }
    Ok(network.image_shape(network.size(None)?))
}

fn on_device<'e>(
    network: &NetworkModel,
    compiler: Compiler<'e>,
    options: &DenoiserOptions,
    observer: &mut Observer,
) -> Result<ModelDenoiser<'e>> {
    let guidance = Guidance::none(condition(options.label));
    let size = network.size(None)?;
    let call = |images| guidance.call_size(images, size);
    let (batch, plan) = network.batch(compiler, options.batch, options.images, &call)?;
    let graph = network.graph(call(batch))?;
    let facts = Facts {
        batch,
        parts: vec![Part { name: NETWORK, footprint: Footprint::of(&plan) }],
        algorithms: Some(Algorithms::of(&plan, &graph, &compiler.target(), &compiler.options)),
    };
    make_ready(compiler.engine, std::slice::from_ref(&plan), observer)?;
    let placed = network.planned(compiler, call(batch), plan)?;
    let denoiser = Box::new(network.denoiser(placed, guidance)?);
    done(observer, "denoiser", "")?;
    Ok(ModelDenoiser { denoiser, facts })
}
