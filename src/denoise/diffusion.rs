//! The noise levels of a variance-preserving diffusion: beta, alpha bar, and sigma = sqrt((1 - alpha bar) / alpha bar).
//!
//! A network trained with T timesteps has T levels. [`NoiseTable`] holds them and converts both ways, between timesteps
//! and sigma, for any level in between.

use std::path::Path;

use super::process::Process;
use crate::{Error, Result};

/// More timesteps than any published model has; a configuration with more is malformed.
pub(super) const MAX_TIMESTEPS: usize = 100_000;

/// The target of a network's training, in the variance-preserving scale z = sqrt(alpha bar) x0 + sqrt(1 - alpha bar)
/// eps (the values of diffusers' `prediction_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// eps itself.
    #[default]
    Epsilon,
    /// The clean image x0.
    Sample,
    /// v = sqrt(alpha bar) eps - sqrt(1 - alpha bar) x0.
    VPrediction,
    /// The velocity eps - x0 of flow matching.
    FlowPrediction,
}

impl PredictionType {
    /// The name that diffusers' `prediction_type` has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Sample => "sample",
            Self::VPrediction => "v_prediction",
            Self::FlowPrediction => "flow_prediction",
        }
    }

    /// The noise eps, from the network's `output` and its input `z` at a level of `alpha_bar` (below 1).
    #[must_use]
    pub fn eps(self, output: f64, z: f64, alpha_bar: f64) -> f64 {
        let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        match self {
            Self::Epsilon => output,
            Self::Sample => (z - signal * output) / noise,
            Self::VPrediction => signal * output + noise * z,
            Self::FlowPrediction => (z + signal * output) / (signal + noise),
        }
    }
}

/// The growth of beta with the timestep (the values of diffusers' `beta_schedule`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum BetaSchedule {
    /// Evenly from `beta_start` to `beta_end`.
    #[serde(rename = "linear")]
    Linear,
    /// The square root of beta grows evenly: the latent diffusion models' choice.
    #[serde(rename = "scaled_linear")]
    ScaledLinear,
    /// alpha bar follows a squared cosine, beta at most 0.999 (Nichol and Dhariwal, 2021).
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
    /// beta grows from `beta_start` to `beta_end` along a sigmoid (`GeoDiff`: Xu et al., 2022).
    #[serde(rename = "sigmoid")]
    Sigmoid,
    /// The logarithm of signal to noise has a Laplace distribution, beta at most 0.999 (Hang et al., 2024).
    #[serde(rename = "laplace")]
    Laplace,
}

/// The fields of a `scheduler_config.json` that fix the noise levels.
#[derive(Clone, Debug, PartialEq)]
pub struct BetaConfig {
    /// T, the number of levels.
    pub num_train_timesteps: usize,
    /// beta of the first timestep.
    pub beta_start: f64,
    /// beta of the last timestep.
    pub beta_end: f64,
    /// The growth of beta between them.
    pub beta_schedule: BetaSchedule,
    /// The betas themselves, T of them; the other fields are then ignored.
    pub trained_betas: Option<Vec<f64>>,
    /// `true` if the betas are rescaled so that nothing of the image is left at the last timestep (Lin et al., 2024,
    /// algorithm 1).
    pub rescale_betas_zero_snr: bool,
}

impl Default for BetaConfig {
    /// The levels of the DDPM paper, the default of diffusers.
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            rescale_betas_zero_snr: false,
        }
    }
}

impl BetaConfig {
    /// beta of each timestep, in float32 as diffusers computes it: near t = 0 the rounding of 1 - beta alone changes
    /// sigma by about 1e-4 of its value, and the network was trained on the rounded levels.
    fn betas(&self) -> Vec<f32> {
        let betas = self.betas_as_given();
        if self.rescale_betas_zero_snr { without_last_signal(&betas) } else { betas }
    }

    fn betas_as_given(&self) -> Vec<f32> {
        if let Some(betas) = &self.trained_betas {
            return betas.iter().map(|beta| *beta as f32).collect();
        }
        let steps = self.num_train_timesteps;
        match self.beta_schedule {
            BetaSchedule::Linear => linspace(self.beta_start as f32, self.beta_end as f32, steps),
            BetaSchedule::ScaledLinear => {
                let roots = linspace(self.beta_start.sqrt() as f32, self.beta_end.sqrt() as f32, steps);
                roots.into_iter().map(|root| root * root).collect()
            }
            BetaSchedule::SquaredCosine => {
                capped(steps, |time| libm::cos((time + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).powi(2))
            }
            BetaSchedule::Sigmoid => {
                let (low, rise) = (self.beta_start as f32, (self.beta_end - self.beta_start) as f32);
                let sigmoid = |at: f32| (1.0 / (1.0 + libm::exp(-f64::from(at)))) as f32;
                linspace(-6.0, 6.0, steps).into_iter().map(|at| sigmoid(at) * rise + low).collect()
            }
            BetaSchedule::Laplace => capped(steps, |time| {
                let log = -0.5 * (0.5 - time).signum() * libm::log(1.0 - 2.0 * (0.5 - time).abs() + 1e-6);
                let ratio = libm::exp(log);
                (ratio / (1.0 + ratio)).sqrt()
            }),
        }
    }
}

/// The betas of `steps` timesteps whose alpha bar is a function of time from 0 to 1; each is at most 0.999.
fn capped(steps: usize, alpha_bar: impl Fn(f64) -> f64) -> Vec<f32> {
    let time = |index: usize| index as f64 / steps as f64;
    (0..steps).map(|t| (1.0 - alpha_bar(time(t + 1)) / alpha_bar(time(t))).min(0.999) as f32).collect()
}

/// alpha bar of every timestep: each rounds to float32 while the product is carried in float64, as torch.cumprod does
/// on a CPU.
fn alpha_bars(betas: &[f32]) -> Vec<f32> {
    let product = |product: &mut f64, beta: &f32| {
        *product *= f64::from(1.0 - beta);
        Some(*product as f32)
    };
    betas.iter().scan(1.0, product).collect()
}

/// The betas whose roots of alpha bar are shifted and scaled so that the last one is 0 and the first one is kept, in
/// float32 as diffusers' `rescale_zero_terminal_snr` computes them.
fn without_last_signal(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = alpha_bars(betas).into_iter().map(f32::sqrt).collect();
    let (Some(first), Some(last)) = (roots.first().copied(), roots.last().copied()) else { return Vec::new() };
    let scale = first / (first - last);
    let bars: Vec<f32> = roots.into_iter().map(|root| ((root - last) * scale).powi(2)).collect();
    let alphas = bars.iter().take(1).copied().chain(bars.windows(2).map(|pair| pair[1] / pair[0]));
    alphas.map(|alpha| 1.0 - alpha).collect()
}

/// `steps` values from `start` to `end`, from both ends to the middle in float32 as torch.linspace does, product and
/// sum rounded once.
fn linspace(start: f32, end: f32, steps: usize) -> Vec<f32> {
    let step = (end - start) / (steps.max(2) - 1) as f32;
    let value = |index: usize| {
        if index < steps / 2 || steps == 1 {
            step.mul_add(index as f32, start)
        } else {
            (-step).mul_add((steps - 1 - index) as f32, end)
        }
    };
    (0..steps).map(value).collect()
}

/// sigma of a level of `alpha_bar`: the noise-to-signal ratio.
#[must_use]
pub fn sigma_of(alpha_bar: f64) -> f64 {
    ((1.0 - alpha_bar) / alpha_bar).sqrt()
}

/// alpha bar of a level of `sigma`: 1 / (1 + sigma^2).
#[must_use]
pub fn alpha_bar_of(sigma: f64) -> f64 {
    1.0 / (1.0 + sigma * sigma)
}

/// alpha bar that diffusers' schedulers in sigma take where nothing of the image is left.
const LEAST_SIGNAL: f64 = 1.0 / (1 << 24) as f64;

/// The relative difference of two sigmas that are one level, computed in two ways.
const SAME_LEVEL: f64 = 1e-5;

/// The levels of a model: alpha bar falls and sigma grows with the timestep. The last sigma is infinite where nothing
/// of the image is left.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseTable {
    alpha_bars: Vec<f64>,
    sigmas: Vec<f64>,
    process: Process,
}

impl Default for NoiseTable {
    /// The levels of the DDPM paper: T = 1000, linear beta, sigma from 0.0100 to 157.4.
    fn default() -> Self {
        Self::from_betas(&BetaConfig::default().betas())
    }
}

impl NoiseTable {
    /// The table of `config`, whose values were read from `file`.
    ///
    /// # Errors
    /// [`Error::BadFile`] when there are no timesteps, too many, fewer trained betas than timesteps, or levels that do
    /// not grow.
    pub fn new(config: &BetaConfig, file: &Path) -> Result<Self> {
        let steps = config.num_train_timesteps;
        if steps == 0 || steps > MAX_TIMESTEPS {
            let what = format!("`num_train_timesteps` is {steps}, expected 1 to {MAX_TIMESTEPS}");
            return Err(Error::bad_file(file, what));
        }
        let betas = config.betas();
        if betas.len() != steps {
            let what = format!("`trained_betas` holds {} values for {steps} `num_train_timesteps`", betas.len());
            return Err(Error::bad_file(file, what));
        }
        let table = Self::from_betas(&betas);
        let known = |sigma: &f64| sigma.is_finite() && *sigma > 0.0;
        // Without signal at the last timestep alone.
        let (last, others) = table.sigmas.split_last().unwrap_or((&f64::NAN, &[]));
        let is_sound = others.iter().all(known) && *last > 0.0 && (last.is_finite() || !others.is_empty());
        if is_sound && table.sigmas.is_sorted_by(|low, high| low < high) {
            return Ok(table);
        }
        Err(Error::bad_file_hint(
            file,
            "the betas give noise levels that do not grow from timestep to timestep",
            "every beta lies strictly between 0 and 1, and their product leaves some signal",
        ))
    }

    fn from_betas(betas: &[f32]) -> Self {
        let alpha_bars: Vec<f64> = alpha_bars(betas).into_iter().map(f64::from).collect();
        let sigmas = alpha_bars.iter().map(|alpha_bar| sigma_of(*alpha_bar)).collect();
        Self { alpha_bars, sigmas, process: Process::Betas }
    }

    /// The levels `sigmas`, growing, of a process without betas.
    pub(super) fn of_process(process: Process, sigmas: Vec<f64>) -> Self {
        let alpha_bars = sigmas.iter().map(|sigma| alpha_bar_of(*sigma)).collect();
        Self { alpha_bars, sigmas, process }
    }

    /// The same levels, with a little signal at the last one if it has none: alpha bar 2^-24, as in diffusers'
    /// schedulers that step in sigma.
    #[must_use]
    pub fn bounded(&self) -> Self {
        let mut table = self.clone();
        if let (Some(sigma), Some(alpha_bar)) = (table.sigmas.last_mut(), table.alpha_bars.last_mut())
            && sigma.is_infinite()
        {
            (*sigma, *alpha_bar) = (sigma_of(LEAST_SIGNAL), LEAST_SIGNAL);
        }
        table
    }

    /// The process of the network's training.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process
    }

    /// The number of levels: T for a network that was trained with betas.
    #[must_use]
    pub fn timesteps(&self) -> usize {
        self.sigmas.len()
    }

    /// The timestep of the last level: T - 1 for a network that was trained with betas.
    #[must_use]
    pub fn last_timestep(&self) -> f64 {
        self.timestep_at(self.timesteps() - 1)
    }

    /// The timestep of the level at `index`, below [`NoiseTable::timesteps`].
    #[must_use]
    pub fn timestep_at(&self, index: usize) -> f64 {
        self.process.timestep(self.sigmas[index]).unwrap_or(index as f64)
    }

    /// alpha bar of every timestep, falling.
    #[must_use]
    pub fn alpha_bars(&self) -> &[f64] {
        &self.alpha_bars
    }

    /// sigma of every timestep, growing; the last one may be infinite.
    #[must_use]
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// sigma of timestep 0: the least noise in training.
    #[must_use]
    pub fn sigma_min(&self) -> f64 {
        self.sigmas[0]
    }

    /// sigma of the last timestep: the most noise in training. Where that is infinite, it is the one of
    /// [`NoiseTable::bounded`].
    #[must_use]
    pub fn sigma_max(&self) -> f64 {
        self.finite(self.timesteps() - 1)
    }

    /// sigma of the level at `index`, or that of [`NoiseTable::bounded`].
    fn finite(&self, index: usize) -> f64 {
        let sigma = self.sigmas[index];
        if sigma.is_infinite() { sigma_of(LEAST_SIGNAL) } else { sigma }
    }

    /// sigma at `timestep`. For a network that was trained with betas: the table value of a whole number, otherwise
    /// interpolated in log sigma; a timestep outside 0..=T-1 has the sigma of the nearest end.
    #[must_use]
    pub fn sigma(&self, timestep: f64) -> f64 {
        if let Some(sigma) = self.process.sigma(timestep) {
            return sigma;
        }
        let timestep = timestep.clamp(0.0, self.last_timestep());
        let (low, part) = (timestep.floor() as usize, timestep.fract());
        if part == 0.0 {
            return self.sigmas[low];
        }
        (self.sigmas[low].ln() * (1.0 - part) + self.finite(low + 1).ln() * part).exp()
    }

    /// The timestep of `sigma`. For a network that was trained with betas: a whole number if `sigma` is a table value,
    /// otherwise interpolated in log sigma; a sigma beyond the table has the timestep of the nearest end, 0 or T
    /// - 1.
    #[must_use]
    pub fn timestep(&self, sigma: f64) -> f64 {
        if let Some(timestep) = self.process.timestep(sigma) {
            return timestep;
        }
        let last = self.timesteps() - 1;
        if self.sigmas[last].is_infinite() {
            // The level of `bounded` may lie below that of the timestep before.
            let before = self.sigmas[last.saturating_sub(1)];
            if sigma > before || (sigma / self.finite(last) - 1.0).abs() < SAME_LEVEL {
                return last as f64;
            }
        }
        let high = self.sigmas.partition_point(|level| *level < sigma);
        if high == self.timesteps() {
            return self.last_timestep();
        }
        if high == 0 || self.sigmas[high] == sigma {
            return high as f64;
        }
        let (below, above) = (self.sigmas[high - 1].ln(), self.sigmas[high].ln());
        (high - 1) as f64 + (sigma.ln() - below) / (above - below)
    }

    /// The index of the first level with at least `sigma` of noise, or of the last level: for a network that was
    /// trained with betas, the paper's code turns a sigma into this timestep.
    #[must_use]
    pub fn snap(&self, sigma: f64) -> usize {
        self.sigmas.partition_point(|level| *level < sigma).min(self.timesteps() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE_LINEAR: [(f64, f64); 5] = [
        (0.0, 0.010_001_329_8),
        (1.0, 0.014_832_043_8),
        (14.0, 0.059_988_329_7),
        (500.0, 3.442_967_24),
        (999.0, 157.407_269),
    ];
    const REFERENCE_SCALED: [(f64, f64); 5] = [
        (0.0, 0.029_167_533_2),
        (1.0, 0.041_314_477_9),
        (14.0, 0.115_513_552),
        (500.0, 1.618_279_7),
        (999.0, 14.614_646_6),
    ];
    const REFERENCE_COSINE: [(f64, f64); 5] = [
        (0.0, 0.006_427_108_61),
        (1.0, 0.009_351_345_37),
        (14.0, 0.033_617_378_2),
        (500.0, 1.015_550_81),
        (999.0, 20_291.302_9),
    ];

    fn file() -> &'static Path {
        Path::new("scheduler_config.json")
    }

    fn scaled_linear() -> BetaConfig {
        BetaConfig {
            beta_start: 0.000_85,
            beta_end: 0.012,
            beta_schedule: BetaSchedule::ScaledLinear,
            ..BetaConfig::default()
        }
    }

    fn close(value: f64, expected: f64, relative: f64) {
        assert!((value / expected - 1.0).abs() < relative, "{value} is not {expected}");
    }

    /// Figures of diffusers 0.42.1: `((1 - ac) / ac).sqrt()` on `DDPMScheduler(...).alphas_cumprod.double()`.
    #[test]
    fn levels_are_those_of_diffusers() {
        let table = NoiseTable::default();
        for (t, sigma) in REFERENCE_LINEAR {
            close(table.sigma(t), sigma, 1e-6);
        }
        let table = NoiseTable::new(&scaled_linear(), file()).unwrap();
        for (t, sigma) in REFERENCE_SCALED {
            close(table.sigma(t), sigma, 1e-6);
        }
        let cosine = BetaConfig { beta_schedule: BetaSchedule::SquaredCosine, ..BetaConfig::default() };
        let table = NoiseTable::new(&cosine, file()).unwrap();
        for (t, sigma) in REFERENCE_COSINE {
            close(table.sigma(t), sigma, 1e-6);
        }
    }

    #[test]
    fn timesteps_and_sigmas_are_inverse() {
        let table = NoiseTable::default();
        for t in 0..1000 {
            assert_eq!(table.timestep(table.sigmas()[t]), t as f64);
            assert_eq!(table.sigma(t as f64), table.sigmas()[t]);
            assert_eq!(table.snap(table.sigmas()[t]), t);
        }
        for t in [0.25, 13.5, 700.125, 998.75] {
            assert!((table.timestep(table.sigma(t)) - t).abs() < 1e-9);
        }
        let between = (table.sigmas()[5] * table.sigmas()[6]).sqrt();
        close(table.sigma(5.5), between, 1e-12);
        assert_eq!(table.snap(between), 6);
    }

    #[test]
    fn beyond_the_table_are_its_ends() {
        let table = NoiseTable::default();
        assert_eq!(table.timestep(0.0), 0.0);
        assert_eq!(table.timestep(1e6), 999.0);
        assert_eq!(table.sigma(-3.0), table.sigma_min());
        assert_eq!(table.sigma(2000.0), table.sigma_max());
        assert_eq!((table.snap(1e-9), table.snap(1e9)), (0, 999));
    }

    #[test]
    fn trained_betas_are_taken_as_they_are() {
        let mut config =
            BetaConfig { num_train_timesteps: 2, trained_betas: Some(vec![0.5, 0.75]), ..BetaConfig::default() };
        let table = NoiseTable::new(&config, file()).unwrap();
        assert_eq!(table.alpha_bars(), [0.5, 0.125]);
        assert_eq!(table.sigmas(), [1.0, 7f64.sqrt()]);
        config.num_train_timesteps = 3;
        let message = NoiseTable::new(&config, file()).unwrap_err().to_string();
        assert_eq!(message, "scheduler_config.json: `trained_betas` holds 2 values for 3 `num_train_timesteps`");
    }

    #[test]
    fn levels_that_do_not_grow_are_refused() {
        for betas in [vec![0.0, 0.5], vec![1.0, 0.5], vec![0.5, -0.5], vec![0.1, f64::NAN], vec![0.5, 1e-12]] {
            let config = BetaConfig { num_train_timesteps: 2, trained_betas: Some(betas), ..BetaConfig::default() };
            let error = NoiseTable::new(&config, file()).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::File);
        }
        for num_train_timesteps in [0, MAX_TIMESTEPS + 1] {
            let config = BetaConfig { num_train_timesteps, ..BetaConfig::default() };
            assert!(NoiseTable::new(&config, file()).unwrap_err().to_string().contains("num_train_timesteps"));
        }
    }

    #[test]
    fn every_prediction_type_yields_the_same_eps() {
        let (x0, eps, alpha_bar) = (0.3f64, -1.7f64, 0.6f64);
        let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let z = signal * x0 + noise * eps;
        let outputs = [
            (PredictionType::Epsilon, eps),
            (PredictionType::Sample, x0),
            (PredictionType::VPrediction, signal * eps - noise * x0),
            (PredictionType::FlowPrediction, eps - x0),
        ];
        for (prediction, output) in outputs {
            close(prediction.eps(output, z, alpha_bar), eps, 1e-12);
        }
    }
}
