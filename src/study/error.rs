//! The noise that a denoiser finds in images: the distance of its eps from the noise that was added to them (Permenter
//! and Yuan, ICML 2024, the validation of their assumption on the denoiser's error).

use serde_json::json;

use super::Advance;
use super::norms::{BINS, ByLevel};
use super::panels::{across, histogram, median, over_sigma, table};
use super::parts::Shard;
use super::results::{File, Results};
use super::statistics::{Summary, apart};
use crate::denoise::{Denoiser, Level};
use crate::noise::Purpose;
use crate::report::plot::{Axis, Picture};
use crate::tensor::Tensor;
use crate::{Error, Result};

/// Images with noise added to them at several levels.
#[derive(Clone, Copy, Debug)]
pub struct OnImages<'a> {
    /// The images (n, c, h, w) of all runs together.
    pub images: &'a Tensor,
    pub levels: &'a [Level],
    /// Images per call of a denoiser.
    pub batch: usize,
    /// The seed of the noise.
    pub seed: u64,
    /// The run whose images are measured, where several runs share them.
    pub shard: Shard,
}

/// One call: images of one level.
pub(super) struct Call {
    /// The place of the first image among those of the run.
    pub first: usize,
    /// The level, with its index.
    pub level: (usize, Level),
    /// The images (batch, c, h, w), and the noise that is added to them.
    pub images: Tensor,
    pub added: Vec<f32>,
}

impl OnImages<'_> {
    /// The number of images of the run.
    #[must_use]
    pub fn measured(&self) -> usize {
        self.shard.len(self.images.shape[0])
    }

    /// Calls for single images that a denoiser takes.
    #[must_use]
    pub fn calls(&self) -> u64 {
        (self.levels.len() * self.measured()) as u64
    }

    /// Refuses images whose shape is not `shape`, the denoiser's.
    pub(super) fn expect(&self, shape: [usize; 3]) -> Result<()> {
        if self.images.shape.len() == 4 && self.images.shape[1..] == shape {
            return Ok(());
        }
        let what = format!("images of shape {:?} for a denoiser of images {shape:?}", self.images.shape);
        Err(Error::argument(what, "take data of the size that the model was trained on"))
    }

    /// Values that are not yet measured.
    pub(super) fn blank(&self) -> ByLevel {
        ByLevel::new(self.levels.to_vec(), self.measured())
    }

    /// Passes each call to `visit`, with independent noise for each image and level.
    pub(super) fn each(&self, visit: &mut dyn FnMut(Call) -> Result<()>) -> Result<()> {
        let (len, items) = (self.images.stride(), self.shard.items(self.images.shape[0]).collect::<Vec<_>>());
        for (index, level) in self.levels.iter().enumerate() {
            for (number, some) in items.chunks(self.batch.max(1)).enumerate() {
                let normals = |at: &usize| Purpose::AddedNoise.normals(self.seed, *at as u64, index as u32, len);
                let values = some.iter().flat_map(|at| self.images.item(*at).iter().copied()).collect();
                let shape = [&[some.len()], &self.images.shape[1..]].concat();
                visit(Call {
                    first: number * self.batch.max(1),
                    level: (index, *level),
                    images: Tensor::new(shape, values),
                    added: some.iter().flat_map(normals).collect(),
                })?;
            }
        }
        Ok(())
    }
}

impl Call {
    /// The images under the noise, x = k + sigma w.
    pub(super) fn noised(&self) -> Tensor {
        let pairs = self.images.data.iter().zip(&self.added);
        let x = pairs.map(|(k, w)| (f64::from(*k) + self.level.1.sigma * f64::from(*w)) as f32).collect();
        Tensor::new(self.images.shape.clone(), x)
    }
}

/// |eps(k + sigma w, sigma) - w| / sqrt(n) for images k and independent standard normals w at each level.
///
/// # Errors
/// [`Error::Argument`] for images whose shape is not the denoiser's; those of the denoiser; [`Error::NonFinite`].
pub fn errors_on_images(denoiser: &mut dyn Denoiser, on: &OnImages, advance: Advance) -> Result<ByLevel> {
    let root = (on.images.stride() as f64).sqrt();
    on_noised(denoiser, on, advance, &|eps, added| apart(eps, added) / root)
}

/// A `value` of eps(k + sigma w, sigma) and w for images k and independent standard normals w at each level.
///
/// # Errors
/// As [`errors_on_images`].
pub(super) fn on_noised(
    denoiser: &mut dyn Denoiser,
    on: &OnImages,
    advance: Advance,
    value: &dyn Fn(&[f32], &[f32]) -> f64,
) -> Result<ByLevel> {
    on.expect(denoiser.image_shape())?;
    let (len, mut found) = (on.images.stride(), on.blank());
    on.each(&mut |call| {
        let Call { first, level: (index, level), added, .. } = &call;
        let count = call.images.shape[0];
        let eps = denoiser.eps(&call.noised(), &vec![*level; count])?;
        for at in 0..count {
            let value = value(eps.item(at), &added[at * len..][..len]);
            if !value.is_finite() {
                let hint = "look for NaN in the weights".to_owned();
                return Err(Error::NonFinite { place: format!("the eps of the denoiser at {level}"), hint });
            }
            found.set(*index, first + at, value);
        }
        advance(count as u64);
        Ok(())
    })?;
    Ok(found)
}

/// The files of the study.
pub const FILES: &[File] = &[VALUES, TABLE, PLOT];
const VALUES: File = File::new("errors.npy", "(levels, images)");
const TABLE: File = File::new("errors.csv", "mean, median, 5 % and 95 % per level");
const PLOT: File = File::new("errors", "the median, and the histogram of each level");

/// The results of [`errors_on_images`] for the denoiser called `name` on images of `data`.
#[must_use]
pub fn results(errors: &ByLevel, name: &str, data: &str) -> Results {
    let last = errors.levels.len() - 1;
    let of = |level: usize| Summary::of(errors.at(level).iter().copied());
    let label = "‖ε(x, σ) − ε‖ / √n";
    // A part of an image that the data do not have, outside the span of a projection, weighs without bound at little
    // noise.
    let scale = if of(0).most.max(of(last).most) > 3.0 { Axis::log(label) } else { Axis::linear(label) };
    let curve = over_sigma("Median, 5 % to 95 %", scale).with(median("", errors)).with(across(
        "no noise estimated",
        errors,
        1.0,
    ));
    let heat = histogram("Images at each level", label, errors, BINS);
    let title = format!("Error of {name} on noised {data}");
    let mut results = Results::default();
    results
        .set("data", json!({ "source": data, "images": errors.images }))
        .set("error_at_most_noise", json!(of(0)))
        .set("error_at_least_noise", json!(of(last)))
        .numbers(VALUES, &[errors.levels.len(), errors.images], &errors.values)
        .table(TABLE, table(&[("error", errors)]))
        .plot(PLOT, Picture::new(&title, 2, vec![curve.into(), heat.into()]))
        .note(format!(
            "median {:.3} at sigma {:.4}, {:.3} at sigma {:.4}",
            of(last).median,
            errors.levels[last].sigma,
            of(0).median,
            errors.levels[0].sigma
        ));
    results
}
