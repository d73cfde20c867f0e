//! A pretrained network on a device: its raw calls, in its own scale. [`super::NetworkDenoiser`] makes a denoiser of
//! it.

use std::sync::Arc;

use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::graph::run::StepTime;
use crate::graph::{Compiler, Plan, Program};
use crate::kernels::Engine;
use crate::nets::architecture::{Architecture, CallSize, Inputs};
use crate::nets::feeds::{Added, ClassLabels, Feeds};
use crate::tensor::Tensor;

/// A network on a device. It takes any number of images of one size, a batch at a time.
pub struct Network<'e> {
    net: Arc<dyn Architecture>,
    weights: Weights,
    program: Program<'e>,
    size: CallSize,
}

impl<'e> Network<'e> {
    /// Puts a network with its weights on the device, for calls of `size`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a size that the network does not take; what the device reports.
    pub fn new(
        compiler: impl Into<Compiler<'e>>,
        net: Arc<dyn Architecture>,
        weights: Weights,
        size: CallSize,
    ) -> Result<Self> {
        let compiler = compiler.into();
        let plan = compiler.plan(&net.graph(size)?);
        Self::with_plan(compiler.engine, net, weights, size, plan)
    }

    /// The same with the plan of a call, made from [`Architecture::graph`] of `size`.
    ///
    /// # Errors
    /// What the device reports.
    pub fn with_plan(
        engine: &'e Engine,
        net: Arc<dyn Architecture>,
        weights: Weights,
        size: CallSize,
        plan: Plan,
    ) -> Result<Self> {
        let program = Program::new(engine, plan, &|key, shape| weights.fetch(key, shape))?;
        Ok(Self { net, weights, program, size })
    }

    /// The architecture.
    #[must_use]
    pub fn net(&self) -> &dyn Architecture {
        self.net.as_ref()
    }

    /// The program that runs it.
    #[must_use]
    pub fn program(&self) -> &Program<'e> {
        &self.program
    }

    /// The extents of a call.
    #[must_use]
    pub fn size(&self) -> CallSize {
        self.size
    }

    /// (channels, height, width) of an image.
    #[must_use]
    pub fn image_shape(&self) -> [usize; 3] {
        [self.net.in_channels(), self.size.height, self.size.width]
    }

    /// Returns the output for images in the network's own scale, (n, `out_channels`, h, w). A context of one row,
    /// (1, tokens, channels), a single class label and one row of what is added stand for all images.
    ///
    /// # Errors
    /// [`Error::Argument`] if the inputs do not fit the network or each other; [`Error::Device`].
    pub fn call(&self, inputs: &Inputs) -> Result<Tensor> {
        self.check(inputs)?;
        let (images, channels) = (inputs.x.shape[0], self.net.out_channels());
        let mut data = Vec::with_capacity(images * channels * self.size.height * self.size.width);
        for first in (0..images).step_by(self.size.batch) {
            let output = self.program.run(&by_name(&self.feeds(inputs, first)?))?.remove(0);
            data.extend_from_slice(&output.data[..self.size.batch.min(images - first) * output.stride()]);
        }
        Ok(Tensor::new([images, channels, self.size.height, self.size.width], data))
    }

    /// Names the first operation that makes a non-finite value in [`Network::call`] with the same inputs.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming it; [`Error::Device`].
    pub fn trace_nonfinite(&self, inputs: &Inputs) -> Result<()> {
        self.check(inputs)?;
        (0..inputs.x.shape[0]).step_by(self.size.batch).try_for_each(|first| {
            let feeds = self.feeds(inputs, first)?;
            self.program.trace_nonfinite(&by_name(&feeds))
        })
    }

    /// The duration of each step of one call with these inputs, a whole batch of them.
    ///
    /// # Errors
    /// As [`Network::call`].
    pub fn profile(&self, inputs: &Inputs) -> Result<Vec<StepTime>> {
        self.check(inputs)?;
        self.program.profile(&by_name(&self.feeds(inputs, 0)?))
    }

    /// Refuses images of another shape, and a number of timesteps other than one per image.
    fn check(&self, inputs: &Inputs) -> Result<()> {
        let (shape, expected) = (&inputs.x.shape, self.image_shape());
        if shape.len() != 4 || shape[1..] != expected {
            let what = format!("images of shape {shape:?} for a network that takes {expected:?}");
            return Err(Error::argument(what, "images are (n, channels, height, width)"));
        }
        let images = shape[0];
        if inputs.timesteps.len() != images {
            let what = format!("{} timesteps for {images} images", inputs.timesteps.len());
            return Err(Error::argument(what, "give one timestep per image"));
        }
        if inputs.labels.is_some_and(|labels| ![1, images].contains(&labels.len())) {
            return Err(Error::argument(
                format!("class labels for {images} images must be {images} or 1"),
                "give one class label per image",
            ));
        }
        if inputs.added.is_some_and(|added| ![1, images].contains(&added.len())) {
            let what = format!("`pooled` and `time_ids` for {images} images must be {images} or 1");
            return Err(Error::argument(what, "give one row per image, or one for all images"));
        }
        self.check_context(inputs.context, images)
    }

    fn check_context(&self, context: Option<&Tensor>, images: usize) -> Result<()> {
        let (Some(context), Some(input)) = (context, self.net.context()) else { return Ok(()) };
        let (tokens, channels) = (self.size.tokens, input.channels);
        if context.shape == [images, tokens, channels] || context.shape == [1, tokens, channels] {
            return Ok(());
        }
        Err(Error::argument(
            format!("a context of shape {:?} for {images} images", context.shape),
            format!("give shape [{images}, {tokens}, {channels}], or [1, {tokens}, {channels}] for all images"),
        ))
    }

    /// The inputs of the batch that begins at image `first`; a batch that is not full repeats its last image.
    fn feeds(&self, inputs: &Inputs, first: usize) -> Result<Feeds> {
        let images = inputs.x.shape[0];
        let picks: Vec<usize> = (first..first + self.size.batch).map(|image| image.min(images - 1)).collect();
        batch_feeds(self.net.as_ref(), &self.weights, inputs, &picks)
    }
}

/// The inputs of the graph for these images.
pub(super) fn batch_feeds(
    net: &dyn Architecture,
    weights: &Weights,
    inputs: &Inputs,
    picks: &[usize],
) -> Result<Feeds> {
    let (x, timesteps) = (rows(inputs.x, picks), numbers(inputs.timesteps, picks));
    let context = inputs.context.map(|context| rows_for(context, picks));
    let labels = inputs.labels.map(|labels| labels_for(labels, picks));
    let added = inputs.added.map(|added| added_for(added, picks));
    let batch = Inputs {
        x: &x,
        timesteps: &timesteps,
        context: context.as_ref(),
        labels: labels.as_ref(),
        added: added.as_ref(),
        guidance: inputs.guidance,
    };
    net.feeds(&batch, &|key, shape| weights.fetch(key, shape))
}

fn by_name(feeds: &Feeds) -> Vec<(&str, &Tensor)> {
    feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// These rows of a tensor.
pub(super) fn rows(tensor: &Tensor, picks: &[usize]) -> Tensor {
    let mut shape = tensor.shape.clone();
    shape[0] = picks.len();
    Tensor::new(shape, picks.iter().flat_map(|&at| tensor.item(at).iter().copied()).collect::<Vec<_>>())
}

/// The rows of these images, where a single row stands for all images.
pub(super) fn rows_for(tensor: &Tensor, images: &[usize]) -> Tensor {
    let last = tensor.shape[0].saturating_sub(1);
    rows(tensor, &images.iter().map(|image| (*image).min(last)).collect::<Vec<_>>())
}

/// The numbers of these images.
pub(super) fn numbers(all: &[f64], picks: &[usize]) -> Vec<f64> {
    picks.iter().map(|&at| all[at]).collect()
}

/// The vectors that are added for these images, where a single row stands for all images.
pub(super) fn added_for(added: &Added, images: &[usize]) -> Added {
    Added { pooled: rows_for(&added.pooled, images), numbers: rows_for(&added.numbers, images) }
}

/// The labels of these images, where a single label stands for all images.
pub(super) fn labels_for(labels: &ClassLabels, images: &[usize]) -> ClassLabels {
    match labels {
        ClassLabels::Numbers(all) => {
            let last = all.len().saturating_sub(1);
            ClassLabels::Numbers(images.iter().map(|image| all[(*image).min(last)]).collect())
        }
        ClassLabels::Rows(all) => ClassLabels::Rows(rows_for(all, images)),
    }
}
