//! The sequential minimum-mean-square-error denoiser of a Gaussian: from one noise level to the next, not to the clean
//! image.
//!
//! Where x at level s is x at the level r below it and new noise of variance s^2 - r^2, the best estimate of the latter
//! is mean + (Sigma + r^2 I)(Sigma + s^2 I)^-1 (x - mean). As eps, of which DDIM's step x + (r - s) eps makes this
//! estimate, it is (s + r) / s times that of the Wiener filter, which approaches twice as steps get shorter: DDIM with
//! the Wiener filter keeps the spread of the data, and the chain of estimates loses it. The chain telescopes to `Sigma
//! (Sigma + s_T^2 I)^-1`, however many levels there are.

use super::linear::Linear;
use crate::denoise::{Denoiser, Level};
use crate::error::Result;
use crate::tensor::Tensor;

/// The Wiener filter, held to the levels of a walk. Below the lowest level, and without a walk, the next level is 0,
/// and the result is that of the filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequential {
    filter: Linear,
    /// Rising.
    levels: Vec<f64>,
}

impl Sequential {
    /// The chain of the Gaussian that `filter` is the Wiener filter of.
    #[must_use]
    pub fn new(filter: Linear) -> Self {
        Self { filter, levels: Vec::new() }
    }

    /// The highest level of the walk below `sigma`.
    fn below(&self, sigma: f64) -> f64 {
        self.levels.iter().copied().take_while(|level| *level < sigma).last().unwrap_or(0.0)
    }
}

impl Denoiser for Sequential {
    fn image_shape(&self) -> [usize; 3] {
        self.filter.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let sigma = &Level::sigmas(levels)[..];
        let mut eps = self.filter.eps(x, levels)?;
        let length = eps.data.len() / sigma.len().max(1);
        for (image, sigma) in eps.data.chunks_exact_mut(length.max(1)).zip(sigma) {
            let factor = 1.0 + self.below(*sigma) / sigma;
            for value in image {
                *value = (f64::from(*value) * factor) as f32;
            }
        }
        Ok(eps)
    }

    fn begin(&mut self, levels: &[Level]) {
        self.levels = Level::sigmas(levels);
        self.levels.sort_by(f64::total_cmp);
    }
}
