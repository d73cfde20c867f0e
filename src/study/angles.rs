//! How components turn as noise grows: the sine of the angle between `u_i` at level t and at level 0 (figures 2 and 3 of the
//! paper), over several draws of the noise, beside what theory says.

use super::Advance;
use super::chain::{Chain, Coupling, LevelNoise, Projector};
use super::estimate::Estimate;
use super::nadler;
use crate::error::Result;
use crate::spectral::basis::eigen;
use crate::spectral::host::{gram, second_moment};
use crate::spectral::principal::LARGEST_MATRIX;
use crate::tensor::Tensor;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// `x_0`, (n, p).
    pub data: &'a Tensor,
    /// `sigma_1` ... `sigma_T`.
    pub sigmas: &'a [f64],
    pub coupling: Coupling,
    /// Draws of the noise, seeds `seed`, `seed` + 1, ...
    pub draws: usize,
    pub seed: u64,
}

/// What was measured, and what it is held against; levels t from 0 to T, components i from 0 to k - 1.
#[derive(Clone, Debug)]
pub struct Angles {
    /// Sines, (draws, T + 1, k).
    pub sines: Vec<Vec<Vec<f64>>>,
    /// Mean and uncertainty over draws, (T + 1, k).
    pub summary: Vec<Vec<Estimate>>,
    /// By Nadler's formula for each component alone, its eigenvalue at level 0 the signal, (T + 1, k).
    pub nadler: Vec<Vec<f64>>,
    /// By the expansion for little noise over the whole spectrum, at most 1, (T + 1, k).
    pub expansion: Vec<Vec<f64>>,
    /// Leading eigenvalues at level 0.
    pub values: Vec<f64>,
    /// Variance of all noise at each level.
    pub variances: Vec<f64>,
}

/// Runs the chain for each draw; `advance` counts levels.
///
/// # Errors
/// Those of [`Chain::run`].
pub fn run(projector: &Projector, settings: &Settings, advance: Advance) -> Result<Angles> {
    let Settings { data, sigmas, coupling, .. } = *settings;
    let (samples, dimension) = (data.shape[0], data.shape[1]);
    let mut sines = Vec::with_capacity(settings.draws);
    let mut values = Vec::new();
    for draw in 0..settings.draws as u64 {
        let noise = LevelNoise::Seeded(settings.seed + draw);
        let found = Chain { data, sigmas, coupling, noise }.run(projector, false, advance)?;
        let sine = |cosine: &f64| (1.0 - cosine * cosine).max(0.0).sqrt();
        sines.push(found.to_first.iter().map(|row| row.iter().map(sine).collect()).collect::<Vec<Vec<f64>>>());
        values = found.values.into_iter().next().unwrap_or_default();
    }
    let spectrum = spectrum(data, &values)?;
    let mut variance = 0.0;
    let steps = sigmas.iter().map(|sigma| {
        variance += sigma * sigma;
        variance
    });
    let variances: Vec<f64> = std::iter::once(0.0).chain(steps).collect();
    let gamma = dimension as f64 / samples as f64;
    let components = 0..projector.count();
    let table = |entry: &dyn Fn(usize, f64, usize) -> f64| -> Vec<Vec<f64>> {
        let row = |(t, variance): (usize, &f64)| components.clone().map(|i| entry(t, *variance, i)).collect();
        variances.iter().enumerate().map(row).collect()
    };
    let nadler = table(&|_, variance, i| (1.0 - nadler::cos_squared(values[i] / variance, gamma)).sqrt());
    let expansion =
        table(&|_, variance, i| nadler::small_noise_sine_squared(&spectrum, i, variance, samples).sqrt().min(1.0));
    let over_draws = |t: usize, i: usize| Estimate::of(&sines.iter().map(|draw| draw[t][i]).collect::<Vec<_>>());
    let summary = (0..variances.len()).map(|t| components.clone().map(|i| over_draws(t, i)).collect()).collect();
    Ok(Angles { sines, summary, nadler, expansion, values, variances })
}

/// All p eigenvalues of x'x / n, those that only rounding keeps from zero included. Of data too large for a matrix the leading
/// ones, the rest as zeros.
fn spectrum(data: &Tensor, leading: &[f64]) -> Result<Vec<f64>> {
    let (samples, dimension) = (data.shape[0], data.shape[1]);
    let mut values = if dimension <= samples.min(LARGEST_MATRIX) {
        eigen(second_moment(data).as_ref())?.0
    } else if samples <= LARGEST_MATRIX {
        eigen(gram(data).as_ref())?.0
    } else {
        leading.to_vec()
    };
    values.resize(dimension, 0.0);
    Ok(values)
}
