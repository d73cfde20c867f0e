//! The distance of the images of a cell from the data.

use super::clip::Scorer;
use super::store::Times;
use super::{Cell, Measured, Store};
use crate::error::Result;
use crate::quality::kid::{self, Kid, Subsets};
use crate::quality::neighbours::{self, Balls, NEIGHBOURS, Prdc};
use crate::quality::sliced::{DIRECTIONS, Directions, Slices};
use crate::quality::{Extractor, Moments, Statistics, frechet, sliced};
use crate::study::frechet::Images;
use crate::tensor::Tensor;

/// The number of sets of real images whose scores are the floor of a table.
const FLOORS: usize = 3;

/// The data that samples are compared with.
pub struct Reference {
    statistics: Statistics,
    /// Absent if the statistics are all that is known.
    images: Option<OfImages>,
    /// The kernel distance, precision and recall are measured, too.
    full: bool,
}

/// Properties of the data that need their images.
struct OfImages {
    features: Tensor,
    /// The balls around the features, if there are enough of them.
    balls: Option<Balls>,
    sliced_features: (Directions, Slices),
    sliced_pixels: (Directions, Slices),
}

/// Distances of a set of images from the data: smaller is better, and figures are comparable only at the same number of
/// images. Those without a figure need the images of the data, or other features.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Score {
    /// The Frechet distance of the features.
    pub frechet: f64,
    /// The sliced Wasserstein distance of the features.
    pub sliced_features: Option<f64>,
    /// That of the pixels in -1..1.
    pub sliced_pixels: Option<f64>,
    /// The confidence of the classifier: the mean of the largest softmax output. Data score near 1.
    pub confidence: Option<f64>,
    /// The kernel distance of the features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<Kid>,
    /// Precision, recall, density and coverage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prdc: Option<Prdc>,
    /// The CLIP score of images and their captions: larger is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
}

impl Reference {
    /// The data, whose images are rows of pixels in -1..1; `seed` fixes the directions of the sliced distances. With
    /// `full` the kernel distance, precision and recall are measured, too.
    ///
    /// # Errors
    /// Those of the extractor and of the statistics.
    pub fn new(extractor: &Extractor, data: &Images, seed: u64, full: bool) -> Result<Self> {
        let images = match data {
            Images::Statistics(_, statistics, _) => {
                return Ok(Self { statistics: statistics.clone(), images: None, full });
            }
            Images::Pixels(data) => &data.samples,
        };
        let features = extractor.of(images)?.features;
        let mut moments = Moments::new(extractor.dimension(), features.shape[0])?;
        moments.add(&features.data);
        let sliced_by = |rows: &Tensor, seed: u64| -> Result<_> {
            let directions = Directions::new(rows.stride(), DIRECTIONS, seed);
            let slices = directions.slice(rows)?;
            Ok((directions, slices))
        };
        let (sliced_features, sliced_pixels) = (sliced_by(&features, seed)?, sliced_by(images, seed.wrapping_add(1))?);
        let balls =
            if full && features.shape[0] > NEIGHBOURS { Some(Balls::new(&features, NEIGHBOURS)?) } else { None };
        let images = Some(OfImages { features, balls, sliced_features, sliced_pixels });
        Ok(Self { statistics: moments.statistics()?, images, full })
    }

    /// The distance of `expected` images from the data, in `parts` that may come one at a time.
    ///
    /// # Errors
    /// Those of the parts, the extractor and the statistics.
    pub fn score(
        &self,
        extractor: &Extractor,
        expected: usize,
        parts: impl Iterator<Item = Result<Tensor>>,
    ) -> Result<Score> {
        let mut moments = Moments::new(extractor.dimension(), expected)?;
        let (mut features, mut pixels) = (Vec::new(), Vec::new());
        let mut confidence = None;
        for part in parts {
            let part = part?;
            let answer = extractor.of(&part)?;
            moments.add(&answer.features.data);
            if let Some(logits) = &answer.logits {
                let of_part: f64 = logits.data.chunks_exact(logits.stride()).map(largest_share).sum();
                confidence = Some(confidence.unwrap_or(0.0) + of_part);
            }
            if self.images.is_some() {
                features.extend_from_slice(&answer.features.data);
                pixels.extend_from_slice(&part.data);
            }
        }
        let count = moments.count().max(1);
        let mut score = Score {
            frechet: frechet::distance(&moments.statistics()?, &self.statistics)?,
            sliced_features: None,
            sliced_pixels: None,
            confidence: confidence.map(|sum| sum / count as f64),
            kid: None,
            prdc: None,
            clip: None,
        };
        let Some(data) = &self.images else { return Ok(score) };
        let rows = |values: Vec<f32>| Tensor::new([count, values.len() / count], values);
        let distance = |(directions, slices): &(Directions, Slices), rows: &Tensor| -> Result<f64> {
            Ok(sliced::distance(&directions.slice(rows)?, slices))
        };
        score.sliced_pixels = Some(distance(&data.sliced_pixels, &rows(pixels))?);
        let features = rows(features);
        score.sliced_features = Some(distance(&data.sliced_features, &features)?);
        if self.full {
            let subsets = Subsets::usual(count, data.features.shape[0]);
            score.kid = Some(kid::distance(&features, &data.features, subsets)?);
            if let Some(balls) = data.balls.as_ref().filter(|_| count > NEIGHBOURS) {
                score.prdc = Some(neighbours::shares(balls, &Balls::new(&features, NEIGHBOURS)?)?);
            }
        }
        Ok(score)
    }

    /// The score of the first `count` images of a cell, as [`Reference::score`].
    ///
    /// # Errors
    /// Those of [`Reference::score`].
    pub fn score_cell(&self, extractor: &Extractor, store: &Store, cell: &Cell, count: usize) -> Result<Score> {
        self.score(extractor, count, store.parts(cell, count))
    }
}

/// Measures the first `count` images of each cell against `data`, and against their captions if there is a `scorer`;
/// `seed` fixes the directions of the sliced distances, `full` is that of [`Reference::new`]. `step` is called before
/// each cell.
///
/// # Errors
/// Those of [`Reference::new`], [`Reference::score`], [`Scorer::mean`] and `step`.
pub fn measure(
    (extractor, scorer): (&Extractor, Option<&Scorer>),
    store: &Store,
    (cells, count): (&[Cell], usize),
    data: &Images,
    (seed, full): (u64, bool),
    step: &dyn Fn() -> Result<()>,
) -> Result<Measured> {
    let reference = Reference::new(extractor, data, seed, full)?;
    let (floor, number) = match data {
        Images::Pixels(data) => (floor(&reference, extractor, &data.samples, count, FLOORS)?, Some(data.count())),
        Images::Statistics(..) => (Vec::new(), None),
    };
    let scores = cells.iter().map(|cell| {
        step()?;
        let score = reference.score_cell(extractor, store, cell, count)?;
        let clip = scorer.map(|scorer| scorer.mean(store.parts(cell, count))).transpose()?;
        Ok(Score { clip, ..score })
    });
    let scores = scores.collect::<Result<Vec<_>>>()?;
    let cost = |times: Times| (times.images > 0).then(|| (times.calls, times.seconds / times.images as f64));
    let costs = cells.iter().map(|cell| cost(store.times(cell))).collect();
    Ok(Measured { scores, costs, floor, reference: number, data: data.name().to_owned() })
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
        .map(|set| {
            let images = images.slice(set * count..(set + 1) * count);
            reference.score(extractor, count, std::iter::once(Ok(images)))
        })
        .collect()
}

/// The largest of the softmax of logits.
fn largest_share(logits: &[f32]) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, value| most.max(*value));
    1.0 / logits.iter().map(|value| f64::from(value - most).exp()).sum::<f64>()
}
