//! How long the denoiser's answers are: |eps(x, sigma)| / sqrt(n), along its own trajectories and beside the noise that was
//! added to images (Permenter and Yuan, ICML 2024, the validation of their assumption on the denoiser's norm and error).

use super::Advance;
use super::statistics::{apart, norm};
use super::trajectories::Trajectories;
use crate::denoise::Denoiser;
use crate::denoise::Level;
use crate::noise::philox::normals;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// A number for each image at each level.
#[derive(Clone, Debug, PartialEq)]
pub struct ByLevel {
    /// The levels, from most noise to least.
    pub levels: Vec<Level>,
    /// (levels, images), row-major.
    pub values: Vec<f64>,
    /// Images.
    pub images: usize,
}

impl ByLevel {
    /// Nothing yet.
    #[must_use]
    pub fn new(levels: Vec<Level>, images: usize) -> Self {
        let values = vec![f64::NAN; levels.len() * images];
        Self { levels, values, images }
    }

    /// Those of one level.
    #[must_use]
    pub fn at(&self, level: usize) -> &[f64] {
        &self.values[level * self.images..][..self.images]
    }

    pub(super) fn set(&mut self, level: usize, image: usize, value: f64) {
        self.values[level * self.images + image] = value;
    }
}

/// The levels that a walk's network calls are made at.
pub(super) fn called(walk: &Trajectories) -> Vec<Level> {
    walk.schedule.steps().iter().map(|step| step.from).collect()
}

/// |eps| / sqrt(n) at each network call of the trajectories.
///
/// # Errors
/// Those of [`Trajectories::walk`].
pub fn along_trajectories(denoiser: &mut dyn Denoiser, walk: &Trajectories, advance: Advance) -> Result<ByLevel> {
    let mut found = ByLevel::new(called(walk), walk.count);
    walk.walk(denoiser, advance, &mut |_, first, progress| {
        let root = (progress.eps.stride() as f64).sqrt();
        for at in 0..progress.eps.shape[0] {
            found.set(progress.index, first + at, norm(progress.eps.item(at)) / root);
        }
        Ok(())
    })?;
    Ok(found)
}

/// |eps(k + sigma w, sigma) - w| / sqrt(n) for `images` k (n, c, h, w) and standard normals w of their own at each level.
///
/// # Errors
/// [`Error::Argument`] for images of another shape than the denoiser's; those of the denoiser; [`Error::NonFinite`].
pub fn errors_on_images(
    denoiser: &mut dyn Denoiser,
    images: &Tensor,
    levels: &[Level],
    batch: usize,
    seed: u64,
    advance: Advance,
) -> Result<ByLevel> {
    let shape = denoiser.image_shape();
    if images.shape.len() != 4 || images.shape[1..] != shape {
        let what = format!("images of shape {:?} for a denoiser of images {shape:?}", images.shape);
        return Err(Error::argument(what, "take data of the size that the model was made for"));
    }
    let (count, len) = (images.shape[0], images.stride());
    let mut found = ByLevel::new(levels.to_vec(), count);
    for (index, level) in levels.iter().enumerate() {
        for first in (0..count).step_by(batch.max(1)) {
            let some = images.slice(first..(first + batch.max(1)).min(count));
            let added: Vec<f32> =
                (first..first + some.shape[0]).flat_map(|at| normals(seed, at as u64, index as u32 + 1, len)).collect();
            let noised = some.data.iter().zip(&added);
            let x = noised.map(|(k, w)| (f64::from(*k) + level.sigma * f64::from(*w)) as f32).collect();
            let eps = denoiser.eps(&Tensor::new(some.shape.clone(), x), &vec![*level; some.shape[0]])?;
            for at in 0..some.shape[0] {
                let off = apart(eps.item(at), &added[at * len..][..len]) / (len as f64).sqrt();
                if !off.is_finite() {
                    let hint = "look for NaN in the weights".to_owned();
                    return Err(Error::NonFinite { place: format!("the denoiser's answer at {level}"), hint });
                }
                found.set(index, first + at, off);
            }
            advance(some.shape[0] as u64);
        }
    }
    Ok(found)
}
