//! The relative-error assumption, measured: where the distance to the data is sqrt(n) sigma within a factor nu, how far
//! is the denoiser's sigma eps from the gradient of half the squared distance? (Permenter and Yuan, ICML 2024.)

use serde_json::json;

use super::Advance;
use super::panels::over_sigma;
use super::parts::Rows;
use super::results::{File, Results};
use super::statistics::{Summary, apart, quantile, sorted};
use super::trajectories::Trajectories;
use crate::Result;
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::denoise::{Denoiser, Level};
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::sample::admissible::ErrorModel;
use crate::tensor::Tensor;

/// The noise levels of the calls over that of the schedule: the assumption covers misjudged distances, too.
pub const FACTORS: [f64; 5] = [1.0, 0.5, std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::SQRT_2, 2.0];

/// A call of the denoiser and its error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The noise level of the call.
    pub sigma: f64,
    /// That level over the schedule's.
    pub factor: f64,
    /// sqrt(n) sigma / dist(x)
    pub ratio: f64,
    /// |sigma eps(x, sigma) - (x - proj(x))| / dist(x)
    pub error: f64,
}

impl Point {
    /// The factor between noise and distance, 1 or more.
    #[must_use]
    pub fn misjudged(&self) -> f64 {
        self.ratio.max(self.ratio.recip())
    }
}

/// Calls the denoiser along `walk` at each of [`FACTORS`] of its noise, within sigma `range` (least, most). The
/// projection is that on `samples`; without them it is where the trajectory ends, as it would be if gradients were
/// constant along it. Points are ordered by call, then by trajectory.
///
/// # Errors
/// Those of [`Trajectories::walk`], of the denoiser and of [`Neighbours::project`].
pub fn measure(
    denoiser: &mut dyn Denoiser,
    walk: &Trajectories,
    samples: Option<&Neighbours>,
    range: (f64, f64),
    advance: Advance,
) -> Result<Vec<Point>> {
    Ok(points(&rows(denoiser, walk, samples, range, advance)?))
}

/// As [`measure`], with a row of points for each trajectory.
///
/// # Errors
/// As [`measure`].
pub fn rows(
    denoiser: &mut dyn Denoiser,
    walk: &Trajectories,
    samples: Option<&Neighbours>,
    range: (f64, f64),
    advance: Advance,
) -> Result<Rows> {
    let mut found: Vec<Vec<f64>> = vec![Vec::new(); walk.walked()];
    let mut waiting: Vec<(usize, f64, f64, Tensor, Tensor)> = Vec::new();
    let last = walk.schedule.steps().len() - 1;
    walk.walk(denoiser, advance, &mut |denoiser, first, progress| {
        let x = progress.before;
        for factor in FACTORS {
            let sigma = factor * progress.step.from.sigma;
            if factor == 1.0 {
                waiting.push((progress.index, sigma, factor, x.clone(), progress.eps.clone()));
            } else {
                if (range.0..=range.1).contains(&sigma) {
                    let eps = denoiser.eps(x, &vec![Level::at_sigma(sigma); x.shape[0]])?;
                    waiting.push((progress.index, sigma, factor, x.clone(), eps));
                }
                advance(x.shape[0] as u64);
            }
        }
        if progress.index == last {
            let end = Tensor::new(x.shape.clone(), prediction(&x.data, &progress.eps.data, progress.step.from.sigma));
            for (index, sigma, factor, x, eps) in waiting.drain(..) {
                let mut add = |at: usize, projection: &[f32]| {
                    let Point { ratio, error, .. } = point(x.item(at), eps.item(at), projection, sigma, factor);
                    found[first + at].extend([sigma, factor, ratio, error]);
                };
                match samples {
                    // There the end is the estimate itself.
                    None if index == last => {}
                    None => (0..x.shape[0]).for_each(|at| add(at, end.item(at))),
                    Some(samples) => samples
                        .project(&x)?
                        .into_iter()
                        .enumerate()
                        .for_each(|(at, nearest)| add(at, samples.data().samples.item(nearest.sample))),
                }
            }
        }
        Ok(())
    })?;
    Ok(Rows::new(found.first().map_or(0, Vec::len), found.concat()))
}

/// The points of [`rows`], ordered by call, then by trajectory.
#[must_use]
pub fn points(rows: &Rows) -> Vec<Point> {
    let of = |call: usize| {
        (0..rows.count()).map(move |at| {
            let number = |place: usize| rows.row(at)[4 * call + place];
            Point { sigma: number(0), factor: number(1), ratio: number(2), error: number(3) }
        })
    };
    (0..rows.width() / 4).flat_map(of).collect()
}

/// Calls for single images that [`measure`] makes.
#[must_use]
pub fn calls(walk: &Trajectories) -> u64 {
    walk.calls() * FACTORS.len() as u64
}

fn prediction(x: &[f32], eps: &[f32], sigma: f64) -> Vec<f32> {
    x.iter().zip(eps).map(|(x, eps)| (f64::from(*x) - sigma * f64::from(*eps)) as f32).collect()
}

fn point(x: &[f32], eps: &[f32], projection: &[f32], sigma: f64, factor: f64) -> Point {
    let distance = apart(x, projection);
    let ratio = (x.len() as f64).sqrt() * sigma / distance;
    let error = apart(&prediction(x, eps, sigma), projection) / distance;
    Point { sigma, factor, ratio, error }
}

/// eta for each nu: the largest error but for a `1 - share` of them, of all points misjudged by nu at most. One entry
/// for each nu at which points come in, rising; those above the `share` of the walks' own points are what a model may
/// have.
#[must_use]
pub fn curve(points: &[Point], share: f64) -> Vec<(f64, f64)> {
    let mut ordered: Vec<&Point> = points.iter().filter(|point| point.error.is_finite()).collect();
    ordered.sort_by(|a, b| a.misjudged().total_cmp(&b.misjudged()));
    let own = sorted(points.iter().filter(|point| point.factor == 1.0).map(Point::misjudged));
    let least = quantile(&own, share);
    // A hundred values of nu are enough.
    let first = ordered.partition_point(|point| point.misjudged() < least);
    let stride = ((ordered.len() - first) / 100).max(1);
    let ends = (first + 1..=ordered.len()).filter(|end| (ordered.len() - end).is_multiple_of(stride));
    ends.map(|end| {
        let errors = sorted(ordered[..end].iter().map(|point| point.error));
        (ordered[end - 1].misjudged(), quantile(&errors, share))
    })
    .collect()
}

/// The error model that admits the longest way down: of all (nu, eta) of [`curve`], the one with the largest ln nu /
/// eta, since nu^(1/eta) is how far down many steps lead. None where every eta is 1 or more.
#[must_use]
pub fn fit(curve: &[(f64, f64)]) -> Option<ErrorModel> {
    let reach = |(nu, eta): &(f64, f64)| nu.ln() / eta.max(1e-9);
    let sound = curve.iter().filter(|(nu, eta)| *eta < 1.0 && *nu >= 1.0);
    let (nu, eta) = sound.max_by(|a, b| reach(a).total_cmp(&reach(b)))?;
    ErrorModel::new(*eta, *nu).ok()
}

/// The files of the study.
pub const FILES: &[File] = &[POINTS, CURVE, MODEL, PLOT];
const POINTS: File = File::new("points.npy", "(points, 4): sigma, its factor, sqrt(n) sigma / dist, error");
const CURVE: File = File::new("curve.csv", "the least eta for each nu");
const MODEL: File = File::new("error-model.json", "eta and nu");
const PLOT: File = File::new("error-model", "the points, eta over nu, errors over sigma");

/// The results of [`measure`] for the denoiser called `name`: the model that covers `share` of the points. The
/// projection is on the data called `data`, if there are any.
#[must_use]
pub fn results(points: &[Point], share: f64, name: &str, data: Option<&str>) -> Results {
    let curve = curve(points, share);
    let model = fit(&curve);
    let own = || points.iter().filter(|point| point.factor == 1.0);
    let against = data.unwrap_or("ends of trajectories");
    let rows: Vec<f64> =
        points.iter().flat_map(|point| [point.sigma, point.factor, point.ratio, point.error]).collect();
    let mut table = Table::new(&["nu", "eta"]);
    for (nu, eta) in &curve {
        table.row(&[nu, eta]);
    }
    let mut results = Results::default();
    results
        .set("projection_on", against)
        .set("share", share)
        .set("factors", json!(FACTORS))
        .set("points", points.len())
        .set("error_model", json!(model))
        .set("error_on_trajectories", json!(Summary::of(own().map(|point| point.error))))
        .set("ratio_on_trajectories", json!(Summary::of(own().map(|point| point.ratio))))
        .numbers(POINTS, &[points.len(), 4], &rows)
        .table(CURVE, table);
    if let Some(model) = &model {
        let text = json!({ "eta": model.eta(), "nu": model.nu(), "model": name, "share": share });
        results.text_file(MODEL, format!("{text:#}\n"));
    }
    results.plot(PLOT, picture(points, &curve, model.as_ref(), &format!("{name}, projected on {against}")));
    match model {
        Some(model) => {
            let steps = [5, 10, 20, 50].map(|steps| format!("{steps}: {:.3}", model.longest_constant_step(steps)));
            results
                .note(format!("eta {:.4}, nu {:.4}: {} points", model.eta(), model.nu(), points.len()))
                .note(format!("longest admissible constant step of N steps: {}", steps.join(", ")))
        }
        None => results.warning("no error model: errors are as large as the distance itself for every nu"),
    };
    results
}

fn picture(points: &[Point], curve: &[(f64, f64)], model: Option<&ErrorModel>, title: &str) -> Picture {
    let of = |is_own: bool| points.iter().filter(move |point| (point.factor == 1.0) == is_own);
    let misjudged = |is_own: bool| of(is_own).map(|point| (point.ratio, point.error)).collect::<Vec<_>>();
    let both = |pairs: &[(f64, f64)]| -> Vec<(f64, f64)> {
        pairs.iter().rev().map(|(nu, eta)| (nu.recip(), *eta)).chain(pairs.iter().copied()).collect()
    };
    let mut errors = Figure::new("The assumption", Axis::log("√n σ / distance"), Axis::linear("error / distance"))
        .with(Series::points("at other noise", misjudged(false)).colour(Colour::Grey))
        .with(Series::points("on trajectories", misjudged(true)).colour(Colour::Cycle(0)))
        .with(Series::line("η for each ν", both(curve)).colour(Colour::Cycle(2)));
    if let Some(model) = model {
        let (low, high, eta) = (model.nu().recip(), model.nu(), model.eta());
        let frame = vec![(low, 0.0), (low, eta), (high, eta), (high, 0.0)];
        errors = errors.with(Series::line(&format!("η = {eta:.3}, ν = {high:.3}"), frame).colour(Colour::Cycle(1)));
    }
    let over = over_sigma("Over noise", Axis::linear("error / distance"))
        .with(
            Series::points("at other noise", of(false).map(|point| (point.sigma, point.error)).collect())
                .colour(Colour::Grey),
        )
        .with(Series::points("on trajectories", of(true).map(|point| (point.sigma, point.error)).collect()));
    Picture::new(title, 2, vec![errors.into(), over.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors that grow with what the noise is misjudged by.
    #[test]
    fn the_model_covers_its_points_and_leads_far() {
        let points: Vec<Point> = (0..200)
            .map(|at| {
                let ratio = 1.0 + f64::from(at) / 100.0;
                let factor = if at < 50 { 1.0 } else { 2.0 };
                Point { sigma: 1.0, factor, ratio, error: 0.05 + 0.3 * (ratio - 1.0).powi(3) }
            })
            .collect();
        let curve = curve(&points, 1.0);
        assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{curve:?}");
        assert!(curve[0].0 >= 1.49, "no nu below what the trajectories themselves need: {:?}", curve[0]);
        let model = fit(&curve).unwrap();
        for point in points.iter().filter(|point| point.misjudged() <= model.nu()) {
            assert!(point.error <= model.eta() + 1e-12, "{point:?}, {model:?}");
        }
        let others = curve.iter().map(|(nu, eta)| nu.ln() / eta);
        assert!(others.fold(0.0, f64::max) <= model.nu().ln() / model.eta() + 1e-9);
    }

    #[test]
    fn errors_of_the_whole_distance_are_no_model() {
        let far = Point { sigma: 1.0, factor: 1.0, ratio: 1.0, error: 1.2 };
        assert_eq!(fit(&curve(&[far; 10], 0.95)), None);
    }
}
