//! Section 5 of the first paper: the leading eigenvectors of a denoiser's Jacobian along a sampling trajectory, and how
//! far they have turned from those at its end.
//!
//! | file | contents |
//! |---|---|
//! | [`subspaces`] | angles between leading subspaces, and the sines below which they say nothing |
//! | [`mod@turning`] | the eigenvectors along a trajectory, and the speed at which they turn |
//! | [`report`] | files, figures and findings |
//! | `rows` | the eigenvectors as rows, for runs that share the study |
//!
//! The statistic is read beside controls, which the study runs itself: a Wiener filter, whose eigenvectors never turn;
//! the same network with random weights; and a denoiser that finds no noise, whose Jacobian is the identity.

mod plots;
pub mod report;
mod rows;
pub mod subspaces;
pub mod turning;

pub use report::{FILES, Found};
pub use turning::{Solver, Turning, USUAL_FLOOR, USUALLY_WHOLE, slope, turning};

use super::Advance;
use super::trajectories::Trajectories;
use crate::denoise::jacobian::{Jacobian, Place};
use crate::denoise::{Denoiser, Level};
use crate::error::Result;
use crate::tensor::Tensor;

/// The range above the least noise in which eigenvectors settle, in units of the least noise: sigma 0.01 to 0.3 for
/// networks that end at 0.01.
const SETTLING: f64 = 30.0;

/// `steps` + 1 levels from `high` to `low`, log-spaced on two stretches: two thirds of the steps below 30 times the
/// least noise, where eigenvectors settle, and the others above.
#[must_use]
pub fn levels(high: f64, low: f64, steps: usize) -> Vec<f64> {
    let middle = SETTLING * low;
    // At least one step leads down from the most noise.
    let fine = if high > middle { (2 * steps).div_ceil(3).min(steps.saturating_sub(1)) } else { steps };
    let between =
        |from: f64, to: f64, count: usize| (0..count).map(move |at| from * (to / from).powf(at as f64 / count as f64));
    let middle = middle.min(high);
    between(high, middle, steps - fine).chain(between(middle, low, fine)).chain([low]).collect()
}

/// The places of trajectories, one path per image: the state at each level of the schedule above 0, the end last.
/// `advance` counts network calls for single images.
///
/// # Errors
/// Those of [`Trajectories::walk`].
pub fn places(denoiser: &mut dyn Denoiser, walk: &Trajectories, advance: Advance) -> Result<Vec<Vec<Place>>> {
    let mut paths = vec![Vec::new(); walk.walked()];
    let last = walk.schedule.steps().len() - 1;
    walk.walk(denoiser, advance, &mut |_, first, progress| {
        let mut visit = |level: Level, states: &Tensor| {
            for image in 0..states.shape[0] {
                let x = states.slice(image..image + 1);
                paths[first + image].push(Place { x, level });
            }
        };
        visit(progress.step.from, progress.before);
        if progress.index == last && progress.step.to.sigma > 0.0 {
            visit(progress.step.to, progress.x);
        }
        Ok(())
    })?;
    Ok(paths)
}

/// The kinds of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Its eigenvectors never turn: any sine above its floor is an error of the measurement.
    Null,
    /// A network that has learned nothing.
    Untrained,
    /// eps = 0: the Jacobian is the identity, and no direction is defined.
    Zero,
}

/// A denoiser beside the one that is studied, at the places of the first trajectory.
#[derive(Clone, Debug)]
pub struct Control {
    pub role: Role,
    /// The name for figures and notes.
    pub name: String,
    pub turning: Turning,
}

/// The Jacobian of the denoiser that finds no noise: the identity.
pub struct Identity {
    /// (channels, height, width) of an image.
    pub image: [usize; 3],
}

impl Jacobian for Identity {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    fn products(&self, _: &Place, vectors: &Tensor) -> Result<Tensor> {
        Ok(vectors.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_dense_where_eigenvectors_settle() {
        let sigmas = levels(40.0, 0.01, 15);
        assert_eq!(sigmas.len(), 16);
        assert!((sigmas[0], sigmas[15]) == (40.0, 0.01) && sigmas.is_sorted_by(|a, b| a > b), "{sigmas:?}");
        assert_eq!(sigmas.iter().filter(|sigma| **sigma < 0.301).count(), 11);
        assert_eq!(levels(40.0, 0.01, 2), [40.0, 0.3, 0.01]);
        let short = levels(0.2, 0.01, 4);
        assert!(short.len() == 5 && short[0] == 0.2 && short.is_sorted_by(|a, b| a > b), "{short:?}");
    }
}
