//! The denoiser beside the exact projection on a data set, along trajectories: the relative error and nu of Permenter
//! and Yuan (ICML 2024), their figure of the ideal denoiser.

use serde_json::json;

use super::Advance;
use super::norms::{ByLevel, called};
use super::panels::{across, dots, median, over_sigma, table, with_timesteps};
use super::parts::Rows;
use super::results::{File, Results};
use super::statistics::{Quantile, Summary, apart, sorted};
use super::trajectories::Trajectories;
use crate::Result;
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::denoise::{Denoiser, Level};
use crate::report::plot::{Axis, Colour, Picture, Series};

/// The measurements at each network call, (levels, images).
#[derive(Clone, Debug, PartialEq)]
pub struct Projections {
    /// |x0(x) - proj(x)| / dist(x)
    pub relative_error: ByLevel,
    /// sqrt(n) sigma / dist(x)
    pub nu: ByLevel,
    /// The distance of each image from the data at the end, over sqrt(n).
    pub ends: Vec<f64>,
}

impl Projections {
    /// These values as rows, one per trajectory.
    #[must_use]
    pub fn rows(&self) -> Rows {
        Rows::of(&[&self.relative_error, &self.nu]).beside(&self.ends)
    }

    /// The inverse of [`Self::rows`], for calls at these levels.
    #[must_use]
    pub fn of_rows(rows: &Rows, levels: &[Level]) -> Self {
        let [relative_error, nu] = [0, 1].map(|set| rows.by_level(set * levels.len(), levels));
        Self { relative_error, nu, ends: rows.column(2 * levels.len()) }
    }
}

/// Measures along `walk`, with `samples` as the data; the prediction is x - sigma eps for every sampler.
///
/// # Errors
/// Those of [`Trajectories::walk`] and of [`Neighbours::project`].
pub fn projections(
    denoiser: &mut dyn Denoiser,
    walk: &Trajectories,
    samples: &Neighbours,
    advance: Advance,
) -> Result<Projections> {
    let mut relative_error = ByLevel::new(called(walk), walk.walked());
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

/// The files of the study.
pub const FILES: &[File] = &[ERRORS, NU, ENDS, TABLE, PLOT];
const ERRORS: File = File::new("relative_error.npy", "(steps, images)");
const NU: File = File::new("nu.npy", "(steps, images)");
const ENDS: File = File::new("end_distance.npy", "distance from the data at the end, over sqrt(n), (images)");
const TABLE: File = File::new("projection.csv", "mean, median, 5 % and 95 % of both per level");
const PLOT: File = File::new("projection", "both over sigma");

/// The results of [`projections`] for the denoiser called `name` on `data`.
#[must_use]
pub fn results(found: &Projections, name: &str, data: &str) -> Results {
    let (error, nu) = (&found.relative_error, &found.nu);
    let medians: Vec<f64> =
        (0..error.levels.len()).map(|at| Summary::of(error.at(at).iter().copied()).median).collect();
    let hump = (0..medians.len()).max_by(|a, b| medians[*a].total_cmp(&medians[*b])).unwrap_or(0);
    let (first, last, sigma) = (medians[0], medians[medians.len() - 1], error.levels[hump].sigma);
    let ends = Summary::of(found.ends.iter().copied());
    let of_image = |image: usize| {
        (0..error.levels.len()).map(|at| error.at(at)[image]).filter(|error| error.is_finite()).fold(0.0, f64::max)
    };
    let largest = Quantile::of(&sorted((0..error.images).map(of_image)), 0.95);
    let one = error.levels.iter().enumerate().map(|(at, level)| (level.sigma, error.at(at)[0])).collect();
    let errors = over_sigma("Relative error", Axis::linear("‖prediction − projection‖ / distance"))
        .with(dots("a trajectory's step", error))
        .with(median("median, 5 % to 95 %", error))
        .with(Series::line("one trajectory", one).colour(Colour::Cycle(1)));
    let ratios = over_sigma("Noise over distance", Axis::linear("√n σ / distance"))
        .with(dots("", nu))
        .with(median("median, 5 % to 95 %", nu))
        .with(across("", nu, 1.0));
    let [errors, ratios] = [errors, ratios].map(|figure| with_timesteps(figure, &error.levels));
    let title = format!("{name} beside the projection on {data}, {} trajectories", error.images);
    let shape = [error.levels.len(), error.images];
    let mut results = Results::default();
    results
        .set("relative_error", json!(Summary::of(error.values.iter().copied())))
        .set("largest_median", json!({ "relative_error": medians[hump], "sigma": sigma }))
        .set("largest_of_a_trajectory", json!(largest))
        .set("first_median", first)
        .set("last_median", last)
        .set("nu", json!(Summary::of(nu.values.iter().copied())))
        .set("end_distance", json!(ends))
        .numbers(ERRORS, &shape, &error.values)
        .numbers(NU, &shape, &nu.values)
        .numbers(ENDS, &[found.ends.len()], &found.ends)
        .table(TABLE, table(&[("relative_error", error), ("nu", nu)]))
        .plot(PLOT, Picture::new(&title, 2, vec![errors.into(), ratios.into()]))
        .note(format!(
            "relative error: median {:.4} at sigma {sigma:.3}, where it is largest; {first:.4} at the first step, \
             {last:.4} at the last",
            medians[hump]
        ))
        .note(format!(
            "the largest relative error of a trajectory is below {largest} for 95 % of them, from {} trajectories",
            error.images
        ))
        .note(format!(
            "ends are {:.2e} sqrt(n) from the data at most, of {} trajectories",
            ends.most,
            found.ends.len()
        ));
    results
}
