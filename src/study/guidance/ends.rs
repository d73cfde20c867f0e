//! The ends of gradient estimation and of the flow, and their distances.

use super::{GROUPS, Settings};
use crate::Result;
use crate::denoise::Denoiser;
use crate::sample::run::Run;
use crate::sample::samplers::heun::Heun;
use crate::sample::schedule::Schedule;
use crate::sample::solvers::descent::{Descent, Noise};
use crate::sample::walk::Method;
use crate::study::Advance;
use crate::study::parts::Rows;
use crate::tensor::Tensor;

/// Steps of Heun's method for the flow's ends, and their last level above 0 over the first.
pub(super) const FINE: usize = 160;
const SPAN: f64 = 2e-5;

/// The distances of a scale: of each number of calls, each group of images, each gamma.
pub type Distances = Vec<Vec<Vec<f64>>>;

/// Measures the squared distances of the ends of gradient estimation from those of the flow of `denoiser`, around
/// `mean`. `advance` counts calls for single images.
///
/// # Errors
/// Those of sampling.
pub fn measure(
    denoiser: &mut dyn Denoiser,
    mean: &[f64],
    settings: &Settings,
    batch: usize,
    advance: Advance,
) -> Result<Distances> {
    let images: Vec<usize> = (0..settings.images).collect();
    let rows = ends_of(denoiser, mean, settings, (&images, batch), advance)?;
    Ok(distances(&images.iter().map(|image| rows.row(*image)).collect::<Vec<_>>(), mean, settings))
}

/// The ends of some images at a scale, a row for each: those of the flow of `denoiser`, around `mean`, and of each
/// gamma, for each number of calls. `advance` counts calls for single images.
///
/// # Errors
/// Those of sampling.
pub fn ends_of(
    denoiser: &mut dyn Denoiser,
    mean: &[f64],
    settings: &Settings,
    (images, batch): (&[usize], usize),
    advance: Advance,
) -> Result<Rows> {
    let mut all = Vec::new();
    for grid in &settings.grids {
        let mut walk = |method: Method, sigmas: &[f64], calls: u64| {
            let advance = |images: u64| advance(calls * images);
            ends(denoiser, mean, settings, (method, sigmas), (images, batch), &advance)
        };
        all.push(walk(Method::new(Heun), &fine(grid), 2)?);
        for gamma in &settings.gammas {
            all.push(walk(Method::new(Descent { gamma: *gamma, noise: Noise::Mu(0.0) }), grid, 1)?);
        }
    }
    let row = |at: usize| all.iter().flat_map(|ends| ends.item(at)).map(|value| f64::from(*value)).collect();
    Ok(Rows::of_each((0..images.len()).map(row).collect()))
}

/// The squared distances of the ends of gradient estimation from those of the flow, around `mean`, from the rows of all
/// images at a scale.
#[must_use]
pub fn distances(rows: &[&[f64]], mean: &[f64], settings: &Settings) -> Distances {
    let len = mean.len();
    let of_grid = |grid: usize| {
        let place = |at: usize| (grid * (1 + settings.gammas.len()) + at) * len;
        let ends = |at: usize| {
            let values = rows.iter().flat_map(|row| &row[place(at)..][..len]).map(|value| *value as f32).collect();
            Tensor::new([rows.len(), len], values)
        };
        let exact = ends(0);
        let of_gammas: Vec<Tensor> = (0..settings.gammas.len()).map(|at| ends(1 + at)).collect();
        let group = |group: usize| {
            let images: Vec<usize> = (group..settings.images).step_by(GROUPS).collect();
            of_gammas.iter().map(|ends| apart(ends, &exact, mean, &images)).collect()
        };
        (0..GROUPS.min(settings.images)).map(group).collect()
    };
    (0..settings.grids.len()).map(of_grid).collect()
}

/// Levels of the same ends as `sigmas`, many and even in log sigma; 0 comes after the last above it.
fn fine(sigmas: &[f64]) -> Vec<f64> {
    let (first, last) = (sigmas.first().copied().unwrap_or(1.0), sigmas.last().copied().unwrap_or(0.0));
    let least = if last > 0.0 { last } else { first * SPAN };
    let level = |at: usize| first * (least / first).powf(at as f64 / FINE as f64);
    let above = (0..FINE).map(level).chain([least]);
    above.chain((last == 0.0).then_some(0.0)).collect()
}

fn ends(
    denoiser: &mut dyn Denoiser,
    mean: &[f64],
    settings: &Settings,
    (method, sigmas): (Method, &[f64]),
    (images, batch): (&[usize], usize),
    advance: Advance,
) -> Result<Tensor> {
    let image = denoiser.image_shape();
    let run = Run {
        batch: batch.max(1),
        seed: settings.seed,
        mean: Some(mean.to_vec()),
        images: images.to_vec(),
        ..Run::new(Schedule::from_sigmas(sigmas)?, method, settings.images)
    };
    let mut batches = run.batches(image)?;
    let mut values = Vec::with_capacity(images.len() * mean.len());
    let mut watch = |progress: &crate::sample::walk::Progress| {
        advance(progress.x.shape[0] as u64);
        Ok(())
    };
    while let Some(samples) = batches.next_batch(denoiser, &mut watch).transpose()? {
        values.extend_from_slice(&samples.x.data);
    }
    Ok(Tensor::new([images.len(), image[0], image[1], image[2]], values))
}

/// The squared distance of some images from others, over the square of the latter around `mean`.
fn apart(one: &Tensor, other: &Tensor, mean: &[f64], images: &[usize]) -> f64 {
    let (mut apart, mut own) = (0.0, 0.0);
    for image in images {
        for ((a, b), mean) in one.item(*image).iter().zip(other.item(*image)).zip(mean) {
            apart += (f64::from(*a) - f64::from(*b)).powi(2);
            own += (f64::from(*b) - mean).powi(2);
        }
    }
    apart / own
}
