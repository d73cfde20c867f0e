//! The ideal denoiser of a finite data set: x0 is the mean of all samples k, each weighted by exp(-|x - k|^2 / (2 sigma^2))
//! (Permenter and Yuan, ICML 2024).
//!
//! The inner products x k of a block of images with all samples come from the device in float32; with them
//! log w = (x k - |k|^2 / 2) / sigma^2 up to a constant of x, which leaves out |x|^2 and its cancellation. Data and
//! images are taken relative to the data's mean, which makes the products small. At little noise the rounding of float32,
//! over sigma^2, still counts: the heaviest samples are weighed again, in float64 by their distances. Where nothing but
//! these has weight, the mean is taken on the host, else on the device from all. Each logarithm is relative to the
//! largest, so that the heaviest weight is 1 and no exponential overflows.

use crate::data::Dataset;
use crate::denoise::Denoiser;
use crate::error::Result;
use crate::kernels::Engine;
use crate::spectral::samples::{DeviceSamples, MOST_VECTORS};
use crate::tensor::Tensor;

/// Rounding of an inner product in float32, over the lengths of its vectors: generous, since only the choice of what is
/// weighed again depends on it.
const PRODUCT_ERROR: f64 = 1e-6;
/// Samples lighter than exp(-this) of the heaviest one, over their number, do not count.
const NEGLIGIBLE: f64 = 18.0;
/// Values of the samples that are weighed again for one image: a millisecond or two.
const VALUES_WEIGHED_AGAIN: usize = 1 << 20;

/// The posterior mean over the samples of a data set.
pub struct Ideal<'e> {
    data: Dataset,
    mean: Vec<f64>,
    device: DeviceSamples<'e>,
    /// |k|^2 / 2 of each sample, relative to the mean as the device has it.
    half_squares: Vec<f64>,
    longest: f64,
    image: [usize; 3],
}

/// The weights of an image.
enum Weights {
    /// Of these samples, and of no others.
    Few(Vec<(usize, f64)>),
    /// Of all.
    All(Vec<f32>),
}

impl<'e> Ideal<'e> {
    /// Puts the data, whose mean is `mean`, on the device; `image` is the shape (c, h, w) of a sample.
    ///
    /// # Errors
    /// As [`DeviceSamples::new`].
    pub fn new(engine: &'e Engine, data: Dataset, mean: Vec<f64>, image: [usize; 3]) -> Result<Self> {
        let mut centred = data.samples.clone();
        for sample in centred.data.chunks_exact_mut(mean.len()) {
            sample.iter_mut().zip(&mean).for_each(|(value, mean)| *value = (f64::from(*value) - mean) as f32);
        }
        let half_squares: Vec<f64> =
            centred.data.chunks_exact(mean.len()).map(|sample| 0.5 * sum_of_squares(sample)).collect();
        let longest = half_squares.iter().fold(0.0f64, |most, half| most.max(2.0 * half)).sqrt();
        let device = DeviceSamples::new(engine, &centred)?;
        Ok(Self { data, mean, device, half_squares, longest, image })
    }

    /// The predictions of x0 for at most [`MOST_VECTORS`] images, one after the other.
    fn predictions(&self, x: &[f32], sigma: &[f64]) -> Result<Vec<f64>> {
        let dimension = self.mean.len();
        let centred: Vec<f32> =
            x.iter().zip(self.mean.iter().cycle()).map(|(x, mean)| (f64::from(*x) - mean) as f32).collect();
        let products = self.device.inner_products(&centred)?;
        let mut predictions = vec![0.0; x.len()];
        let mut waiting = Vec::new();
        let mut weights = Vec::new();
        for (at, (x, sigma)) in x.chunks_exact(dimension).zip(sigma).enumerate() {
            match self.weigh(x, products.item(at), *sigma) {
                Weights::Few(few) => self.mean_of(&few, &mut predictions[at * dimension..][..dimension]),
                Weights::All(all) => {
                    waiting.push((at, all.iter().map(|weight| f64::from(*weight)).sum::<f64>()));
                    weights.extend(all);
                }
            }
        }
        if !waiting.is_empty() {
            let sums = self.device.weighted_sums(&weights)?;
            for ((at, total), sums) in waiting.into_iter().zip(sums.chunks_exact(dimension)) {
                let to = predictions[at * dimension..][..dimension].iter_mut();
                to.zip(sums).zip(&self.mean).for_each(|((to, sum), mean)| *to = mean + sum / total);
            }
        }
        Ok(predictions)
    }

    /// The weights of the samples for an image whose inner products with them are known in float32.
    fn weigh(&self, x: &[f32], products: &[f32], sigma: f64) -> Weights {
        let (count, dimension) = (self.data.count(), self.mean.len());
        let share = (sigma * sigma).recip();
        let mut logs: Vec<f64> = products
            .iter()
            .zip(&self.half_squares)
            .map(|(product, half)| (f64::from(*product) - half) * share)
            .collect();
        let square: f64 = x.iter().zip(&self.mean).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum();
        let error = PRODUCT_ERROR * square.sqrt() * self.longest * share;
        let reach = NEGLIGIBLE + (count as f64).ln();
        let heaviest = largest(&logs);
        let mut counting: Vec<usize> =
            (0..count).filter(|sample| logs[*sample] >= heaviest - reach - 2.0 * error).collect();
        let most = (VALUES_WEIGHED_AGAIN / dimension).max(1);
        let is_few = counting.len() <= most;
        if !is_few {
            counting.select_nth_unstable_by(most, |a, b| logs[*b].total_cmp(&logs[*a]));
            counting.truncate(most);
        }
        for sample in &counting {
            let distance: f64 = x
                .iter()
                .zip(self.data.samples.item(*sample))
                .map(|(x, k)| (f64::from(*x) - f64::from(*k)).powi(2))
                .sum();
            logs[*sample] = 0.5 * (square - distance) * share;
        }
        if is_few {
            let heaviest = counting.iter().fold(f64::NEG_INFINITY, |most, sample| most.max(logs[*sample]));
            let weight = |sample: usize| (logs[sample] - heaviest).exp();
            return Weights::Few(counting.into_iter().map(|sample| (sample, weight(sample))).collect());
        }
        let heaviest = largest(&logs);
        Weights::All(logs.iter().map(|log| (log - heaviest).exp() as f32).collect())
    }

    fn mean_of(&self, weights: &[(usize, f64)], to: &mut [f64]) {
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        for (sample, weight) in weights {
            let share = weight / total;
            to.iter_mut().zip(self.data.samples.item(*sample)).for_each(|(to, k)| *to += share * f64::from(*k));
        }
    }
}

impl Denoiser for Ideal<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    fn eps(&mut self, x: &Tensor, sigma: &[f64]) -> Result<Tensor> {
        let dimension = self.mean.len();
        let mut eps = Vec::with_capacity(x.data.len());
        for (block, sigmas) in x.data.chunks(MOST_VECTORS * dimension).zip(sigma.chunks(MOST_VECTORS)) {
            let predictions = self.predictions(block, sigmas)?;
            let images = block.chunks_exact(dimension).zip(predictions.chunks_exact(dimension));
            for ((x, x0), sigma) in images.zip(sigmas) {
                eps.extend(x.iter().zip(x0).map(|(x, x0)| ((f64::from(*x) - x0) / sigma) as f32));
            }
        }
        Ok(Tensor::new(x.shape.clone(), eps))
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn sum_of_squares(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum()
}
