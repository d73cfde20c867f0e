//! Local linearised environments: how far the Jacobian of a denoiser at one state predicts the denoiser around it, and
//! which states share one.
//!
//! At a state x and noise level sigma, with the prediction f(x) = x - sigma eps(x, sigma) and its Jacobian J, the error
//! of the linearisation along a unit direction v over a distance r is
//!
//! ```text
//! e(r) = |f(x + r v) - f(x) - r J v| / |f(x + r v) - f(x)|
//! ```
//!
//! The radius of the environment along v is the least r at which e reaches a tolerance. Two states of one level share
//! an environment if the Jacobian of the first predicts the second within the tolerance. Lengths are in units of the
//! length of the noise, sigma sqrt(n). Where f hardly moves, e is relative to a thousandth of r.

use serde::Serialize;
use serde_json::{Value, json};

use super::Advance;
use super::estimate::Estimate;
use super::results::{File, Results};
use super::statistics::{Summary, quantile, sorted};
use crate::denoise::Denoiser;
use crate::denoise::jacobian::{Jacobian, Place};
use crate::error::Result;
use crate::noise::Purpose;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};
use crate::tensor::Tensor;

/// The settings of the study.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The error at which an environment ends.
    pub tolerance: f64,
    /// Random directions per state.
    pub directions: usize,
    /// States per call.
    pub batch: usize,
    pub seed: u64,
}

/// The kinds of direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Uniform on the sphere.
    Random,
    /// To the state's own prediction: the way that the sampler goes.
    Prediction,
    /// To the nearest other state of the level.
    Neighbour,
}

impl Direction {
    const ALL: [Self; 3] = [Self::Random, Self::Prediction, Self::Neighbour];

    fn name(self) -> &'static str {
        match self {
            Self::Random => "random directions",
            Self::Prediction => "towards the prediction",
            Self::Neighbour => "towards the nearest other state",
        }
    }
}

/// Distances over the length of the noise: factors of 2 from 1/64 to 4.
const RADII: [f64; 9] = [0.015_625, 0.031_25, 0.062_5, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0];
/// The least movement of the prediction over that of the state.
const HARDLY: f64 = 1e-3;

/// A direction at a state, with the product of the Jacobian and it.
#[derive(Clone, Debug)]
struct Ray {
    kind: Direction,
    unit: Vec<f64>,
    product: Vec<f64>,
}

/// The predictions and linearisations at all states, before the denoiser is called around them.
#[derive(Clone, Debug)]
pub struct Linearised {
    /// Rays of each state, (levels) (samples).
    rays: Vec<Vec<Vec<Ray>>>,
    /// The error of b by the Jacobian of a, for each ordered pair of states, (levels) (a, b); NaN for a = b.
    pairs: Vec<Vec<f64>>,
    /// The distance of each pair over the length of the noise.
    distances: Vec<Vec<f64>>,
    /// Predictions, (levels) (samples).
    predictions: Vec<Vec<Vec<f64>>>,
}

/// The measurements of the study.
#[derive(Clone, Debug)]
pub struct Environments {
    /// The sigma of each level, falling.
    pub sigmas: Vec<f64>,
    /// The kind of each direction.
    pub kinds: Vec<Direction>,
    /// e, (levels, samples, directions, radii).
    pub errors: Vec<f64>,
    /// The radius along each direction over the length of the noise, (levels, samples, directions); the largest
    /// distance where e stays below the tolerance.
    pub radii: Vec<f64>,
    /// e of each ordered pair, (levels, samples, samples); NaN on the diagonal.
    pub pairs: Vec<f64>,
    /// The distances of pairs over the length of the noise.
    pub distances: Vec<f64>,
    pub samples: usize,
    pub tolerance: f64,
}

/// The units that [`linearise`] and [`explore`] advance by: states.
#[must_use]
pub fn work(paths: &[Vec<Place>]) -> u64 {
    paths.iter().map(|path| path.len() as u64).sum()
}

/// Returns f(x) of each state, (paths) (levels).
///
/// # Errors
/// Those of the denoiser.
pub fn predictions(denoiser: &mut dyn Denoiser, paths: &[Vec<Place>], batch: usize) -> Result<Vec<Vec<Vec<f64>>>> {
    let levels = paths.first().map_or(0, Vec::len);
    let mut found = Vec::with_capacity(levels);
    for level in 0..levels {
        let states: Vec<Vec<f64>> = paths.iter().map(|path| wide(&path[level].x.data)).collect();
        found.push(predicted(denoiser, &paths[0][level], &states, batch)?);
    }
    Ok(found)
}

/// Predictions of `states` at the level of a place.
fn predicted(denoiser: &mut dyn Denoiser, place: &Place, states: &[Vec<f64>], batch: usize) -> Result<Vec<Vec<f64>>> {
    let [channels, height, width] = denoiser.image_shape();
    let mut found = Vec::with_capacity(states.len());
    for some in states.chunks(batch.max(1)) {
        let x: Vec<f32> = some.iter().flatten().map(|value| *value as f32).collect();
        let x = Tensor::new([some.len(), channels, height, width], x);
        let eps = denoiser.eps(&x, &vec![place.level; some.len()])?;
        for (state, at) in some.iter().zip(0..) {
            // The state as it was rounded for the call.
            let pairs = state.iter().zip(eps.item(at));
            found.push(pairs.map(|(x, eps)| f64::from(*x as f32) - place.level.sigma * f64::from(*eps)).collect());
        }
    }
    Ok(found)
}

/// Linearises the denoiser at the states of `paths`, whose `predictions` are known.
///
/// # Errors
/// Those of the Jacobian.
pub fn linearise(
    jacobian: &dyn Jacobian,
    paths: &[Vec<Place>],
    predictions: Vec<Vec<Vec<f64>>>,
    settings: &Settings,
    advance: Advance,
) -> Result<Linearised> {
    let samples = paths.len();
    let (mut rays, mut pairs, mut distances) = (Vec::new(), Vec::new(), Vec::new());
    for (level, predictions) in predictions.iter().enumerate() {
        let states: Vec<Vec<f64>> = paths.iter().map(|path| wide(&path[level].x.data)).collect();
        let sigma = paths[0][level].level.sigma;
        let unit = sigma * (states[0].len() as f64).sqrt();
        let mut of_level = Vec::new();
        let (mut errors, mut apart) = (vec![f64::NAN; samples * samples], vec![f64::NAN; samples * samples]);
        for a in 0..samples {
            let to_others: Vec<Vec<f64>> =
                (0..samples).filter(|b| *b != a).map(|b| difference(&states[b], &states[a])).collect();
            let mut directions: Vec<(Direction, Vec<f64>)> = (0..settings.directions)
                .map(|at| {
                    let index = (a * settings.directions + at) as u64;
                    let drawn = Purpose::JacobianSteps.normals(settings.seed, index, level as u32, states[a].len());
                    (Direction::Random, wide(&drawn))
                })
                .collect();
            directions.push((Direction::Prediction, difference(&predictions[a], &states[a])));
            let nearest = to_others.iter().min_by(|a, b| length(a).total_cmp(&length(b)));
            directions.extend(nearest.map(|nearest| (Direction::Neighbour, nearest.clone())));
            let vectors: Vec<Vec<f64>> =
                directions.iter().map(|(_, v)| normalised(v)).chain(to_others.iter().cloned()).collect();
            let products = multiplied(jacobian, &paths[a][level], &vectors)?;
            let (of_rays, of_pairs) = products.split_at(directions.len());
            for (at, (b, product)) in (0..samples).filter(|b| *b != a).zip(of_pairs).enumerate() {
                let moved = difference(&predictions[b], &predictions[a]);
                let distance = length(&to_others[at]);
                errors[a * samples + b] = error(&moved, product, distance);
                apart[a * samples + b] = distance / unit;
            }
            let rays = directions.iter().zip(&vectors).zip(of_rays);
            let rays = rays.map(|((direction, unit), product)| {
                let (kind, unit, product) = (direction.0, unit.clone(), product.clone());
                Ray { kind, unit, product }
            });
            of_level.push(rays.collect::<Vec<_>>());
            advance(1);
        }
        rays.push(of_level);
        pairs.push(errors);
        distances.push(apart);
    }
    Ok(Linearised { rays, pairs, distances, predictions })
}

/// J times each of `vectors`.
fn multiplied(jacobian: &dyn Jacobian, place: &Place, vectors: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
    let len = vectors.first().map_or(0, Vec::len);
    let rows = vectors.iter().flatten().map(|value| *value as f32).collect();
    let products = jacobian.products(place, &Tensor::new([vectors.len(), len], rows))?;
    Ok((0..vectors.len()).map(|at| wide(products.item(at))).collect())
}

/// Calls the denoiser around each state, and compares it with its linearisation.
///
/// # Errors
/// Those of the denoiser.
pub fn explore(
    denoiser: &mut dyn Denoiser,
    paths: &[Vec<Place>],
    linearised: &Linearised,
    settings: &Settings,
    advance: Advance,
) -> Result<Environments> {
    let sigmas: Vec<f64> = paths[0].iter().map(|place| place.level.sigma).collect();
    let kinds = linearised.rays[0][0].iter().map(|ray| ray.kind).collect();
    let (mut errors, mut radii) = (Vec::new(), Vec::new());
    for (level, of_level) in linearised.rays.iter().enumerate() {
        for (a, rays) in of_level.iter().enumerate() {
            let place = &paths[a][level];
            let state = wide(&place.x.data);
            let unit = place.level.sigma * (state.len() as f64).sqrt();
            let moved: Vec<Vec<f64>> =
                rays.iter().flat_map(|ray| RADII.map(|radius| add(&state, &ray.unit, radius * unit))).collect();
            let around = predicted(denoiser, place, &moved, settings.batch)?;
            for (ray, around) in rays.iter().zip(around.chunks(RADII.len())) {
                let of_ray: Vec<f64> = RADII
                    .iter()
                    .zip(around)
                    .map(|(radius, f)| {
                        let moved = difference(f, &linearised.predictions[level][a]);
                        let linear: Vec<f64> = ray.product.iter().map(|value| value * radius * unit).collect();
                        error(&moved, &linear, radius * unit)
                    })
                    .collect();
                radii.push(radius_of(&of_ray, settings.tolerance));
                errors.extend(of_ray);
            }
            advance(1);
        }
    }
    Ok(Environments {
        sigmas,
        kinds,
        errors,
        radii,
        pairs: linearised.pairs.concat(),
        distances: linearised.distances.concat(),
        samples: paths.len(),
        tolerance: settings.tolerance,
    })
}

/// |moved - linear| over |moved|, or over a thousandth of the distance where that is more.
fn error(moved: &[f64], linear: &[f64], distance: f64) -> f64 {
    length(&difference(moved, linear)) / length(moved).max(HARDLY * distance)
}

/// The distance at which errors over [`RADII`] reach the tolerance, interpolated in logarithms; the last if they do
/// not.
fn radius_of(errors: &[f64], tolerance: f64) -> f64 {
    match errors.iter().position(|error| *error >= tolerance) {
        None => RADII[RADII.len() - 1],
        Some(0) => RADII[0],
        Some(at) => {
            let (low, high) = (errors[at - 1].max(f64::MIN_POSITIVE).ln(), errors[at].ln());
            let part = ((tolerance.ln() - low) / (high - low)).clamp(0.0, 1.0);
            RADII[at - 1] * (RADII[at] / RADII[at - 1]).powf(part)
        }
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn add(x: &[f64], v: &[f64], scale: f64) -> Vec<f64> {
    x.iter().zip(v).map(|(x, v)| x + scale * v).collect()
}

fn length(v: &[f64]) -> f64 {
    v.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn normalised(v: &[f64]) -> Vec<f64> {
    let length = length(v).max(f64::MIN_POSITIVE);
    v.iter().map(|value| value / length).collect()
}

impl Environments {
    /// The radii along directions of a kind at a level, in rising order.
    fn of_kind(&self, level: usize, kind: Direction) -> Vec<f64> {
        let count = self.kinds.len();
        let of_level = &self.radii[level * self.samples * count..][..self.samples * count];
        let chosen = of_level.iter().enumerate().filter(|(at, _)| self.kinds[at % count] == kind);
        sorted(chosen.map(|(_, radius)| *radius))
    }

    /// The share of the others that the Jacobian of a state predicts, over the states of a level.
    fn shared(&self, level: usize) -> Estimate {
        let pairs = &self.pairs[level * self.samples * self.samples..][..self.samples * self.samples];
        let share = |row: &[f64]| {
            let others = row.iter().filter(|error| error.is_finite());
            let within = others.clone().filter(|error| **error < self.tolerance).count();
            within as f64 / others.count().max(1) as f64
        };
        Estimate::of(&pairs.chunks(self.samples).map(share).collect::<Vec<_>>())
    }

    fn json(&self) -> Value {
        let level = |(at, sigma): (usize, &f64)| {
            let radii = Direction::ALL.map(|kind| json!(Summary::of(self.of_kind(at, kind))));
            let distances = &self.distances[at * self.samples * self.samples..][..self.samples * self.samples];
            json!({
                "sigma": sigma, "radius": { "random": radii[0], "prediction": radii[1], "neighbour": radii[2] },
                "shared": self.shared(at), "distance_of_pairs": Summary::of(distances.iter().copied()),
            })
        };
        self.sigmas.iter().enumerate().map(level).collect()
    }
}

/// The files of the study.
pub const FILES: &[File] = &[SIGMAS, ERRORS, RADIUS, PAIRS, DISTANCES, TABLE, PLOT];
const SIGMAS: File = File::new("sigmas.npy", "(levels)");
const ERRORS: File = File::new("errors.npy", "of linearisations, (levels, samples, directions, distances)");
const RADIUS: File = File::new("radii.npy", "over sigma sqrt(n), (levels, samples, directions)");
const PAIRS: File = File::new("pairs.npy", "error of b by the Jacobian of a, (levels, samples a, samples b)");
const DISTANCES: File = File::new("distances.npy", "of pairs over sigma sqrt(n), (levels, samples, samples)");
const TABLE: File = File::new("environments.csv", "radii and shares per level");
const PLOT: File = File::new("environments", "radii and shares over sigma");

/// The results of the study for the denoiser called `name`, beside a linear one, whose environment has no end, if there
/// is one.
#[must_use]
pub fn results(found: &Environments, null: Option<(&str, &Environments)>, settings: &Settings, name: &str) -> Results {
    let (levels, samples, count) = (found.sigmas.len(), found.samples, found.kinds.len());
    let mut table =
        Table::new(&["sigma", "direction", "median_radius", "low", "high", "shared", "shared_half_width_95"]);
    for (level, sigma) in found.sigmas.iter().enumerate() {
        let shared = found.shared(level);
        for kind in Direction::ALL {
            let radii = found.of_kind(level, kind);
            let [median, low, high] = [0.5, 0.05, 0.95].map(|share| quantile(&radii, share));
            table.row(&[sigma, &kind.name(), &median, &low, &high, &shared.mean, &shared.half_width]);
        }
    }
    let mut results = Results::default();
    results
        .numbers(SIGMAS, &[levels], &found.sigmas)
        .numbers(ERRORS, &[levels, samples, count, RADII.len()], &found.errors)
        .numbers(RADIUS, &[levels, samples, count], &found.radii)
        .numbers(PAIRS, &[levels, samples, samples], &found.pairs)
        .numbers(DISTANCES, &[levels, samples, samples], &found.distances)
        .table(TABLE, table)
        .plot(PLOT, picture(found, null, name))
        .set("settings", json!(settings))
        .set("distances", json!(RADII))
        .set("levels", found.json())
        .set("null", json!(null.map(|(name, control)| json!({ "name": name, "levels": control.json() }))));
    for level in [0, levels / 2, levels - 1] {
        let median = |kind| quantile(&found.of_kind(level, kind), 0.5);
        let shared = found.shared(level);
        results.note(format!(
            "sigma {:.3}: radius {:.2} in random directions, {:.2} towards the prediction, of the length of the noise; \
             {:.0} % +- {:.0} % of the other states share an environment, over {samples} trajectories",
            found.sigmas[level],
            median(Direction::Random),
            median(Direction::Prediction),
            100.0 * shared.mean,
            100.0 * shared.half_width
        ));
    }
    if let Some((name, null)) = null {
        let worst = null.errors.iter().copied().fold(0.0, f64::max);
        results.note(format!("control, {name}: errors of at most {worst:.1e} where the denoiser is linear"));
    }
    results
}

fn picture(found: &Environments, null: Option<(&str, &Environments)>, name: &str) -> Picture {
    let tolerance = 100.0 * found.tolerance;
    let title = format!("Radius at {tolerance:.0} % error: median, 5 % to 95 %");
    let mut radii = Figure::new(&title, Axis::log("σ"), Axis::log("radius / (σ √n)").over(0.01, 5.0));
    for (at, kind) in Direction::ALL.into_iter().enumerate() {
        let of = |level: usize, share: f64| quantile(&found.of_kind(level, kind), share);
        let points = found.sigmas.iter().enumerate().map(|(level, sigma)| (*sigma, of(level, 0.5))).collect();
        let band = (0..found.sigmas.len()).map(|level| (of(level, 0.05), of(level, 0.95))).collect();
        radii = radii.with(Series::line(kind.name(), points).band(band).colour(Colour::Cycle(at)));
    }
    let most = RADII[RADII.len() - 1];
    let ends = vec![(found.sigmas[0], most), (found.sigmas[found.sigmas.len() - 1], most)];
    let radii: Panel = radii.with(Series::dashed("largest distance", ends).colour(Colour::Grey)).into();
    let mut shares = Figure::new(
        &format!("States that share an environment, {} trajectories", found.samples),
        Axis::log("σ"),
        Axis::linear("share of the other states, 95 %").over(-0.03, 1.03),
    );
    for (at, (name, each)) in [(name, found)].into_iter().chain(null).enumerate() {
        let shared: Vec<Estimate> = (0..each.sigmas.len()).map(|level| each.shared(level)).collect();
        let points = each.sigmas.iter().zip(&shared).map(|(sigma, shared)| (*sigma, shared.mean)).collect();
        let series = Series::line(name, points).band(shared.iter().map(Estimate::band).collect());
        shares = shares.with(series.colour(if at == 0 { Colour::Cycle(0) } else { Colour::Grey }));
    }
    Picture::new(&format!("Local linearised environments of {name}"), 2, vec![radii, shares.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::Level;

    /// f(x) = tanh(x), value by value: its Jacobian is known.
    struct Tanh;

    impl Denoiser for Tanh {
        fn image_shape(&self) -> [usize; 3] {
            [1, 2, 2]
        }

        fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
            let sigma = levels[0].sigma;
            let eps = |x: &f32| ((f64::from(*x) - f64::from(*x).tanh()) / sigma) as f32;
            Ok(Tensor::new(x.shape.clone(), x.data.iter().map(eps).collect()))
        }
    }

    impl Jacobian for Tanh {
        fn image_shape(&self) -> [usize; 3] {
            [1, 2, 2]
        }

        fn products(&self, place: &Place, vectors: &Tensor) -> Result<Tensor> {
            let slope = |x: &f32| 1.0 - f64::from(*x).tanh().powi(2);
            let products = vectors.data.chunks(4).flat_map(|v| {
                v.iter().zip(&place.x.data).map(|(v, x)| (f64::from(*v) * slope(x)) as f32).collect::<Vec<_>>()
            });
            Ok(Tensor::new(vectors.shape.clone(), products.collect()))
        }
    }

    fn paths(scale: f32) -> Vec<Vec<Place>> {
        let place = |at: u16, sigma: f64| Place {
            x: Tensor::new([1, 1, 2, 2], (0..4u16).map(|i| scale * f32::from(at * 4 + i) - 0.2).collect()),
            level: Level::at_sigma(sigma),
        };
        (0..3).map(|at| vec![place(at, 1.0), place(at, 0.1)]).collect()
    }

    fn measured(paths: &[Vec<Place>]) -> Environments {
        let settings = Settings { tolerance: 0.1, directions: 2, batch: 5, seed: 1 };
        let predictions = predictions(&mut Tanh, paths, 2).unwrap();
        let linearised = linearise(&Tanh, paths, predictions, &settings, &|_| {}).unwrap();
        explore(&mut Tanh, paths, &linearised, &settings, &|_| {}).unwrap()
    }

    #[test]
    fn errors_are_those_of_the_function() {
        let paths = paths(0.1);
        let found = measured(&paths);
        assert_eq!((found.kinds.len(), found.errors.len()), (4, 2 * 3 * 4 * RADII.len()));
        // The pair (0, 1) of the second level, in float64.
        let (a, b) = (wide(&paths[0][1].x.data), wide(&paths[1][1].x.data));
        let moved: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b.tanh() - a.tanh()).collect();
        let linear: Vec<f64> = a.iter().zip(&b).map(|(a, b)| (1.0 - a.tanh().powi(2)) * (b - a)).collect();
        let expected = length(&difference(&moved, &linear)) / length(&moved);
        assert!((found.pairs[9 + 1] - expected).abs() < 1e-5, "{} {expected}", found.pairs[9 + 1]);
        assert!(found.pairs[0].is_nan());
        // Errors grow with the distance, and far steps of the first level are beyond the tolerance.
        let far = &found.errors[..RADII.len()];
        assert!(far[0] < far[6] && far[8] > 0.1, "{far:?}");
    }

    #[test]
    fn a_radius_is_where_errors_reach_the_tolerance() {
        let errors: Vec<f64> = RADII.iter().map(|radius| 0.2 * radius).collect();
        assert!((radius_of(&errors, 0.1) - 0.5).abs() < 1e-12);
        assert_eq!(radius_of(&[0.0; 9], 0.1), 4.0);
        assert_eq!(radius_of(&[1.0; 9], 0.1), RADII[0]);
    }

    #[test]
    fn near_states_share_an_environment_and_far_ones_do_not() {
        assert_eq!(measured(&paths(0.001)).shared(0).mean, 1.0);
        assert!(measured(&paths(1.0)).shared(0).mean < 0.5);
    }
}
