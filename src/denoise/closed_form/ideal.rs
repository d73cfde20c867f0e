//! The ideal denoiser of a finite data set: x0 is the mean of all samples k, each weighted by exp(-|x - k|^2 / (2
//! sigma^2)) (Permenter and Yuan, ICML 2024).
//!
//! The scores of all samples come from [`Neighbours`] in float32: log w = score / sigma^2 up to a constant of x. At
//! little noise the rounding of float32, over sigma^2, still counts: the heaviest samples are weighed again, in float64
//! by their distances. Where nothing but these has weight, the mean is taken on the host, else on the device from all.
//! Each logarithm is relative to the largest, so that the heaviest weight is 1 and no exponential overflows.

use super::neighbours::{Neighbours, Scored, at_least, largest};
use crate::data::Dataset;
use crate::denoise::{Denoiser, Level};
use crate::error::Result;
use crate::kernels::Engine;
use crate::spectral::samples::MOST_VECTORS;
use crate::tensor::Tensor;

/// Samples lighter than exp(-this) of the heaviest one, over their number, do not count.
const NEGLIGIBLE: f64 = 18.0;
/// Values of the samples that are weighed again for one image: a millisecond or two.
const VALUES_WEIGHED_AGAIN: usize = 1 << 20;
/// A bound on the rounding of a prediction in float32, over its distance from x, where all samples count: it is reached
/// only if every score has the largest error, in the worst direction.
const TOLERANCE: f64 = 1e-4;

/// The posterior mean over the samples of a data set.
pub struct Ideal<'e> {
    samples: Neighbours<'e>,
    image: [usize; 3],
}

/// The weights of an image, relative to the heaviest.
struct Weights {
    /// |x - k|^2 of the heaviest sample k.
    nearest_square: f64,
    /// Their sum.
    total: f64,
    which: Which,
}

enum Which {
    /// Of these samples only.
    Few(Vec<(usize, f64)>),
    /// Of all, where the scores were.
    All,
}

impl<'e> Ideal<'e> {
    /// Puts the data, whose mean is `mean`, on the device; `image` is the shape (c, h, w) of a sample.
    ///
    /// # Errors
    /// Those of [`Neighbours::new`].
    pub fn new(engine: &'e Engine, data: Dataset, mean: Vec<f64>, image: [usize; 3]) -> Result<Self> {
        Ok(Self { samples: Neighbours::new(engine, data, mean)?, image })
    }

    /// The data, with a search for the nearest samples.
    #[must_use]
    pub fn samples(&self) -> &Neighbours<'e> {
        &self.samples
    }

    /// The smoothed squared distance to the data of each image of `x`, (n, c, h, w), one `sigma` per image:
    ///
    /// ```text
    /// dist^2(x, sigma) = -2 sigma^2 log sum_k exp(-|x - k|^2 / (2 sigma^2))
    /// ```
    ///
    /// Half its gradient is sigma eps(x, sigma) of this denoiser, and without noise it is the squared distance to the
    /// nearest sample. It is below that by up to 2 sigma^2 log n, and so may be below zero. (The paper's poster omits
    /// the factor 2.)
    ///
    /// # Errors
    /// Those of the device.
    pub fn smoothed_squared_distance(&self, x: &Tensor, sigma: &[f64]) -> Result<Vec<f64>> {
        let mut squares = Vec::with_capacity(sigma.len());
        for (block, sigmas) in self.blocks(x, sigma) {
            squares.extend(
                self.samples
                    .of_each(block, |at, scored| {
                        let sigma = sigmas[at];
                        let weights = self.weigh(scored, sigma);
                        weights.nearest_square - 2.0 * sigma * sigma * weights.total.ln()
                    })?
                    .0,
            );
        }
        Ok(squares)
    }

    fn blocks<'a>(&self, x: &'a Tensor, sigma: &'a [f64]) -> impl Iterator<Item = (&'a [f32], &'a [f64])> {
        x.data.chunks(MOST_VECTORS * self.samples.mean().len()).zip(sigma.chunks(MOST_VECTORS))
    }

    /// The predictions of x0 for at most [`MOST_VECTORS`] images, one after the other.
    fn predictions(&self, x: &[f32], sigma: &[f64]) -> Result<Vec<f64>> {
        enum Found {
            Prediction(Vec<f64>),
            /// The sum of its weights, which stand in the place of the scores.
            Waiting(f64),
        }
        let (mean, count) = (self.samples.mean(), self.samples.data().count());
        let (found, mut weights) = self.samples.of_each(x, |at, scored| {
            let weights = self.weigh(scored, sigma[at]);
            match weights.which {
                Which::Few(few) => Found::Prediction(self.mean_of(&few, weights.total)),
                Which::All => Found::Waiting(weights.total),
            }
        })?;
        // The weights of the images that wait for the device, side by side; there may be one set per image.
        let mut waiting = 0;
        for (at, each) in found.iter().enumerate() {
            if let Found::Waiting(_) = each {
                if waiting < at {
                    weights.copy_within(at * count..(at + 1) * count, waiting * count);
                }
                waiting += 1;
            }
        }
        let weights = &weights[..waiting * count];
        let sums = if weights.is_empty() { Vec::new() } else { self.samples.device().weighted_sums(weights)? };
        let mut sums = sums.chunks_exact(mean.len());
        let predictions = found.into_iter().flat_map(|each| match each {
            Found::Prediction(prediction) => prediction,
            Found::Waiting(total) => {
                let sums = sums.next().unwrap_or_default();
                sums.iter().zip(mean).map(|(sum, mean)| mean + sum / total).collect()
            }
        });
        Ok(predictions.collect())
    }

    /// The weights of the samples for an image; where all count they take the place of the scores.
    fn weigh(&self, scored: Scored, sigma: f64) -> Weights {
        let Scored { x, scores, error, square } = scored;
        let samples = &self.samples;
        let share = (sigma * sigma).recip();
        let reach = NEGLIGIBLE + (scores.len() as f64).ln();
        let heaviest = f64::from(largest(scores));
        let counting = at_least(scores, heaviest - reach / share - 2.0 * error);
        let most = (VALUES_WEIGHED_AGAIN / x.len()).max(1);
        if counting.len() <= most {
            let squares: Vec<f64> = counting.iter().map(|sample| samples.squared_distance(x, *sample)).collect();
            let nearest_square = squares.iter().copied().fold(f64::INFINITY, f64::min);
            let weight = |square: f64| (0.5 * (nearest_square - square) * share).exp();
            let few: Vec<_> = counting.into_iter().zip(squares.into_iter().map(weight)).collect();
            let total = few.iter().map(|(_, weight)| weight).sum();
            return Weights { nearest_square, total, which: Which::Few(few) };
        }
        let far = (square - 2.0 * heaviest).max(0.0).sqrt();
        if 2.0 * error * share * samples.longest() > TOLERANCE * far {
            let mut again = counting;
            again.select_nth_unstable_by(most, |a, b| scores[*b].total_cmp(&scores[*a]));
            again.truncate(most);
            // Relative to the heaviest, the weights fit float32.
            for score in scores.iter_mut() {
                *score = (f64::from(*score) - heaviest) as f32;
            }
            for sample in again {
                let exact = 0.5 * (square - samples.squared_distance(x, sample));
                scores[sample] = (exact - heaviest) as f32;
            }
        } else {
            for score in scores.iter_mut() {
                *score -= heaviest as f32;
            }
        }
        let top = largest(scores);
        let at = scores.iter().position(|score| *score == top).unwrap_or(0);
        let share = share as f32;
        let total = scores.chunks_mut(1024).map(|chunk| weights_of(chunk, top, share)).sum();
        Weights { nearest_square: samples.squared_distance(x, at), total, which: Which::All }
    }

    fn mean_of(&self, weights: &[(usize, f64)], total: f64) -> Vec<f64> {
        let mut mean = vec![0.0; self.samples.mean().len()];
        for (sample, weight) in weights {
            let share = weight / total;
            let sample = self.samples.data().samples.item(*sample);
            mean.iter_mut().zip(sample).for_each(|(to, k)| *to += share * f64::from(*k));
        }
        mean
    }
}

/// Replaces each score by exp((score - top) share), and returns their sum.
fn weights_of(scores: &mut [f32], top: f32, share: f32) -> f64 {
    for score in scores.iter_mut() {
        *score = ((*score - top) * share).exp();
    }
    f64::from(scores.iter().sum::<f32>())
}

impl Denoiser for Ideal<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let sigma = &Level::sigmas(levels)[..];
        let dimension = self.samples.mean().len();
        let mut eps = Vec::with_capacity(x.data.len());
        for (block, sigmas) in self.blocks(x, sigma) {
            let predictions = self.predictions(block, sigmas)?;
            let images = block.chunks_exact(dimension).zip(predictions.chunks_exact(dimension));
            for ((x, x0), sigma) in images.zip(sigmas) {
                eps.extend(x.iter().zip(x0).map(|(x, x0)| ((f64::from(*x) - x0) / sigma) as f32));
            }
        }
        Ok(Tensor::new(x.shape.clone(), eps))
    }
}
