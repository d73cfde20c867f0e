//! The circulation of eps around circles: 0 for a gradient, such as the score of any density.
//!
//! Around x + r (cos t a + sin t b), with orthonormal a and b, the integral of eps dl is taken by the trapezoid rule on
//! evenly spaced t, whose error falls faster than any power of their number for smooth fields. With half of the points
//! it gives a second value, and the difference bounds its error. For small r it is pi r^2 (a'Jb - b'Ja) / sigma, by the
//! theorem of Stokes, which needs products with the Jacobian only.

use std::f64::consts::TAU;

use serde::Serialize;

use super::Basis;
use crate::denoise::Denoiser;
use crate::denoise::jacobian::{Jacobian, Place};
use crate::error::{Error, Result};
use crate::noise::Purpose;
use crate::study::Advance;
use crate::tensor::Tensor;

/// The kinds of plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Spanned by two random vectors.
    Random,
    /// Spanned by the first two eigenvectors.
    Leading,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Random, Self::Leading];

    /// The name for figures and findings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random planes",
            Self::Leading => "the plane of the leading eigenvectors",
        }
    }
}

/// A plane through a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    pub kind: Kind,
    /// Orthonormal.
    pub a: Vec<f64>,
    pub b: Vec<f64>,
    /// a'Jb - b'Ja: 0 where J is symmetric in the plane.
    pub curl: f64,
}

/// The settings of loops.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rounds {
    /// Radii over the length of the noise, sigma sqrt(p).
    pub radii: Vec<f64>,
    /// Points per loop, even.
    pub points: usize,
    /// Points per call.
    pub batch: usize,
}

/// A loop around a place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Loop {
    pub kind: Kind,
    /// The radius over sigma sqrt(p).
    pub radius: f64,
    /// The integral of eps dl.
    pub circulation: f64,
    /// The same by half of the points.
    pub coarse: f64,
    /// The circulation of the linearised field, by Stokes.
    pub linear: f64,
    /// The length of the loop.
    pub length: f64,
    /// The mean of |eps| on it.
    pub field: f64,
    /// The integral of |eps dl|.
    pub gross: f64,
}

impl Loop {
    /// The circulation over the length of the loop and the mean of |eps|: from -1 to 1.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.over(self.circulation)
    }

    /// The estimated error of the quadrature in [`Self::ratio`].
    #[must_use]
    pub fn quadrature(&self) -> f64 {
        self.over(self.circulation - self.coarse).abs()
    }

    /// The circulation over the integral of |eps dl|: from -1 to 1, and not small merely because eps points out of the
    /// plane.
    #[must_use]
    pub fn net(&self) -> f64 {
        self.circulation / self.gross.max(f64::MIN_POSITIVE)
    }

    /// `circulation` over the length of the loop and the mean of |eps|.
    #[must_use]
    pub fn over(&self, circulation: f64) -> f64 {
        circulation / (self.length * self.field).max(f64::MIN_POSITIVE)
    }
}

impl Rounds {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Argument`] for radii that are not above 0, and for an odd number of points or one below 8.
    pub fn check(&self) -> Result<()> {
        if let Some(radius) = self.radii.iter().find(|radius| !(radius.is_finite() && **radius > 0.0)) {
            let what = format!("a loop of radius {radius} is not one");
            return Err(Error::argument(what, "give `radii` above 0, in units of sigma sqrt(p), such as 0.1"));
        }
        if self.points < 8 || !self.points.is_multiple_of(2) {
            let what = format!("{} points do not make two loops", self.points);
            return Err(Error::argument(what, "give `points` an even number of at least 8"));
        }
        Ok(())
    }
}

/// `random` planes through `place`, and the plane of the first two rows of `leading`, if there are two. `key` is the
/// number of the place and of its level, and keys the random draws.
///
/// # Errors
/// Those of the Jacobian.
pub fn planes(
    jacobian: &dyn Jacobian,
    place: &Place,
    leading: &Tensor,
    random: usize,
    seed: u64,
    key: (usize, usize),
) -> Result<Vec<Plane>> {
    let dimension: usize = jacobian.image_shape().iter().product();
    let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
    let mut pairs = Vec::new();
    if dimension >= 2 {
        for plane in 0..random {
            let draw = |side: usize| {
                let index = ((key.0 * random + plane) * 2 + side) as u64;
                wide(&Purpose::LoopPlanes.normals(seed, index, key.1 as u32, dimension))
            };
            pairs.push((Kind::Random, draw(0), draw(1)));
        }
        if leading.shape[0] >= 2 {
            pairs.push((Kind::Leading, wide(leading.item(0)), wide(leading.item(1))));
        }
    }
    let mut found: Vec<Plane> = pairs.into_iter().map(|(kind, a, b)| Plane::spanned(kind, a, &b)).collect();
    if found.is_empty() {
        return Ok(found);
    }
    let rows: Vec<f32> =
        found.iter().flat_map(|plane| plane.a.iter().chain(&plane.b)).map(|value| *value as f32).collect();
    let products = jacobian.products(place, &Tensor::new([2 * found.len(), dimension], rows))?;
    for (at, plane) in found.iter_mut().enumerate() {
        let (of_a, of_b) = (wide(products.item(2 * at)), wide(products.item(2 * at + 1)));
        plane.curl = dot(&plane.a, &of_b) - dot(&plane.b, &of_a);
    }
    Ok(found)
}

impl Plane {
    /// The plane of two vectors that are not parallel.
    #[must_use]
    pub fn spanned(kind: Kind, a: Vec<f64>, b: &[f64]) -> Self {
        let a = unit(a);
        // Twice, as one projection leaves rounding behind.
        let mut b = b.to_vec();
        for _ in 0..2 {
            let along = dot(&a, &b);
            b.iter_mut().zip(&a).for_each(|(b, a)| *b -= along * a);
        }
        Self { kind, a, b: unit(b), curl: f64::NAN }
    }
}

fn unit(mut v: Vec<f64>) -> Vec<f64> {
    let length = dot(&v, &v).sqrt().max(f64::MIN_POSITIVE);
    for value in &mut v {
        *value /= length;
    }
    v
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The loops around a place, for each plane and radius.
///
/// # Errors
/// Those of [`Rounds::check`] and of the denoiser.
pub fn around(denoiser: &mut dyn Denoiser, place: &Place, planes: &[Plane], rounds: &Rounds) -> Result<Vec<Loop>> {
    rounds.check()?;
    let [channels, height, width] = denoiser.image_shape();
    let dimension = place.x.data.len();
    let noise = place.level.sigma * (dimension as f64).sqrt();
    let count = rounds.points;
    let angles: Vec<(f64, f64)> = (0..count).map(|at| (TAU * at as f64 / count as f64).sin_cos()).collect();
    let loops: Vec<(&Plane, f64)> =
        planes.iter().flat_map(|plane| rounds.radii.iter().map(move |radius| (plane, *radius))).collect();
    let total = loops.len() * count;
    // (|eps|, eps t) of each point.
    let mut met = Vec::with_capacity(total);
    let batch = rounds.batch.max(1);
    for first in (0..total).step_by(batch) {
        let some = first..(first + batch).min(total);
        let mut x = Vec::with_capacity(some.len() * dimension);
        for at in some.clone() {
            let ((plane, radius), (sine, cosine)) = (loops[at / count], angles[at % count]);
            let moved = place.x.data.iter().zip(plane.a.iter().zip(&plane.b));
            let reach = radius * noise;
            x.extend(moved.map(|(x, (a, b))| (f64::from(*x) + reach * (cosine * a + sine * b)) as f32));
        }
        let x = Tensor::new([some.len(), channels, height, width], x);
        let eps = denoiser.eps(&x, &vec![place.level; some.len()])?;
        for (item, at) in some.enumerate() {
            let ((plane, _), (sine, cosine)) = (loops[at / count], angles[at % count]);
            let (mut square, mut along) = (0.0, 0.0);
            for (eps, (a, b)) in eps.item(item).iter().zip(plane.a.iter().zip(&plane.b)) {
                let eps = f64::from(*eps);
                square += eps * eps;
                along += eps * (cosine * b - sine * a);
            }
            met.push((square.sqrt(), along));
        }
    }
    let of = |((plane, radius), points): (&(&Plane, f64), &[(f64, f64)])| {
        let reach = radius * noise;
        let (length, share) = (TAU * reach, 1.0 / count as f64);
        let sum = |value: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() * share;
        let coarse: f64 = points.iter().step_by(2).map(|(_, along)| along).sum::<f64>() * 2.0 * share;
        Loop {
            kind: plane.kind,
            radius: *radius,
            circulation: length * sum(&|(_, along)| *along),
            coarse: length * coarse,
            linear: 0.5 * TAU * reach * reach * plane.curl / place.level.sigma,
            length,
            field: sum(&|(norm, _)| *norm),
            gross: length * sum(&|(_, along)| along.abs()),
        }
    };
    Ok(loops.iter().zip(met.chunks(count)).map(of).collect())
}

/// The loops around all places, (images) (levels) (loops). `advance` counts places.
///
/// # Errors
/// Those of [`around`].
pub fn circulations(
    denoiser: &mut dyn Denoiser,
    paths: &[Vec<Place>],
    bases: &[Vec<Basis>],
    rounds: &Rounds,
    advance: Advance,
) -> Result<Vec<Vec<Vec<Loop>>>> {
    let mut found = Vec::with_capacity(paths.len());
    for (path, bases) in paths.iter().zip(bases) {
        let mut of_path = Vec::with_capacity(path.len());
        for (place, basis) in path.iter().zip(bases) {
            of_path.push(around(denoiser, place, &basis.planes, rounds)?);
            advance(1);
        }
        found.push(of_path);
    }
    Ok(found)
}
