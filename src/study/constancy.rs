//! Does the gradient keep its direction? The distance to a set falls along a straight line to the projection, on which
//! its gradient is one vector; gradient estimation rests on that (Permenter and Yuan, ICML 2024, section 4).

use serde_json::json;

use super::Advance;
use super::norms::{ByLevel, called};
use super::panels::{across, median, over_sigma, table};
use super::parts::Rows;
use super::results::{File, Results};
use super::statistics::{Summary, turn};
use super::trajectories::Trajectories;
use crate::Result;
use crate::denoise::Denoiser;
use crate::denoise::Level;
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::report::plot::{Axis, Colour, Picture, Series};
use crate::tensor::Tensor;

/// The distances of a segment's points from the projection, over that of its beginning.
pub const FRACTIONS: [f64; 4] = [0.75, 0.5, 0.25, 0.1];

/// The turns of directions. A turn is |u - v| of two unit vectors u and v: 0 for equal ones, 2 for opposite ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Constancy {
    /// Between the eps of a network call and that of the call before it; NaN at the first.
    pub along_trajectories: ByLevel,
    /// Between the exact gradients of the distance to the data there, where there are data.
    pub exact: Option<ByLevel>,
    /// From the eps of a network call to that at each of [`FRACTIONS`] of the segment to the prediction, at the same
    /// fraction of sigma.
    pub along_segments: Vec<ByLevel>,
}

/// Measures along `walk`; segments at no more than `segments` of its calls, none below sigma `least`, the least noise
/// of the denoiser.
///
/// # Errors
/// Those of [`Trajectories::walk`], of the denoiser and of [`Neighbours::project`].
pub fn constancy(
    denoiser: &mut dyn Denoiser,
    walk: &Trajectories,
    samples: Option<&Neighbours>,
    segments: usize,
    least: f64,
    advance: Advance,
) -> Result<Constancy> {
    let levels = called(walk);
    let picked = picked(levels.len(), segments);
    let picked_levels: Vec<Level> = picked.iter().map(|at| levels[*at]).collect();
    let mut found = Constancy {
        along_trajectories: ByLevel::new(levels.clone(), walk.walked()),
        exact: samples.map(|_| ByLevel::new(levels.clone(), walk.walked())),
        along_segments: vec![ByLevel::new(picked_levels, walk.walked()); FRACTIONS.len()],
    };
    let mut last: Option<(usize, Tensor, Option<Tensor>)> = None;
    walk.walk(denoiser, advance, &mut |denoiser, first, progress| {
        let gradients = samples.map(|samples| exact_gradients(samples, progress.before)).transpose()?;
        if let Some((batch, eps, before)) = &last
            && *batch == first
        {
            for at in 0..eps.shape[0] {
                let turned = turn(progress.eps.item(at), eps.item(at));
                found.along_trajectories.set(progress.index, first + at, turned);
                if let (Some(exact), Some(now), Some(before)) = (&mut found.exact, &gradients, before) {
                    exact.set(progress.index, first + at, turn(now.item(at), before.item(at)));
                }
            }
        }
        if let Some(place) = picked.iter().position(|at| *at == progress.index) {
            let sigma = progress.step.from.sigma;
            for (fraction, found) in FRACTIONS.iter().zip(&mut found.along_segments) {
                if fraction * sigma >= least {
                    // x0 + fraction (x - x0) = x - (1 - fraction) sigma eps
                    let pairs = progress.before.data.iter().zip(&progress.eps.data);
                    let move_to = |(x, eps): (&f32, &f32)| f64::from(*x) - (1.0 - fraction) * sigma * f64::from(*eps);
                    let x =
                        Tensor::new(progress.before.shape.clone(), pairs.map(|pair| move_to(pair) as f32).collect());
                    let eps = denoiser.eps(&x, &vec![Level::at_sigma(fraction * sigma); x.shape[0]])?;
                    for at in 0..x.shape[0] {
                        found.set(place, first + at, turn(eps.item(at), progress.eps.item(at)));
                    }
                }
                advance(progress.before.shape[0] as u64);
            }
        }
        last = Some((first, progress.eps.clone(), gradients));
        Ok(())
    })?;
    Ok(found)
}

/// The calls that segments begin at.
fn picked(calls: usize, segments: usize) -> Vec<usize> {
    (0..calls).step_by(calls.div_ceil(segments.max(1)).max(1)).collect()
}

impl Constancy {
    /// These values as rows, one per trajectory.
    #[must_use]
    pub fn rows(&self) -> Rows {
        let sets = std::iter::once(&self.along_trajectories).chain(&self.exact).chain(&self.along_segments);
        Rows::of(&sets.collect::<Vec<_>>())
    }

    /// The inverse of [`Self::rows`], for calls at these levels.
    #[must_use]
    pub fn of_rows(rows: &Rows, levels: &[Level], segments: usize, has_data: bool) -> Self {
        let calls = levels.len();
        let picked: Vec<Level> = picked(calls, segments).into_iter().map(|at| levels[at]).collect();
        let before = if has_data { 2 * calls } else { calls };
        Self {
            along_trajectories: rows.by_level(0, levels),
            exact: has_data.then(|| rows.by_level(calls, levels)),
            along_segments: (0..FRACTIONS.len()).map(|at| rows.by_level(before + at * picked.len(), &picked)).collect(),
        }
    }

    /// Calls for single images that [`constancy`] makes.
    #[must_use]
    pub fn calls(walk: &Trajectories, segments: usize) -> u64 {
        let steps = walk.schedule.steps().len();
        let picked = steps.div_ceil(steps.div_ceil(segments.max(1)));
        walk.calls() + (picked * FRACTIONS.len() * walk.walked()) as u64
    }
}

/// x - proj(x) of each image.
fn exact_gradients(samples: &Neighbours, x: &Tensor) -> Result<Tensor> {
    let mut gradients = x.clone();
    let stride = x.stride();
    for (to, nearest) in gradients.data.chunks_exact_mut(stride).zip(samples.project(x)?) {
        to.iter_mut().zip(samples.data().samples.item(nearest.sample)).for_each(|(to, k)| *to -= k);
    }
    Ok(gradients)
}

/// Returns the share of `values` below `most`, ignoring NaN.
#[must_use]
pub fn share_below(values: &[f64], most: f64) -> f64 {
    let (below, all) = values
        .iter()
        .filter(|value| !value.is_nan())
        .fold((0usize, 0usize), |(below, all), value| (below + usize::from(*value < most), all + 1));
    below as f64 / all as f64
}

/// The files of the study.
pub const FILES: &[File] = &[TRAJECTORIES, SEGMENTS, TABLE, PLOT];
const TRAJECTORIES: File = File::new("along_trajectories.npy", "(steps, images)");
const SEGMENTS: File = File::new("along_segments.npy", "(fractions, levels, images)");
const TABLE: File = File::new("constancy.csv", "mean, median, 5 % and 95 % per level");
const PLOT: File = File::new("constancy", "turns over sigma");

/// Turns below this count as zero.
const SMALL: f64 = 0.1;

/// The results of [`constancy`] for the denoiser called `name`.
#[must_use]
pub fn results(found: &Constancy, name: &str) -> Results {
    let share = |values: &ByLevel| share_below(&values.values, SMALL);
    let turns = |values: &ByLevel| Summary::of(values.values.iter().copied());
    let tell = |values: &ByLevel| json!({ "share_below_0.1": share(values), "turn": turns(values) });
    let segments = || FRACTIONS.iter().zip(&found.along_segments);
    let along = &found.along_trajectories;
    let of_segments: Vec<_> = segments().map(|(at, values)| json!({ "fraction": at, "turns": tell(values) })).collect();
    let all: Vec<f64> = found.along_segments.iter().flat_map(|values| values.values.iter().copied()).collect();
    let levels = found.along_segments[0].levels.len();
    let mut columns = vec![("turn", along)];
    columns.extend(found.exact.as_ref().map(|exact| ("exact_turn", exact)));
    let mut results = Results::default();
    results
        .set("along_trajectories", tell(along))
        .set("exact", json!(found.exact.as_ref().map(tell)))
        .set("along_segments", json!(of_segments))
        .numbers(TRAJECTORIES, &[along.levels.len(), along.images], &along.values)
        .numbers(SEGMENTS, &[FRACTIONS.len(), levels, along.images], &all)
        .table(TABLE, table(&columns))
        .plot(PLOT, picture(found, name));
    results.note(format!("{:.0} % of steps turn by less than {SMALL}", 100.0 * share(along)));
    if let Some(exact) = &found.exact {
        results.note(format!("{:.0} % of steps of the exact gradient", 100.0 * share(exact)));
    }
    let halfway = &found.along_segments[1];
    results.note(format!("{:.0} % of segments, halfway to the projection", 100.0 * share(halfway)));
    results
}

fn picture(found: &Constancy, name: &str) -> Picture {
    let along = &found.along_trajectories;
    let turn = || Axis::linear("turn |u − v|");
    let mut trajectories = over_sigma("From one step to the next", turn()).with(median("denoiser", along));
    if let Some(exact) = &found.exact {
        trajectories = trajectories.with(Series { colour: Colour::Cycle(1), ..median("exact projection", exact) });
    }
    let trajectories = trajectories.with(across("0.1", along, SMALL));
    let mut towards = over_sigma("From x towards its projection", turn());
    for (at, (fraction, values)) in FRACTIONS.iter().zip(&found.along_segments).enumerate() {
        towards = towards.with(
            Series { band: None, ..median(&format!("{fraction} of the way left"), values) }.colour(Colour::Cycle(at)),
        );
    }
    let towards = towards.with(across("0.1", along, SMALL));
    let title = format!("How much the gradient of {name} turns, {} steps", along.levels.len());
    Picture::new(&title, 2, vec![trajectories.into(), towards.into()])
}
