//! Section 5 of the first paper: the leading eigenvectors of a denoiser's Jacobian along a sampling trajectory, and how
//! far they have turned from those at its end.

use serde_json::{Value, json};

use super::rank::{bootstrap, kendall, spearman};
use super::results::{File, Results};
use crate::denoise::Denoiser;
use crate::denoise::Level;
use crate::denoise::jacobian::{Jacobian, JacobianAt, Place};
use crate::error::Result;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};
use crate::spectral::Settings;
use crate::spectral::arnoldi::{NearlySymmetric, arnoldi, whole};
use crate::study::Advance;
use crate::study::trajectories::Trajectories;
use crate::tensor::Tensor;

/// The places of trajectories, one path per image: the state at each level of the schedule above 0, the end last.
/// `advance` counts network calls for single images.
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

/// The eigenvectors along one trajectory.
#[derive(Clone, Debug)]
pub struct Turning {
    /// The eigenpairs at each place, in the trajectory's order.
    pub found: Vec<NearlySymmetric>,
    /// |cos| of the angle between eigenvector i at a place and j at the end, row-major in i, for each place.
    pub overlaps: Vec<Vec<f64>>,
    /// The speed at which eigenvector i turns away from the end (see [`slope`]).
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

/// The leading eigenpairs of the symmetric part of `jacobian` at each place of a trajectory, by [`arnoldi`] or from the
/// whole matrix, and how they turn. `advance` counts places.
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

/// The growth of a sine with the noise, in 1 / sigma: the slope from the origin to where it first passes one half,
/// interpolated in log sigma between the places around, or to its largest value where it never does. For small noise a
/// sine grows in proportion to sigma, and this is the factor; a straight line through a whole curve that soon reaches
/// its bound of 1 would be flat.
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

/// The files of the study.
pub const FILES: &[File] = &[SIGMAS, SINES, SHARES, VALUES, VECTORS, ASYMMETRY, SLOPES, TABLE, ANGLES, SPECTRA];
const SIGMAS: File = File::new("sigmas.npy", "(levels)");
const SINES: File = File::new("sines.npy", "(samples, levels, k)");
const SHARES: File = File::new("shares.npy", "of u_i in the span of those at the end, (samples, levels, k)");
const VALUES: File = File::new("eigenvalues.npy", "(samples, levels, k)");
const VECTORS: File = File::new("eigenvectors.npy", "(samples, levels, k, p)");
const ASYMMETRY: File = File::new("asymmetry.npy", "(samples, levels)");
const SLOPES: File = File::new("slopes.npy", "(samples, k)");
const TABLE: File = File::new("angles.csv", "one row per sample, level and component");
const ANGLES: File = File::new("angles", "sines over sigma");
const SPECTRA: File = File::new("spectra", "eigenvalues, shares, slopes, asymmetry");

/// The eigenvectors along all trajectories.
#[derive(Clone, Debug)]
pub struct Found {
    /// The sigma of each level, falling.
    pub sigmas: Vec<f64>,
    /// One per trajectory.
    pub turnings: Vec<Turning>,
}

impl Found {
    /// The results of the study for the denoiser called `name` on images of `dimension` values, with products by
    /// `settings`; rank correlations are bootstrapped from `seed`.
    #[must_use]
    pub fn results(&self, name: &str, dimension: usize, settings: Value, seed: u64) -> Results {
        let (samples, levels, k) = (self.turnings.len(), self.sigmas.len(), self.components());
        let sines = self.by_component(Turning::sines);
        let values = self.by_component(eigenvalues);
        let vectors = self.places(|found| found.spectrum.vectors.data.clone()).concat();
        let slopes: Vec<Vec<f64>> = self.turnings.iter().map(|turning| turning.slopes.clone()).collect();
        let mut table = Table::new(&["sample", "sigma", "component", "eigenvalue", "sine"]);
        for at in 0..samples * levels * k {
            let (sample, level, i) = (at / (levels * k), at / k % levels, at % k);
            table.row(&[&sample, &self.sigmas[level], &i, &values[at], &sines[at]]);
        }
        let correlation = bootstrap(&slopes, seed, spearman);
        let tau = bootstrap(&slopes, seed, kendall);
        let mut results = Results::default();
        results
            .numbers(SIGMAS, &[levels], &self.sigmas)
            .numbers(SINES, &[samples, levels, k], &sines)
            .numbers(SHARES, &[samples, levels, k], &self.by_component(Turning::shares))
            .numbers(VALUES, &[samples, levels, k], &values)
            .array(VECTORS, Tensor::new([samples, levels, k, dimension], vectors))
            .numbers(ASYMMETRY, &[samples, levels], &self.places(|found| found.asymmetry))
            .numbers(SLOPES, &[samples, k], &slopes.concat())
            .table(TABLE, table)
            .plot(ANGLES, self.angles(name))
            .plot(SPECTRA, self.spectra(name))
            .set("jacobian", settings)
            .set("correlation", json!({ "spearman": correlation, "kendall": tau, "of": "component and slope" }))
            .set("samples", self.json())
            .note(format!(
                "rank correlation of component and slope {:.2} (95 % {:.2} to {:.2}); asymmetry {:.2} at the most \
                 noise, {:.2} at the least",
                correlation.mean,
                correlation.low,
                correlation.high,
                self.mean_asymmetry(0),
                self.mean_asymmetry(levels - 1)
            ));
        let missed = self.not_converged();
        if missed > 0 {
            results.warning(format!(
                "at {missed} of {} places the basis was full before the tolerance was met; raise the largest \
                 number of blocks",
                levels * samples
            ));
        }
        results
    }

    fn components(&self) -> usize {
        self.turnings[0].slopes.len()
    }

    /// Products with J in all.
    #[must_use]
    pub fn products(&self) -> usize {
        self.places(|found| found.spectrum.applied_vectors).into_iter().sum()
    }

    fn not_converged(&self) -> usize {
        self.places(|found| usize::from(!found.spectrum.converged)).into_iter().sum()
    }

    fn mean_asymmetry(&self, level: usize) -> f64 {
        let of = |turning: &Turning| turning.found[level].asymmetry;
        self.turnings.iter().map(of).sum::<f64>() / self.turnings.len() as f64
    }

    /// A value of each place, one sample after the other.
    fn places<T>(&self, of: impl Fn(&NearlySymmetric) -> T) -> Vec<T> {
        self.turnings.iter().flat_map(|turning| &turning.found).map(of).collect()
    }

    /// A value of each component at each place: (samples, levels, k).
    fn by_component(&self, of: impl Fn(&Turning, usize) -> Vec<f64>) -> Vec<f64> {
        let (levels, count) = (self.sigmas.len(), self.components());
        let of_turning = |turning: &Turning| {
            let curves: Vec<Vec<f64>> = (0..count).map(|i| of(turning, i)).collect();
            (0..levels * count).map(|at| curves[at % count][at / count]).collect::<Vec<_>>()
        };
        self.turnings.iter().flat_map(of_turning).collect()
    }

    /// The section of the report.
    fn json(&self) -> Value {
        let sample = |turning: &Turning| {
            let places = turning.found.iter().zip(&self.sigmas).map(|(found, sigma)| {
                json!({
                    "sigma": sigma,
                    "asymmetry": found.asymmetry,
                    "eigenvalues": found.spectrum.values,
                    "residuals": found.spectrum.residuals,
                    "outside": found.outside,
                    "converged": found.spectrum.converged,
                    "products": found.spectrum.applied_vectors,
                    "solver": found.spectrum.solver,
                })
            });
            let index: Vec<f64> = (0..turning.slopes.len()).map(|at| at as f64).collect();
            json!({
                "slopes": turning.slopes,
                "spearman": spearman(&index, &turning.slopes),
                "kendall": kendall(&index, &turning.slopes),
                "places": places.collect::<Vec<_>>(),
            })
        };
        self.turnings.iter().map(sample).collect()
    }

    /// One panel per sample: sines over sigma, dark to bright by component (figure 7 of the paper, on a logarithmic
    /// axis).
    fn angles(&self, name: &str) -> Picture {
        const MOST_PANELS: usize = 6;
        let k = self.components();
        let panel = |(at, turning): (usize, &Turning)| -> Panel {
            let figure =
                Figure::new(&format!("Sample {at}"), Axis::log("σ"), Axis::linear("sin of the angle to the end"));
            let figure = Figure { y: figure.y.clone().over(0.0, 1.03), ..figure };
            (0..k)
                .fold(figure, |figure, i| figure.with(self.curve(&turning.sines(i)).colour(Colour::shade_of(i, k))))
                .with_shades("component i", 0.0, (k.max(2) - 1) as f64)
                .into()
        };
        let panels: Vec<Panel> = self.turnings.iter().take(MOST_PANELS).enumerate().map(panel).collect();
        Picture::new(&format!("Eigenvectors of the Jacobian of {name}"), 2, panels)
    }

    /// Eigenvalues of the first sample, slopes, asymmetry.
    fn spectra(&self, name: &str) -> Picture {
        let k = self.components();
        let first = &self.turnings[0];
        let values = Figure::new("Eigenvalues, sample 0", Axis::log("σ"), Axis::linear("of (J + Jᵀ) / 2"));
        let values = (0..k)
            .fold(values, |figure, i| figure.with(self.curve(&eigenvalues(first, i)).colour(Colour::shade_of(i, k))))
            .with_shades("component i", 0.0, (k.max(2) - 1) as f64);
        let mut slopes = Figure::new("Speed of turning", Axis::linear("component i"), Axis::log("slope, 1/σ"));
        let mut asymmetry = Figure::new("Asymmetry", Axis::log("σ"), Axis::linear("‖J − Jᵀ‖ / ‖J + Jᵀ‖"));
        let mut shares = Figure::new("Within those at the end, sample 0", Axis::log("σ"), Axis::linear("share of u_i"));
        for (at, turning) in self.turnings.iter().enumerate() {
            let name = if self.turnings.len() > 8 { String::new() } else { format!("sample {at}") };
            let points = turning.slopes.iter().enumerate().map(|(i, slope)| (i as f64, *slope)).collect();
            slopes = slopes.with(Series::points(&name, points).colour(Colour::Cycle(at)));
            let curve: Vec<f64> = turning.found.iter().map(|found| found.asymmetry).collect();
            let curve = Series { name, ..self.curve(&curve).colour(Colour::Cycle(at)) };
            asymmetry = asymmetry.with(curve);
        }
        for i in 0..k {
            shares = shares.with(self.curve(&first.shares(i)).colour(Colour::shade_of(i, k)));
        }
        let shares = Figure { y: shares.y.clone().over(0.0, 1.03), ..shares };
        let shares = shares.with_shades("component i", 0.0, (k.max(2) - 1) as f64);
        let panels = vec![values.into(), shares.into(), slopes.into(), asymmetry.into()];
        Picture::new(&format!("Spectra of the Jacobian of {name}"), 2, panels)
    }

    fn curve(&self, values: &[f64]) -> Series {
        Series::line("", self.sigmas.iter().copied().zip(values.iter().copied()).collect())
    }
}

fn eigenvalues(turning: &Turning, i: usize) -> Vec<f64> {
    turning.found.iter().map(|found| found.spectrum.values[i]).collect()
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
