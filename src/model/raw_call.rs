//! One call of a network on given images, levels, contexts and labels.

use std::path::Path;

use super::device::{Observer, done, make_ready};
use super::memory::Algorithms;
use super::network::NetworkModel;
use crate::denoise::{Condition, Denoiser, Guidance, Level};
use crate::error::{Error, Result};
use crate::graph::{Compiler, Footprint};
use crate::nets::architecture::{CallSize, Inputs, LabelInput};
use crate::nets::feeds::{Added, ClassLabels};
use crate::tensor::Tensor;

/// The inputs of a call.
#[derive(Clone, Debug)]
pub struct RawCall {
    /// The images, (n, c, h, w).
    pub x: Tensor,
    /// The level of each image.
    pub levels: RawLevels,
    /// Contexts (n, tokens, channels), or one for all images.
    pub context: Option<Tensor>,
    /// The class of each image.
    pub labels: Option<ClassLabels>,
    /// Vectors that are added to the time embedding, for each image or once for all.
    pub added: Option<Added>,
    /// The scale of guidance, for networks that take it.
    pub guidance: Option<f64>,
}

/// The levels of the images of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum RawLevels {
    /// One timestep per image. The images are in the scale of the network, and so is the output.
    Timesteps(Vec<f64>),
    /// One noise level per image. The images are x = x0 + sigma eps, and the output is eps.
    Sigmas(Vec<f64>),
}

/// The output of a call.
#[derive(Clone, Debug)]
pub struct RawOutput {
    /// The output, of the shape of the images.
    pub output: Tensor,
    /// Images per call of the network.
    pub batch: usize,
    /// The algorithms of its convolutions.
    pub algorithms: Algorithms,
    /// Its memory.
    pub footprint: Footprint,
}

impl RawCall {
    /// Returns the extents of a call for `images` images.
    #[must_use]
    pub fn size(&self, images: usize) -> CallSize {
        let tokens = self.context.as_ref().map_or(0, |context| context.shape[1]);
        CallSize::images(images, (self.x.shape[2], self.x.shape[3])).with_tokens(tokens)
    }

    /// The contexts, one per image.
    fn contexts(&self) -> Option<Tensor> {
        self.context.as_ref().map(|context| self.repeated(context))
    }

    /// The vectors that are added, one row per image.
    fn all_added(&self) -> Option<Added> {
        let Added { pooled, numbers } = self.added.as_ref()?;
        Some(Added { pooled: self.repeated(pooled), numbers: self.repeated(numbers) })
    }

    /// Rows for each image, of rows for each or one for all.
    fn repeated(&self, rows: &Tensor) -> Tensor {
        let (images, mut shape) = (self.x.shape[0], rows.shape.clone());
        match shape.first_mut() {
            Some(rows) if *rows == 1 => *rows = images,
            _ => return rows.clone(),
        }
        Tensor::new(shape, rows.data.repeat(images))
    }

    /// The inputs of a call.
    fn inputs<'a>(&'a self, timesteps: &'a [f64]) -> Inputs<'a> {
        let inputs = Inputs::new(&self.x, timesteps).with_context(self.context.as_ref());
        inputs.with_labels(self.labels.as_ref()).with_added(self.added.as_ref()).with_guidance(self.guidance)
    }
}

impl NetworkModel {
    /// Checks contexts for `images` images that were read from a file: (n, tokens, channels), or one for all images. A
    /// network that takes a context and does not read it gets one of zeros.
    ///
    /// # Errors
    /// [`Error::Argument`] for a context that is missing or not taken; [`Error::BadFile`] for another shape.
    pub fn context(&self, given: Option<(Tensor, &Path)>, images: usize) -> Result<Option<Tensor>> {
        let (input, (context, file)) = match (self.net.context(), given) {
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                let what = format!("`{}` does not take a context", self.name);
                return Err(Error::argument(what, "omit `context`"));
            }
            (Some(input), None) if !input.is_read => return Ok(Some(Tensor::zeros([1, 1, input.channels]))),
            (Some(input), None) => {
                let (what, dim) = (format!("`{}` needs a context", self.name), input.channels);
                let hint = format!("give `context`: (N,tokens,{dim}), or (1,tokens,{dim}) for all images");
                return Err(Error::argument(what, hint));
            }
            (Some(input), Some(given)) => (input, given),
        };
        let dim = input.channels;
        match context.shape[..] {
            [n, tokens, found] if (n == 1 || n == images) && tokens > 0 && found == dim => Ok(Some(context)),
            _ => Err(Error::bad_file_hint(
                file,
                format!("the array has shape {:?}, expected [{images}, tokens, {dim}]", context.shape),
                format!("give a context for each image, or one for all: [1, tokens, {dim}]"),
            )),
        }
    }

    /// Refuses inputs that the network does not take, without a device.
    ///
    /// # Errors
    /// [`Error::Argument`] for labels that are missing; those of [`Self::expect_denoiser`] where eps is asked for;
    /// those of [`crate::nets::architecture::Architecture::check`] and of its feeds.
    pub fn check_call(&self, call: &RawCall) -> Result<()> {
        let timesteps = match &call.levels {
            RawLevels::Timesteps(timesteps) => timesteps.clone(),
            RawLevels::Sigmas(sigmas) => {
                self.expect_denoiser()?;
                sigmas.iter().map(|sigma| self.table.timestep(*sigma)).collect()
            }
        };
        if self.net.labels() != LabelInput::None && call.labels.is_none() {
            let what = format!("`{}` needs a class label for each image", self.name);
            return Err(Error::argument(what, "give `class_labels`"));
        }
        self.net.check(call.size(1))?;
        // The host's part of a call finds everything that does not fit the network.
        let (contexts, added) = (call.contexts(), call.all_added());
        let inputs = call.inputs(&timesteps).with_context(contexts.as_ref()).with_added(added.as_ref());
        inputs.check_extras(self.net.as_ref())?;
        self.net.feeds(&inputs, &|key, shape| self.weights.fetch(key, shape))?;
        Ok(())
    }

    /// Calls the network on a device, on `batch` images at a time, or the usual number.
    ///
    /// # Errors
    /// Those of [`Self::check_call`]; whatever the device reports.
    pub fn call_raw(
        &self,
        compiler: Compiler,
        call: &RawCall,
        batch: Option<usize>,
        observer: &mut Observer,
    ) -> Result<RawOutput> {
        let (batch, plan) = self.batch(compiler, batch, call.x.shape[0], &|images| call.size(images))?;
        let size = call.size(batch);
        let algorithms = Algorithms::of(&plan, self.graph(size)?.as_ref(), &compiler.target(), &compiler.options);
        let footprint = Footprint::of(&plan);
        make_ready(compiler.engine, std::slice::from_ref(&plan), observer)?;
        let placed = self.planned(compiler, size, plan)?;
        done(observer, "upload", "")?;
        let output = match &call.levels {
            RawLevels::Timesteps(timesteps) => placed.call(&call.inputs(timesteps))?,
            RawLevels::Sigmas(sigmas) => {
                let condition = Condition {
                    context: call.context.clone(),
                    labels: call.labels.clone(),
                    added: call.added.clone(),
                    guidance: call.guidance,
                };
                self.denoiser(placed, Guidance::none(condition))?.eps(&call.x, &Level::each(sigmas))?
            }
        };
        done(observer, "call", "")?;
        Ok(RawOutput { output, batch, algorithms, footprint })
    }
}
