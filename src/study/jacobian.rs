//! Section 5 of the first paper: the leading eigenvectors of a denoiser's Jacobian along a sampling trajectory, and how far they have
//! turned from those at its end.

use crate::denoise::Denoiser;
use crate::denoise::Level;
use crate::denoise::jacobian::{Jacobian, JacobianAt, Place};
use crate::error::Result;
use crate::spectral::Settings;
use crate::spectral::arnoldi::{NearlySymmetric, arnoldi, whole};
use crate::study::Advance;
use crate::study::trajectories::Trajectories;
use crate::tensor::Tensor;

/// Where trajectories pass, an image at a time: the state at each level of the schedule, the end last, as far as there is noise.
/// `advance` is told of each network call for one image.
///
/// # Errors
/// Those of [`Trajectories::walk`].
pub fn places(denoiser: &mut dyn Denoiser, walk: &Trajectories, advance: Advance) -> Result<Vec<Vec<Place>>> {
    let mut paths = vec![Vec::new(); walk.count];
    let last = walk.schedule.steps().len() - 1;
    walk.walk(denoiser, advance, &mut |_, first, progress| {
        let mut visit = |level: Level, states: &Tensor| {
            for image in 0..states.shape[0] {
                let x = states.slice(image..image + 1);
                paths[first + image].push(Place { x, level });
            }
        };
        visit(progress.step.from, progress.before);
        if progress.index == last && progress.step.to.sigma > 0.0 {
            visit(progress.step.to, progress.x);
        }
        Ok(())
    })?;
    Ok(paths)
}

/// What became of the eigenvectors along one trajectory.
#[derive(Clone, Debug)]
pub struct Turning {
    /// The eigenpairs at each place, in the trajectory's order.
    pub found: Vec<NearlySymmetric>,
    /// |cos| of the angle between eigenvector i at a place and j at the end, row-major in i, for each place.
    pub overlaps: Vec<Vec<f64>>,
    /// How fast eigenvector i turns away from the end (see [`slope`]).
    pub slopes: Vec<f64>,
}

impl Turning {
    /// The sine of the angle between eigenvector i at each place and at the end.
    #[must_use]
    pub fn sines(&self, i: usize) -> Vec<f64> {
        let count = self.slopes.len();
        self.overlaps.iter().map(|overlaps| sine(overlaps[i * count + i])).collect()
    }

    /// The share of eigenvector i at each place that lies in the span of all those at the end.
    #[must_use]
    pub fn shares(&self, i: usize) -> Vec<f64> {
        let count = self.slopes.len();
        let squares = |overlaps: &Vec<f64>| overlaps[i * count..][..count].iter().map(|cosine| cosine * cosine).sum();
        self.overlaps.iter().map(squares).collect()
    }
}

/// The leading eigenpairs of the symmetric part of `jacobian` at each place of a trajectory, by [`arnoldi`] or, if asked for, from
/// the whole matrix, and how they turn. `advance` counts places.
///
/// # Errors
/// Those of the solvers and of the denoiser.
pub fn turning(
    jacobian: &dyn Jacobian,
    path: &[Place],
    solver: &Settings,
    is_whole: bool,
    advance: Advance,
) -> Result<Turning> {
    let solve = if is_whole { whole } else { arnoldi };
    let mut found = Vec::with_capacity(path.len());
    for place in path {
        found.push(solve(&JacobianAt::new(jacobian, place), solver)?);
        advance(1);
    }
    let count = found.iter().map(|found| found.spectrum.values.len()).min().unwrap_or(0);
    let overlaps = |from: &NearlySymmetric| -> Vec<f64> {
        let Some(end) = found.last() else { return Vec::new() };
        let cosine = |i: usize, j: usize| {
            let (a, b) = (from.spectrum.vectors.item(i), end.spectrum.vectors.item(j));
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>().abs().min(1.0)
        };
        (0..count * count).map(|at| cosine(at / count, at % count)).collect()
    };
    let overlaps: Vec<_> = found.iter().map(overlaps).collect();
    let mut turning = Turning { found, overlaps, slopes: vec![0.0; count] };
    let sigmas: Vec<f64> = path.iter().map(|place| place.level.sigma).collect();
    turning.slopes = (0..count).map(|i| slope(&sigmas, &turning.sines(i))).collect();
    Ok(turning)
}

/// How fast a sine grows with the noise, in 1 / sigma: the slope from the origin to where it first passes one half, interpolated in log
/// sigma between the places around, or to its largest value where it never does. For small noise a sine grows in proportion to
/// sigma, and this is the factor; a straight line through all of a curve that soon comes to its bound of 1 would call it flat.
///
/// Both run towards the end, where the sine is 0.
#[must_use]
pub fn slope(sigmas: &[f64], sines: &[f64]) -> f64 {
    const HALF: f64 = 0.5;
    let away: Vec<(f64, f64)> = sigmas.iter().copied().zip(sines.iter().copied()).rev().collect();
    for pair in away.windows(2) {
        let [(low, before), (high, after)] = [pair[0], pair[1]];
        if after >= HALF {
            let part = (HALF - before) / (after - before);
            return HALF / (low.ln() * (1.0 - part) + high.ln() * part).exp();
        }
    }
    let most = away.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    most.map_or(0.0, |(sigma, sine)| sine / sigma)
}

fn sine(cosine: f64) -> f64 {
    (1.0 - cosine * cosine).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_small_noise_whatever_comes_after() {
        let sigmas: Vec<f64> = (0..200).map(|at| 10.0 * 0.95f64.powi(at)).collect();
        for rate in [0.3, 2.0, 40.0] {
            let sines: Vec<f64> = sigmas.iter().map(|sigma| (rate * sigma).min(1.0)).collect();
            assert!((slope(&sigmas, &sines) / rate - 1.0).abs() < 0.01, "{rate}");
        }
        assert!((slope(&[4.0, 2.0, 1.0], &[0.4, 0.1, 0.0]) - 0.1).abs() < 1e-12, "never half");
        assert_eq!(slope(&[4.0, 1.0], &[0.0, 0.0]), 0.0);
    }
}
