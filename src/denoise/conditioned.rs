//! A pretrained network that looks at a context: its raw calls. [`super::guided`] makes a denoiser of it.

use crate::checkpoint::{ConfigFile, Weights};
use crate::denoise::Level;
use crate::denoise::calls::{Calls, Feeds, network_input, numbers, rows, with_labels};
use crate::denoise::diffusion::{NoiseTable, PredictionType};
use crate::error::{Error, Result};
use crate::graph::run::StepTime;
use crate::graph::{CompileOptions, Compiler, Plan, Program, Target};
use crate::nets::unet2d_condition::{ClassLabels, Config, UNet2dCondition};
use crate::tensor::Tensor;

/// The classes of networks that look at a context.
pub const CLASSES: [&str; 1] = ["UNet2DConditionModel"];

/// The network of a configuration, checked against the weights; nothing on a device yet.
///
/// # Errors
/// [`Error::UnsupportedField`] or [`Error::BadFile`] of the configuration; [`Error::MissingKey`],
/// [`Error::UnexpectedKey`] of the weights.
pub fn open_net(config: &ConfigFile, weights: &Weights) -> Result<UNet2dCondition> {
    config.expect_class(&CLASSES)?;
    let net = UNet2dCondition::new(Config::from_map(&config.values, &config.path)?);
    weights.check(&net.keys())?;
    Ok(net)
}

/// The plan of a call for `batch` images of `size` (height, width) with `tokens` tokens of context each.
///
/// # Errors
/// Those of [`UNet2dCondition::graph`].
pub fn plan(
    net: &UNet2dCondition,
    batch: usize,
    size: (usize, usize),
    tokens: usize,
    target: &Target,
    options: &CompileOptions,
) -> Result<Plan> {
    let graph = net.graph(batch, size.0, size.1, tokens)?;
    Ok(Plan::new(&graph, target, options))
}

/// A `UNet2DConditionModel` on a device, ready for calls of up to `batch` images of one size.
pub struct Conditioned<'e> {
    net: UNet2dCondition,
    weights: Weights,
    pub(super) calls: Calls<'e>,
    tokens: usize,
}

impl<'e> Conditioned<'e> {
    /// Makes a network with its weights ready for `batch` images of `size` (height, width) at a call, with `tokens` tokens of
    /// context each.
    ///
    /// # Errors
    /// Those of [`UNet2dCondition::graph`], and what the device reports.
    pub fn new(
        compiler: impl Into<Compiler<'e>>,
        net: UNet2dCondition,
        weights: Weights,
        batch: usize,
        size: (usize, usize),
        tokens: usize,
    ) -> Result<Self> {
        let graph = net.graph(batch, size.0, size.1, tokens)?;
        let image = [net.config().in_channels, size.0, size.1];
        let fetch = |key: &str, shape: &[usize]| weights.fetch(key, shape);
        let compiler = compiler.into();
        let calls =
            Calls::new(compiler.engine, compiler.plan(&graph), &fetch, batch, image, net.config().out_channels)?;
        Ok(Self { net, weights, calls, tokens })
    }

    /// The network.
    #[must_use]
    pub fn net(&self) -> &UNet2dCondition {
        &self.net
    }

    /// The program that runs it.
    #[must_use]
    pub fn program(&self) -> &Program<'e> {
        &self.calls.program
    }

    /// One raw call: images in the network's own scale (n, `in_channels`, h, w), one timestep an image, contexts
    /// (n, tokens, `cross_attention_dim`) or (1, tokens, ...) for all images, class labels where the network takes them; answers
    /// (n, `out_channels`, h, w).
    ///
    /// # Errors
    /// [`Error::Argument`] where they do not fit the network or each other; [`Error::Device`].
    pub fn call(&self, z: &Tensor, timesteps: &[f64], context: &Tensor, labels: Option<ClassLabels>) -> Result<Tensor> {
        self.check(z, timesteps, context)?;
        self.calls.call(z.shape[0], |picks| self.feeds(z, timesteps, context, labels, picks))
    }

    /// eps in images `x` of one noise level each, in the variance-exploding scale, from a call at the timesteps that `table` has for them.
    ///
    /// # Errors
    /// As [`Conditioned::call`].
    pub fn eps(
        &self,
        x: &Tensor,
        levels: &[Level],
        table: &NoiseTable,
        context: &Tensor,
        prediction: PredictionType,
    ) -> Result<Tensor> {
        let (z, timesteps) = network_input(x, levels, table);
        let mut answer = self.call(&z, &timesteps, context, None)?;
        self.calls.to_eps(&mut answer, &z, levels, prediction)?;
        Ok(answer)
    }

    /// Names the first operation that makes a non-finite value of what [`Conditioned::call`] is called with.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming it; [`Error::Device`].
    pub fn trace_nonfinite(
        &self,
        z: &Tensor,
        timesteps: &[f64],
        context: &Tensor,
        labels: Option<ClassLabels>,
    ) -> Result<()> {
        self.check(z, timesteps, context)?;
        self.calls.trace_nonfinite(z.shape[0], |picks| self.feeds(z, timesteps, context, labels, picks))
    }

    /// What each step of one call takes, on zeros at timestep 0.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn profile(&self) -> Result<Vec<StepTime>> {
        let (z, batch) = (self.calls.zeros(), self.calls.batch);
        let context = Tensor::zeros([batch, self.tokens, self.net.config().cross_attention_dim]);
        let fetch = |key: &str, shape: &[usize]| self.weights.fetch(key, shape);
        self.calls.profile(&self.net.feeds(&z, &vec![0.0; batch], &context, None, &fetch)?)
    }

    fn check(&self, z: &Tensor, timesteps: &[f64], context: &Tensor) -> Result<()> {
        self.calls.check(z, timesteps)?;
        let (images, tokens, dim) = (z.shape[0], self.tokens, self.net.config().cross_attention_dim);
        if context.shape == [images, tokens, dim] || context.shape == [1, tokens, dim] {
            return Ok(());
        }
        Err(Error::argument(
            format!("a context of shape {:?} for {images} images", context.shape),
            format!("give shape [{images}, {tokens}, {dim}], or [1, {tokens}, {dim}] for all images"),
        ))
    }

    /// The inputs of a call for these images.
    pub(super) fn feeds(
        &self,
        z: &Tensor,
        timesteps: &[f64],
        context: &Tensor,
        labels: Option<ClassLabels>,
        picks: &[usize],
    ) -> Result<Feeds> {
        let contexts = context.shape[0];
        let of_contexts: Vec<usize> = picks.iter().map(|at| (*at).min(contexts - 1)).collect();
        with_labels(labels, z.shape[0], picks, |labels| {
            self.picked(&rows(z, picks), &numbers(timesteps, picks), &rows(context, &of_contexts), labels)
        })
    }

    /// The inputs of a call for a whole batch.
    pub(super) fn picked(
        &self,
        z: &Tensor,
        timesteps: &[f64],
        context: &Tensor,
        labels: Option<ClassLabels>,
    ) -> Result<Feeds> {
        self.net.feeds(z, timesteps, context, labels, &|key, shape| self.weights.fetch(key, shape))
    }
}
