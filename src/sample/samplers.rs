//! The sampler: one loop for DDPM, DDIM and gradient estimation.

use super::schedule::{Level, Schedule, Step};
use crate::denoise::Denoiser;
use crate::{Error, Result, tensor::Tensor};

/// How noise enters a step from `sigma` to `sigma'`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// `sigma' = sigma^mu sigma_down^(1 - mu)`, 0 <= mu < 1: the gradient-estimation paper's family; none at mu = 0.
    Mu(f64),
    /// DDIM's eta, 0 to 1: eta times the variance of the posterior; none at eta = 0.
    Eta(f64),
    /// DDPM with diffusers' `fixed_large`: the mean of mu = 1/2, and noise of variance beta.
    FixedLarge,
}

/// How the prediction of x0 is clipped to plus and minus `range`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// The largest magnitude of a value of x0.
    pub range: f64,
    /// eps is derived anew from the clipped x0, before the average; else only x0 is clipped.
    pub rederive_eps: bool,
}

/// A sampler of the family: a row of the table at [`sample`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Method {
    /// The weight of this step's eps; the last step's has 1 - gamma.
    pub gamma: f64,
    /// How noise enters.
    pub noise: Noise,
    /// Clipping of x0, if any.
    pub clip: Option<Clip>,
}

impl Method {
    /// (`sigma_down`, spread of the noise) of `step`, in the variance-exploding scale: the level that the estimate goes
    /// down to, and the noise that brings it up again.
    fn split(&self, step: &Step) -> (f64, f64) {
        let (sigma, next) = (step.from.sigma, step.to.sigma);
        let down = match self.noise {
            Noise::Mu(mu) => next * (next / sigma).powf(mu / (1.0 - mu)),
            Noise::Eta(eta) => next * (1.0 - eta * eta * (1.0 - (next / sigma).powi(2))).max(0.0).sqrt(),
            Noise::FixedLarge => next * next / sigma,
        };
        let spread = match self.noise {
            // beta / alpha bar' = (1 - alpha bar / alpha bar') / alpha bar'; the step from timestep 0 adds none.
            Noise::FixedLarge if step.from.timestep.map_or(next > 0.0, |t| t > 0.0) => {
                let kept = step.from.alpha_bar() / step.to.alpha_bar();
                ((1.0 - kept) / step.to.alpha_bar()).sqrt()
            }
            Noise::FixedLarge => 0.0,
            _ => (next * next - down * down).max(0.0).sqrt(),
        };
        (down, spread)
    }
}

/// What a step did, for whoever watches.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Which step, from 0.
    pub index: usize,
    /// Its levels.
    pub step: Step,
    /// The estimate of eps at `step.from`, as the denoiser gave it: (n, c, h, w).
    pub eps: &'a Tensor,
    /// The prediction of x0: (n, c, h, w).
    pub x0: &'a Tensor,
    /// The state x at `step.to` in the variance-exploding scale: (n, c, h, w).
    pub x: &'a Tensor,
}

/// Walks `x`, (n, c, h, w) in the variance-exploding scale at the schedule's first level, down to its last.
///
/// With eps the denoiser's answer at sigma and w standard normal, a step from sigma to sigma' is
///
/// ```text
/// eps_bar = gamma eps + (1 - gamma) eps_previous            (the first step: eps)
/// x0      = x - sigma eps_bar
/// x'      = x0 + sigma_down eps_bar + sqrt(sigma'^2 - sigma_down^2) w
/// where     sigma' = sigma^mu sigma_down^(1 - mu)
///
///                      | gamma |  mu | sigma_down            | clipped x0 gives a new eps
/// DDPM                 |   1   | 1/2 | sigma'^2 / sigma      | yes
/// DDIM (eta = 0)       |   1   |  0  | sigma'                | no
/// gradient estimation  |   2   |  0  | sigma'                | yes, before the average
/// ```
///
/// (Permenter and Yuan, ICML 2024, algorithm 2 and the code beside it; DDIM with eta = 1 is DDPM.) `eps_previous` is the
/// answer of the step before, not its average. `noise(index)` answers w for a step and is called only where noise is
/// added; `watch` sees every step. Values are float32, each element's arithmetic is float64.
///
/// # Errors
/// [`Error::Usage`] when `x` does not have the denoiser's image shape, [`Error::NonFinite`] naming the step, and whatever
/// the denoiser, `noise` and `watch` report.
pub fn sample(
    denoiser: &mut dyn Denoiser,
    schedule: &Schedule,
    method: &Method,
    mut x: Tensor,
    noise: &mut dyn FnMut(usize) -> Result<Tensor>,
    watch: &mut dyn FnMut(&Progress) -> Result<()>,
) -> Result<Tensor> {
    check_shape(&x, denoiser.image_shape())?;
    let mut previous: Option<Tensor> = None;
    for (index, step) in schedule.steps().iter().enumerate() {
        let sigma = step.from.sigma;
        let rejoin = schedule.rejoin(index);
        x.data.iter_mut().for_each(|value| *value = (f64::from(*value) * rejoin) as f32);

        let answer = denoiser.eps(&x, &vec![sigma; x.shape[0]])?;
        check_finite(&answer, "the denoiser's answer", index, schedule, step.from)?;
        let (sigma_down, spread) = method.split(step);
        let w = if spread > 0.0 { Some(noise(index)?) } else { None };

        let mut x0 = Tensor::zeros(x.shape.clone());
        let mut kept = answer.clone();
        for i in 0..x.data.len() {
            let (here, mut eps) = (f64::from(x.data[i]), f64::from(answer.data[i]));
            let clipped = method.clip.map(|clip| (here - sigma * eps).clamp(-clip.range, clip.range));
            if let (Some(clipped), Some(Clip { rederive_eps: true, .. })) = (clipped, method.clip) {
                eps = (here - clipped) / sigma;
            }
            let eps_bar = previous
                .as_ref()
                .map_or(eps, |last| method.gamma * eps + (1.0 - method.gamma) * f64::from(last.data[i]));
            let estimate = match (clipped, method.clip) {
                (Some(clipped), Some(Clip { rederive_eps: false, .. })) => clipped,
                _ => here - sigma * eps_bar,
            };
            let added = w.as_ref().map_or(0.0, |w| spread * f64::from(w.data[i]));
            kept.data[i] = eps as f32;
            x0.data[i] = estimate as f32;
            x.data[i] = (estimate + sigma_down * eps_bar + added) as f32;
        }
        check_finite(&x, "the state", index, schedule, step.to)?;
        previous = Some(kept);
        watch(&Progress { index, step: *step, eps: &answer, x0: &x0, x: &x })?;
    }
    Ok(x)
}

fn check_shape(x: &Tensor, image: [usize; 3]) -> Result<()> {
    if x.shape.len() == 4 && x.shape[1..] == image {
        return Ok(());
    }
    let what = format!("a start state of shape {:?} for images of {image:?}", x.shape);
    Err(Error::usage(what, "the start state is (images, channels, height, width)"))
}

fn check_finite(tensor: &Tensor, what: &str, index: usize, schedule: &Schedule, level: Level) -> Result<()> {
    if tensor.is_finite() {
        return Ok(());
    }
    Err(Error::NonFinite {
        place: format!("{what} in step {} of {} ({level})", index + 1, schedule.steps().len()),
        hint: "look for NaN in the weights and the start state; a smaller `--gamma` diverges less".to_owned(),
    })
}
