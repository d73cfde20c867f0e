//! Denoisers: given x = x0 + sigma eps and sigma, they estimate eps.
//!
//! This is the papers' notation (the variance-exploding scale), and the only one in samplers and studies. A network is
//! wrapped once, by [`NetworkDenoiser`], with the [`process::Process`] that it was trained on: the scale of its input,
//! its timesteps, and the relation of its output to eps.

mod classified;
pub mod closed_form;
mod counted;
pub mod diffusion;
mod guidance;
mod guidance_rule;
pub mod jacobian;
mod level;
mod network;
mod network_denoiser;
pub mod process;
mod scaling;
pub mod vjp;

pub use classified::ClassifierGradient;
pub(crate) use counted::Counted;
pub use guidance::{Condition, Guidance};
pub use guidance_rule::{Evaluations, GuidanceInterval, GuidanceMode, GuidanceRule};
pub use level::Level;
pub use network::Network;
pub use network_denoiser::NetworkDenoiser;

use crate::{Result, tensor::Tensor};

/// Something that estimates the noise in an image.
///
/// Seen as geometry, sigma eps(x, sigma) estimates the gradient of half the squared distance to the data, and
/// x - sigma eps(x, sigma) the projection of x on it (Permenter and Yuan, ICML 2024).
///
/// A denoiser may move to another thread.
pub trait Denoiser: Send {
    /// (channels, height, width) of one image.
    fn image_shape(&self) -> [usize; 3];

    /// Returns the noise eps in x = x0 + sigma eps, in the shape of `x`.
    ///
    /// `x` is (n, c, h, w) in the variance-exploding scale; `levels` holds one noise level per image, each with sigma
    /// above 0.
    ///
    /// # Errors
    /// The errors of the device. A non-finite result is not an error here: the sampler checks each step.
    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor>;

    /// Returns eps and x0, the parts of x = x0 + sigma eps.
    ///
    /// x0 is x - sigma eps, which is inexact where `x` is almost noise: a denoiser with a better estimate overrides
    /// this, and may then be called at an infinite sigma, where `x` holds the noise itself.
    ///
    /// # Errors
    /// As [`Denoiser::eps`].
    fn parts(&mut self, x: &Tensor, levels: &[Level]) -> Result<(Tensor, Tensor)> {
        let eps = self.eps(x, levels)?;
        let mut x0 = x.clone();
        let stride = x0.stride();
        for (at, level) in levels.iter().enumerate() {
            let values = x0.data[at * stride..][..stride].iter_mut().zip(eps.item(at));
            values.for_each(|(x, eps)| *x = (f64::from(*x) - level.sigma * f64::from(*eps)) as f32);
        }
        Ok((eps, x0))
    }

    /// The channels by which a network parametrises the variance of a step, as the last call of [`Denoiser::eps`] or
    /// [`Denoiser::parts`] gave them, in the shape of its images. `None` for a denoiser without any, as by default.
    fn variance(&self) -> Option<&Tensor> {
        None
    }

    /// Returns what guides the walk besides the denoiser: the gradient of log p(y | x) with respect to `x` for a
    /// condition y, times its scale, in the shape of `x`. The sampler adds it to the score, -eps / sigma. `None` for a
    /// denoiser without any, as by default.
    ///
    /// # Errors
    /// As [`Denoiser::eps`].
    fn gradient(&mut self, _x: &Tensor, _levels: &[Level]) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Returns what guidance adds to the clean image and not to the noise: x0 of the guided estimate, less the x0 that
    /// the last call of [`Denoiser::eps`] or [`Denoiser::parts`] returned, for its `x` and `levels` and in its shape.
    /// The sampler adds it to the states that it makes from `x`. `None` where one estimate denoises and renoises, as by
    /// default.
    ///
    /// # Errors
    /// As [`Denoiser::eps`].
    fn shift(&mut self, _x: &Tensor, _levels: &[Level]) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Called before a walk with its noise levels, in any order, for denoisers whose result at one level depends on the
    /// others. Does nothing by default.
    fn begin(&mut self, _levels: &[Level]) {}

    /// Names the first operation that makes a non-finite value when [`Denoiser::eps`] is called with the same
    /// arguments. Denoisers without operations to inspect return `Ok`, as by default.
    ///
    /// # Errors
    /// [`crate::Error::NonFinite`] naming the operation; [`crate::Error::Device`].
    fn trace_nonfinite(&mut self, _x: &Tensor, _levels: &[Level]) -> Result<()> {
        Ok(())
    }
}
