//! The theory, and samplers, on data that are not a low-dimensional manifold: data of dimension d in n values, d/n from
//! 0.01 to 1, whose denoiser and whose projection are known exactly.
//!
//! | data | denoiser | projection |
//! |---|---|---|
//! | `flat`: Gaussians that fill a subspace of d dimensions | posterior mean of the mixture | on the subspace |
//! | `sphere`: uniform on a sphere of d dimensions | posterior mean, by a ratio of Bessel functions | on the sphere |
//!
//! Both have unit variance along the d (or d + 1) values that they extend in, which are the first ones: denoisers and
//! samplers distinguish no directions other than those of the data, so a rotation of everything changes nothing.

use rand::RngExt;
use serde::Serialize;

use super::Advance;
use super::parts::Shard;
use super::results::File;
use super::statistics::{Summary, apart, norm, quantile, sorted};
use super::trajectories::Trajectories;
use crate::Result;
use crate::denoise::{Denoiser, Level};
use crate::noise::Purpose;
use crate::quality::sliced::{self, Directions};
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::sample::schedule::{Schedule, StartNoise};
use crate::sample::solvers::descent::{Descent, Noise};
use crate::sample::walk::Method;
use crate::tensor::Tensor;

/// Gaussians of the mixture.
const CENTRES: usize = 10;
/// Their spread, where the centres' is sqrt(1 - spread^2).
const SPREAD: f64 = 0.3;
/// From most noise to least.
const SIGMAS: (f64, f64) = (40.0, 0.01);
/// Terms of the recurrence of Bessel functions above the order asked for.
const TERMS: usize = 60;
/// Other sets of data, whose distances are what chance alone does.
const OTHERS: u32 = 39;

/// A set that data fill.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A subspace, in it the centres of Gaussians.
    Flat { centres: Vec<Vec<f64>> },
    /// A sphere around zero in the first d + 1 values.
    Sphere { radius: f64 },
}

/// Data of d dimensions in n values.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifold {
    pub shape: Shape,
    /// d
    pub dimension: usize,
    /// n
    pub ambient: usize,
}

impl Manifold {
    /// The mixture of Gaussians in `dimension` of `ambient` values.
    #[must_use]
    pub fn flat(dimension: usize, ambient: usize, seed: u64) -> Self {
        let scale = (1.0 - SPREAD * SPREAD).sqrt();
        let centre = |at: usize| {
            let values = Purpose::ManifoldCentres.normals(seed, at as u64, 0, dimension);
            values.into_iter().map(|value| scale * f64::from(value)).collect()
        };
        Self { shape: Shape::Flat { centres: (0..CENTRES).map(centre).collect() }, dimension, ambient }
    }

    /// The sphere of `dimension`, below `ambient`.
    #[must_use]
    pub fn sphere(dimension: usize, ambient: usize) -> Self {
        Self { shape: Shape::Sphere { radius: ((dimension + 1) as f64).sqrt() }, dimension, ambient }
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.shape {
            Shape::Flat { .. } => "flat",
            Shape::Sphere { .. } => "sphere",
        }
    }

    /// Values that it extends in.
    #[must_use]
    pub fn extent(&self) -> usize {
        match self.shape {
            Shape::Flat { .. } => self.dimension,
            Shape::Sphere { .. } => self.dimension + 1,
        }
    }

    /// `count` samples of the data set `set` of a seed: (count, n).
    #[must_use]
    pub fn draw(&self, count: usize, seed: u64, set: u32) -> Tensor {
        let mut samples = Tensor::zeros([count, self.ambient]);
        for (at, sample) in samples.data.chunks_exact_mut(self.ambient).enumerate() {
            let noise = Purpose::ManifoldSamples.normals(seed, at as u64, set, self.extent());
            match &self.shape {
                Shape::Flat { centres } => {
                    let mut choice = Purpose::ManifoldChoices.stream(seed, at as u64, set);
                    let centre = &centres[choice.random_range(0..centres.len())];
                    let values = noise.iter().zip(centre).map(|(w, centre)| centre + SPREAD * f64::from(*w));
                    sample.iter_mut().zip(values).for_each(|(to, value)| *to = value as f32);
                }
                Shape::Sphere { radius } => {
                    let scale = radius / norm(&noise);
                    sample.iter_mut().zip(noise).for_each(|(to, w)| *to = (scale * f64::from(w)) as f32);
                }
            }
        }
        samples
    }

    /// The nearest point to `x`.
    #[must_use]
    pub fn project(&self, x: &[f32]) -> Vec<f32> {
        let extent = self.extent();
        let scale = match self.shape {
            Shape::Flat { .. } => 1.0,
            Shape::Sphere { radius } => radius / norm(&x[..extent]).max(f64::MIN_POSITIVE),
        };
        let within = x[..extent].iter().map(|value| (scale * f64::from(*value)) as f32);
        within.chain(std::iter::repeat_n(0.0, x.len() - extent)).collect()
    }

    /// The posterior mean of x0 given x.
    fn prediction(&self, x: &[f32], sigma: f64) -> Vec<f64> {
        let x: Vec<f64> = x[..self.extent()].iter().map(|value| f64::from(*value)).collect();
        let mut mean = match &self.shape {
            Shape::Sphere { radius } => {
                let length = x.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
                let scale = radius * bessel_ratio(x.len(), radius * length / (sigma * sigma)) / length;
                x.iter().map(|value| scale * value).collect()
            }
            Shape::Flat { centres } => mixture_mean(&x, centres, sigma),
        };
        mean.resize(self.ambient, 0.0);
        mean
    }
}

/// The posterior mean of a mixture of Gaussians of one spread around `centres`.
fn mixture_mean(x: &[f64], centres: &[Vec<f64>], sigma: f64) -> Vec<f64> {
    let (own, noise) = (SPREAD * SPREAD, sigma * sigma);
    let log = |centre: &Vec<f64>| {
        let square: f64 = x.iter().zip(centre).map(|(x, centre)| (x - centre).powi(2)).sum();
        -square / (2.0 * (own + noise))
    };
    let logs: Vec<f64> = centres.iter().map(log).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut mean = vec![0.0; x.len()];
    for (centre, weight) in centres.iter().zip(&weights) {
        let share = weight / total;
        for (mean, (x, centre)) in mean.iter_mut().zip(x.iter().zip(centre)) {
            *mean += share * (centre + own / (own + noise) * (x - centre));
        }
    }
    mean
}

/// I(p/2, k) / I(p/2 - 1, k) of modified Bessel functions: the mean length of a direction in p values under the von
/// Mises and Fisher distribution of concentration k. The recurrence 1 / r(v) = 2v / k + r(v + 1) from above, begun
/// between the bounds of Amos (1974) and of Simpson and Spector (1984), which are the closer the higher the order;
/// going down, errors shrink.
fn bessel_ratio(values: usize, concentration: f64) -> f64 {
    let lowest = values as f64 / 2.0;
    let top = lowest + TERMS as f64;
    let square = concentration * concentration;
    let bound = |square_of_order: f64| concentration / (top - 0.5 + (square_of_order + square).sqrt());
    let (least, most) = (bound((top + 0.5).powi(2)), bound((top - 0.5) * (top + 0.5)));
    let mut ratio = f64::midpoint(least, most);
    for term in (0..TERMS).rev() {
        ratio = 1.0 / (2.0 * (lowest + term as f64) / concentration + ratio);
    }
    ratio
}

impl Denoiser for Manifold {
    fn image_shape(&self) -> [usize; 3] {
        [self.ambient, 1, 1]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let sigma = Level::sigmas(levels);
        let images = sigma.iter().enumerate().flat_map(|(at, sigma)| {
            let x = x.item(at);
            let pairs = x.iter().zip(self.prediction(x, *sigma));
            pairs.map(|(x, x0)| ((f64::from(*x) - x0) / sigma) as f32).collect::<Vec<_>>()
        });
        Ok(Tensor::new(x.shape.clone(), images.collect()))
    }
}

/// The measurements on one manifold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    pub shape: &'static str,
    pub dimension: usize,
    pub ambient: usize,
    /// |prediction - projection| / distance over all calls of DDIM; infinite where the data fill the space.
    pub relative_error: Summary,
    /// sqrt(n) sigma / distance over all calls of DDIM.
    pub nu: Summary,
    /// The samples of each sampler.
    pub samplers: Vec<Samples>,
    /// The sliced Wasserstein distances of other data from the data, in rising order.
    pub others: Vec<f64>,
}

/// The samples of a sampler, compared with data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Samples {
    pub sampler: &'static str,
    /// The sliced Wasserstein distance from data.
    pub distance: f64,
    /// The chance that other data are at least as far away: (1 + those that are) / (1 + all of them).
    pub chance: f64,
}

impl Samples {
    /// The samples of `sampler` at this `distance`, beside those of `others`.
    #[must_use]
    pub fn new(sampler: &'static str, distance: f64, others: &[f64]) -> Self {
        let farther = others.iter().filter(|other| **other >= distance).count();
        Self { sampler, distance, chance: (1 + farther) as f64 / (1 + others.len()) as f64 }
    }
}

/// Samples `count` images with each sampler in `steps` steps, and compares them with as many samples of the data.
///
/// # Errors
/// Those of [`Trajectories::walk`] and of [`Directions::slice`].
pub fn examine(manifold: &Manifold, count: usize, steps: usize, seed: u64, advance: Advance) -> Result<Found> {
    let mut denoiser = manifold.clone();
    let directions = Directions::new(manifold.extent(), sliced::DIRECTIONS, seed);
    let within = |rows: &Tensor| {
        let part = rows.data.chunks_exact(manifold.ambient).flat_map(|row| &row[..manifold.extent()]);
        Tensor::new([rows.shape[0], manifold.extent()], part.copied().collect())
    };
    let data = directions.slice(&within(&manifold.draw(count, seed, 0)))?;
    let other = |set| Ok(sliced::distance(&directions.slice(&within(&manifold.draw(count, seed, set)))?, &data));
    let others = sorted((1..=OTHERS).map(other).collect::<Result<Vec<_>>>()?);
    let (mut errors, mut ratios) = (Vec::new(), Vec::new());
    let mut samplers = Vec::new();
    for (name, gamma, times) in WALKS {
        let steps = times * steps;
        let (high, low) = SIGMAS;
        let sigmas: Vec<f64> = (0..=steps).map(|step| high * (low / high).powf(step as f64 / steps as f64)).collect();
        let schedule = Schedule::from_sigmas(&sigmas)?.starting(StartNoise::Sigma);
        let method = Method::new(Descent { gamma, noise: Noise::Mu(0.0) });
        let walk = Trajectories {
            schedule: &schedule,
            method: &method,
            count,
            batch: count,
            seed,
            mean: None,
            shard: Shard::WHOLE,
        };
        let ends = walk.walk(&mut denoiser, &|_| {}, &mut |_, _, progress| {
            if samplers.is_empty() {
                let sigma = progress.step.from.sigma;
                for at in 0..count {
                    let (x, eps) = (progress.before.item(at), progress.eps.item(at));
                    let projection = manifold.project(x);
                    let distance = apart(x, &projection);
                    let prediction: Vec<f32> =
                        x.iter().zip(eps).map(|(x, eps)| (f64::from(*x) - sigma * f64::from(*eps)) as f32).collect();
                    errors.push(apart(&prediction, &projection) / distance);
                    ratios.push((manifold.ambient as f64).sqrt() * sigma / distance);
                }
            }
            Ok(())
        })?;
        let flat = Tensor::new([count, manifold.ambient], ends.data);
        samplers.push(Samples::new(name, sliced::distance(&directions.slice(&within(&flat))?, &data), &others));
        advance(1);
    }
    Ok(Found {
        shape: manifold.name(),
        dimension: manifold.dimension,
        ambient: manifold.ambient,
        relative_error: Summary::of(errors),
        nu: Summary::of(ratios),
        samplers,
        others,
    })
}

/// The names of the samplers, with gamma and the steps over the usual number.
const WALKS: [(&str, f64, usize); SAMPLERS as usize] =
    [("ddim", 1.0, 1), ("ge", 2.0, 1), ("ddim, 10 times the steps", 1.0, 10)];

impl Found {
    /// These values as a row; the names follow from the manifold.
    #[must_use]
    pub fn row(&self) -> Vec<f64> {
        let of = |it: &Summary| [it.mean, it.median, it.low, it.high, it.least, it.most];
        let distances = self.samplers.iter().map(|samples| samples.distance);
        let numbers = of(&self.relative_error).into_iter().chain(of(&self.nu)).chain(distances);
        numbers.chain(self.others.iter().copied()).collect()
    }

    /// The inverse of [`Self::row`].
    #[must_use]
    pub fn of_row(row: &[f64], manifold: &Manifold) -> Self {
        let of = |at: usize| Summary {
            mean: row[at],
            median: row[at + 1],
            low: row[at + 2],
            high: row[at + 3],
            least: row[at + 4],
            most: row[at + 5],
        };
        let (distances, others) = row[12..].split_at(WALKS.len());
        let named = WALKS.iter().zip(distances);
        Self {
            shape: manifold.name(),
            dimension: manifold.dimension,
            ambient: manifold.ambient,
            relative_error: of(0),
            nu: of(6),
            samplers: named.map(|((name, ..), distance)| Samples::new(name, *distance, others)).collect(),
            others: others.to_vec(),
        }
    }

    /// The distances within which 95 % of other data are.
    #[must_use]
    pub fn band(&self) -> (f64, f64) {
        (quantile(&self.others, 0.025), quantile(&self.others, 0.975))
    }
}

/// Samplers that [`examine`] runs.
pub const SAMPLERS: u64 = 3;

/// The table of manifolds.
pub(super) const TABLE: File =
    File::new("manifolds.csv", "errors of projections and of samplers on data of known dimension");
/// The plot of manifolds.
pub(super) const PLOT: File = File::new("manifolds", "the same over d / n");

pub(super) fn table(found: &[Found]) -> Table {
    let columns =
        ["shape", "dimension", "ambient", "relative_error_median", "relative_error_high", "nu_low", "nu_high"];
    let samplers = found.first().map_or(&[][..], |found| &found.samplers);
    let others = ["other data", "other_data_low", "other_data_high"].map(str::to_owned);
    let names =
        samplers.iter().flat_map(|samples| [samples.sampler.to_owned(), format!("{}, chance", samples.sampler)]);
    let names: Vec<String> = columns.into_iter().map(str::to_owned).chain(names).chain(others).collect();
    let mut table = Table::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for each in found {
        let (error, nu) = (&each.relative_error, &each.nu);
        let mut cells: Vec<&dyn std::fmt::Display> =
            vec![&each.shape, &each.dimension, &each.ambient, &error.median, &error.high, &nu.low, &nu.high];
        for Samples { distance, chance, .. } in &each.samplers {
            cells.extend([distance as &dyn std::fmt::Display, chance]);
        }
        let (median, (low, high)) = (quantile(&each.others, 0.5), each.band());
        cells.extend([&median as &dyn std::fmt::Display, &low, &high]);
        table.row(&cells);
    }
    table
}

pub(super) fn picture(found: &[Found]) -> Picture {
    let of = |shape: &'static str| found.iter().filter(move |found| found.shape == shape);
    let at = |found: &Found| found.dimension as f64 / found.ambient as f64;
    let mut panels = Vec::new();
    let mut errors =
        Figure::new("Error of the denoiser as a projection", Axis::linear("d / n"), Axis::log("error / distance"));
    for (index, shape) in ["flat", "sphere"].into_iter().enumerate() {
        let points = of(shape).map(|found| (at(found), found.relative_error.high)).collect();
        errors = errors.with(Series::line(&format!("{shape}, 95 %"), points).colour(Colour::Cycle(index)));
    }
    let all = found
        .iter()
        .flat_map(|found| &found.others)
        .chain(found.iter().flat_map(|found| found.samplers.iter().map(|samples| &samples.distance)));
    let extent = Summary::of(all.copied());
    let law = (1..100).map(|at| f64::from(at) / 100.0).map(|share| (share, (share / (1.0 - share)).sqrt())).collect();
    let errors = errors
        .with(Series::dashed("√(d / (n − d))", law).colour(Colour::Black))
        .with(Series::dashed("1: no gradient left", vec![(0.0, 1.0), (1.0, 1.0)]).colour(Colour::Grey));
    panels.push(errors.into());
    // One range for both panels, so that they can be compared.
    let distances = || Axis::log("sliced Wasserstein distance").over(0.8 * extent.least, 1.25 * extent.most);
    for shape in ["flat", "sphere"] {
        let title = format!("Samples, {shape}");
        let mut figure = Figure::new(&title, Axis::linear("d / n"), distances());
        let names =
            of(shape).next().map_or(Vec::new(), |found| found.samplers.iter().map(|each| each.sampler).collect());
        for (index, name) in names.into_iter().enumerate() {
            let points = of(shape).map(|found| (at(found), found.samplers[index].distance)).collect();
            figure = figure.with(Series::line(name, points).colour(Colour::Cycle(index)));
        }
        let median = of(shape).map(|found| (at(found), quantile(&found.others, 0.5))).collect();
        let band = of(shape).map(Found::band).collect();
        let others = Series::dashed("other data, 95 %", median).band(band).colour(Colour::Grey);
        panels.push(figure.with(others).into());
    }
    Picture::new("Data of d dimensions in 100 values", 2, panels)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// p = 1: tanh k; p = 3: coth k - 1/k. Both ends, and the middle.
    #[test]
    fn bessel_ratios_are_those_of_elementary_functions() {
        for concentration in [1e-3, 0.1, 1.0, 7.0, 60.0, 1e3, 1e6] {
            let one = bessel_ratio(1, concentration);
            assert!((one - concentration.tanh()).abs() < 1e-6, "{concentration}: {one}");
            let three = bessel_ratio(3, concentration);
            // The difference of large numbers, where k is small, in its series.
            let expected = if concentration < 0.01 {
                concentration / 3.0
            } else {
                1.0 / concentration.tanh() - 1.0 / concentration
            };
            assert!((three - expected).abs() < 1e-6, "{concentration}: {three}, {expected}");
        }
    }

    #[test]
    fn denoisers_become_projections_without_noise_and_means_with_much() {
        for manifold in [Manifold::flat(5, 12, 3), Manifold::sphere(4, 12)] {
            let mut denoiser = manifold.clone();
            let mut x = manifold.draw(1, 9, 0);
            x.data.iter_mut().enumerate().for_each(|(at, value)| *value += 0.01 * (at as f32 - 6.0));
            let projection = manifold.project(&x.data);
            let x = Tensor::new([1, 12, 1, 1], x.data);
            let sigma = 1e-3;
            let eps = denoiser.eps(&x, &[Level::at_sigma(sigma)]).unwrap();
            let prediction: Vec<f32> = x.data.iter().zip(&eps.data).map(|(x, eps)| x - sigma as f32 * eps).collect();
            assert!(apart(&prediction, &projection) < 1e-4, "{manifold:?}");
            let far = denoiser.prediction(&x.data, 1e4);
            let mean = match &manifold.shape {
                Shape::Sphere { .. } => vec![0.0; 5],
                Shape::Flat { centres } => {
                    (0..5).map(|at| centres.iter().map(|centre| centre[at]).sum::<f64>() / 10.0).collect()
                }
            };
            assert!(far.iter().zip(mean).all(|(far, mean)| (far - mean).abs() < 1e-3), "{manifold:?}");
            assert!(far[5..].iter().all(|value| *value == 0.0));
        }
    }
}
