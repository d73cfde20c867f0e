//! Schedules that are best for a spectrum, beside the usual ones: each in closed form, and measured with the chain or
//! the sampler.

use serde::Serialize;
use serde_json::json;

use super::Advance;
use super::baseline::walked_gains;
use super::chain::{Chain, Coupling, LevelNoise, Projector, participation_ratio};
use super::gains::{self, Spacing};
use super::overlap::Overlap;
use super::results::{File, Results};
use super::schedules::{best_recovery, concentration, geodesic, most_concentrated, shortfall};
use crate::denoise::closed_form::linear::Linear;
use crate::error::Result;
use crate::kernels::Engine;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::spectral::basis::inner;
use crate::tensor::Tensor;

/// The settings of the study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The number of leading directions.
    pub modes: usize,
    /// Steps, T.
    pub steps: usize,
    /// The highest level of the chain of noisy projections.
    pub chain_sigma_max: f64,
    /// The first level of sampling.
    pub sigma_max: f64,
    /// Chains with independent noise for each schedule.
    pub repeats: usize,
    /// Noise levels at which the share that projections keep is measured.
    pub probes: usize,
    /// The seed of the noise.
    pub seed: u64,
}

/// A schedule for concentration.
#[derive(Clone, Debug, Serialize)]
pub struct Concentrated {
    /// `best`, or the name of its spacing.
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
    /// `best`, `geodesic`, or the name of its spacing.
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

/// The share of each direction that a projection keeps at one noise level.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    pub sigma: f64,
    /// Squared cosines, (modes), in closed form and measured.
    pub formula: Vec<f64>,
    pub measured: Vec<f64>,
}

/// The schedules and their measurements.
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
/// Those of the device, and [`crate::Error::Argument`] for invalid schedules.
pub fn best(engine: &Engine, centred: &Tensor, filter: &Linear, settings: &Settings, advance: Advance) -> Result<Best> {
    let all = filter.spectrum().0;
    // Modes without variance cannot be recovered.
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

/// The share of the directions of the data that projections on noisy samples keep, at evenly spaced noise levels.
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

/// The files of the study.
pub const FILES: &[File] =
    &[VALUES, CONCENTRATION_LEVELS, CONCENTRATION, ENERGIES, RECOVERY_LEVELS, RECOVERY, OVER_FLOW, KEPT, PLOT];
const VALUES: File = File::new("eigenvalues.npy", "(K)");
const CONCENTRATION_LEVELS: File = File::new("concentration_levels.npy", "(5, T)");
const CONCENTRATION: File = File::new("concentration.csv", "one row per schedule");
const ENERGIES: File = File::new("energies.npy", "in closed form and measured, (5, 2, K)");
const RECOVERY_LEVELS: File = File::new("recovery_levels.npy", "(6, T+1)");
const RECOVERY: File = File::new("recovery.csv", "one row per schedule");
const OVER_FLOW: File = File::new("over_flow.npy", "gains in closed form and measured, (6, 2, K)");
const KEPT: File = File::new("kept.csv", "the share that projections keep, over the noise");
const PLOT: File = File::new("schedule", "levels, energies, gains, and kept shares");
/// Directions drawn in the panel of kept shares.
const DRAWN: usize = 6;

/// The results of the study; `first_threshold` is the noise at which the first component is lost.
#[must_use]
pub fn results(found: &Best, settings: &Settings, first_threshold: f64) -> Results {
    let modes = found.variances.len();
    let (chains, walks) = (found.concentrated.len(), found.recovered.len());
    let chain_levels: Vec<f64> = found.concentrated.iter().flat_map(|one| one.levels.clone()).collect();
    let energies = found.concentrated.iter().flat_map(|one| [one.energies.clone(), one.measured_energies.clone()]);
    let walk_levels: Vec<f64> = found.recovered.iter().flat_map(|one| one.levels.clone()).collect();
    let gains = found.recovered.iter().flat_map(|one| [one.over_flow.clone(), one.measured_over_flow.clone()]);
    let mut results = Results::default();
    results
        .numbers(VALUES, &[modes], &found.variances)
        .numbers(CONCENTRATION_LEVELS, &[chains, settings.steps], &chain_levels)
        .numbers(ENERGIES, &[chains, 2, modes], &energies.flatten().collect::<Vec<_>>())
        .numbers(RECOVERY_LEVELS, &[walks, settings.steps + 1], &walk_levels)
        .numbers(OVER_FLOW, &[walks, 2, modes], &gains.flatten().collect::<Vec<_>>());
    add_tables(found, &mut results);
    results
        .plot(PLOT, picture(found))
        .set("settings", json!(settings))
        .set("threshold_of_the_first", first_threshold)
        .set("concentration", json!(found.concentrated))
        .set("recovery", json!(found.recovered))
        .set("kept", json!(found.probes));
    say(found, &mut results);
    results
}

fn add_tables(found: &Best, results: &mut Results) {
    let mut table = Table::new(&[
        "schedule",
        "share_of_first",
        "measured",
        "standard_deviation",
        "participation",
        "measured_participation",
        "lowest_level",
        "highest_level",
    ]);
    for one in &found.concentrated {
        let (low, high) = (one.levels[0], one.levels[one.levels.len() - 1]);
        table.row(&[
            &one.name,
            &one.share,
            &one.measured_share,
            &one.measured_deviation,
            &one.participation,
            &one.measured_participation,
            &low,
            &high,
        ]);
    }
    results.table(CONCENTRATION, table);
    let mut table = Table::new(&["schedule", "shortfall", "measured", "least_variance_ratio", "worst_error"]);
    for one in &found.recovered {
        table.row(&[&one.name, &one.shortfall, &one.measured_shortfall, &one.least_variance_ratio, &one.worst_error]);
    }
    results.table(RECOVERY, table);
    let mut table = Table::new(&["sigma", "mode", "squared_cosine", "measured"]);
    for probe in &found.probes {
        for (mode, (formula, measured)) in probe.formula.iter().zip(&probe.measured).enumerate() {
            table.row(&[&probe.sigma, &mode, formula, measured]);
        }
    }
    results.table(KEPT, table);
}

fn say(found: &Best, results: &mut Results) {
    for one in &found.concentrated {
        let (name, share, measured) = (&one.name, one.share, one.measured_share);
        let (modes, levels) = (one.measured_participation, &one.levels);
        let (low, high) = (levels[0], levels[levels.len() - 1]);
        results.note(format!(
            "concentration, {name}: {measured:.3} of the energy on the first of {modes:.2} modes ({share:.3} in closed \
             form), levels {low:.3} to {high:.3}"
        ));
    }
    for one in &found.recovered {
        let (name, shortfall, measured) = (&one.name, one.shortfall, one.measured_shortfall);
        let ratio = one.least_variance_ratio;
        results.note(format!(
            "recovery, {name}: gains fall short of the flow by {measured:.4} ({shortfall:.4} in closed form), least \
             variance {ratio:.3} of the data's"
        ));
    }
}

/// Levels and energies of the chains, levels and gains of sampling, and the shares that projections keep.
fn picture(found: &Best) -> Picture {
    let from = |first: usize, values: &[f64]| {
        values.iter().enumerate().map(|(at, value)| ((first + at) as f64, *value)).collect::<Vec<_>>()
    };
    let mut levels =
        Figure::new("Concentration: levels", Axis::linear("level t"), Axis::linear("deviation of the noise, s_t"));
    let mut energies = Figure::new(
        "Energy on each component: points measured, curves in closed form",
        Axis::linear("component"),
        Axis::log("share of the energy").over(1e-6, 1.2),
    );
    for (at, one) in found.concentrated.iter().enumerate() {
        let colour = Colour::Cycle(at);
        levels = levels.with(Series::line(&one.name, from(1, &one.levels)).colour(colour));
        energies = energies
            .with(Series::line(&one.name, from(0, &one.energies)).colour(colour))
            .with(Series::points("", from(0, &one.measured_energies)).colour(colour));
    }
    let mut noises = Figure::new("Recovery: levels", Axis::linear("steps done"), Axis::log("σ"));
    let mut gains = Figure::new(
        "Gain over that of the flow: points measured, curves in closed form",
        Axis::linear("mode"),
        Axis::linear("gain / gain of the flow"),
    );
    for (at, one) in found.recovered.iter().enumerate() {
        let colour = Colour::Cycle(at);
        // The limit is often too close to the optimum to be distinguished from it.
        let draw = if one.name == "geodesic" { Series::dashed } else { Series::line };
        noises = noises.with(draw(&one.name, from(0, &one.levels)).colour(colour));
        gains = gains
            .with(draw(&one.name, from(0, &one.over_flow)).colour(colour))
            .with(Series::points("", from(0, &one.measured_over_flow)).colour(colour));
    }
    let drawn = found.variances.len().min(DRAWN);
    let mut kept = Figure::new(
        "Share kept by a projection: points measured, curves in closed form",
        Axis::linear("deviation of the noise, s"),
        Axis::linear("squared cosine"),
    );
    for mode in 0..drawn {
        let colour = Colour::shade_of(mode, drawn);
        let along =
            |of: &dyn Fn(&Probe) -> f64| found.probes.iter().map(|probe| (probe.sigma, of(probe))).collect::<Vec<_>>();
        kept = kept
            .with(Series::line("", along(&|probe| probe.formula[mode])).colour(colour))
            .with(Series::points("", along(&|probe| probe.measured[mode])).colour(colour));
    }
    let kept = kept.with_shades("component", 0.0, drawn.saturating_sub(1) as f64);
    let spectrum = found.variances.iter().enumerate().map(|(at, variance)| (at as f64, *variance)).collect();
    let spectrum = Figure::new("Spectrum of the data", Axis::linear("component"), Axis::log("variance"))
        .with(Series::points("", spectrum));
    let panels = vec![levels.into(), energies.into(), noises.into(), gains.into(), kept.into(), spectrum.into()];
    Picture::new("", 2, panels)
}
