//! A walk whose early steps are taken at once, by the closed-form solution of a Gaussian's probability flow (Wang and
//! Vastola, "The unreasonable effectiveness of Gaussian score approximation for diffusion models", 2024): where there
//! is much noise, the score of data is that of the Gaussian with their mean and covariance.

use super::schedule::Schedule;
use crate::denoise::closed_form::linear::Linear;
use crate::tensor::Tensor;

/// The steps that are left out, and the Gaussian that stands in for them.
#[derive(Clone, Debug)]
pub struct Jump {
    /// The Wiener filter of the Gaussian.
    pub gaussian: Linear,
    /// The name of its data.
    pub data: String,
    /// The whole schedule, with the steps that are left out.
    pub whole: Schedule,
}

impl Jump {
    /// The states at the first level of `rest`, the steps that are walked, from standard normal `noise` (n, c, h, w):
    /// noise becomes the state at the first level of the whole schedule, around `mean` if there is one, and follows the
    /// flow from there.
    #[must_use]
    pub fn start_state(&self, rest: &Schedule, noise: &Tensor, mean: Option<&[f64]>) -> Tensor {
        let mut x = self.whole.start_state(noise);
        if let Some(mean) = mean {
            x.data.iter_mut().zip(mean.iter().cycle()).for_each(|(x, mean)| *x = (f64::from(*x) + mean) as f32);
        }
        let (from, to) = (self.whole.start().sigma, rest.start().sigma);
        let images = (0..x.shape[0]).flat_map(|at| self.gaussian.flow(x.item(at), from, to)).collect();
        Tensor::new(x.shape.clone(), images)
    }

    /// The number of steps that are left out.
    #[must_use]
    pub fn skipped(&self, rest: &Schedule) -> usize {
        self.whole.steps().len() - rest.steps().len()
    }
}
