//! A pretrained network as a denoiser: the variance-preserving scale and the timesteps it was trained in, wrapped once.

use crate::checkpoint::{ModelFiles, Weights};
use crate::denoise::calls::{Calls, Feeds, network_input, numbers, rows, with_labels};
use crate::denoise::diffusion::{NoiseTable, PredictionType};
use crate::denoise::{Denoiser, Level};
use crate::error::Result;
use crate::graph::run::StepTime;
use crate::graph::{Compiler, Program};
use crate::nets::unet2d::{ClassLabels, Config, UNet2d};
use crate::tensor::Tensor;

/// A `UNet2DModel` on a device, ready for calls of up to `batch` images of one size.
pub struct Network<'e> {
    net: UNet2d,
    weights: Weights,
    calls: Calls<'e>,
    table: NoiseTable,
    prediction: PredictionType,
}

/// The network of a model: configuration read and checked against the weights, nothing on a device yet.
///
/// # Errors
/// [`crate::Error::UnsupportedField`] or [`crate::Error::BadFile`] of the configuration; [`crate::Error::MissingKey`],
/// [`crate::Error::UnexpectedKey`] of the weights.
pub fn open_net(model: &ModelFiles) -> Result<UNet2d> {
    model.config.expect_class(&["UNet2DModel"])?;
    let net = UNet2d::new(Config::from_map(&model.config.values, &model.config.path)?);
    model.weights.check(&net.keys())?;
    Ok(net)
}

impl<'e> Network<'e> {
    /// Makes the network of `model` ready for `batch` images of `size` (height, width) at a call. `table` and `prediction`
    /// say what the network was trained to answer; they come from the model's scheduler.
    ///
    /// # Errors
    /// As [`open_net`]; then [`crate::Error::Argument`] for a size that the network cannot take, and what the device reports.
    pub fn new(
        compiler: impl Into<Compiler<'e>>,
        model: ModelFiles,
        table: NoiseTable,
        prediction: PredictionType,
        batch: usize,
        size: (usize, usize),
    ) -> Result<Self> {
        let net = open_net(&model)?;
        let weights = model.weights;
        let graph = net.graph(batch, size.0, size.1)?;
        let image = [net.config().in_channels, size.0, size.1];
        let fetch = |key: &str, shape: &[usize]| weights.fetch(key, shape);
        let compiler = compiler.into();
        let calls =
            Calls::new(compiler.engine, compiler.plan(&graph), &fetch, batch, image, net.config().out_channels)?;
        Ok(Self { net, weights, calls, table, prediction })
    }

    /// The program that runs it.
    #[must_use]
    pub fn program(&self) -> &Program<'e> {
        &self.calls.program
    }

    /// One raw call: images in the network's own scale (n, `in_channels`, h, w), one timestep an image, class labels where
    /// the network takes them; answers (n, `out_channels`, h, w).
    ///
    /// # Errors
    /// [`crate::Error::Argument`] where they do not fit the network or each other; [`crate::Error::Device`].
    pub fn call(&self, z: &Tensor, timesteps: &[f64], labels: Option<ClassLabels>) -> Result<Tensor> {
        self.calls.check(z, timesteps)?;
        self.calls.call(z.shape[0], |picks| self.feeds(z, timesteps, labels, picks))
    }

    /// The inputs of a call for these images.
    fn feeds(&self, z: &Tensor, timesteps: &[f64], labels: Option<ClassLabels>, picks: &[usize]) -> Result<Feeds> {
        let (x, timesteps) = (rows(z, picks), numbers(timesteps, picks));
        with_labels(labels, z.shape[0], picks, |labels| {
            self.net.feeds(&x, &timesteps, labels, &|key, shape| self.weights.fetch(key, shape))
        })
    }

    /// Names the first operation that makes a non-finite value of `z` at these timesteps.
    ///
    /// # Errors
    /// [`crate::Error::NonFinite`] naming it; [`crate::Error::Device`].
    pub fn trace_call(&self, z: &Tensor, timesteps: &[f64], labels: Option<ClassLabels>) -> Result<()> {
        self.calls.check(z, timesteps)?;
        self.calls.trace_nonfinite(z.shape[0], |picks| self.feeds(z, timesteps, labels, picks))
    }

    /// What each step of one call takes, on zeros at timestep 0.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub fn profile(&self) -> Result<Vec<StepTime>> {
        let z = self.calls.zeros();
        let timesteps = vec![0.0; self.calls.batch];
        self.calls.profile(&self.net.feeds(&z, &timesteps, None, &|key, shape| self.weights.fetch(key, shape))?)
    }
}

impl Denoiser for Network<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.calls.image
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let (z, timesteps) = network_input(x, levels, &self.table);
        let mut answer = self.call(&z, &timesteps, None)?;
        self.calls.to_eps(&mut answer, &z, levels, self.prediction)?;
        Ok(answer)
    }

    fn trace_nonfinite(&mut self, x: &Tensor, levels: &[Level]) -> Result<()> {
        let (z, timesteps) = network_input(x, levels, &self.table);
        self.trace_call(&z, &timesteps, None)
    }
}
