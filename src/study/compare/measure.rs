//! The distance of the images of a cell from the data.

use super::store::Times;
use super::{Cell, Measured, Store};
use crate::data::Dataset;
use crate::error::Result;
use crate::quality::sliced::{DIRECTIONS, Directions, Slices};
use crate::quality::{Extractor, Moments, Statistics, frechet, sliced};
use crate::tensor::Tensor;

/// The number of sets of real images whose scores are the floor of a table.
const FLOORS: usize = 3;

/// The data that samples are compared with.
pub struct Reference {
    statistics: Statistics,
    features: (Directions, Slices),
    pixels: (Directions, Slices),
}

/// Distances of a set of images from the data: smaller is better, and figures are comparable only at the same number of
/// images.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Score {
    /// The Frechet distance of the features.
    pub frechet: f64,
    /// The sliced Wasserstein distance of the features.
    pub sliced_features: f64,
    /// That of the pixels in -1..1.
    pub sliced_pixels: f64,
    /// The confidence of the classifier: the mean of the largest softmax output. Data score near 1.
    pub confidence: f64,
}

impl Reference {
    /// The data `images`, rows of pixels in -1..1; `seed` fixes the directions of the sliced distances.
    ///
    /// # Errors
    /// Those of the extractor and of the statistics.
    pub fn new(extractor: &Extractor, images: &Tensor, seed: u64) -> Result<Self> {
        let classified = extractor.of(images)?;
        let mut moments = Moments::new(extractor.dimension());
        moments.add(&classified.features.data);
        let sliced_by = |rows: &Tensor, seed: u64| -> Result<_> {
            let directions = Directions::new(rows.stride(), DIRECTIONS, seed);
            let slices = directions.slice(rows)?;
            Ok((directions, slices))
        };
        Ok(Self {
            statistics: moments.statistics()?,
            features: sliced_by(&classified.features, seed)?,
            pixels: sliced_by(images, seed.wrapping_add(1))?,
        })
    }

    /// The distance of `images` from the data, in parts that may come one at a time.
    ///
    /// # Errors
    /// Those of the parts, the extractor and the statistics.
    pub fn score(&self, extractor: &Extractor, parts: impl Iterator<Item = Result<Tensor>>) -> Result<Score> {
        let mut moments = Moments::new(extractor.dimension());
        let (mut features, mut pixels) = (Vec::new(), Vec::new());
        let mut confidence = 0.0;
        for part in parts {
            let part = part?;
            let classified = extractor.of(&part)?;
            moments.add(&classified.features.data);
            confidence +=
                classified.logits.data.chunks_exact(classified.logits.stride()).map(largest_share).sum::<f64>();
            features.extend_from_slice(&classified.features.data);
            pixels.extend_from_slice(&part.data);
        }
        let count = moments.count();
        let rows = |values: Vec<f32>| {
            let stride = values.len() / count.max(1);
            Tensor::new([count, stride], values)
        };
        let distance = |(directions, slices): &(Directions, Slices), values: Vec<f32>| -> Result<f64> {
            Ok(sliced::distance(&directions.slice(&rows(values))?, slices))
        };
        Ok(Score {
            frechet: frechet::distance(&moments.statistics()?, &self.statistics)?,
            sliced_features: distance(&self.features, features)?,
            sliced_pixels: distance(&self.pixels, pixels)?,
            confidence: confidence / count.max(1) as f64,
        })
    }

    /// The score of the first `count` images of a cell, as [`Reference::score`].
    ///
    /// # Errors
    /// Those of [`Reference::score`].
    pub fn score_cell(&self, extractor: &Extractor, store: &Store, cell: &Cell, count: usize) -> Result<Score> {
        self.score(extractor, store.parts(cell, count))
    }
}

/// Measures the first `count` images of each cell against `data`, whose samples are pixels in -1..1; `seed` fixes the
/// directions of the sliced distances.
///
/// # Errors
/// Those of [`Reference::new`] and [`Reference::score`].
pub fn measure(
    extractor: &Extractor,
    store: &Store,
    cells: &[Cell],
    count: usize,
    data: &Dataset,
    seed: u64,
) -> Result<Measured> {
    let reference = Reference::new(extractor, &data.samples, seed)?;
    let floor = floor(&reference, extractor, &data.samples, count, FLOORS)?;
    let scores = cells.iter().map(|cell| reference.score_cell(extractor, store, cell, count));
    let scores = scores.collect::<Result<Vec<_>>>()?;
    let cost = |times: Times| (times.images > 0).then(|| (times.calls, times.seconds / times.images as f64));
    let costs = cells.iter().map(|cell| cost(store.times(cell))).collect();
    Ok(Measured { scores, costs, floor, reference: data.count() })
}

/// The scores of up to `repeats` disjoint sets of `count` images of the data against all of them. Their mean is the
/// floor of a table, their spread the effect of chance.
///
/// # Errors
/// Those of [`Reference::score`].
pub fn floor(
    reference: &Reference,
    extractor: &Extractor,
    images: &Tensor,
    count: usize,
    repeats: usize,
) -> Result<Vec<Score>> {
    let sets = (images.shape[0] / count.max(1)).min(repeats);
    (0..sets)
        .map(|set| reference.score(extractor, std::iter::once(Ok(images.slice(set * count..(set + 1) * count)))))
        .collect()
}

/// The largest of the softmax of logits.
fn largest_share(logits: &[f32]) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, value| most.max(*value));
    1.0 / logits.iter().map(|value| f64::from(value - most).exp()).sum::<f64>()
}
