//! The samples of a linear chain: their energy along each component (equation 26, figure 6), for several numbers of
//! steps, schedules and couplings, without and with noise that is injected at each step (equation 25).
//!
//! Without injection a sample is P eps, and the mean over white eps is exact. With it, the chain runs downwards in the
//! coordinates a of each basis, x = `U_t` a:
//!
//! ```text
//! a_T ~ N(0, s_T^2 I),  a_t = U_t' U_(t+1) a_(t+1) + eta w,  w ~ N(0, I)
//! ```
//!
//! If `U_t' U_(t+1)` were the diagonal of cosines `c_i`, a mode's variance would follow v <- c^2 v + eta^2, which after
//! T steps is equation 25: `s_T^2 c^(2T) + eta^2 (1 - c^(2T)) / (1 - c^2)`.

use faer::Mat;
use serde_json::{Value, json};

use super::Advance;
use super::chain::{
    Chain, Coupling, LevelNoise, Projections, Projector, Schedule, normalised_energy, participation_ratio,
};
use super::estimate::Estimate;
use super::results::{File, Results};
use crate::error::Result;
use crate::noise::Purpose;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};
use crate::tensor::Tensor;

/// One chain of the study.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Case {
    pub coupling: Coupling,
    pub schedule: Schedule,
    /// Steps, T.
    pub steps: usize,
}

/// The number of draws of a sampled energy.
const GENERATED: usize = 1000;

/// The samples of a chain for one draw of its noise; one value per component.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Energies {
    /// Equation 26 in the mean over white noise.
    pub energy: Vec<f64>,
    /// Equation 26 over a thousand generated samples.
    pub sampled: Vec<f64>,
    /// Effective number of modes of `energy`.
    pub participation: f64,
    /// The component with the most energy.
    pub winner: usize,
    /// Natural logarithm of the Frobenius norm of P.
    pub log_norm: f64,
    /// Mean cosine of each component from a level to the next, geometric.
    pub cosines: Vec<f64>,
    /// Deviation of the noise injected at each step.
    pub eta: f64,
    /// Variance of each mode with injected noise: exact, for the measured bases.
    pub injected: Vec<f64>,
    /// The same by equation 25, with the mean cosines.
    pub injected_theory: Vec<f64>,
    /// Effective number of modes of `injected`.
    pub injected_participation: f64,
}

impl Energies {
    /// These values as a row.
    #[must_use]
    pub fn row(&self) -> Vec<f64> {
        let single = [self.participation, self.winner as f64, self.log_norm, self.eta, self.injected_participation];
        let lists = [&self.energy, &self.sampled, &self.cosines, &self.injected, &self.injected_theory];
        single.into_iter().chain(lists.into_iter().flatten().copied()).collect()
    }

    /// The inverse of [`Self::row`].
    #[must_use]
    pub fn of_row(row: &[f64]) -> Self {
        let (single, lists) = row.split_at(5);
        let of = |at: usize| lists[at * lists.len() / 5..][..lists.len() / 5].to_vec();
        Self {
            participation: single[0],
            winner: single[1] as usize,
            log_norm: single[2],
            eta: single[3],
            injected_participation: single[4],
            energy: of(0),
            sampled: of(1),
            cosines: of(2),
            injected: of(3),
            injected_theory: of(4),
        }
    }
}

/// Runs one chain on `data`; `advance` counts levels, T + 1 in all.
///
/// # Errors
/// Those of [`Chain::run`].
pub fn run(projector: &Projector, data: &Tensor, case: Case, seed: u64, advance: Advance) -> Result<Energies> {
    let sigmas = case.schedule.sigmas(case.steps);
    let chain = Chain { data, sigmas: &sigmas, coupling: case.coupling, noise: LevelNoise::Seeded(seed) };
    let found = chain.run(projector, false, advance)?;
    let total: f64 = sigmas.iter().map(|sigma| sigma * sigma).sum();
    Ok(energies(&found, total, (total / case.steps as f64).sqrt(), seed))
}

/// The energies of projections of white noise of variance `total`, with injected noise of deviation `eta`.
#[must_use]
pub fn energies(found: &Projections, total: f64, eta: f64, seed: u64) -> Energies {
    let steps = found.overlaps.len();
    let dimension = found.first().nrows();
    let energy = found.expected_energy(steps);
    let draws = 0..GENERATED as u64;
    let white: Vec<f32> = draws.flat_map(|draw| Purpose::ChainInputs.normals(seed, draw, 0, dimension)).collect();
    let cosines: Vec<f64> = (0..found.count())
        .map(|i| (found.adjacent.iter().map(|row| row[i].ln()).sum::<f64>() / steps.max(1) as f64).exp())
        .collect();
    let injected = injected(&found.overlaps, found.count(), total, eta);
    Energies {
        participation: participation_ratio(&energy),
        winner: (0..energy.len()).max_by(|a, b| energy[*a].total_cmp(&energy[*b])).unwrap_or(0),
        sampled: found.energy_of(&Tensor::new([GENERATED, dimension], white)),
        log_norm: found.log_norm.last().copied().unwrap_or(0.0),
        injected_theory: cosines.iter().map(|cosine| equation_25(*cosine, total, eta, steps)).collect(),
        injected_participation: participation_ratio(&normalised_energy(&injected)),
        injected,
        cosines,
        eta,
        energy,
    }
}

/// The variance of each mode at level 0 when noise of deviation `eta` is injected at each step: the covariance of the
/// coordinates is carried down, A <- M A M' + `eta^2` I.
#[must_use]
pub fn injected(overlaps: &[Mat<f64>], count: usize, total: f64, eta: f64) -> Vec<f64> {
    let identity = Mat::<f64>::identity(count, count);
    let start = &identity * faer::Scale(total);
    let added = &identity * faer::Scale(eta * eta);
    let last =
        overlaps.iter().rev().fold(start, |covariance, overlap| overlap * covariance * overlap.transpose() + &added);
    (0..count).map(|i| last[(i, i)]).collect()
}

/// Equation 25: the variance of a mode that loses c^2 and gains `eta^2` in each of `steps` steps, from `total`.
#[must_use]
pub fn equation_25(cosine: f64, total: f64, eta: f64, steps: usize) -> f64 {
    let (kept, square) = (cosine.powi(2 * steps as i32), cosine * cosine);
    // The sum of a geometric series, also where its ratio is one.
    let series = if 1.0 - square < 1e-12 { steps as f64 } else { (1.0 - kept) / (1.0 - square) };
    total * kept + eta * eta * series
}

/// The files of the study.
pub const FILES: &[File] = &[ENERGY, INJECTED, TABLE, MODES, ENERGY_PLOT, PARTICIPATION, INJECTED_PLOT];
const ENERGY: File = File::new("energy.npy", "(cases, draws, k)");
const INJECTED: File = File::new("injected.npy", "with injected noise, (cases, draws, k)");
const TABLE: File = File::new("energy.csv", "one row per case and component");
const MODES: File = File::new("modes.csv", "effective modes and winners per case");
const ENERGY_PLOT: File = File::new("energy", "energies over components");
const PARTICIPATION: File = File::new("participation", "effective modes over T");
const INJECTED_PLOT: File = File::new("injected", "variances with injected noise, and equation 25");

/// A case with the energies of each draw of its noise.
#[derive(Clone, Debug)]
pub struct Measured {
    pub case: Case,
    pub draws: Vec<Energies>,
}

impl Measured {
    /// Mean and uncertainty over draws of a value per component.
    fn over(&self, values: impl Fn(&Energies) -> &[f64]) -> Vec<Estimate> {
        let count = self.draws.first().map_or(0, |draw| values(draw).len());
        (0..count).map(|i| Estimate::of(&self.draws.iter().map(|draw| values(draw)[i]).collect::<Vec<_>>())).collect()
    }

    /// The largest relative error of equation 25 over the components.
    fn error_of_equation_25(&self) -> Estimate {
        let error = |draw: &Energies| {
            let pairs = draw.injected.iter().zip(&draw.injected_theory);
            pairs.map(|(found, theory)| (theory / found - 1.0).abs()).fold(0.0, f64::max)
        };
        Estimate::of(&self.draws.iter().map(error).collect::<Vec<_>>())
    }

    /// A band around means over draws, if there is more than one.
    fn band(&self, estimates: &[Estimate], series: Series) -> Series {
        if self.draws.len() < 2 { series } else { series.band(estimates.iter().map(Estimate::band).collect()) }
    }

    fn participation(&self) -> Estimate {
        Estimate::of(&self.draws.iter().map(|draw| draw.participation).collect::<Vec<_>>())
    }
}

/// Every coupling under every schedule: a constant variance per step for a given total, 1/T, and variances that fall
/// geometrically by `ratio`.
#[must_use]
pub fn kinds(variance: f64, ratio: f64) -> Vec<(Coupling, Schedule)> {
    let schedules = [Schedule::Constant { variance }, Schedule::Inverse, Schedule::Geometric { variance, ratio }];
    schedules.map(|schedule| Coupling::ALL.map(|coupling| (coupling, schedule))).concat()
}

/// The results of the study on the data called `data`; `settings` go into the report.
#[must_use]
pub fn results(found: &[Measured], data: &str, settings: Value) -> Results {
    let draws = found.first().map_or(0, |case| case.draws.len());
    let components = found.first().and_then(|case| case.draws.first()).map_or(0, |draw| draw.energy.len());
    let shape = [found.len(), draws, components];
    let all = |values: fn(&Energies) -> &[f64]| {
        found.iter().flat_map(|case| &case.draws).flat_map(values).copied().collect::<Vec<f64>>()
    };
    let mut results = Results::default();
    results
        .numbers(ENERGY, &shape, &all(|draw| &draw.energy))
        .numbers(INJECTED, &shape, &all(|draw| &draw.injected))
        .table(TABLE, energy_table(found))
        .table(MODES, mode_table(found))
        .plot(ENERGY_PLOT, energy_picture(found, data))
        .plot(PARTICIPATION, participation_picture(found, data))
        .plot(INJECTED_PLOT, injected_picture(found, data))
        .set("settings", settings)
        .set("cases", found.iter().map(case_json).collect::<Vec<_>>());
    results
}

fn case_json(measured: &Measured) -> Value {
    json!({
        "case": measured.case,
        "participation": measured.participation(),
        "error_of_equation_25": measured.error_of_equation_25(),
        "winners": measured.draws.iter().map(|draw| draw.winner).collect::<Vec<_>>(),
        "draws": measured.draws,
    })
}

fn energy_table(found: &[Measured]) -> Table {
    let mut table = Table::new(&[
        "coupling",
        "schedule",
        "steps",
        "component",
        "energy",
        "half_width_95",
        "sampled",
        "injected",
        "injected_eq25",
    ]);
    for measured in found {
        let Case { coupling, schedule, steps } = measured.case;
        let mean = |values: fn(&Energies) -> &[f64]| measured.over(values);
        let (sampled, injected) = (mean(|draw| &draw.sampled), mean(|draw| &draw.injected));
        let theory = mean(|draw| &draw.injected_theory);
        for (i, energy) in mean(|draw| &draw.energy).into_iter().enumerate() {
            let (sampled, injected, theory) = (sampled[i].mean, injected[i].mean, theory[i].mean);
            table.row(&[
                &coupling,
                &schedule,
                &steps,
                &i,
                &energy.mean,
                &energy.half_width,
                &sampled,
                &injected,
                &theory,
            ]);
        }
    }
    table
}

fn mode_table(found: &[Measured]) -> Table {
    let columns = [
        "coupling",
        "schedule",
        "steps",
        "draws",
        "effective_modes",
        "half_width_95",
        "log_norm",
        "eq25_error",
        "eq25_error_half_width_95",
        "winners",
    ];
    let mut table = Table::new(&columns);
    for measured in found {
        let Case { coupling, schedule, steps } = measured.case;
        let modes = measured.participation();
        let norm = Estimate::of(&measured.draws.iter().map(|draw| draw.log_norm).collect::<Vec<_>>()).mean;
        let winners: Vec<String> = measured.draws.iter().map(|draw| draw.winner.to_string()).collect();
        let (draws, error) = (measured.draws.len(), measured.error_of_equation_25());
        let winners = winners.join(" ");
        table.row(&[
            &coupling,
            &schedule,
            &steps,
            &draws,
            &modes.mean,
            &modes.half_width,
            &norm,
            &error.mean,
            &error.half_width,
            &winners,
        ]);
    }
    table
}

/// The cases of each coupling and schedule, in their order.
fn groups(found: &[Measured]) -> Vec<&[Measured]> {
    found.chunk_by(|a, b| (a.case.coupling, a.case.schedule) == (b.case.coupling, b.case.schedule)).collect()
}

fn energy_picture(found: &[Measured], data: &str) -> Picture {
    let panel = |group: &[Measured]| -> Panel {
        let Case { coupling, schedule, .. } = group[0].case;
        let title = format!("{coupling}, {schedule}");
        let axes =
            Figure::new(&title, Axis::linear("component i"), Axis::linear("energy, over the sum").over(-0.03, 1.03));
        group
            .iter()
            .enumerate()
            .fold(axes, |figure, (at, measured)| {
                let energies = measured.over(|draw| &draw.energy);
                let points = energies.iter().enumerate().map(|(i, energy)| (i as f64, energy.mean)).collect();
                let colour = Colour::shade_of(at, group.len());
                let series = Series::line(&format!("T = {}", measured.case.steps), points).colour(colour);
                figure.with(measured.band(&energies, series))
            })
            .into()
    };
    let title = format!("Energy of generated samples along each component, {data}");
    Picture::new(&title, 3, groups(found).into_iter().map(panel).collect())
}

/// One panel per schedule, one curve per coupling.
fn participation_picture(found: &[Measured], data: &str) -> Picture {
    let groups = groups(found);
    let count = found.first().and_then(|case| case.draws.first()).map_or(1, |draw| draw.energy.len());
    let draws = found.first().map_or(0, |case| case.draws.len());
    let panel = |groups: &[&[Measured]]| -> Panel {
        let title = groups[0][0].case.schedule.to_string();
        let y = Axis::linear("participation ratio of energies").over(0.9, 1.03 * count as f64);
        let axes = Figure::new(&title, Axis::log("steps T"), y);
        let figure = groups.iter().enumerate().fold(axes, |figure, (at, group)| {
            let modes: Vec<Estimate> = group.iter().map(Measured::participation).collect();
            let points = group.iter().zip(&modes).map(|(case, modes)| (case.case.steps as f64, modes.mean)).collect();
            let name = group[0].case.coupling.to_string();
            figure.with(group[0].band(&modes, Series::line(&name, points).colour(Colour::Cycle(at))))
        });
        figure.into()
    };
    let schedules = groups.chunk_by(|a, b| a[0].case.schedule == b[0].case.schedule);
    let drawn = if draws > 1 { format!(", mean of {draws} draws, 95 %") } else { String::new() };
    Picture::new(&format!("Effective number of modes, {data}{drawn}"), 3, schedules.map(panel).collect())
}

fn injected_picture(found: &[Measured], data: &str) -> Picture {
    let panel = |group: &&[Measured]| -> Panel {
        let Case { coupling, schedule, .. } = group[0].case;
        let title = format!("{coupling}, {schedule}");
        let axes = Figure::new(&title, Axis::linear("component i"), Axis::log("variance of the mode"));
        let figure = group.iter().enumerate().fold(axes, |figure, (at, measured)| {
            let curve = |values: Vec<Estimate>| {
                values.into_iter().enumerate().map(|(i, value)| (i as f64, value.mean)).collect::<Vec<_>>()
            };
            let colour = Colour::shade_of(at, group.len());
            let steps = measured.case.steps;
            figure
                .with(
                    Series::points(&format!("T = {steps}"), curve(measured.over(|draw| &draw.injected))).colour(colour),
                )
                .with(Series::ticks("equation 25", curve(measured.over(|draw| &draw.injected_theory))).colour(colour))
        });
        figure.into()
    };
    let title = format!("With noise injected at each step: measured, and equation 25 from mean cosines, {data}");
    Picture::new(&title, 3, groups(found).iter().map(panel).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equation_25_is_its_recursion() {
        for (cosine, total, eta, steps) in
            [(0.9, 4.0, 0.3, 25), (0.5, 1.0, 1.0, 3), (1.0, 2.0, 0.5, 8), (0.7, 1.0, 0.0, 0)]
        {
            let recursion = (0..steps).fold(total, |variance, _| cosine * cosine * variance + eta * eta);
            assert!((equation_25(cosine, total, eta, steps) - recursion).abs() < 1e-12 * recursion);
        }
    }

    #[test]
    fn diagonal_overlaps_inject_as_equation_25_has_it() {
        let cosines = [0.95, 0.8, 0.3];
        let overlap = Mat::from_fn(3, 3, |i, j| if i == j { cosines[i] } else { 0.0 });
        let found = injected(&vec![overlap; 12], 3, 2.0, 0.4);
        for (found, cosine) in found.iter().zip(cosines) {
            assert!((found - equation_25(cosine, 2.0, 0.4, 12)).abs() < 1e-12);
        }
    }
}
