//! Denoisers: given x = x0 + sigma eps and sigma, answer eps.
//!
//! This is the papers' notation (the variance-exploding scale), and the only one that samplers and studies speak. A
//! network trained in the variance-preserving scale z = sqrt(alpha bar) x is wrapped once, with the table of
//! [`diffusion`] between its timesteps and sigma.

mod calls;
pub mod closed_form;
pub mod conditioned;
pub mod diffusion;
pub mod guided;
pub mod jacobian;
pub mod network;

use crate::{Result, tensor::Tensor};

/// Something that estimates the noise in an image.
///
/// Seen as geometry, sigma eps(x, sigma) estimates the gradient of half the squared distance to the data, and
/// x - sigma eps(x, sigma) the projection of x on it (Permenter and Yuan, ICML 2024).
pub trait Denoiser {
    /// (channels, height, width) of one image.
    fn image_shape(&self) -> [usize; 3];

    /// The noise eps in x = x0 + sigma eps.
    ///
    /// `x` is (n, c, h, w) in the variance-exploding scale, `sigma` one noise level an image (n values, each above 0);
    /// the answer has the shape of `x`.
    ///
    /// # Errors
    /// Whatever the device below reports. A non-finite answer is not an error here: the sampler checks each step.
    fn eps(&mut self, x: &Tensor, sigma: &[f64]) -> Result<Tensor>;

    /// As [`Denoiser::eps`] for images of one `sigma`; a network is called at the timestep where one is given: some of
    /// diffusers' grids round the timesteps and not the sigmas.
    ///
    /// # Errors
    /// As [`Denoiser::eps`].
    fn eps_at(&mut self, x: &Tensor, sigma: f64, _timestep: Option<f64>) -> Result<Tensor> {
        self.eps(x, &vec![sigma; x.shape[0]])
    }

    /// The noise levels of the walk that begins, in any order: for those whose answer at one depends on the others. Most
    /// do not care.
    fn walk_over(&mut self, _sigmas: &[f64]) {}
}

/// A denoiser of operations that can be looked into.
pub trait TraceNonFinite: Denoiser {
    /// Names the first operation that makes a non-finite value, for what [`Denoiser::eps_at`] is called with.
    ///
    /// # Errors
    /// [`crate::Error::NonFinite`] naming it; [`crate::Error::Device`].
    fn trace_nonfinite_eps(&self, x: &Tensor, sigma: f64, timestep: Option<f64>) -> Result<()>;
}
