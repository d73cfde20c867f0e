//! The grids of diffusers' schedulers that step in sigma: timesteps with a sigma each, and the end of the last step.

use super::config_fields::{Spacing, Spread};
use super::grids;
use crate::denoise::Level;
use crate::denoise::diffusion::NoiseTable;
use crate::denoise::process::Process;
use crate::{Error, Result};

/// The timesteps that diffusers makes of N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// N timesteps, with both ends where the spacing has both; those of `linspace` are not whole numbers. Euler,
    /// Euler-ancestral, Heun and LMS.
    Ends,
    /// N + 1 whole timesteps but the last. DPM-Solver, `UniPC` and DEIS.
    Inner,
}

/// The timestep that the network is called with after the sigmas are spread again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// That of the sigma.
    None,
    /// The nearest whole one.
    Nearest,
    /// The whole one below.
    Down,
}

/// The end of the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Without noise.
    Clean,
    /// At timestep 0.
    First,
    /// At the level of the last call: that step changes nothing.
    LastCall,
}

/// The rules of a sampler for its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of one class of diffusers")]
pub struct SigmaRule {
    /// The timesteps that it makes of N.
    pub count: Count,
    /// `true` if `use_karras_sigmas` and similar fields spread its sigmas.
    pub spreads: bool,
    /// The end of spread sigmas, where the last step does not end without noise.
    pub spread_end: End,
    /// `true` if timesteps of Karras's spread are rounded down, and not to the nearest, on betas of a squared cosine.
    pub rounds_cosine_down: bool,
    /// `true` if timesteps of Karras's spread are rounded to whole ones although the count is [`Count::Ends`].
    pub rounds_karras: bool,
    /// The only spacing of a class without `timestep_spacing`.
    pub only_spacing: Option<Spacing>,
    /// `true` if it honours `lambda_min_clipped`.
    pub clips_lambda: bool,
    /// `true` if it honours `interpolation_type`.
    pub interpolates: bool,
    /// `true` if its grid on flow matching begins at the noise, up to 1e-6.
    pub from_noise: bool,
}

impl SigmaRule {
    /// The usual rules: spread sigmas, and no other option of a file.
    #[must_use]
    pub const fn new(count: Count) -> Self {
        Self {
            count,
            spreads: true,
            spread_end: End::First,
            rounds_cosine_down: false,
            rounds_karras: false,
            only_spacing: None,
            clips_lambda: false,
            interpolates: false,
            from_noise: false,
        }
    }

    /// Returns the rounding of the timesteps of `spread`.
    #[must_use]
    pub fn rounding(&self, spread: Spread, is_cosine: bool) -> Rounding {
        match (self.count, spread) {
            (Count::Ends, Spread::Karras) if self.rounds_karras => Rounding::Nearest,
            (Count::Ends, _) => Rounding::None,
            (Count::Inner, Spread::Karras | Spread::Lu) if !(is_cosine && self.rounds_cosine_down) => Rounding::Nearest,
            (Count::Inner, _) => Rounding::Down,
        }
    }
}

/// A grid of one of these schedulers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SigmaGrid {
    pub count: Count,
    pub spacing: Spacing,
    pub steps_offset: usize,
    pub spread: Spread,
    pub rounding: Rounding,
    pub end: End,
    /// The range of a spread; `None` for the one of the grid.
    pub sigma_max: Option<f64>,
    pub sigma_min: Option<f64>,
    /// `lambda_min_clipped` of DPM-Solver.
    pub lambda_min_clipped: f64,
    /// `interpolation_type` `log_linear` of Euler: N + 1 sigmas even in the logarithm beside the spacing's timesteps.
    pub is_log_linear: bool,
}

impl SigmaGrid {
    /// The levels of the calls of `steps` steps, and where the last step ends.
    ///
    /// # Errors
    /// [`Error::Argument`] for more steps than the model has timesteps, and an empty range.
    pub fn levels(&self, steps: usize, table: &NoiseTable) -> Result<Vec<Level>> {
        let timesteps = self.timesteps(steps, table)?;
        let mut levels: Vec<Level> = match self.spread {
            Spread::Timesteps if self.is_log_linear => {
                let sigmas = grids::log_spaced(table.sigma_max(), table.sigma_min(), steps + 1);
                let calls = sigmas.iter().zip(&timesteps);
                let mut levels: Vec<Level> = calls.map(|(sigma, t)| called_at(*sigma, *t, table)).collect();
                levels.push(Level::at_index(table, 0));
                return Ok(levels);
            }
            Spread::Timesteps => timesteps.iter().map(|t| called_at(interpolated(table, *t), *t, table)).collect(),
            spread => self.spread(spread, steps, &timesteps, table)?,
        };
        levels.push(match (self.end, levels.last()) {
            (End::Clean, _) | (_, None) => Level::CLEAN,
            (End::First, _) => Level::at_index(table, 0),
            (End::LastCall, Some(last)) => *last,
        });
        Ok(levels)
    }

    fn spread(&self, spread: Spread, steps: usize, timesteps: &[f64], table: &NoiseTable) -> Result<Vec<Level>> {
        let (first, last) = match (self.count, timesteps) {
            (Count::Ends, [first, .., last]) => (interpolated(table, *first), interpolated(table, *last)),
            (Count::Ends, [only]) => (interpolated(table, *only), interpolated(table, *only)),
            (Count::Inner, _) | (_, []) => match single(table)[..] {
                [first, .., last] => (f64::from(last), f64::from(first)),
                _ => (table.sigma_max(), table.sigma_min()),
            },
        };
        let high = grids::positive("sigma_max", self.sigma_max.unwrap_or(first))?;
        let low = self.sigma_min.unwrap_or(last);
        let low = if steps == 1 { grids::positive("sigma_min", low)? } else { grids::below(low, high)? };
        let sigmas = match spread {
            Spread::Karras => grids::rho_spaced(high, low, steps),
            Spread::Beta => grids::beta_spaced(high, low, steps),
            _ => grids::log_spaced(high, low, steps),
        };
        let logs: Vec<f32> = single(table).iter().map(|sigma| sigma.ln()).collect();
        let timestep = |sigma: f64| match self.rounding {
            _ if table.process() != Process::Betas => None,
            Rounding::None => None,
            Rounding::Nearest => Some(timestep_of(&logs, sigma).round_ties_even()),
            Rounding::Down => Some(timestep_of(&logs, sigma).floor()),
        };
        Ok(sigmas.into_iter().map(|sigma| Level { sigma, timestep: timestep(sigma) }).collect())
    }

    /// The timesteps of the calls, falling.
    fn timesteps(&self, steps: usize, table: &NoiseTable) -> Result<Vec<f64>> {
        let whole = |timesteps: Vec<usize>| timesteps.into_iter().map(|t| t as f64).collect();
        match (self.count, self.spacing) {
            (Count::Ends, Spacing::Linspace) => {
                let stride = (table.timesteps() - 1) as f64 / (steps.max(2) - 1) as f64;
                // numpy.linspace cast to float32.
                Ok((0..steps).rev().map(|index| f64::from((index as f64 * stride) as f32)).collect())
            }
            (Count::Ends, Spacing::Leading) => grids::leading(table, steps, self.steps_offset).map(whole),
            (Count::Ends, Spacing::Trailing) => Ok(whole(grids::trailing(table, steps))),
            (Count::Inner, spacing) => self.inner(spacing, steps, table),
        }
    }

    fn inner(&self, spacing: Spacing, steps: usize, table: &NoiseTable) -> Result<Vec<f64>> {
        // Timesteps whose lambda = -ln(sigma) is not clipped.
        let known = table.sigmas().partition_point(|sigma| -sigma.ln() >= self.lambda_min_clipped);
        if steps >= known {
            let what = format!("{steps} steps on the {known} timesteps that this sampler can be called at");
            return Err(Error::argument(what, format!("take fewer than {known} `steps`, or another sampler")));
        }
        match spacing {
            Spacing::Linspace => {
                let stride = (known - 1) as f64 / steps as f64;
                Ok((1..=steps).rev().map(|index| (index as f64 * stride).round_ties_even()).collect())
            }
            Spacing::Leading => {
                let stride = known / (steps + 1);
                let first = steps * stride + self.steps_offset;
                if first >= table.timesteps() {
                    return Err(grids::beyond(steps, self.steps_offset, table));
                }
                Ok((1..=steps).rev().map(|index| (index * stride + self.steps_offset) as f64).collect())
            }
            Spacing::Trailing => {
                let (top, stride) = (known as f64, table.timesteps() as f64 / steps as f64);
                // The stride as numpy.arange has it: it decides which way halves round.
                let stride = (top - stride) - top;
                let timesteps = (0..steps).map(|index| (top + index as f64 * stride).round_ties_even() - 1.0);
                Ok(timesteps.take_while(|t| *t >= 0.0).collect())
            }
        }
    }
}

/// The level of `sigma`, called at `timestep` where the model has whole timesteps.
fn called_at(sigma: f64, timestep: f64, table: &NoiseTable) -> Level {
    Level { sigma, timestep: (table.process() == Process::Betas).then_some(timestep) }
}

/// Returns sigma at `timestep`, between those of whole timesteps linearly as numpy.interp has it.
fn interpolated(table: &NoiseTable, timestep: f64) -> f64 {
    let sigmas = table.sigmas();
    let low = (timestep.max(0.0) as usize).min(sigmas.len() - 1);
    let high = (low + 1).min(sigmas.len() - 1);
    sigmas[low] + (sigmas[high] - sigmas[low]) * timestep.fract()
}

/// sigma of every timestep in float32, as diffusers computes it. Where it rounds timesteps down, the last bit decides
/// whether the most noise is that of the last timestep or of the one before.
fn single(table: &NoiseTable) -> Vec<f32> {
    let sigma = |alpha_bar: &f64| ((1.0 - *alpha_bar as f32) / *alpha_bar as f32).sqrt();
    table.alpha_bars().iter().map(sigma).collect()
}

/// The difference of two logarithms of one sigma that is rounded in single and in double precision.
const SAME_LEVEL: f64 = 1e-5;

/// The timestep of `sigma` between those of `logs`, the logarithms of all sigmas: diffusers' `_sigma_to_t`, with its
/// mixture of precisions.
fn timestep_of(logs: &[f32], sigma: f64) -> f64 {
    let log = sigma.ln();
    // A little signal at the last timestep, where none is left, may be more than at the one before.
    if let [.., before, last] = logs
        && last < before
        && (f64::from(*last) - log).abs() < SAME_LEVEL
    {
        return (logs.len() - 1) as f64;
    }
    let low =
        logs.partition_point(|level| f64::from(*level) <= log).saturating_sub(1).min(logs.len().saturating_sub(2));
    let [below, above, ..] = logs[low..] else { return 0.0 };
    let part = ((f64::from(below) - log) / f64::from(below - above)).clamp(0.0, 1.0);
    (1.0 - part) * low as f64 + part * (low + 1) as f64
}
