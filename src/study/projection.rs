//! The denoiser beside the exact projection on a data set, along trajectories: the relative error and nu of Permenter and
//! Yuan (ICML 2024), their figure of the ideal denoiser.

use super::Advance;
use super::norms::{ByLevel, called};
use super::statistics::apart;
use super::trajectories::Trajectories;
use crate::Result;
use crate::denoise::Denoiser;
use crate::denoise::closed_form::neighbours::Neighbours;

/// What is measured at each network call; all (levels, images).
#[derive(Clone, Debug, PartialEq)]
pub struct Projections {
    /// |x0(x) - proj(x)| / dist(x)
    pub relative_error: ByLevel,
    /// sqrt(n) sigma / dist(x)
    pub nu: ByLevel,
    /// The distance of each image from the data at the end, over sqrt(n).
    pub ends: Vec<f64>,
}

/// Measures along `walk`, with `samples` as the data; the prediction is x - sigma eps, whatever the sampler makes of it.
///
/// # Errors
/// Those of [`Trajectories::walk`] and of [`Neighbours::project`].
pub fn projections(
    denoiser: &mut dyn Denoiser,
    walk: &Trajectories,
    samples: &Neighbours,
    advance: Advance,
) -> Result<Projections> {
    let mut relative_error = ByLevel::new(called(walk), walk.count);
    let mut nu = relative_error.clone();
    let ends = walk.walk(denoiser, advance, &mut |_, first, progress| {
        let sigma = progress.step.from.sigma;
        let root = (progress.before.stride() as f64).sqrt();
        for (at, nearest) in samples.project(progress.before)?.into_iter().enumerate() {
            let (x, eps) = (progress.before.item(at), progress.eps.item(at));
            let prediction: Vec<f32> =
                x.iter().zip(eps).map(|(x, eps)| (f64::from(*x) - sigma * f64::from(*eps)) as f32).collect();
            let projection = samples.data().samples.item(nearest.sample);
            relative_error.set(progress.index, first + at, apart(&prediction, projection) / nearest.distance);
            nu.set(progress.index, first + at, root * sigma / nearest.distance);
        }
        Ok(())
    })?;
    let root = (ends.stride() as f64).sqrt();
    let ends = samples.project(&ends)?.into_iter().map(|nearest| nearest.distance / root).collect();
    Ok(Projections { relative_error, nu, ends })
}
