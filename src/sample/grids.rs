//! The grids behind each kind of schedule: plain lists of timesteps or sigmas, falling.

use crate::denoise::diffusion::NoiseTable;
use crate::denoise::process::Process;
use crate::{Error, Result};

/// The exponent of Karras et al. (2022), equation 5.
const RHO: f64 = 7.0;
/// The first sigma of the gradient-estimation paper on CIFAR-10.
pub(super) const PAPER_SIGMA_MAX: f64 = 40.0;
/// Its first sigma on Stable Diffusion.
const PAPER_LATENT_SIGMA_MAX: f64 = 8.35;
/// The range of the paper's EDM baseline.
const EDM_SIGMAS: (f64, f64) = (80.0, 0.002);

/// The first sigma where none is given: the `published` one, or the top of the model's range where that lies below. For
/// networks that give scores it is always the top, which Song et al. (2021) take from the distances in the data.
pub(super) fn usual_top(table: &NoiseTable, published: f64) -> f64 {
    if table.process() == Process::Score { table.sigma_max() } else { published.min(table.sigma_max()) }
}

/// N log-spaced sigmas from `sigma_max` to the geometric mean of the last two sigmas of the DDIM grid, each snapped to
/// a timestep; then timestep 0.
pub(super) fn paper(
    table: &NoiseTable,
    steps: usize,
    sigma_max: Option<f64>,
    sigma_min: Option<f64>,
) -> Result<Vec<usize>> {
    let penultimate = even_timesteps(table.timesteps() - 1, steps)[steps - 1];
    let last = (table.sigmas()[penultimate] * table.sigma_min()).sqrt();
    let high = known(table, sigma_max, usual_top(table, PAPER_SIGMA_MAX))?;
    let low = below(sigma_min.unwrap_or(last), high)?;
    Ok(log_spaced(high, low, steps).into_iter().map(|sigma| table.snap(sigma)).chain([0]).collect())
}

/// The range of [`paper`] on latents, as in the paper's `GEScheduler`: down to sigma(T / N).
pub(super) fn paper_latents(table: &NoiseTable, steps: usize) -> (Option<f64>, Option<f64>) {
    let lowest = table.timesteps().checked_div(steps).unwrap_or(0).min(table.timesteps() - 1);
    let lowest = table.sigmas()[lowest];
    let highest = PAPER_LATENT_SIGMA_MAX.min(table.sigma_max());
    (Some(highest), (lowest < highest).then_some(lowest))
}

/// Timesteps evenly from the top, or from that of `sigma_max`, down to 0.
pub(super) fn ddim(table: &NoiseTable, steps: usize, sigma_max: Option<f64>) -> Result<Vec<usize>> {
    let high = known(table, sigma_max, table.sigma_max())?;
    Ok(even_timesteps(table.snap(high), steps))
}

/// N + 1 values of Karras et al. from 80 to 0.002 (in the model's range), each snapped to a timestep.
pub(super) fn edm(
    table: &NoiseTable,
    steps: usize,
    sigma_max: Option<f64>,
    sigma_min: Option<f64>,
) -> Result<Vec<usize>> {
    let high = known(table, sigma_max, usual_top(table, EDM_SIGMAS.0))?;
    let low = below(sigma_min.unwrap_or(EDM_SIGMAS.1), high)?;
    Ok(rho_spaced(high, low, steps + 1).into_iter().map(|sigma| table.snap(sigma)).collect())
}

/// N values of Karras et al. over the model's range, then 0.
pub(super) fn karras(
    table: &NoiseTable,
    steps: usize,
    sigma_max: Option<f64>,
    sigma_min: Option<f64>,
) -> Result<Vec<f64>> {
    over_range(table, steps, sigma_max, sigma_min, rho_spaced)
}

/// N log-spaced values over the model's range, then 0.
pub(super) fn exponential(
    table: &NoiseTable,
    steps: usize,
    sigma_max: Option<f64>,
    sigma_min: Option<f64>,
) -> Result<Vec<f64>> {
    over_range(table, steps, sigma_max, sigma_min, log_spaced)
}

/// N quantiles of a beta distribution over the model's range, then 0.
pub(super) fn beta(
    table: &NoiseTable,
    steps: usize,
    sigma_max: Option<f64>,
    sigma_min: Option<f64>,
) -> Result<Vec<f64>> {
    over_range(table, steps, sigma_max, sigma_min, beta_spaced)
}

/// N values, `spaced` from the first sigma to the last one of the model's range unless they are given, then 0.
fn over_range(
    table: &NoiseTable,
    steps: usize,
    sigma_max: Option<f64>,
    sigma_min: Option<f64>,
    spaced: fn(f64, f64, usize) -> Vec<f64>,
) -> Result<Vec<f64>> {
    let high = positive("sigma_max", sigma_max.unwrap_or(table.sigma_max()))?;
    let low = below(sigma_min.unwrap_or(table.sigma_min()), high)?;
    Ok(spaced(high, low, steps).into_iter().chain([0.0]).collect())
}

/// N + 1 log-spaced values, by default from the paper's sigma to the model's least.
pub(super) fn log_linear(
    table: &NoiseTable,
    steps: usize,
    sigma_max: Option<f64>,
    sigma_min: Option<f64>,
) -> Result<Vec<f64>> {
    let high = positive("sigma_max", sigma_max.unwrap_or(usual_top(table, PAPER_SIGMA_MAX)))?;
    let low = below(sigma_min.unwrap_or(table.sigma_min()), high)?;
    Ok(log_spaced(high, low, steps + 1))
}

/// Multiples of T/N in whole numbers, and the offset.
pub(super) fn leading(table: &NoiseTable, steps: usize, offset: usize) -> Result<Vec<usize>> {
    let stride = table.timesteps() / steps;
    let first = (steps - 1) * stride;
    if first.checked_add(offset).is_none_or(|first| first >= table.timesteps()) {
        return Err(beyond(steps, offset, table));
    }
    Ok((0..steps).rev().map(|index| index * stride + offset).collect())
}

/// Timesteps that an offset pushes beyond the last.
pub(super) fn beyond(steps: usize, offset: usize, table: &NoiseTable) -> Error {
    Error::argument(
        format!(
            "{steps} steps with a `steps_offset` of {offset} begin after the last of {} timesteps",
            table.timesteps()
        ),
        "take fewer `steps`, or another `schedule`",
    )
}

/// T, T - T/N, ... rounded, less one. The difference of the first two floating-point values is the stride, as
/// numpy.arange has it: it decides which way halves round.
pub(super) fn trailing(table: &NoiseTable, steps: usize) -> Vec<usize> {
    let top = table.timesteps() as f64;
    let stride = (top - top / steps as f64) - top;
    (0..steps).map(|index| (top + index as f64 * stride).round_ties_even() as usize - 1).collect()
}

/// N values from T - 1 to 0, rounded.
pub(super) fn linspace(table: &NoiseTable, steps: usize) -> Vec<usize> {
    let stride = (table.timesteps() - 1) as f64 / (steps.max(2) - 1) as f64;
    (0..steps).rev().map(|index| (index as f64 * stride).round_ties_even() as usize).collect()
}

/// N + 1 timesteps evenly from `first` to 0, rounded down, as by numpy.linspace cast to integers.
fn even_timesteps(first: usize, steps: usize) -> Vec<usize> {
    let first = first as f64;
    let stride = -first / steps as f64;
    let mut timesteps: Vec<usize> = (0..steps).map(|index| (first + index as f64 * stride) as usize).collect();
    timesteps.push(0);
    timesteps
}

/// `count` values from `high` to `low`, even in log sigma.
pub(super) fn log_spaced(high: f64, low: f64, count: usize) -> Vec<f64> {
    spaced(high.ln(), low.ln(), count).map(f64::exp).collect()
}

/// `count` values from `high` to `low`, even in the `RHO`th root of sigma.
pub(super) fn rho_spaced(high: f64, low: f64, count: usize) -> Vec<f64> {
    spaced_by_root(high, low, count, RHO)
}

/// `count` values from `high` to `low`, even in the `rho`th root of sigma.
pub(super) fn spaced_by_root(high: f64, low: f64, count: usize, rho: f64) -> Vec<f64> {
    spaced(high.powf(rho.recip()), low.powf(rho.recip()), count).map(|root| root.powf(rho)).collect()
}

/// `count` values from `high` to `low` that part the range as the quantiles of a beta distribution part 0 to 1: Lee et
/// al. (2024), with the parameters of diffusers.
pub(super) fn beta_spaced(high: f64, low: f64, count: usize) -> Vec<f64> {
    const SHAPE: f64 = 0.6;
    let quantile = |share: f64| match share {
        share if share <= 0.0 => 0.0,
        share if share >= 1.0 => 1.0,
        share => statrs::function::beta::inv_beta_reg(SHAPE, SHAPE, share),
    };
    spaced(1.0, 0.0, count).map(|share| low + quantile(share) * (high - low)).collect()
}

fn spaced(first: f64, last: f64, count: usize) -> impl Iterator<Item = f64> {
    let stride = (last - first) / (count.max(2) - 1) as f64;
    (0..count).map(move |index| first + index as f64 * stride)
}

/// A start that must lie in the model's range, since it is snapped to a timestep. The paper writes 157 for the top of a
/// range that ends at 157.407; a start slightly above it counts as the top.
fn known(table: &NoiseTable, sigma_max: Option<f64>, default: f64) -> Result<f64> {
    let sigma = sigma_max.unwrap_or(default);
    if sigma > table.sigma_min() && sigma <= table.sigma_max() * 1.0001 {
        return Ok(sigma);
    }
    let range = format!("this model's range is {:.4} to {:.4}", table.sigma_min(), table.sigma_max());
    Err(Error::argument(format!("`sigma_max` of {sigma} is outside the model's range of noise"), range))
}

pub(super) fn positive(field: &str, sigma: f64) -> Result<f64> {
    if sigma.is_finite() && sigma > 0.0 {
        return Ok(sigma);
    }
    Err(Error::argument(format!("`{field}` of {sigma} is not a noise level"), "sigma is a number above 0"))
}

pub(super) fn below(sigma_min: f64, sigma_max: f64) -> Result<f64> {
    if sigma_min > 0.0 && sigma_min < sigma_max {
        return Ok(sigma_min);
    }
    Err(Error::argument(
        format!("a range of sigma from {sigma_max} to {sigma_min}"),
        "`sigma_min` is above 0 and below `sigma_max`",
    ))
}
