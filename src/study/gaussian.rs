//! A denoiser beside the closed forms of Gaussians: the one with the mean and the covariance of its data, and mixtures
//! (Wang and Vastola, "The hidden linear structure in score-based models and its application", 2023, and "The
//! unreasonable effectiveness of Gaussian score approximation for diffusion models and its applications", 2024).
//!
//! Two questions: how far its predictions are from theirs over noise levels, on noised images; and where its
//! trajectories leave the solution of the Gaussian's probability flow from the same noise.

use serde_json::json;

use super::Advance;
use super::norms::ByLevel;
use super::panels::{across, median, over_sigma, table};
use super::parts::Rows;
use super::predictions::Predictions;
use super::results::{File, Results};
use super::statistics::{Summary, apart};
use super::trajectories::Trajectories;
use crate::denoise::closed_form::linear::Linear;
use crate::denoise::{Denoiser, Level};
use crate::error::Result;
use crate::report::plot::{Axis, Colour, Picture};
use crate::sample::schedule::Schedule;

/// A trajectory has left the closed form where its distance is above this share of the spread of the data.
pub const LEAVES: f64 = 0.05;

/// Distances of trajectories from the Gaussian's solution, over the root mean square distance of the data from their
/// mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    /// Those of the denoiser, after each step.
    pub walked: ByLevel,
    /// Those of the Gaussian's own denoiser by the same steps: the error of the steps alone.
    pub own: ByLevel,
}

impl Departure {
    /// These values as rows, one per trajectory.
    #[must_use]
    pub fn rows(&self) -> Rows {
        Rows::of(&[&self.walked, &self.own])
    }

    /// The inverse of [`Self::rows`], for trajectories on a schedule.
    #[must_use]
    pub fn of_rows(rows: &Rows, schedule: &Schedule) -> Self {
        let levels = after_steps(schedule);
        let [walked, own] = [0, 1].map(|set| rows.by_level(set * levels.len(), &levels));
        Self { walked, own }
    }

    /// The sigma at which the median first exceeds [`LEAVES`]; `None` if it never does.
    #[must_use]
    pub fn sigma(&self) -> Option<f64> {
        let median = |at: usize| Summary::of(self.walked.at(at).iter().copied()).median;
        (0..self.walked.levels.len()).find(|at| median(*at) > LEAVES).map(|at| self.walked.levels[at].sigma)
    }
}

/// Walks the denoiser and `gaussian` from the same noise, and measures the distances from the Gaussian's solution;
/// `spread` is the root mean square distance of the data from their mean. `advance` counts steps of one image.
///
/// # Errors
/// Those of [`Trajectories::walk`].
pub fn departure(
    denoiser: &mut dyn Denoiser,
    gaussian: &Linear,
    walk: &Trajectories,
    spread: f64,
    advance: Advance,
) -> Result<Departure> {
    let walked = distances(denoiser, gaussian, walk, spread, advance)?;
    let own = distances(&mut gaussian.clone(), gaussian, walk, spread, advance)?;
    Ok(Departure { walked, own })
}

/// The levels at which steps end.
fn after_steps(schedule: &Schedule) -> Vec<Level> {
    schedule.steps().iter().map(|step| step.to).collect()
}

fn distances(
    denoiser: &mut dyn Denoiser,
    gaussian: &Linear,
    walk: &Trajectories,
    spread: f64,
    advance: Advance,
) -> Result<ByLevel> {
    let mut found = ByLevel::new(after_steps(walk.schedule), walk.walked());
    let mut starts: Vec<Vec<f32>> = vec![Vec::new(); walk.walked()];
    let top = walk.schedule.start().sigma;
    walk.walk(denoiser, advance, &mut |_, first, progress| {
        for at in 0..progress.x.shape[0] {
            if progress.index == 0 {
                starts[first + at] = progress.before.item(at).to_vec();
            }
            let expected = gaussian.flow(&starts[first + at], top, progress.step.to.sigma);
            found.set(progress.index, first + at, apart(progress.x.item(at), &expected) / spread);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The files of the study.
pub const FILES: &[File] = &[TABLE, DEPARTURE, PLOT];
const TABLE: File = File::new("predictions.csv", "medians per level: errors, distances, unexplained shares");
const DEPARTURE: File = File::new("departure.csv", "distances of trajectories from the Gaussian's solution");
const PLOT: File = File::new("gaussian", "unexplained shares, errors and departure over sigma");

/// The results for the denoiser called `name` on images of `data`.
#[must_use]
pub fn results(found: &Predictions, departure: &Departure, name: &str, data: &str) -> Results {
    let mut shares = over_sigma("Share of ε that a closed form does not explain", Axis::log("|ε' − ε|² / |ε|²"));
    let mut errors = over_sigma("Error of the prediction", Axis::log("|x0 − image| / √n"));
    errors = errors.with(median(name, &found.error).colour(Colour::Black));
    for (at, beside) in found.references.iter().enumerate() {
        shares = shares.with(median(&beside.name, &beside.unexplained).colour(Colour::Cycle(at)));
        errors = errors.with(median(&beside.name, &beside.error).colour(Colour::Cycle(at)));
    }
    let visible = |by: &ByLevel| {
        // The last state is without noise, which a logarithmic axis does not have.
        let kept = by.levels.iter().filter(|level| level.sigma > 0.0).count();
        ByLevel {
            levels: by.levels[..kept].to_vec(),
            values: by.values[..kept * by.images].to_vec(),
            images: by.images,
        }
    };
    let walked = visible(&departure.walked);
    let leaving = over_sigma("Distance of trajectories from the Gaussian's solution", Axis::log("over the spread"))
        .with(median(name, &walked))
        .with(median("the Gaussian by the same steps", &visible(&departure.own)))
        .with(across("", &walked, LEAVES));
    let mut results = Results::default();
    let title = format!("{name} beside the Gaussians of {data}");
    results
        .set("data", json!({ "source": data, "images": found.images }))
        .set("predictions", found.json())
        .set("departure", json!({ "threshold": LEAVES, "sigma": departure.sigma() }))
        .table(TABLE, found.table())
        .table(DEPARTURE, table(&[("walked", &departure.walked), ("gaussian", &departure.own)]))
        .plot(PLOT, Picture::new(&title, 3, vec![shares.into(), errors.into(), leaving.into()]));
    let least = |by: &ByLevel| {
        let medians: Vec<f64> = (0..by.levels.len()).map(|at| Summary::of(by.at(at).iter().copied()).median).collect();
        let at = (0..medians.len()).min_by(|a, b| medians[*a].total_cmp(&medians[*b])).unwrap_or(0);
        (medians[at], by.levels[at].sigma)
    };
    for beside in &found.references {
        let (share, sigma) = least(&beside.unexplained);
        let at_level = |at: usize| {
            let of = Summary::of(beside.unexplained.at(at).iter().copied());
            format!("{:.2e} ({:.2e} to {:.2e}) at sigma {:.3}", of.median, of.low, of.high, found.levels[at].sigma)
        };
        let (first, last) = (at_level(0), at_level(found.levels.len() - 1));
        results.note(format!(
            "{}: unexplained share of eps {first}, {last}, least {share:.2e} at {sigma:.3} (medians of {} images; 5 % \
             to 95 %)",
            beside.name, found.images
        ));
    }
    match departure.sigma() {
        Some(sigma) => results.note(format!(
            "trajectories leave the Gaussian's solution at sigma {sigma:.3}: median distance above {LEAVES} of the \
             spread ({} trajectories)",
            departure.walked.images
        )),
        None => results.note(format!(
            "trajectories stay within {LEAVES} of the spread of the Gaussian's solution (median of {})",
            departure.walked.images
        )),
    };
    let last = departure.own.levels.len() - 1;
    let own = Summary::of(departure.own.at(last).iter().copied());
    results.note(format!(
        "the Gaussian's own denoiser by the same steps ends {:.2e} of the spread from its solution (median; 5 % to \
         95 %: {:.2e} to {:.2e})",
        own.median, own.low, own.high
    ));
    results
}
