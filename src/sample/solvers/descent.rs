//! DDPM, DDIM, gradient estimation, Euler and Euler-ancestral: one step with two numbers.

use super::super::schedule::Step;
use super::super::walk::{Clip, Oracle, Position, Solver, Stepper, Update, combine};
use crate::{Result, tensor::Tensor};

/// The way noise enters a step from `sigma` to `sigma'`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// `sigma' = sigma^mu sigma_down^(1 - mu)`, 0 <= mu < 1: the gradient-estimation paper's family; none at mu = 0.
    Mu(f64),
    /// DDIM's eta, 0 to 1: eta times the variance of the posterior; none at eta = 0.
    Eta(f64),
    /// DDPM with diffusers' `fixed_small`: mu = 1/2, noise of the variance of the posterior.
    FixedSmall,
    /// DDPM with diffusers' `fixed_large`: the mean of mu = 1/2, and noise of variance beta.
    FixedLarge,
    /// DDPM with the variance v that a network gives: the mean of mu = 1/2, and noise of variance v, or with `is_range`
    /// of variance `beta^f posterior^(1 - f)` with f = (v + 1) / 2 (Nichol and Dhariwal, 2021, equation 15).
    Learned {
        /// `true` if v lies in a range.
        is_range: bool,
    },
}

impl Noise {
    /// `true` if noise is added.
    #[must_use]
    pub fn is_added(self) -> bool {
        match self {
            Self::Mu(share) | Self::Eta(share) => share > 0.0,
            Self::FixedSmall | Self::FixedLarge | Self::Learned { .. } => true,
        }
    }

    /// `true` for DDPM, whose steps are drawn from a normal distribution: guidance moves its mean by its variance times
    /// the gradient (Dhariwal and Nichol, 2021, algorithm 1). Elsewhere guidance moves eps (algorithm 2).
    fn is_ancestral(self) -> bool {
        matches!(self, Self::FixedSmall | Self::FixedLarge | Self::Learned { .. })
    }
}

impl std::fmt::Display for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mu(mu) => write!(f, "mu {mu}"),
            Self::FixedSmall => f.write_str("mu 0.5"),
            Self::Eta(eta) => write!(f, "eta {eta}"),
            Self::FixedLarge => f.write_str("variance beta"),
            Self::Learned { is_range: false } => f.write_str("learned variance"),
            Self::Learned { is_range: true } => f.write_str("learned variance in a range"),
        }
    }
}

/// A row of the table. With eps the denoiser's estimate at sigma and w standard normal, a step from sigma to sigma' is
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
/// Euler                |   1   |  0  | sigma'                | yes
/// Euler-ancestral      |   1   | 1/2 | sigma'^2 / sigma      | yes
/// ```
///
/// (Permenter and Yuan, ICML 2024, algorithm 2 and the code beside it; DDIM with eta = 1 is DDPM. Euler and
/// Euler-ancestral are DDIM and DDPM on other grids and from another start.) `eps_previous` is the estimate of the step
/// before, not its average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    /// The weight of this step's eps; the last step's has 1 - gamma.
    pub gamma: f64,
    /// The noise of a step.
    pub noise: Noise,
}

impl Descent {
    /// DDIM without noise.
    pub const DDIM: Self = Self { gamma: 1.0, noise: Noise::Mu(0.0) };

    /// (`sigma_down`, spread of the noise) of `step`, in the variance-exploding scale: the level that the estimate goes
    /// down to, and the noise that brings it up again. The denoiser has been called for this step.
    fn split(&self, step: &Step, oracle: &Oracle) -> Result<(f64, Spread)> {
        let (sigma, next) = (step.from.sigma, step.to.sigma);
        let down = match self.noise {
            Noise::Mu(mu) => next * (next / sigma).powf(mu / (1.0 - mu)),
            Noise::FixedSmall => next * (next / sigma),
            Noise::Eta(eta) => next * (1.0 - eta * eta * (1.0 - (next / sigma).powi(2))).max(0.0).sqrt(),
            Noise::FixedLarge | Noise::Learned { .. } => next * next / sigma,
        };
        // The step from timestep 0 adds none.
        let is_before_first = step.from.timestep.map_or(next > 0.0, |t| t > 0.0);
        let spread = match self.noise {
            // beta / alpha bar' = (1 - alpha bar / alpha bar') / alpha bar'.
            Noise::FixedLarge if is_before_first => {
                let kept = step.from.alpha_bar() / step.to.alpha_bar();
                Spread::Same(((1.0 - kept) / step.to.alpha_bar()).sqrt())
            }
            Noise::Learned { is_range } if is_before_first => {
                Spread::Each(oracle.variance()?.data.iter().map(|v| learned(step, is_range, f64::from(*v))).collect())
            }
            Noise::FixedLarge | Noise::Learned { .. } => Spread::Same(0.0),
            Noise::Mu(_) | Noise::FixedSmall | Noise::Eta(_) => {
                Spread::Same((next * next - down * down).max(0.0).sqrt())
            }
        };
        Ok((down, spread))
    }
}

impl Descent {
    /// The variances of a step by which guidance moves its mean, in the variance-exploding scale. They are those of its
    /// noise. The step from timestep 0 adds no noise and is guided all the same: for it, guided-diffusion takes the
    /// variance of the posterior of the step before.
    fn guided(&self, position: Position, spread: &Spread, oracle: &Oracle) -> Result<Spread> {
        let step = position.step();
        let is_last = step.from.timestep.is_some_and(|t| t <= 0.0);
        let before = position.index.checked_sub(1).map_or(0.0, |index| posterior(&position.steps[index]));
        let there = step.to.alpha_bar();
        Ok(match (self.noise, is_last) {
            (Noise::FixedLarge, true) => Spread::Same(before / there),
            (Noise::Learned { is_range }, true) => {
                let values = oracle.variance()?;
                Spread::Each(
                    values.data.iter().map(|v| variance(&step, is_range, before, f64::from(*v)) / there).collect(),
                )
            }
            _ => match spread {
                Spread::Same(spread) => Spread::Same(spread * spread),
                Spread::Each(spreads) => Spread::Each(spreads.iter().map(|spread| spread * spread).collect()),
            },
        })
    }
}

/// The spread of the noise of a step, in the variance-exploding scale.
enum Spread {
    /// One for all values.
    Same(f64),
    /// One for each value.
    Each(Vec<f64>),
}

impl Spread {
    /// `true` if any noise is added.
    fn is_added(&self) -> bool {
        match self {
            Self::Same(spread) => *spread > 0.0,
            Self::Each(_) => true,
        }
    }

    fn at(&self, index: usize) -> f64 {
        match self {
            Self::Same(spread) => *spread,
            Self::Each(spreads) => spreads[index],
        }
    }
}

/// The spread of the noise of `step` for the output `v` of a network.
fn learned(step: &Step, is_range: bool, v: f64) -> f64 {
    (variance(step, is_range, posterior(step), v) / step.to.alpha_bar()).sqrt()
}

/// The variance of `step` for the output `v` of a network and a variance of the posterior, in the variance-preserving
/// scale.
fn variance(step: &Step, is_range: bool, posterior: f64, v: f64) -> f64 {
    /// The least variance of the posterior: diffusers takes its logarithm, and at the last step it is 0.
    const LEAST: f64 = 1e-20;
    if !is_range {
        return v;
    }
    let beta = 1.0 - step.from.alpha_bar() / step.to.alpha_bar();
    let share = 0.5 * (v + 1.0);
    (share * beta.ln() + (1.0 - share) * posterior.max(LEAST).ln()).exp()
}

/// The variance of the posterior of `step`, in the variance-preserving scale.
fn posterior(step: &Step) -> f64 {
    let (here, there) = (step.from.alpha_bar(), step.to.alpha_bar());
    (1.0 - there) / (1.0 - here) * (1.0 - here / there)
}

impl Solver for Descent {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(State::new(*self))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("gamma", self.gamma.to_string()), ("noise", self.noise.to_string())]
    }

    fn is_stochastic(&self) -> bool {
        self.noise.is_added()
    }
}

#[derive(Clone)]
struct State {
    descent: Descent,
    previous: Option<Tensor>,
}

impl State {
    fn new(descent: Descent) -> Self {
        Self { descent, previous: None }
    }
}

impl State {
    /// The first step of a schedule that begins at pure noise: the state is the noise itself, and the network predicts
    /// the image.
    fn begin_at_noise(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let step = position.step();
        let here = oracle.estimate(&x, step.from)?;
        let (sigma_down, spread) = self.descent.split(&step, oracle)?;
        let mut w = if spread.is_added() { Some(oracle.noise()?) } else { None };
        let factor = match &spread {
            Spread::Same(spread) => *spread,
            Spread::Each(spreads) => {
                let values = w.iter_mut().flat_map(|w| w.data.iter_mut()).zip(spreads);
                values.for_each(|(w, spread)| *w = (f64::from(*w) * spread) as f32);
                1.0
            }
        };
        let mut terms = vec![(1.0, &here.x0), (sigma_down, &here.eps)];
        terms.extend(w.as_ref().map(|w| (factor, w)));
        let x = combine(&terms);
        self.previous = Some(here.eps);
        Ok(Update { eps: here.raw, x0: here.x0, x })
    }
}

impl Stepper for State {
    fn step(&mut self, position: Position, mut x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let (step, gamma, clip) = (position.step(), self.descent.gamma, oracle.clip);
        let sigma = step.from.sigma;
        if sigma.is_infinite() {
            return self.begin_at_noise(position, x, oracle);
        }
        let raw = oracle.eps(&x, step.from)?;
        let (sigma_down, spread) = self.descent.split(&step, oracle)?;
        let gradient = oracle.gradient(&x, step.from)?;
        let pull = match &gradient {
            Some(gradient) if self.descent.noise.is_ancestral() => {
                // The gradient in the state at the step's end: both states are those of one z.
                let scale = (step.to.alpha_bar() / step.from.alpha_bar()).sqrt();
                Some((gradient, scale, self.descent.guided(position, &spread, oracle)?))
            }
            Some(_) | None => None,
        };
        let shift = gradient.as_ref().filter(|_| pull.is_none());
        let w = if spread.is_added() { Some(oracle.noise()?) } else { None };

        let mut x0 = Tensor::zeros(x.shape.clone());
        let mut kept = raw.clone();
        let stride = x.stride().max(1);
        let mut limit = (f64::INFINITY, 1.0);
        for i in 0..x.data.len() {
            if let Some(clip) = clip.filter(|_| i % stride == 0) {
                let pairs = x.data[i..i + stride].iter().zip(&raw.data[i..i + stride]);
                limit = clip.bound.of(pairs.map(|(x, eps)| f64::from(*x) - sigma * f64::from(*eps)));
            }
            let (here, mut eps) = (f64::from(x.data[i]), f64::from(raw.data[i]));
            let clipped = clip.map(|_| (here - sigma * eps).clamp(-limit.0, limit.0) / limit.1);
            if let (Some(clipped), Some(Clip { rederive_eps: true, .. })) = (clipped, clip) {
                eps = (here - clipped) / sigma;
            }
            let mut clipped = clipped;
            if let Some(gradient) = shift {
                // As `condition_score` of guided-diffusion: eps is that of the clipped image, which is not clipped
                // again.
                let of_image = clipped.take().map_or(eps, |clipped| (here - clipped) / sigma);
                eps = of_image - sigma * f64::from(gradient.data[i]);
            }
            let last = self.previous.as_ref().map(|last| f64::from(last.data[i]));
            let eps_bar = last.map_or(eps, |last| gamma * eps + (1.0 - gamma) * last);
            let estimate = match (clipped, clip) {
                (Some(clipped), Some(Clip { rederive_eps: false, .. })) => clipped,
                _ => here - sigma * eps_bar,
            };
            let noise = w.as_ref().map_or(0.0, |w| spread.at(i) * f64::from(w.data[i]));
            let pulled =
                pull.as_ref().map_or(0.0, |(gradient, scale, by)| by.at(i) * scale * f64::from(gradient.data[i]));
            let added = noise + pulled;
            kept.data[i] = eps as f32;
            x0.data[i] = estimate as f32;
            x.data[i] = (estimate + sigma_down * eps_bar + added) as f32;
        }
        self.previous = Some(kept);
        Ok(Update { eps: raw, x0, x })
    }
}
