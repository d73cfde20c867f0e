//! The distance of one set of images from another: Frechet distance of features, sliced Wasserstein distances.

use std::path::Path;

use serde_json::json;

use super::results::Results;
use crate::data::{Pixels, Source};
use crate::error::{Error, Result};
use crate::formats::npz;
use crate::quality::sliced::{DIRECTIONS, Directions};
use crate::quality::{Extractor, Moments, Statistics, frechet, sliced};
use crate::report::columns::Lines;
use crate::tensor::Tensor;

/// A set of images, or the statistics of one.
#[derive(Clone, Debug)]
pub enum Images {
    /// Rows of pixels in -1..1.
    Pixels(Tensor),
    /// The mean and the covariance of features.
    Statistics(Statistics),
}

/// A set of images after the classifier.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The mean and the covariance of the features.
    pub statistics: Statistics,
    /// The features and the pixels of each image, where there are images.
    pub images: Option<(Tensor, Tensor)>,
}

impl Images {
    /// Reads data, or an `.npz` of statistics as pytorch-fid writes it.
    ///
    /// # Errors
    /// Those of [`Statistics::read`], [`Source::parse`] and [`Source::load`].
    pub fn read(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if npz::read(path, &["mu"]).is_ok() {
            return Statistics::read(path).map(Self::Statistics);
        }
        Ok(Self::Pixels(Source::parse(text)?.load(Pixels::Signed)?.samples))
    }

    /// Returns `true` for images, whose features are computed on a device.
    #[must_use]
    pub fn needs_device(&self) -> bool {
        matches!(self, Self::Pixels(_))
    }

    /// The statistics of the images, with their features.
    ///
    /// # Errors
    /// [`Error::Argument`] for images without an extractor; those of the extractor and of the statistics.
    pub fn measured(self, extractor: Option<&Extractor>) -> Result<Measured> {
        match (self, extractor) {
            (Self::Statistics(statistics), _) => Ok(Measured { statistics, images: None }),
            (Self::Pixels(pixels), Some(extractor)) => {
                let features = extractor.of(&pixels)?.features;
                let mut moments = Moments::new(extractor.dimension());
                moments.add(&features.data);
                Ok(Measured { statistics: moments.statistics()?, images: Some((features, pixels)) })
            }
            (Self::Pixels(_), None) => Err(Error::argument("images without a device", "name images or statistics")),
        }
    }
}

/// The distances between two sets. `seed` fixes the directions of the sliced distances, which need the images of both.
///
/// # Errors
/// [`Error::Argument`] for features of two kinds.
pub fn compare(first: &Measured, second: &Measured, seed: u64) -> Result<Results> {
    let distance = frechet::distance(&first.statistics, &second.statistics)?;
    let mut results = Results::default();
    let mut lines = Lines::default();
    lines.add("Frechet distance", format!("{distance:.4}"));
    results.set("frechet", distance).set("features", first.statistics.dimension());
    if let (Some(a), Some(b)) = (&first.images, &second.images) {
        let between = |a: &Tensor, b: &Tensor, seed: u64| -> Result<f64> {
            let directions = Directions::new(a.stride(), DIRECTIONS, seed);
            Ok(sliced::distance(&directions.slice(a)?, &directions.slice(b)?))
        };
        let features = between(&a.0, &b.0, seed)?;
        let pixels = between(&a.1, &b.1, seed.wrapping_add(1))?;
        lines.add("sliced Wasserstein", format!("{features:.4} of features, {pixels:.4} of pixels"));
        lines.add("images", format!("{} against {}", a.0.shape[0], b.0.shape[0]));
        results
            .set("sliced_wasserstein", json!({ "features": features, "pixels": pixels, "directions": DIRECTIONS }))
            .set("images", json!([a.0.shape[0], b.0.shape[0]]));
    }
    results.text = Some(lines.to_string());
    Ok(results)
}
