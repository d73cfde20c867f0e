//! What a linear chain generates: the energy of its samples along each component (equation 26, figure 6), for several numbers
//! of steps, schedules and couplings, without and with noise that is injected at each step (equation 25).
//!
//! Without injection a sample is P eps, and the mean over white eps is exact. With it, the chain runs downwards in the
//! coordinates a of each basis, x = `U_t` a:
//!
//! ```text
//! a_T ~ N(0, s_T^2 I),  a_t = U_t' U_(t+1) a_(t+1) + eta w,  w ~ N(0, I)
//! ```
//!
//! If `U_t' U_(t+1)` were the diagonal of cosines `c_i`, a mode's variance would follow v <- c^2 v + eta^2, which after T steps
//! is equation 25: `s_T^2 c^(2T) + eta^2 (1 - c^(2T)) / (1 - c^2)`.

use faer::Mat;

use super::Advance;
use super::chain::{
    Chain, Coupling, LevelNoise, Projections, Projector, Schedule, normalised_energy, participation_ratio,
};
use crate::error::Result;
use crate::noise::philox::normals;
use crate::tensor::Tensor;

/// One chain of the study.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Case {
    pub coupling: Coupling,
    pub schedule: Schedule,
    /// Steps, T.
    pub steps: usize,
}

/// Draws of a sampled energy.
const GENERATED: usize = 1000;
/// What the noise generator draws: white noise for the chain to act on, far from the images that are its levels.
const WHITE: u32 = u32::MAX;

/// What a chain generates, for one draw of its noise; a value a component.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Energies {
    /// Equation 26 in the mean over white noise: what P does.
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

/// What projections generate from white noise of variance `total`, with injected noise of deviation `eta`.
#[must_use]
pub fn energies(found: &Projections, total: f64, eta: f64, seed: u64) -> Energies {
    let steps = found.overlaps.len();
    let dimension = found.first().nrows();
    let energy = found.expected_energy(steps);
    let white: Vec<f32> = (0..GENERATED as u64).flat_map(|draw| normals(seed, draw, WHITE, dimension)).collect();
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
