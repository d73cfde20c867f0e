//! The relative-error assumption, measured: where the distance to the data is sqrt(n) sigma within a factor nu, how far is the
//! denoiser's answer from the gradient of half the squared distance? (Permenter and Yuan, ICML 2024.)

use super::Advance;
use super::statistics::{apart, quantile, sorted};
use super::trajectories::Trajectories;
use crate::Result;
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::denoise::{Denoiser, Level};
use crate::sample::admissible::ErrorModel;
use crate::tensor::Tensor;

/// What the noise is asked to be, over what the schedule says: the assumption is about misjudged distances, too.
pub const FACTORS: [f64; 5] = [1.0, 0.5, std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::SQRT_2, 2.0];

/// A question and how well it was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// What the denoiser was asked at.
    pub sigma: f64,
    /// That over the schedule's.
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

/// Asks along `walk` at each of [`FACTORS`] of its noise, within sigma `range` (least, most). The projection is that on
/// `samples`; without them it is where the trajectory ends, as it would be if gradients were constant along it.
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
    let mut points = Vec::new();
    let mut waiting: Vec<(usize, f64, f64, Tensor, Tensor)> = Vec::new();
    let last = walk.schedule.steps().len() - 1;
    walk.walk(denoiser, advance, &mut |denoiser, _, progress| {
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
                match samples {
                    // There the end is the answer itself.
                    None if index == last => {}
                    None => points
                        .extend((0..x.shape[0]).map(|at| point(x.item(at), eps.item(at), end.item(at), sigma, factor))),
                    Some(samples) => {
                        points.extend(samples.project(&x)?.into_iter().enumerate().map(|(at, nearest)| {
                            point(x.item(at), eps.item(at), samples.data().samples.item(nearest.sample), sigma, factor)
                        }));
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(points)
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

/// eta for each nu: the largest error but for a `1 - share` of them, of all points misjudged by nu at most. One entry for
/// each nu at which points come in, rising; those above the `share` of the walks' own points are what a model may have.
#[must_use]
pub fn curve(points: &[Point], share: f64) -> Vec<(f64, f64)> {
    let mut ordered: Vec<&Point> = points.iter().filter(|point| point.error.is_finite()).collect();
    ordered.sort_by(|a, b| a.misjudged().total_cmp(&b.misjudged()));
    let own = sorted(points.iter().filter(|point| point.factor == 1.0).map(Point::misjudged));
    let least = quantile(&own, share);
    // A hundred values of nu are as good as all of them.
    let first = ordered.partition_point(|point| point.misjudged() < least);
    let stride = ((ordered.len() - first) / 100).max(1);
    let ends = (first + 1..=ordered.len()).filter(|end| (ordered.len() - end).is_multiple_of(stride));
    ends.map(|end| {
        let errors = sorted(ordered[..end].iter().map(|point| point.error));
        (ordered[end - 1].misjudged(), quantile(&errors, share))
    })
    .collect()
}

/// The error model that admits the longest way down: of all (nu, eta) of [`curve`], the one with the largest ln nu / eta,
/// since nu^(1/eta) is how far down many steps lead. None where every eta is 1 or more.
#[must_use]
pub fn fit(curve: &[(f64, f64)]) -> Option<ErrorModel> {
    let reach = |(nu, eta): &(f64, f64)| nu.ln() / eta.max(1e-9);
    let sound = curve.iter().filter(|(nu, eta)| *eta < 1.0 && *nu >= 1.0);
    let (nu, eta) = sound.max_by(|a, b| reach(a).total_cmp(&reach(b)))?;
    ErrorModel::new(*eta, *nu).ok()
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
