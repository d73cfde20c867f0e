//! The distance of one set of images from another: Frechet distance of features, sliced Wasserstein distances; of the
//! features of InceptionV3 also the kernel distance, precision and recall.

use std::fmt::Write;
use std::path::Path;

use serde_json::json;

use super::results::Results;
use crate::data::{Dataset, Pixels, Source};
use crate::error::{Error, Result};
use crate::formats::npz;
use crate::moments::Moments as Merged;
use crate::moments::description::{NETWORK, VALUES};
use crate::quality::kid::{self, Subsets};
use crate::quality::neighbours::{self, Balls, MOST, NEIGHBOURS};
use crate::quality::sliced::{DIRECTIONS, Directions};
use crate::quality::{Extractor, Features, Moments, Statistics, frechet, sliced};
use crate::report::columns::Lines;
use crate::tensor::Tensor;

/// A set of images, or the statistics of one.
#[derive(Clone, Debug)]
pub enum Images {
    /// Pixels in -1..1.
    Pixels(Dataset),
    /// The file that they were read from, the mean and the covariance of features, and the network of these, where the
    /// file says it.
    Statistics(String, Statistics, Option<String>),
}

/// A set of images after the network of features.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The mean and the covariance of the features.
    pub statistics: Statistics,
    /// The features and the pixels of each image, where there are images.
    pub images: Option<(Tensor, Tensor)>,
}

impl Images {
    /// Reads data, an `.npz` of statistics as pytorch-fid writes it, or one of merged moments.
    ///
    /// # Errors
    /// Those of [`Merged::read_whole`], [`Statistics::read`], [`Source::parse`] and [`Source::load`].
    pub fn read(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if Merged::is_at(path) {
            let moments = Merged::read_whole(path)?;
            let of = moments.description.setting(NETWORK).or(moments.description.setting(VALUES)).map(str::to_owned);
            return Ok(Self::Statistics(text.to_owned(), Statistics::of(&moments)?, of));
        }
        if npz::read(path, &["mu"]).is_ok() {
            return Ok(Self::Statistics(text.to_owned(), Statistics::read(path)?, None));
        }
        Ok(Self::Pixels(Source::parse(text)?.load(Pixels::Signed)?))
    }

    /// The name that the user gave.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pixels(data) => &data.name,
            Self::Statistics(name, ..) => name,
        }
    }

    /// Returns `true` for images, whose features are computed on a device.
    #[must_use]
    pub fn needs_device(&self) -> bool {
        matches!(self, Self::Pixels(_))
    }

    /// (channels, height, width) of the images, if they are those that `features` takes; `None` for statistics, if they
    /// are of as many features.
    ///
    /// # Errors
    /// [`Error::Argument`] for other images, and for statistics of another number of features.
    pub fn check(&self, features: &Features) -> Result<Option<[usize; 3]>> {
        match self {
            Self::Pixels(data) => features.image_shape(&data.name, &data.sample_shape).map(Some),
            Self::Statistics(name, statistics, of) => {
                if of.is_some() {
                    expect_network(name, of.as_deref(), &features.identity()?)?;
                }
                let (found, expected) = (statistics.dimension(), features.dimension()?);
                if found == expected {
                    return Ok(None);
                }
                let what = format!("`{name}` holds statistics of {found} features, and the network has {expected}");
                let hint = "statistics of pytorch-fid have 2048 features, those of InceptionV3: give its weights as \
                            `features`";
                Err(Error::argument(what, hint))
            }
        }
    }

    /// Checks that two sets are of the same features, where their files say of which.
    ///
    /// # Errors
    /// [`Error::Argument`] naming both networks.
    pub fn expect_alike(&self, other: &Self, features: &Features) -> Result<()> {
        match (self, other) {
            (Self::Statistics(_, _, Some(of)), Self::Statistics(name, _, other)) => {
                expect_network(name, other.as_deref(), of)
            }
            (Self::Statistics(name, _, Some(of)), Self::Pixels(_))
            | (Self::Pixels(_), Self::Statistics(name, _, Some(of))) => {
                expect_network(name, Some(of), &features.identity()?)
            }
            _ => Ok(()),
        }
    }

    /// The statistics of the images, with their features.
    ///
    /// # Errors
    /// [`Error::Argument`] for images without an extractor; those of the extractor and of the statistics.
    pub fn measured(self, extractor: Option<&Extractor>) -> Result<Measured> {
        match (self, extractor) {
            (Self::Statistics(_, statistics, _), _) => Ok(Measured { statistics, images: None }),
            (Self::Pixels(data), Some(extractor)) => {
                let features = extractor.of(&data.samples)?.features;
                let mut moments = Moments::new(extractor.dimension(), features.shape[0])?;
                moments.add(&features.data);
                Ok(Measured { statistics: moments.statistics()?, images: Some((features, data.samples)) })
            }
            (Self::Pixels(_), None) => Err(Error::argument("images without a device", "name images or statistics")),
        }
    }
}

/// Refuses statistics of features of another network.
fn expect_network(name: &str, of: Option<&str>, expected: &str) -> Result<()> {
    match of {
        Some(of) if of != expected => {
            let what = format!("`{name}` holds moments of {of}, to be compared with those of {expected}");
            Err(Error::argument(what, "both must come from the same network"))
        }
        _ => Ok(()),
    }
}

/// The distances of the first set from the second. `seed` fixes the directions of the sliced distances, which need the
/// images of both. With `full`, which the features of InceptionV3 are worth, the kernel distance, precision, recall,
/// density and coverage are among them.
///
/// # Errors
/// [`Error::Argument`] for features of two kinds.
pub fn compare(first: &Measured, second: &Measured, seed: u64, full: bool) -> Result<Results> {
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
        let counts = (a.0.shape[0], b.0.shape[0]);
        if full {
            more(&a.0, &b.0, &mut lines, &mut results)?;
        }
        let features = between(&a.0, &b.0, seed)?;
        let mut text = format!("{features:.4} of features");
        let mut sliced = json!({ "features": features, "directions": DIRECTIONS });
        if a.1.stride() == b.1.stride() {
            let pixels = between(&a.1, &b.1, seed.wrapping_add(1))?;
            let _ = write!(text, ", {pixels:.4} of pixels");
            sliced["pixels"] = json!(pixels);
        }
        lines.add("sliced Wasserstein", text);
        lines.add("images", format!("{} against {}", counts.0, counts.1));
        results.set("sliced_wasserstein", sliced).set("images", json!([counts.0, counts.1]));
    }
    results.text = Some(lines.to_string());
    Ok(results)
}

/// The kernel distance and the shares within balls, where the sets are large enough for them.
fn more(samples: &Tensor, data: &Tensor, lines: &mut Lines, results: &mut Results) -> Result<()> {
    let (n, m) = (samples.shape[0], data.shape[0]);
    let subsets = Subsets::usual(n, m);
    let found = kid::distance(samples, data, subsets)?;
    let text = format!("{:.6} ± {:.6} over {} subsets of {}", found.mean, found.deviation, subsets.count, subsets.size);
    lines.add("kernel distance", text);
    results.set("kid", json!({ "mean": found.mean, "deviation": found.deviation, "subset_size": subsets.size }));
    if n.min(m) <= NEIGHBOURS {
        results.note(format_args!("precision and recall need more than {NEIGHBOURS} images of both sets"));
        return Ok(());
    }
    let balls = |set: &Tensor| Balls::new(set, NEIGHBOURS);
    let shares = neighbours::shares(&balls(data)?, &balls(samples)?)?;
    lines.add("precision, recall", format!("{:.4}, {:.4}", shares.precision, shares.recall));
    lines.add("density, coverage", format!("{:.4}, {:.4}", shares.density, shares.coverage));
    if n.max(m) > MOST {
        results.note(format_args!("precision, recall, density and coverage are of the first {MOST} images of a set"));
    }
    results.set("prdc", json!(shares)).set("neighbours", NEIGHBOURS);
    Ok(())
}
