//! Analytic-DDIM: DDIM's steps with the variance that is optimal for a denoiser's errors (Bao et al., "Analytic-DPM: an
//! Analytic Estimate of the Optimal Reverse Variance in Diffusion Probabilistic Models", ICLR 2022, theorem 1 and
//! equation 8; the authors' `reverse_ddim_ms_eps`).
//!
//! A step of DDIM draws x' given x and x0. With an estimate of x0 in its place, the variance of x0 given x is missing.
//! Its mean over values is sigma^2 (1 - Gamma), where Gamma = E |eps(x, sigma)|^2 / n over noised data, so that
//!
//! ```text
//! x'      = x0 + sigma_down eps + spread w
//! spread^2 = sigma'^2 - sigma_down^2 + (1 - sigma_down / sigma)^2 clip(sigma^2 (1 - Gamma), 0, 1)
//! ```
//!
//! with `sigma_down` that of DDIM's eta, in the scale x = x0 + sigma eps. Data are in -1..1, where no variance is above
//! 1. The last step adds no noise, and the step before it at most that of [`Analytic::PIXEL`].

use std::path::Path;
use std::sync::Arc;

use super::super::samplers::Sampler;
use super::super::walk::{Method, Oracle, Position, Solver, Stepper, Update, combine};
use crate::formats::json;
use crate::input::sha256_of;
use crate::{Error, Result, tensor::Tensor};

/// The second moments of a denoiser's eps over noised data.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Variances {
    /// Noise levels, falling.
    sigmas: Vec<f64>,
    /// Gamma = E |eps|^2 / n at each of them.
    gammas: Vec<f64>,
}

/// Numbers as read from a file.
#[derive(serde::Deserialize)]
struct Unchecked {
    sigmas: Vec<f64>,
    gammas: Vec<f64>,
}

impl TryFrom<Unchecked> for Variances {
    type Error = Error;

    fn try_from(numbers: Unchecked) -> Result<Self> {
        Self::new(numbers.sigmas, numbers.gammas)
    }
}

impl Variances {
    /// Those of `gammas` at the falling noise levels `sigmas`.
    ///
    /// # Errors
    /// [`Error::Argument`] for no levels, another number of second moments, levels that do not fall or are not above 0,
    /// and second moments that are negative or not finite.
    pub fn new(sigmas: Vec<f64>, gammas: Vec<f64>) -> Result<Self> {
        let refuse = |what: &str| {
            let hint = "`sigmas` fall and are above 0, and `gammas` are the means of eps squared at each of them";
            Err(Error::argument(format!("variances with {what}"), hint))
        };
        if sigmas.is_empty() || sigmas.len() != gammas.len() {
            return refuse("another number of `sigmas` than of `gammas`, or none");
        }
        let falls = sigmas.windows(2).all(|pair| pair[0] > pair[1]);
        if !falls || sigmas.iter().any(|sigma| !(sigma.is_finite() && *sigma > 0.0)) {
            return refuse("`sigmas` that do not fall, or are not above 0");
        }
        if gammas.iter().any(|gamma| !(gamma.is_finite() && *gamma >= 0.0)) {
            return refuse("`gammas` that are not numbers from 0 on");
        }
        Ok(Self { sigmas, gammas })
    }

    /// The number of noise levels.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.sigmas.len()
    }

    /// The variance of a value of x0 given x at `sigma`, from 0 to 1: `sigma^2 (1 - Gamma)`, which is interpolated
    /// over log sigma between the levels, and beyond them that of the nearest.
    #[must_use]
    pub fn at(&self, sigma: f64) -> f64 {
        let of = |at: usize| (self.sigmas[at].powi(2) * (1.0 - self.gammas[at])).clamp(0.0, 1.0);
        // The first level that is not above.
        let below = self.sigmas.partition_point(|known| *known > sigma);
        match (below.checked_sub(1), self.sigmas.get(below)) {
            (Some(above), Some(known)) => {
                let share = (sigma / known).ln() / (self.sigmas[above] / known).ln();
                of(below) + share * (of(above) - of(below))
            }
            (Some(last), None) => of(last),
            (None, _) => of(0),
        }
    }

    /// Reads the JSON that `downhill inspect variances` writes.
    ///
    /// # Errors
    /// [`Error::FileNotFound`], [`Error::Io`]; [`Error::BadFile`] for another file.
    pub fn read(file: &Path) -> Result<Self> {
        let hint = "variances are JSON with `sigmas`, which fall, and `gammas`, as `downhill inspect variances` writes \
                    it";
        json::read(file, "not variances", hint)
    }

    /// Sixteen hexadecimal digits that tell them from others.
    #[must_use]
    pub fn digest(&self) -> String {
        let bytes: Vec<u8> = self.sigmas.iter().chain(&self.gammas).flat_map(|value| value.to_le_bytes()).collect();
        sha256_of(&bytes)[..16].to_owned()
    }
}

/// DDIM with the variances of a denoiser.
#[derive(Clone, Debug)]
pub struct Analytic {
    /// DDIM's eta, 0 to 1; the authors' tables have 0.
    pub eta: f64,
    /// The variances.
    pub variances: Arc<Variances>,
}

impl Analytic {
    /// The most noise of the step before the last, in z: a mean absolute value of one level of 8 bits, of pixels in
    /// -1..1 (the authors' `clip_pixel` of 1).
    pub const PIXEL: f64 = 2.0 / 255.0 * 1.253_314_137_315_500_1;

    /// Returns `method` with these variances. Only DDIM has them.
    ///
    /// # Errors
    /// [`Error::Argument`] for another sampler.
    pub fn apply(self, method: Method, sampler: Sampler) -> Result<Method> {
        if sampler != Sampler::Ddim {
            let what = format!("`variances` have no meaning for the sampler `{}`", sampler.name());
            return Err(Error::argument(what, "set `sampler` to `ddim`, whose steps Analytic-DDIM takes"));
        }
        Ok(Method { solver: Arc::new(self), ..method })
    }

    /// (`sigma_down`, spread of the noise) of a step.
    fn split(&self, position: Position) -> (f64, f64) {
        let step = position.step();
        let (sigma, next) = (step.from.sigma, step.to.sigma);
        let down = next * (1.0 - self.eta.powi(2) * (1.0 - (next / sigma).powi(2))).max(0.0).sqrt();
        let share = if sigma.is_infinite() { 1.0 } else { 1.0 - down / sigma };
        let variance = next * next - down * down + share * share * self.variances.at(sigma);
        let most = match position.left() {
            1 => 0.0,
            2 => Self::PIXEL / step.to.alpha_bar().sqrt(),
            _ => f64::INFINITY,
        };
        (down, variance.max(0.0).sqrt().min(most))
    }
}

impl Solver for Analytic {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(self.clone())
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let of = format!("{} levels, {}", self.variances.levels(), self.variances.digest());
        vec![("eta", self.eta.to_string()), ("variances", of)]
    }

    fn is_stochastic(&self) -> bool {
        true
    }
}

impl Stepper for Analytic {
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update> {
        let rederives = oracle.clip.is_none_or(|clip| clip.rederive_eps);
        let here = oracle.estimate(&x, position.step().from)?;
        // As in DDIM, clipping x0 leaves eps as it is.
        let eps = if rederives { &here.eps } else { &here.raw };
        let (down, spread) = self.split(position);
        let w = if spread > 0.0 { Some(oracle.noise()?) } else { None };
        let mut terms = vec![(1.0, &here.x0), (down, eps)];
        terms.extend(w.as_ref().map(|w| (spread, w)));
        let x = combine(&terms);
        Ok(Update { eps: here.raw, x0: here.x0, x })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::diffusion::NoiseTable;
    use crate::denoise::{Denoiser, Level};
    use crate::sample::run::Run;
    use crate::sample::schedule::{Schedule, StartNoise};

    /// The eps of values of mean 0 and variance `variance`.
    struct Gaussian {
        variance: f64,
    }

    impl Denoiser for Gaussian {
        fn image_shape(&self) -> [usize; 3] {
            [1, 8, 8]
        }

        fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
            let sigma = levels[0].sigma;
            let gain = sigma / (self.variance + sigma * sigma);
            Ok(Tensor::new(x.shape.clone(), x.data.iter().map(|x| (f64::from(*x) * gain) as f32).collect()))
        }
    }

    fn of_gaussian(variance: f64, sigmas: &[f64]) -> Arc<Variances> {
        let gammas = sigmas.iter().map(|sigma| sigma * sigma / (variance + sigma * sigma)).collect();
        Arc::new(Variances::new(sigmas.to_vec(), gammas).unwrap())
    }

    #[test]
    fn steps_are_those_of_the_authors_code() {
        let text = include_str!("../../../tests/golden/analytic/golden.json");
        let golden: serde_json::Value = serde_json::from_str(text).unwrap();
        let table = NoiseTable::default();
        for case in golden.as_array().unwrap() {
            let number = |value: &serde_json::Value| value.as_f64().unwrap();
            let list = |name: &str| case[name].as_array().unwrap().iter().map(number).collect::<Vec<_>>();
            let schedule = Schedule::from_timesteps(&list("timesteps"), true, &table).unwrap();
            let sigmas: Vec<f64> = schedule.steps().iter().map(|step| step.from.sigma).collect();
            let analytic = Analytic {
                eta: number(&case["eta"]),
                variances: Arc::new(Variances::new(sigmas, list("ms_eps")).unwrap()),
            };
            let (coefficients, variances) = (list("coefficients"), list("variances"));
            assert_eq!(schedule.steps().len(), variances.len());
            for index in 0..variances.len() {
                let position = Position { steps: schedule.steps(), index, skipped: 0 };
                let (down, spread) = analytic.split(position);
                let there = position.step().to.alpha_bar();
                // The betas of diffusers are rounded to float32, those of the authors are not.
                let close = |found: f64, expected: f64| (found - expected).abs() <= 2e-6 * (1.0 + expected.abs());
                assert!(close(down * there.sqrt(), coefficients[index]), "{index}: {down}, {}", coefficients[index]);
                assert!(close(spread * spread * there, variances[index]), "{index}: {spread}, {}", variances[index]);
            }
        }
    }

    #[test]
    fn any_number_of_steps_keeps_a_gaussian() {
        let (variance, count) = (0.25, 256);
        let spread = |eta: Option<f64>, steps: usize| {
            let sigmas: Vec<f64> =
                (0..=steps).map(|at| 20.0 * (0.05f64 / 20.0).powf(at as f64 / steps as f64)).collect();
            let schedule = Schedule::from_sigmas(&sigmas).unwrap().starting(StartNoise::Sigma);
            let method = match eta {
                Some(eta) => Method::new(Analytic { eta, variances: of_gaussian(variance, &sigmas) }),
                None => Method::new(super::super::descent::Descent::DDIM),
            };
            // The last two steps have less noise; the state before them is of the level there.
            let kept = schedule.steps().len() - 2;
            let end = sigmas[kept];
            let run = Run { batch: count, ..Run::new(schedule, method, count) };
            let mut batches = run.batches([1, 8, 8]).unwrap();
            let mut squares = 0.0;
            batches
                .next_batch(&mut Gaussian { variance }, &mut |progress| {
                    if progress.index + 1 == kept {
                        let sum: f64 = progress.x.data.iter().map(|x| f64::from(*x).powi(2)).sum();
                        squares = sum / progress.x.data.len() as f64;
                    }
                    Ok(())
                })
                .unwrap()
                .unwrap();
            squares / (variance + end * end)
        };
        // 16384 values: a standard deviation of 1.1 %.
        for (eta, steps) in [(0.0, 4), (0.0, 12), (0.6, 5), (1.0, 5)] {
            let found = spread(Some(eta), steps);
            assert!((found - 1.0).abs() < 0.045, "eta {eta}, {steps} steps: {found}");
        }
        let ddim = spread(None, 5);
        assert!((ddim - 1.0).abs() > 0.1, "without the variances few steps lose or gain: {ddim}");
    }

    #[test]
    fn variances_are_interpolated_and_bounded() {
        let variances = of_gaussian(0.25, &[100.0, 2.0, 0.5]);
        let of = |sigma: f64| 0.25 * sigma * sigma / (0.25 + sigma * sigma);
        for sigma in [100.0, 2.0, 0.5] {
            assert!((variances.at(sigma) - of(sigma)).abs() < 1e-12);
        }
        assert!((variances.at(1.0) - 0.5 * (of(2.0) + of(0.5))).abs() < 1e-12, "the middle in log sigma");
        assert!((variances.at(0.1) - of(0.5)).abs() < 1e-12 && (variances.at(500.0) - of(100.0)).abs() < 1e-12);
        let noisy = Variances::new(vec![100.0, 1.0], vec![0.999, 1.1]).unwrap();
        assert_eq!((noisy.at(100.0), noisy.at(1.0)), (1.0, 0.0));
        for (sigmas, gammas) in
            [(vec![], vec![]), (vec![1.0], vec![]), (vec![1.0, 2.0], vec![1.0, 1.0]), (vec![1.0], vec![f64::NAN])]
        {
            assert!(Variances::new(sigmas, gammas).is_err());
        }
    }
}
