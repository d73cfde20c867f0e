//! The noise that a denoiser finds in images: the distance of its eps from the noise that was added to them (Permenter
//! and Yuan, ICML 2024, the validation of their assumption on the denoiser's error).

use serde_json::json;

use super::Advance;
use super::norms::{BINS, ByLevel};
use super::panels::{across, histogram, median, over_sigma, table};
use super::results::{File, Results};
use super::statistics::{Summary, apart};
use crate::denoise::{Denoiser, Level};
use crate::noise::Purpose;
use crate::report::plot::{Axis, Picture};
use crate::tensor::Tensor;
use crate::{Error, Result};

/// |eps(k + sigma w, sigma) - w| / sqrt(n) for `images` k (n, c, h, w) and independent standard normals w at each
/// level.
///
/// # Errors
/// [`Error::Argument`] for images whose shape is not the denoiser's; those of the denoiser; [`Error::NonFinite`].
pub fn errors_on_images(
    denoiser: &mut dyn Denoiser,
    images: &Tensor,
    levels: &[Level],
    batch: usize,
    seed: u64,
    advance: Advance,
) -> Result<ByLevel> {
    let root = (images.stride() as f64).sqrt();
    on_noised(denoiser, (images, levels, batch), seed, advance, &|eps, added| apart(eps, added) / root)
}

/// A `value` of eps(k + sigma w, sigma) and w for `images` k (n, c, h, w) and independent standard normals w at each
/// level, `batch` per call.
///
/// # Errors
/// As [`errors_on_images`].
pub(super) fn on_noised(
    denoiser: &mut dyn Denoiser,
    (images, levels, batch): (&Tensor, &[Level], usize),
    seed: u64,
    advance: Advance,
    value: &dyn Fn(&[f32], &[f32]) -> f64,
) -> Result<ByLevel> {
    let shape = denoiser.image_shape();
    if images.shape.len() != 4 || images.shape[1..] != shape {
        let what = format!("images of shape {:?} for a denoiser of images {shape:?}", images.shape);
        return Err(Error::argument(what, "take data of the size that the model was trained on"));
    }
    let (count, len) = (images.shape[0], images.stride());
    let mut found = ByLevel::new(levels.to_vec(), count);
    for (index, level) in levels.iter().enumerate() {
        for first in (0..count).step_by(batch.max(1)) {
            let some = images.slice(first..(first + batch.max(1)).min(count));
            let added: Vec<f32> = (first..first + some.shape[0])
                .flat_map(|at| Purpose::AddedNoise.normals(seed, at as u64, index as u32, len))
                .collect();
            let noised = some.data.iter().zip(&added);
            let x = noised.map(|(k, w)| (f64::from(*k) + level.sigma * f64::from(*w)) as f32).collect();
            let eps = denoiser.eps(&Tensor::new(some.shape.clone(), x), &vec![*level; some.shape[0]])?;
            for at in 0..some.shape[0] {
                let value = value(eps.item(at), &added[at * len..][..len]);
                if !value.is_finite() {
                    let hint = "look for NaN in the weights".to_owned();
                    return Err(Error::NonFinite { place: format!("the eps of the denoiser at {level}"), hint });
                }
                found.set(index, first + at, value);
            }
            advance(some.shape[0] as u64);
        }
    }
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
