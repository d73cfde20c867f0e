//! The processes of noise that networks are trained on.
//!
//! Samplers and studies have one scale, x = x0 + sigma eps, and one measure of noise, sigma. A network has its own:
//! its input is x times a factor, a timestep tells it the level of noise, and its output is a function of eps. All
//! three follow from sigma.

use std::path::Path;

use super::diffusion::{MAX_TIMESTEPS, NoiseTable, PredictionType, alpha_bar_of};
use crate::{Error, Result};

/// The exponent of the levels of [`Process::Edm`].
const RHO: f64 = 7.0;
/// The number of those levels.
const EDM_LEVELS: usize = 1000;
/// The timestep of consistency models per unit of the logarithm of sigma.
const CONSISTENCY_TIME: f64 = 250.0;

/// A process of noise. Its timesteps are those that networks are called with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Process {
    /// Variance-preserving diffusion in steps: z = sqrt(alpha bar) x, timesteps 0 to T - 1 (Ho et al. 2020).
    Betas,
    /// Variance-preserving diffusion by angle: z = cos(a) x0 + sin(a) eps, called at 2 a / pi, with sigma = tan(a). The
    /// process of diffusers' `IPNDMScheduler`.
    Angle,
    /// The preconditioned networks of Karras et al. (2022): `x / sqrt(sigma^2 + sigma_data^2)`, called at ln(sigma) /
    /// 4.
    Edm {
        /// The standard deviation of the data.
        sigma_data: f64,
    },
    /// Variance-exploding diffusion by scores (Song et al. 2021): x itself, called at sigma. The output is the score,
    /// -eps / sigma. The networks of diffusers' `ScoreSdeVePipeline`.
    Score,
    /// Consistency models (Song et al. 2023): `x / sqrt(sigma^2 + sigma_data^2)`, called at 250 ln(sigma). Their image
    /// is `c_skip x + c_out F` for an output F, and x itself at `sigma_min`.
    Consistency {
        /// The standard deviation of the data.
        sigma_data: f64,
        /// The noise level at which the image is x itself.
        sigma_min: f64,
    },
    /// Flow matching (Lipman et al. 2023): z = (1 - s) x0 + s eps, called at s T, with sigma = s / (1 - s). Its most
    /// noise, s = 1, has an infinite sigma.
    Flow {
        /// T.
        timesteps: usize,
        /// `true` for a network that counts time from the noise: it is called at (1 - s) T, and its velocity is x0 -
        /// eps (diffusers' `invert_sigmas`).
        is_inverted: bool,
    },
}

impl Process {
    /// The factor from x at noise level `sigma` to the input z of the network. At an infinite sigma, where a state
    /// holds the noise itself, it is 1.
    #[must_use]
    pub fn input_scale(self, sigma: f64) -> f64 {
        if sigma.is_infinite() {
            return 1.0;
        }
        match self {
            Self::Betas | Self::Angle => alpha_bar_of(sigma).sqrt(),
            Self::Edm { sigma_data } | Self::Consistency { sigma_data, .. } => 1.0 / sigma.hypot(sigma_data),
            Self::Score => 1.0,
            Self::Flow { .. } => 1.0 / (1.0 + sigma),
        }
    }

    /// The timestep of `sigma`; `None` for [`Process::Betas`], where a table has it.
    pub(super) fn timestep(self, sigma: f64) -> Option<f64> {
        match self {
            Self::Betas => None,
            Self::Angle => Some(sigma.atan() * std::f64::consts::FRAC_2_PI),
            Self::Edm { .. } => Some(sigma.ln() / 4.0),
            Self::Score => Some(sigma),
            Self::Consistency { .. } => Some(CONSISTENCY_TIME * sigma.ln()),
            Self::Flow { is_inverted: true, timesteps } => Some(timesteps as f64 / (1.0 + sigma)),
            Self::Flow { timesteps, .. } if sigma.is_infinite() => Some(timesteps as f64),
            Self::Flow { timesteps, .. } => Some(timesteps as f64 * sigma / (1.0 + sigma)),
        }
    }

    /// The sigma of `timestep`; `None` for [`Process::Betas`], where a table has it.
    pub(super) fn sigma(self, timestep: f64) -> Option<f64> {
        match self {
            Self::Betas => None,
            Self::Angle => Some((timestep * std::f64::consts::FRAC_PI_2).tan()),
            Self::Edm { .. } => Some((4.0 * timestep).exp()),
            Self::Score => Some(timestep),
            Self::Consistency { .. } => Some((timestep / CONSISTENCY_TIME).exp()),
            Self::Flow { is_inverted: true, timesteps } => Some((timesteps as f64 - timestep) / timestep),
            Self::Flow { timesteps, .. } => Some(timestep / (timesteps as f64 - timestep)),
        }
    }

    /// (eps, x0) from the network's `output` and its input `z` at noise level `sigma`, above 0.
    ///
    /// [`Process::Score`] and [`Process::Consistency`] have one form of output, whatever `prediction` is.
    ///
    /// At an infinite sigma z is the noise. x0 is then known from a network that predicts more than the noise, and NaN
    /// otherwise.
    #[must_use]
    pub fn parts(self, prediction: PredictionType, output: f64, z: f64, sigma: f64) -> (f64, f64) {
        let x = z / self.input_scale(sigma);
        match self {
            Self::Betas | Self::Angle if sigma.is_infinite() => match prediction {
                PredictionType::Sample => (z, output),
                PredictionType::VPrediction => (z, -output),
                PredictionType::FlowPrediction => (z, z - output),
                PredictionType::Epsilon => (output, f64::NAN),
            },
            Self::Betas | Self::Angle => {
                let eps = prediction.eps(output, z, alpha_bar_of(sigma));
                (eps, x - sigma * eps)
            }
            Self::Edm { sigma_data } => {
                let variance = sigma * sigma + sigma_data * sigma_data;
                let (kept, scale) = (sigma_data * sigma_data / variance, sigma * sigma_data / variance.sqrt());
                let x0 = match prediction {
                    PredictionType::Epsilon => kept * x + scale * output,
                    PredictionType::VPrediction => kept * x - scale * output,
                    PredictionType::Sample => output,
                    PredictionType::FlowPrediction => x - sigma * (x + output) / (1.0 + sigma),
                };
                ((x - x0) / sigma, x0)
            }
            Self::Score => (-sigma * output, x + sigma * sigma * output),
            Self::Consistency { sigma_data, sigma_min } => {
                let above = sigma - sigma_min;
                let kept = sigma_data * sigma_data / (above * above + sigma_data * sigma_data);
                let x0 = kept * x + above * sigma_data / sigma.hypot(sigma_data) * output;
                ((x - x0) / sigma, x0)
            }
            Self::Flow { is_inverted, .. } => {
                let signal = if sigma.is_infinite() { 0.0 } else { 1.0 / (1.0 + sigma) };
                let noise = 1.0 - signal;
                match prediction {
                    PredictionType::Epsilon => (output, (z - noise * output) / signal),
                    PredictionType::Sample => ((z - signal * output) / noise, output),
                    PredictionType::VPrediction => {
                        let square = signal * signal + noise * noise;
                        ((signal * output + noise * z) / square, (signal * z - noise * output) / square)
                    }
                    PredictionType::FlowPrediction => {
                        let velocity = if is_inverted { -output } else { output };
                        (z + signal * velocity, z - noise * velocity)
                    }
                }
            }
        }
    }
}

/// The levels of processes without betas. Errors name `file`, the source of their fields.
impl NoiseTable {
    /// The levels s = 1/T to (T - 1)/T of flow matching with `timesteps` T.
    ///
    /// # Errors
    /// [`Error::BadFile`] for fewer than two timesteps, or too many.
    pub fn flow(timesteps: usize, file: &Path) -> Result<Self> {
        check_timesteps(timesteps, file)?;
        let sigmas = (1..timesteps).map(|t| t as f64 / (timesteps - t) as f64).collect();
        Ok(Self::of_process(Process::Flow { timesteps, is_inverted: false }, sigmas))
    }

    /// The same levels for a network of flow matching that counts time from the noise.
    #[must_use]
    pub fn inverted(self) -> Self {
        match self.process() {
            Process::Flow { timesteps, .. } => {
                Self::of_process(Process::Flow { timesteps, is_inverted: true }, self.sigmas().to_vec())
            }
            _ => self,
        }
    }

    /// The levels sin(a) = sin(pi k / 2 T)^2 of `IPNDMScheduler` with `timesteps` T, where k is 1 to T - 1.
    ///
    /// # Errors
    /// [`Error::BadFile`] for fewer than two timesteps, or too many.
    pub fn angle(timesteps: usize, file: &Path) -> Result<Self> {
        check_timesteps(timesteps, file)?;
        let sigma = |k: usize| {
            let sine = (k as f64 / timesteps as f64 * std::f64::consts::FRAC_PI_2).sin().powi(2);
            sine / (1.0 - sine * sine).sqrt()
        };
        Ok(Self::of_process(Process::Angle, (1..timesteps).map(sigma).collect()))
    }

    /// Levels from `sigma_min` to `sigma_max`, even in the seventh root, of a network of Karras et al. (2022).
    ///
    /// # Errors
    /// [`Error::BadFile`] for a range that is empty, and for numbers that are not above 0.
    pub fn edm(sigma_min: f64, sigma_max: f64, sigma_data: f64, file: &Path) -> Result<Self> {
        check_range(sigma_min, sigma_max, sigma_data, file)?;
        let sigmas = even_in_root(sigma_min, sigma_max, RHO, EDM_LEVELS);
        Ok(Self::of_process(Process::Edm { sigma_data }, sigmas))
    }

    /// Levels from `sigma_min` to `sigma_max`, `timesteps` of them and even in the root of `rho`, of a consistency
    /// model.
    ///
    /// # Errors
    /// [`Error::BadFile`] for fewer than two timesteps, or too many, and for what [`NoiseTable::edm`] refuses.
    pub fn consistency(
        timesteps: usize,
        (sigma_min, sigma_max): (f64, f64),
        sigma_data: f64,
        rho: f64,
        file: &Path,
    ) -> Result<Self> {
        check_timesteps(timesteps, file)?;
        check_range(sigma_min, sigma_max, sigma_data, file)?;
        if !(rho > 0.0 && rho.is_finite()) {
            return Err(Error::bad_file(file, format!("`rho` is {rho}, expected a number above 0")));
        }
        let sigmas = even_in_root(sigma_min, sigma_max, rho, timesteps);
        if !sigmas.is_sorted_by(|low, high| low < high) {
            return Err(Error::bad_file(file, format!("`rho` of {rho} gives noise levels that do not grow")));
        }
        Ok(Self::of_process(Process::Consistency { sigma_data, sigma_min }, sigmas))
    }

    /// Levels from `sigma_min` to `sigma_max`, `timesteps` of them and even in the logarithm, of a network that gives
    /// scores.
    ///
    /// # Errors
    /// [`Error::BadFile`] for fewer than two timesteps, or too many, for a range that is empty, and for numbers that
    /// are not above 0.
    pub fn score(timesteps: usize, sigma_min: f64, sigma_max: f64, file: &Path) -> Result<Self> {
        check_timesteps(timesteps, file)?;
        check_range(sigma_min, sigma_max, 1.0, file)?;
        let (low, high) = (sigma_min.ln(), sigma_max.ln());
        let part = |index: usize| index as f64 / (timesteps - 1) as f64;
        let sigmas = (0..timesteps).map(|index| (low + part(index) * (high - low)).exp()).collect();
        Ok(Self::of_process(Process::Score, sigmas))
    }
}

/// `count` values from `low` to `high`, even in the root of `rho`.
fn even_in_root(low: f64, high: f64, rho: f64, count: usize) -> Vec<f64> {
    let (low, high) = (low.powf(1.0 / rho), high.powf(1.0 / rho));
    let part = |index: usize| index as f64 / (count - 1) as f64;
    (0..count).map(|index| (low + part(index) * (high - low)).powf(rho)).collect()
}

fn check_range(sigma_min: f64, sigma_max: f64, sigma_data: f64, file: &Path) -> Result<()> {
    let are_sound = sigma_min > 0.0 && sigma_max > sigma_min && sigma_data > 0.0;
    if are_sound && sigma_max.is_finite() && sigma_data.is_finite() {
        return Ok(());
    }
    let what = format!("`sigma_min` is {sigma_min}, `sigma_max` {sigma_max} and `sigma_data` {sigma_data}");
    Err(Error::bad_file_hint(file, what, "all are above 0, and the first is below the second"))
}

fn check_timesteps(timesteps: usize, file: &Path) -> Result<()> {
    if (2..=MAX_TIMESTEPS).contains(&timesteps) {
        return Ok(());
    }
    let what = format!("`num_train_timesteps` is {timesteps}, expected 2 to {MAX_TIMESTEPS}");
    Err(Error::bad_file(file, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: Process = Process::Flow { timesteps: 1000, is_inverted: false };
    /// Those whose networks predict in several forms.
    const PROCESSES: [Process; 4] = [Process::Betas, Process::Angle, Process::Edm { sigma_data: 0.5 }, FLOW];

    #[test]
    fn timesteps_and_sigmas_are_inverse() {
        let inverted = Process::Flow { timesteps: 1000, is_inverted: true };
        let others = [inverted, Process::Score, Process::Consistency { sigma_data: 0.5, sigma_min: 0.002 }];
        for process in PROCESSES.into_iter().chain(others) {
            for sigma in [0.01, 0.7, 3.0, 80.0] {
                let Some(timestep) = process.timestep(sigma) else { continue };
                let back = process.sigma(timestep).unwrap();
                assert!((back / sigma - 1.0).abs() < 1e-12, "{process:?}: {back} is not {sigma}");
            }
        }
        assert_eq!(FLOW.timestep(f64::INFINITY), Some(1000.0));
        assert_eq!(FLOW.sigma(1000.0), Some(f64::INFINITY));
        assert_eq!((inverted.timestep(f64::INFINITY), inverted.sigma(0.0)), (Some(0.0), Some(f64::INFINITY)));
    }

    #[test]
    fn levels_of_a_table_grow_and_have_timesteps() {
        let file = Path::new("scheduler_config.json");
        let tables = [
            (NoiseTable::flow(1000, file).unwrap(), 999, 1.0, 999.0),
            (NoiseTable::flow(1000, file).unwrap().inverted(), 999, 999.0, 1.0),
            // diffusers' betas are sines of angles, and its timesteps those angles.
            (NoiseTable::angle(2, file).unwrap(), 1, 1.0 / 3.0, 1.0 / 3.0),
            (NoiseTable::edm(0.002, 80.0, 0.5, file).unwrap(), 1000, 0.25 * 0.002f64.ln(), 0.25 * 80f64.ln()),
            (NoiseTable::score(2000, 0.01, 1348.0, file).unwrap(), 2000, 0.01, 1348.0),
            (
                NoiseTable::consistency(40, (0.002, 80.0), 0.5, 7.0, file).unwrap(),
                40,
                250.0 * 0.002f64.ln(),
                250.0 * 80f64.ln(),
            ),
        ];
        for (table, count, first, last) in tables {
            assert_eq!(table.timesteps(), count);
            assert!(table.sigmas().is_sorted_by(|low, high| low < high));
            assert!((table.timestep_at(0) - first).abs() < 1e-9, "{}", table.timestep_at(0));
            assert!((table.last_timestep() - last).abs() < 1e-9, "{}", table.last_timestep());
        }
        assert!(NoiseTable::flow(1, file).unwrap_err().to_string().contains("num_train_timesteps"));
        assert!(NoiseTable::edm(1.0, 0.5, 0.5, file).unwrap_err().to_string().contains("sigma_max"));
    }

    #[test]
    fn an_exact_network_of_every_prediction_gives_back_the_parts() {
        let (x0, eps) = (0.3, -1.7);
        for process in PROCESSES {
            for sigma in [0.05, 1.0, 20.0] {
                let scale = process.input_scale(sigma);
                let x = x0 + sigma * eps;
                let (signal, noise) = match process {
                    Process::Flow { .. } => (scale, sigma * scale),
                    Process::Betas
                    | Process::Angle
                    | Process::Edm { .. }
                    | Process::Score
                    | Process::Consistency { .. } => {
                        let signal = alpha_bar_of(sigma).sqrt();
                        (signal, sigma * signal)
                    }
                };
                let edm = |sign: f64| {
                    let variance = sigma * sigma + 0.25;
                    sign * (x0 - 0.25 / variance * x) * variance.sqrt() / (0.5 * sigma)
                };
                for (prediction, usual, preconditioned) in [
                    (PredictionType::Epsilon, eps, edm(1.0)),
                    (PredictionType::Sample, x0, x0),
                    (PredictionType::VPrediction, signal * eps - noise * x0, edm(-1.0)),
                    (PredictionType::FlowPrediction, eps - x0, eps - x0),
                ] {
                    let output = if matches!(process, Process::Edm { .. }) { preconditioned } else { usual };
                    let (found_eps, found_x0) = process.parts(prediction, output, scale * x, sigma);
                    assert!((found_eps - eps).abs() < 1e-9, "{process:?} {prediction:?} {sigma}: eps {found_eps}");
                    assert!((found_x0 - x0).abs() < 1e-9, "{process:?} {prediction:?} {sigma}: x0 {found_x0}");
                }
            }
        }
    }

    #[test]
    fn scores_and_consistency_models_give_back_the_parts() {
        let (x0, eps) = (0.3, -1.7);
        let consistency = Process::Consistency { sigma_data: 0.5, sigma_min: 0.002 };
        for sigma in [0.05, 1.0, 20.0] {
            let x = x0 + sigma * eps;
            let (found_eps, found_x0) = Process::Score.parts(PredictionType::Epsilon, -eps / sigma, x, sigma);
            assert!((found_eps - eps).abs() < 1e-12 && (found_x0 - x0).abs() < 1e-12, "{sigma}");
            let above = sigma - 0.002;
            let output = (x0 - 0.25 / (above * above + 0.25) * x) * sigma.hypot(0.5) / (0.5 * above);
            let z = consistency.input_scale(sigma) * x;
            let (found_eps, found_x0) = consistency.parts(PredictionType::Epsilon, output, z, sigma);
            assert!((found_eps - eps).abs() < 1e-9 && (found_x0 - x0).abs() < 1e-9, "{sigma}");
        }
        // At the least noise, the image is x whatever the network says.
        let z = consistency.input_scale(0.002) * 0.7;
        assert!((consistency.parts(PredictionType::Epsilon, 9.0, z, 0.002).1 - 0.7).abs() < 1e-12);
    }

    #[test]
    fn pure_noise_of_flow_matching_has_a_clean_image() {
        let flow = FLOW;
        let (x0, eps) = (0.3, -1.7);
        assert_eq!(flow.parts(PredictionType::FlowPrediction, eps - x0, eps, f64::INFINITY), (eps, eps - (eps - x0)));
        assert_eq!(flow.parts(PredictionType::Sample, x0, eps, f64::INFINITY), (eps, x0));
        assert!(flow.parts(PredictionType::Epsilon, eps, eps, f64::INFINITY).1.is_nan());
    }
}
