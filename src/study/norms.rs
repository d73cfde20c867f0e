//! The norm of a denoiser's eps, |eps(x, sigma)| / sqrt(n), along its own trajectories (Permenter and Yuan, ICML 2024,
//! the validation of their assumption on the denoiser's norm).

use serde_json::json;

use super::Advance;
use super::panels::{across, histogram, median, over_sigma, table};
use super::results::{File, Results};
use super::statistics::{Summary, norm};
use super::trajectories::Trajectories;
use crate::Result;
use crate::denoise::Denoiser;
use crate::denoise::Level;
use crate::report::plot::{Axis, Picture};

/// The rows of a histogram.
pub(super) const BINS: usize = 40;

/// A number for each image at each level.
#[derive(Clone, Debug, PartialEq)]
pub struct ByLevel {
    /// The levels, from most noise to least.
    pub levels: Vec<Level>,
    /// (levels, images), row-major.
    pub values: Vec<f64>,
    /// The number of images.
    pub images: usize,
}

impl ByLevel {
    /// Values that are not yet measured: NaN.
    #[must_use]
    pub fn new(levels: Vec<Level>, images: usize) -> Self {
        let values = vec![f64::NAN; levels.len() * images];
        Self { levels, values, images }
    }

    /// The values of one level.
    #[must_use]
    pub fn at(&self, level: usize) -> &[f64] {
        &self.values[level * self.images..][..self.images]
    }

    pub(super) fn set(&mut self, level: usize, image: usize, value: f64) {
        self.values[level * self.images + image] = value;
    }
}

/// The levels of a walk's network calls.
pub(super) fn called(walk: &Trajectories) -> Vec<Level> {
    walk.schedule.steps().iter().map(|step| step.from).collect()
}

/// |eps| / sqrt(n) at each network call of the trajectories.
///
/// # Errors
/// Those of [`Trajectories::walk`].
pub fn along_trajectories(denoiser: &mut dyn Denoiser, walk: &Trajectories, advance: Advance) -> Result<ByLevel> {
    let mut found = ByLevel::new(called(walk), walk.walked());
    walk.walk(denoiser, advance, &mut |_, first, progress| {
        let root = (progress.eps.stride() as f64).sqrt();
        for at in 0..progress.eps.shape[0] {
            found.set(progress.index, first + at, norm(progress.eps.item(at)) / root);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The files of the study.
pub const FILES: &[File] = &[VALUES, TABLE, PLOT];
const VALUES: File = File::new("norms.npy", "(steps, images)");
const TABLE: File = File::new("norms.csv", "mean, median, 5 % and 95 % per level");
const PLOT: File = File::new("norms", "the histogram of each level, and the median");

/// The results of [`along_trajectories`] for the denoiser called `name`.
#[must_use]
pub fn results(norms: &ByLevel, name: &str) -> Results {
    let summary = Summary::of(norms.values.iter().copied());
    let heat = histogram("Along trajectories", "‖ε‖ / √n", norms, BINS);
    let curve = over_sigma("Median, 5 % to 95 %", Axis::linear("‖ε‖ / √n"))
        .with(median("", norms))
        .with(across("", norms, 1.0));
    let title = format!("Norm of the eps of {name}");
    let mut results = Results::default();
    results
        .set("norms", json!(summary))
        .numbers(VALUES, &[norms.levels.len(), norms.images], &norms.values)
        .table(TABLE, table(&[("norm", norms)]))
        .plot(PLOT, Picture::new(&title, 2, vec![heat.into(), curve.into()]))
        .note(format!("median {:.3}, 5 % below {:.3}, 5 % above {:.3}", summary.median, summary.low, summary.high));
    results
}
