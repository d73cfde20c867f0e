//! The calls of a denoiser, counted.

use super::{Denoiser, Level};
use crate::{Result, tensor::Tensor};

/// A denoiser whose calls are counted.
pub(crate) struct Counted<'a> {
    pub denoiser: &'a mut dyn Denoiser,
    /// The calls so far.
    pub calls: usize,
}

impl Denoiser for Counted<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.denoiser.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        self.calls += 1;
        self.denoiser.eps(x, levels)
    }

    fn parts(&mut self, x: &Tensor, levels: &[Level]) -> Result<(Tensor, Tensor)> {
        self.calls += 1;
        self.denoiser.parts(x, levels)
    }

    fn variance(&self) -> Option<&Tensor> {
        self.denoiser.variance()
    }

    fn gradient(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        self.denoiser.gradient(x, levels)
    }

    fn shift(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        self.denoiser.shift(x, levels)
    }

    fn begin(&mut self, levels: &[Level]) {
        self.denoiser.begin(levels);
    }

    fn trace_nonfinite(&mut self, x: &Tensor, levels: &[Level]) -> Result<()> {
        self.denoiser.trace_nonfinite(x, levels)
    }
}
