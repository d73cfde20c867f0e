//! The samples of a data set nearest to an image: the exact projection on a finite data set, and the basis of the ideal
//! denoiser and of the estimators of dimension.
//!
//! The inner products x k of a block of images with all samples come from the device in float32; with them the score x
//! k - |k|^2 / 2 of a sample is larger the nearer it lies, which leaves out |x|^2 and its cancellation. Data and images
//! are taken relative to the data's mean, which makes the products small. Samples that float32 cannot distinguish are
//! measured again in float64, so that the result is exact.

use rayon::prelude::*;

use crate::data::Dataset;
use crate::error::Result;
use crate::kernels::Engine;
use crate::spectral::samples::{DeviceSamples, MOST_VECTORS};
use crate::tensor::Tensor;

/// A generous bound on the rounding of a score in float32, over the lengths of its vectors. Only the choice of samples
/// that are measured again depends on it.
const SCORE_ERROR: f64 = 1e-6;
/// Partial results of a pass over scores, so that it compiles to vector instructions.
const LANES: usize = 16;

/// A sample beside an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// The index of the sample.
    pub sample: usize,
    /// Its Euclidean distance.
    pub distance: f64,
}

/// A data set on a device, with a search for its nearest samples.
pub struct Neighbours<'e> {
    data: Dataset,
    mean: Vec<f64>,
    device: DeviceSamples<'e>,
    /// |k|^2 / 2 of each sample, relative to the mean as the device has it.
    half_squares: Vec<f32>,
    longest: f64,
}

/// The scores of all samples for one image.
pub(super) struct Scored<'a> {
    /// The image.
    pub x: &'a [f32],
    /// x k - |k|^2 / 2 of each sample k, relative to the mean.
    pub scores: &'a mut [f32],
    /// A bound on the error of a score.
    pub error: f64,
    /// |x|^2 relative to the mean.
    pub square: f64,
}

impl<'e> Neighbours<'e> {
    /// Puts the data, whose mean is `mean`, on the device.
    ///
    /// # Errors
    /// Those of [`DeviceSamples::new`].
    pub fn new(engine: &'e Engine, data: Dataset, mean: Vec<f64>) -> Result<Self> {
        let mut centred = data.samples.clone();
        let take_mean_off = |sample: &mut [f32]| {
            sample.iter_mut().zip(&mean).for_each(|(value, mean)| *value = (f64::from(*value) - mean) as f32);
        };
        centred.data.par_chunks_exact_mut(mean.len()).for_each(take_mean_off);
        let half = |sample: &[f32]| 0.5 * sample.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        let halves: Vec<f64> = centred.data.par_chunks_exact(mean.len()).map(half).collect();
        let longest = halves.iter().fold(0.0f64, |most, half| most.max(2.0 * half)).sqrt();
        let half_squares = halves.into_iter().map(|half| half as f32).collect();
        let device = DeviceSamples::new(engine, &centred)?;
        Ok(Self { data, mean, device, half_squares, longest })
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// Their mean.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The largest distance of a sample from the mean.
    pub(super) fn longest(&self) -> f64 {
        self.longest
    }

    pub(super) fn device(&self) -> &DeviceSamples<'e> {
        &self.device
    }

    /// The `count` samples nearest to each image of `x`, (n, ...) of as many values as a sample, nearest first; fewer
    /// where there are fewer samples. Of samples at the same distance the first come first.
    ///
    /// # Errors
    /// Those of the device.
    pub fn nearest(&self, x: &Tensor, count: usize) -> Result<Vec<Vec<Neighbour>>> {
        let count = count.min(self.data.count());
        let mut all = Vec::with_capacity(x.shape[0]);
        for block in x.data.chunks(MOST_VECTORS * self.mean.len()) {
            all.extend(self.of_each(block, |_, scored| self.exactly_nearest(&scored, count))?.0);
        }
        Ok(all)
    }

    /// The exact projection of each image of `x` on the data: its nearest sample, and the distance to it.
    ///
    /// # Errors
    /// Those of [`Self::nearest`].
    pub fn project(&self, x: &Tensor) -> Result<Vec<Neighbour>> {
        Ok(self.nearest(x, 1)?.into_iter().flatten().collect())
    }

    /// Returns the results of `work` for each of at most [`MOST_VECTORS`] images, given its place and its scores; and
    /// the scores as `work` left them, one image after the other.
    pub(super) fn of_each<T: Send>(
        &self,
        x: &[f32],
        work: impl Fn(usize, Scored) -> T + Sync,
    ) -> Result<(Vec<T>, Vec<f32>)> {
        let (count, dimension) = (self.data.count(), self.mean.len());
        let centred: Vec<f32> =
            x.iter().zip(self.mean.iter().cycle()).map(|(x, mean)| (f64::from(*x) - mean) as f32).collect();
        let mut products = self.device.inner_products(&centred)?.data;
        let images = x.par_chunks_exact(dimension).zip(products.par_chunks_exact_mut(count)).enumerate();
        let results = images.map(|(at, (x, scores))| {
            scores.iter_mut().zip(&self.half_squares).for_each(|(score, half)| *score -= half);
            let square: f64 = x.iter().zip(&self.mean).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum();
            let error = SCORE_ERROR * (square.sqrt() + self.longest) * self.longest;
            work(at, Scored { x, scores, error, square })
        });
        let results = results.collect();
        Ok((results, products))
    }

    /// |x - k|^2 in float64.
    pub(super) fn squared_distance(&self, x: &[f32], sample: usize) -> f64 {
        let mut sums = [0.0f64; LANES / 2];
        let (x, k) = (x.chunks(sums.len()), self.data.samples.item(sample).chunks(LANES / 2));
        for (x, k) in x.zip(k) {
            for ((sum, x), k) in sums.iter_mut().zip(x).zip(k) {
                let apart = f64::from(*x) - f64::from(*k);
                *sum += apart * apart;
            }
        }
        sums.iter().sum()
    }

    fn exactly_nearest(&self, scored: &Scored, count: usize) -> Vec<Neighbour> {
        let least = if count == 1 {
            f64::from(largest(scored.scores))
        } else {
            let mut sorted = scored.scores.to_vec();
            let (_, at, _) = sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
            f64::from(*at)
        };
        let mut near: Vec<Neighbour> = at_least(scored.scores, least - 2.0 * scored.error)
            .into_iter()
            .map(|sample| Neighbour { sample, distance: self.squared_distance(scored.x, sample).sqrt() })
            .collect();
        near.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.sample.cmp(&b.sample)));
        near.truncate(count);
        near
    }
}

/// The largest of some numbers.
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        most.iter_mut().zip(chunk).for_each(|(most, value)| *most = if *value > *most { *value } else { *most });
    }
    most.into_iter().fold(rest, f32::max)
}

/// The places of values of at least `least`.
pub(super) fn at_least(values: &[f32], least: f64) -> Vec<usize> {
    // Rounded down, so that none is left out.
    let least = (least as f32).next_down();
    let mut found = Vec::new();
    for (at, chunk) in values.chunks(LANES).enumerate() {
        // A sum, not a search that stops early, so that it compiles to vector instructions.
        if chunk.iter().map(|value| u32::from(*value >= least)).sum::<u32>() > 0 {
            let places = chunk.iter().enumerate().filter(|(_, value)| **value >= least);
            found.extend(places.map(|(place, _)| at * LANES + place));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_over_scores_find_what_they_look_for() {
        let values: Vec<f32> = (0..100u16).map(|at| f32::from(at * 37 % 101)).collect();
        let expected = values.iter().copied().fold(0.0, f32::max);
        assert_eq!(largest(&values), expected);
        assert_eq!(largest(&values[..5]), values[..5].iter().copied().fold(0.0, f32::max));
        let above: Vec<usize> = (0..100).filter(|at| values[*at] >= 90.0).collect();
        assert_eq!(at_least(&values, 90.0), above);
        assert!(at_least(&values, 1e9).is_empty());
    }
}
