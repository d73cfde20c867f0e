//! Restorations of the same measurements by several methods and samplers.
//!
//! A [`Cell`] is a method with a sampler and a number of calls on a [`Problem`], one operator on the images of the run.
//! As in [`super::compare`], its images are made and kept a part at a time; the scores follow from them. Image i starts
//! from the same noise in every cell.

pub mod baselines;
pub mod report;

use std::ops::Range;

use serde::Serialize;
use web_time::Instant;

use super::compare::Made;
use super::compare::store::{Named, PART, Store, Times};
use super::parts::Shard;
use crate::error::{Error, Result};
use crate::formats::images::signed;
use crate::model::{Model, Restorer, Restoring};
use crate::quality::{Extractor, Statistics, frechet, moments};
use crate::restore::{Measurement, Method, OperatorSpec, quality};
use crate::sample::samplers::Sampler;
use crate::sample::settings::{Course, Settings};
use crate::tensor::Tensor;

/// An operator, and the measurements of the images of a run.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The operator as the user gave it.
    pub label: String,
    /// A name for files, which no other measurements have.
    pub name: String,
    /// The measurements.
    pub measurement: Measurement,
}

impl Problem {
    /// Measures `images`, (n, c, h, w), under noise of a standard deviation; `seed` fixes the noise.
    ///
    /// # Errors
    /// Those of [`OperatorSpec::operator`] and [`Measurement::of_images`].
    pub fn new(spec: &OperatorSpec, images: &Tensor, noise: f64, seed: u64) -> Result<Self> {
        let operator = spec.operator([images.shape[1], images.shape[2], images.shape[3]])?;
        let measurement = Measurement::of_images(operator, images, noise, seed)?;
        let label = spec.to_string();
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
        let (text, first) = (label.chars().map(plain).collect::<String>(), measurement.modes(0));
        // FNV-1a of the first measurement: a file of another operator, other data and other noise are other cells.
        let bytes = first.iter().flat_map(|value| value.to_bits().to_le_bytes());
        let sum =
            bytes.fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Ok(Self { label, name: format!("{text}-{:08x}", sum >> 32), measurement })
    }
}

/// A method with its sampler on a problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The number of the problem, and its name.
    pub problem: (usize, String),
    /// The method.
    pub method: Method,
    /// The sampler; `None` for [`Method::Ddrm`], which is its own.
    pub sampler: Option<Sampler>,
    /// The most calls of the denoiser. Products with its Jacobian are further.
    pub calls: usize,
    /// The seed of all noise.
    pub seed: u64,
}

impl Named for Cell {
    fn name(&self) -> String {
        let sampler = self.sampler.map_or_else(String::new, |sampler| format!("-{}", sampler.name()));
        format!("{}-{}{sampler}-{}-s{}", self.problem.1, self.method.name(), self.calls, self.seed)
    }
}

impl Cell {
    /// The cells of each problem by each method, each sampler, and each number of calls.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is not a method's.
    pub fn all(
        problems: &[Problem],
        methods: &[String],
        samplers: &[Sampler],
        calls: &[usize],
        seed: u64,
    ) -> Result<Vec<Self>> {
        let mut cells = Vec::new();
        for (index, problem) in problems.iter().enumerate() {
            for method in methods {
                for sampler in samplers {
                    for &calls in calls {
                        let steps = sampler.spec().calls.steps_within(calls).max(1);
                        let method = Method::usual(method, steps)?;
                        let sampler = (!matches!(method, Method::Ddrm { .. })).then_some(*sampler);
                        let problem = (index, problem.name.clone());
                        let cell = Self { problem, method, sampler, calls, seed };
                        if !cells.contains(&cell) {
                            cells.push(cell);
                        }
                    }
                }
            }
        }
        Ok(cells)
    }

    /// The noise levels and the sampler, for a model: on the schedule that serves the sampler best in few steps.
    ///
    /// # Errors
    /// Those of [`Model::course`].
    pub fn course(&self, model: &Model) -> Result<Course> {
        let sampler = self.sampler.unwrap_or(Sampler::Ddim);
        let network = model.network();
        let clips = network.is_some_and(|network| !network.scheduler.has_unit_range());
        model.course(&Settings {
            sampler: Some(sampler),
            schedule: network.map(|_| sampler.spec().short_kind),
            steps: Some(sampler.spec().calls.steps_within(self.calls).max(1)),
            clip: (clips && matches!(self.method, Method::PiGdm { .. })).then_some(true),
            ..Settings::default()
        })
    }

    /// Restores the images `range`; `step` is called after every step.
    ///
    /// # Errors
    /// Those of [`Cell::course`], of the walk and of `step`.
    pub fn make(
        &self,
        (model, restorer): (&Model, &mut Restorer),
        problem: &Problem,
        (range, label): (Range<usize>, Option<f64>),
        step: &dyn Fn() -> Result<()>,
    ) -> Result<Made> {
        let (measurement, course) = (problem.measurement.part(range.clone()), self.course(model)?);
        let steps = course.schedule.steps().len();
        let (method, seed) = (self.method, self.seed);
        let settings = Restoring { measurement, method, course, each: 1, first: range.start, batch: None, seed, label };
        let begun = Instant::now();
        let images = restorer.restore(&settings, &mut |_| step())?;
        let is_unit = model.network().is_some_and(|network| network.scheduler.has_unit_range());
        let images = if is_unit { signed(&images) } else { images };
        let each = self.sampler.map_or(1, |sampler| self.calls / sampler.spec().calls.steps_within(self.calls).max(1));
        Ok(Made { images, calls: steps * each.max(1), seconds: begun.elapsed().as_secs_f64() })
    }
}

/// The images of cells that a store does not hold yet: a part of every cell before the next part of any. A cell that
/// was given up has none.
///
/// # Errors
/// Those of [`Store::missing_part`].
pub fn missing<'a>(
    store: &Store,
    cells: &'a [Cell],
    count: usize,
    shard: Shard,
) -> Result<Vec<(&'a Cell, Range<usize>)>> {
    let mut parts = Vec::new();
    for part in shard.items(count.div_ceil(PART)) {
        let first = part * PART;
        for cell in cells.iter().filter(|cell| !store.is_given_up(*cell)) {
            if let Some(range) = store.missing_part(cell, first, count)? {
                parts.push((cell, range));
            }
        }
    }
    Ok(parts)
}

/// The quality of restored images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The mean of the peak signal-to-noise ratios in dB, and its standard error.
    pub psnr: f64,
    pub psnr_error: Option<f64>,
    /// The Frechet distance from the images that were measured, where there are features.
    pub frechet: Option<f64>,
    /// The root mean square of y - A x over measured values and images. Kept images have 8 bits, which adds 0.0023.
    pub misfit: f64,
    /// The number of images that have diverged.
    pub diverged: usize,
}

/// The images that were measured, and what scores need of them.
pub struct Reference<'a> {
    images: &'a Tensor,
    features: Option<(&'a Extractor<'a>, Statistics)>,
    /// The largest distance of two values of images, and the largest magnitude that is not a divergence.
    range: (f64, Option<f64>),
    is_unit: bool,
}

impl<'a> Reference<'a> {
    /// `images`, (n, c, h, w) in the scale of the model; the features are those of `extractor`.
    ///
    /// # Errors
    /// Those of the extractor.
    pub fn new(images: &'a Tensor, extractor: Option<&'a Extractor<'a>>, model: &Model) -> Result<Self> {
        let is_unit = model.network().is_some_and(|network| network.scheduler.has_unit_range());
        let most = model.network().map(|_| 2.0);
        let mut reference = Self { images, features: None, range: (if is_unit { 1.0 } else { 2.0 }, most), is_unit };
        if let Some(extractor) = extractor {
            reference.features = Some((extractor, reference.statistics(extractor, images)?));
        }
        Ok(reference)
    }

    fn statistics(&self, extractor: &Extractor, images: &Tensor) -> Result<Statistics> {
        let features = if self.is_unit { extractor.of(&signed(images))? } else { extractor.of(images)? };
        moments::of_rows(&features.features.data, extractor.dimension())
    }

    /// The Frechet distance of `images`, in the scale of the model, from the images that were measured.
    ///
    /// # Errors
    /// Those of the extractor.
    pub fn distance(&self, images: &Tensor) -> Result<Option<f64>> {
        let Some((extractor, statistics)) = &self.features else { return Ok(None) };
        frechet::distance(&self.statistics(extractor, images)?, statistics).map(Some)
    }

    /// The score of restorations of a problem, in the scale of the model.
    ///
    /// # Errors
    /// Those of the extractor.
    pub fn score(&self, problem: &Problem, images: &Tensor) -> Result<Score> {
        let found = quality(&problem.measurement, images, Some(self.images), self.range);
        let (psnr, psnr_error) = found.psnr.map_or((f64::NAN, None), |psnr| (psnr.mean, psnr.error));
        let frechet = self.distance(images)?;
        Ok(Score { psnr, psnr_error, frechet, misfit: found.misfit, diverged: found.diverged.len() })
    }

    /// The score of the first `count` kept images of a cell.
    ///
    /// # Errors
    /// Those of reading them, and of [`Reference::score`].
    pub fn score_kept(&self, store: &Store, cell: &Cell, problem: &Problem) -> Result<Score> {
        let mut data = Vec::with_capacity(self.images.data.len());
        for part in store.parts(cell, self.images.shape[0]) {
            data.extend(part?.data);
        }
        if self.is_unit {
            for value in &mut data {
                *value = 0.5 * (*value + 1.0);
            }
        }
        self.score(problem, &Tensor::new(self.images.shape.clone(), data))
    }
}

/// Seconds per image of a cell, where they were measured.
#[must_use]
pub fn seconds(store: &Store, cell: &Cell) -> Option<f64> {
    let times: Times = store.times(cell);
    (times.images > 0).then(|| times.seconds / times.images as f64)
}

/// Returns `true` for the error of a walk that has left the numbers: a result of a comparison, not the end of it.
#[must_use]
pub fn is_divergence(error: &Error) -> bool {
    matches!(error, Error::NonFinite { .. })
}
