//! Schedules that are best for a spectrum, beside the usual ones: what the closed forms say of each, and what the chain
//! and the sampler make of it.

use serde::Serialize;

use super::Advance;
use super::baseline::walked_gains;
use super::chain::{Chain, Coupling, LevelNoise, Projector, participation_ratio};
use super::gains::{self, Spacing};
use super::overlap::Overlap;
use super::schedules::{best_recovery, concentration, geodesic, most_concentrated, shortfall};
use crate::denoise::closed_form::linear::Linear;
use crate::error::Result;
use crate::kernels::Engine;
use crate::spectral::basis::inner;
use crate::tensor::Tensor;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Leading directions that are kept and looked at.
    pub modes: usize,
    /// Steps, T.
    pub steps: usize,
    /// The highest level of the chain of noisy projections.
    pub chain_sigma_max: f64,
    /// The first level of sampling.
    pub sigma_max: f64,
    /// Chains with noise of their own that each schedule is measured by.
    pub repeats: usize,
    /// Noise levels at which the share that projections keep is measured.
    pub probes: usize,
    /// Of the noise.
    pub seed: u64,
}

/// A schedule for concentration.
#[derive(Clone, Debug, Serialize)]
pub struct Concentrated {
    /// `best`, or how it is spaced.
    pub name: String,
    /// Rising levels of noise, (T).
    pub levels: Vec<f64>,
    /// The share of the energy on direction 0, and the effective number of modes: in closed form, and the mean and the
    /// standard deviation over the chains measured.
    pub share: f64,
    pub measured_share: f64,
    pub measured_deviation: f64,
    pub participation: f64,
    pub measured_participation: f64,
    /// Energies over their sum, (modes).
    #[serde(skip)]
    pub energies: Vec<f64>,
    #[serde(skip)]
    pub measured_energies: Vec<f64>,
}

/// A schedule for recovery.
#[derive(Clone, Debug, Serialize)]
pub struct Recovered {
    /// `best`, `geodesic`, or how it is spaced.
    pub name: String,
    /// Falling levels, (T + 1).
    pub levels: Vec<f64>,
    /// The mean of -ln(gain / gain of the flow), in closed form and through the sampler.
    pub shortfall: f64,
    pub measured_shortfall: f64,
    /// Least variance of a mode over that of the data.
    pub least_variance_ratio: f64,
    /// max |measured - closed form| of the gains.
    pub worst_error: f64,
    /// Gain over that of the flow, (modes).
    #[serde(skip)]
    pub over_flow: Vec<f64>,
    #[serde(skip)]
    pub measured_over_flow: Vec<f64>,
}

/// The share of each direction that a projection keeps at one noise.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    pub sigma: f64,
    /// Squared cosines, (modes), in closed form and measured.
    pub formula: Vec<f64>,
    pub measured: Vec<f64>,
}

/// What the study found.
#[derive(Clone, Debug)]
pub struct Best {
    /// Variances of the modes.
    pub variances: Vec<f64>,
    pub concentrated: Vec<Concentrated>,
    pub recovered: Vec<Recovered>,
    pub probes: Vec<Probe>,
}

/// The noise at which the leading direction would be lost to n samples in p dimensions, by the formula of a spike.
#[must_use]
pub fn threshold(variance: f64, samples: usize, dimension: usize) -> f64 {
    (variance * (samples as f64 / dimension as f64).sqrt()).sqrt()
}

/// Levels that are projected or sampled: the units that `advance` counts.
#[must_use]
pub fn work(settings: &Settings) -> u64 {
    let chains = (1 + Spacing::ALL.len()) * settings.repeats * (settings.steps + 1);
    let walks = (2 + Spacing::ALL.len()) * settings.steps;
    (chains + walks + 2 * settings.probes) as u64
}

/// Finds the best schedules for the covariance of `centred` data (n, p), whose Wiener filter is `filter`, and measures
/// them beside the usual ones.
///
/// # Errors
/// Those of the device and of schedules that cannot be.
pub fn best(engine: &Engine, centred: &Tensor, filter: &Linear, settings: &Settings, advance: Advance) -> Result<Best> {
    let all = filter.spectrum().0;
    // Modes without variance are nobody's to recover.
    let modes = settings.modes.min(all.iter().take_while(|variance| **variance > 1e-9 * all[0]).count().max(1));
    let variances = all[..modes].to_vec();
    let overlap = Overlap::new(all, modes, centred.shape[0], centred.shape[1]);
    let projector = Projector::new(engine, modes);
    let probes = probed(&projector, centred, &overlap, settings, advance)?;

    let (top, dimension) = (settings.chain_sigma_max, centred.shape[1]);
    let mut schedules = vec![("best".to_owned(), most_concentrated(&overlap, dimension, settings.steps, top).0)];
    for spacing in Spacing::ALL {
        let mut levels = spacing.sigmas(settings.steps, top)?;
        levels.pop();
        levels.reverse();
        schedules.push((spacing.to_string(), levels));
    }
    let mut concentrated = Vec::new();
    for (name, levels) in schedules {
        let energies = concentration(&overlap, dimension, &levels);
        concentrated.push(chained(&projector, centred, name, levels, energies, settings, advance)?);
    }

    let (first, steps) = (settings.sigma_max, settings.steps);
    let mut schedules = vec![
        ("best".to_owned(), best_recovery(&variances, steps, first).0),
        ("geodesic".to_owned(), geodesic(&variances, steps, first)),
    ];
    for spacing in Spacing::ALL {
        schedules.push((spacing.to_string(), spacing.sigmas(steps, first)?));
    }
    let mut recovered = Vec::new();
    for (name, levels) in schedules {
        recovered.push(sampled(filter, &variances, name, levels)?);
        advance(steps as u64);
    }
    Ok(Best { variances, concentrated, recovered, probes })
}

/// What the projections on noisy samples keep of the directions of the data, at evenly spaced noises.
fn probed(
    projector: &Projector,
    data: &Tensor,
    overlap: &Overlap,
    settings: &Settings,
    advance: Advance,
) -> Result<Vec<Probe>> {
    let mut probes = Vec::with_capacity(settings.probes);
    for at in 1..=settings.probes {
        let sigma = settings.chain_sigma_max * at as f64 / settings.probes as f64;
        let sigmas = [sigma];
        let noise = LevelNoise::Seeded(settings.seed.wrapping_add(at as u64).wrapping_mul(0x9e37_79b9));
        let chain = Chain { data, sigmas: &sigmas, coupling: Coupling::Fresh, noise };
        let found = chain.run(projector, false, advance)?;
        let turn = inner(found.first(), found.last());
        let measured = turn.row_iter().map(|row| row.iter().map(|value| value * value).sum()).collect();
        let formula = (0..overlap.kept()).map(|mode| overlap.squared_cosine(mode, sigma).0).collect();
        probes.push(Probe { sigma, formula, measured });
    }
    Ok(probes)
}

fn chained(
    projector: &Projector,
    data: &Tensor,
    name: String,
    levels: Vec<f64>,
    energies: Vec<f64>,
    settings: &Settings,
    advance: Advance,
) -> Result<Concentrated> {
    let mut variance = 0.0;
    let sigmas: Vec<f64> = levels
        .iter()
        .map(|level| {
            let added = (level * level - variance).max(0.0).sqrt();
            variance = level * level;
            added
        })
        .collect();
    let mut measured = vec![0.0; energies.len()];
    let mut shares = Vec::with_capacity(settings.repeats);
    for repeat in 0..settings.repeats {
        let noise = LevelNoise::Seeded(settings.seed.wrapping_add(repeat as u64));
        let chain = Chain { data, sigmas: &sigmas, coupling: Coupling::Fresh, noise };
        let found = chain.run(projector, false, advance)?.expected_energy(levels.len());
        shares.push(found[0]);
        measured.iter_mut().zip(found).for_each(|(sum, energy)| *sum += energy / settings.repeats as f64);
    }
    let mean = shares.iter().sum::<f64>() / shares.len().max(1) as f64;
    let squares: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
    let deviation = (squares / (shares.len().max(2) - 1) as f64).sqrt();
    Ok(Concentrated {
        name,
        levels,
        share: energies[0],
        measured_share: mean,
        measured_deviation: deviation,
        participation: participation_ratio(&energies),
        measured_participation: participation_ratio(&measured),
        energies,
        measured_energies: measured,
    })
}

fn sampled(filter: &Linear, variances: &[f64], name: String, levels: Vec<f64>) -> Result<Recovered> {
    let measured = walked_gains(filter, variances.len(), &levels)?;
    let formula: Vec<f64> = variances.iter().map(|variance| gains::ddim(*variance, &levels)).collect();
    let flow: Vec<f64> = variances.iter().map(|variance| gains::flow(*variance, levels[0], 0.0)).collect();
    let over = |gains: &[f64]| gains.iter().zip(&flow).map(|(gain, flow)| gain / flow).collect::<Vec<_>>();
    let (over_flow, measured_over_flow) = (over(&formula), over(&measured));
    let logs = measured_over_flow.iter().map(|ratio| -ratio.ln());
    Ok(Recovered {
        name,
        shortfall: shortfall(variances, &levels),
        measured_shortfall: logs.sum::<f64>() / variances.len() as f64,
        least_variance_ratio: over_flow.iter().map(|ratio| ratio * ratio).fold(f64::INFINITY, f64::min),
        worst_error: measured.iter().zip(&formula).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max),
        levels,
        over_flow,
        measured_over_flow,
    })
}
