//! Principal components of data: the leading eigenpairs of X'X / n by the cheapest route.
//!
//! | route | matrix formed | cost in operations |
//! |---|---|---|
//! | [`Route::Moment`] | X'X / n, (p, p), on the host | n p^2, and an eigenproblem of p rows |
//! | [`Route::Gram`] | XX' / n, (n, n), on the host | n^2 p, and an eigenproblem of n rows |
//! | [`Route::MatrixFree`] | none: block Lanczos on X'(XV) | 4 n p per vector, about seven vectors per eigenpair |
//!
//! A matrix is formed only up to [`LARGEST_MATRIX`] rows; beyond that, nothing grows with p^2. [`Rates`] turn
//! operations into seconds. X is used as given: for a covariance, subtract the mean first.
//!
//! Products are in float32, of data that are scaled by a power of two where squares of their values are not. Where
//! float32 does not hold the eigenvalues sought beside the largest, or misses the tolerance, the eigenpairs are found
//! again with all products in float64 on the host ([`Arithmetic::Float64`]).

use faer::{Mat, MatRef};
use rayon::prelude::*;
use serde::Serialize;
use web_time::Instant;

use super::basis::{Random, eigen, join, split};
use super::covariance::DeviceCovariance;
use super::host::{HostCovariance, gram, precise_gram, precise_second_moment, second_moment};
use super::lanczos::{SOLVER, solve};
use super::operator::{Dense, columns_of, rows_of};
use super::spectrum::{Found, RelativeTo, Settings, Spectrum};
use crate::error::{Error, Result};
use crate::gpu::Kind;
use crate::kernels::Engine;
use crate::tensor::Tensor;

/// The largest matrix that is formed, in rows: 128 MiB in float64.
pub const LARGEST_MATRIX: usize = 4096;

/// The largest matrix that is diagonalised as a whole, in rows.
pub(super) const WHOLE: usize = 1024;

/// The expected number of vectors that Lanczos applies an operator to, per eigenpair. Data with a decaying spectrum
/// take five to nine.
const EXPECTED_APPLICATIONS: f64 = 7.0;

/// Eigenvalues below this share of the largest do not determine a direction in a Gram matrix of float32 products, and
/// of float64 products.
const NO_DIRECTION: f64 = 1e-6;
const NO_DIRECTION_PRECISELY: f64 = 1e-12;

/// The least eigenvalue, relative to the largest, that products in float32 are trusted with.
pub const LEAST_IN_FLOAT32: f64 = 1e-4;

/// The largest exponent of a power of two, and its negative the least, between which the largest value of data is not
/// scaled.
pub(super) const UNSCALED: i32 = 20;

/// A way to find the eigenpairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// From the matrix X'X / n.
    Moment,
    /// From the matrix XX' / n of the samples' inner products.
    Gram,
    /// By applying X'(XV) on the device.
    MatrixFree,
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Moment => "second-moment matrix",
            Self::Gram => "Gram matrix",
            Self::MatrixFree => "matrix-free",
        })
    }
}

/// The arithmetic of products with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// Products in float32, on the device or on the host.
    Float32,
    /// Products in float64 on the host.
    Float64,
}

/// Operations per second, by which routes are compared. Orders of magnitude suffice for the choice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// Products on the device, in float32.
    pub device: f64,
    /// Products on the host, in float32.
    pub host: f64,
    /// Eigenproblems on the host, in float64. A full one counts as 9 operations times the cube of its rows, a larger
    /// one as the products of Lanczos.
    pub eigen: f64,
}

impl Rates {
    /// Returns the rates of two laptop cores and of a device of this kind: software on those cores, or a small GPU.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { device: if kind == Kind::Software { 2e10 } else { 1e12 }, host: 1e11, eigen: 4e10 }
    }
}

impl Route {
    /// Returns the expected time in seconds for `count` eigenpairs of samples (n, p).
    #[must_use]
    pub fn seconds(self, [n, p]: [usize; 2], count: usize, rates: &Rates) -> f64 {
        let (samples, values) = (n as f64, p as f64);
        let applied = EXPECTED_APPLICATIONS * count as f64;
        let matrix = |rows: f64| {
            let whole = rows <= WHOLE as f64;
            let eigenproblem = if whole { 9.0 * rows.powi(3) } else { 2.0 * rows.powi(2) * applied };
            samples * values * rows / rates.host + eigenproblem / rates.eigen
        };
        match self {
            Self::Moment => matrix(values),
            Self::Gram => matrix(samples) + 2.0 * samples * values * count as f64 / rates.eigen,
            Self::MatrixFree => 4.0 * samples * values * applied / rates.device,
        }
    }

    /// Returns the cheapest route that is available.
    #[must_use]
    pub fn choose(shape: [usize; 2], count: usize, rates: &Rates) -> Self {
        let fits = |rows: usize| rows <= LARGEST_MATRIX;
        let open = [(Self::Moment, fits(shape[1])), (Self::Gram, fits(shape[0])), (Self::MatrixFree, true)];
        let cost = |route: &Self| route.seconds(shape, count, rates);
        let routes = open.into_iter().filter_map(|(route, is_open)| is_open.then_some(route));
        routes.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(Self::MatrixFree)
    }

    /// Returns the route that takes the fewest products on the host.
    #[must_use]
    pub fn on_host([n, p]: [usize; 2]) -> Self {
        match n.min(p) {
            rows if rows > LARGEST_MATRIX => Self::MatrixFree,
            rows if rows == p => Self::Moment,
            _ => Self::Gram,
        }
    }
}

/// Principal components, and the way they were found.
#[derive(Clone, Debug, Serialize)]
pub struct Components {
    /// Eigenvalues of X'X / n, with eigenvectors and residuals.
    #[serde(flatten)]
    pub spectrum: Spectrum,
    /// The route taken.
    pub route: Route,
    /// The arithmetic of products.
    pub arithmetic: Arithmetic,
    /// Seconds to form a matrix, or to upload the data.
    pub prepare_seconds: f64,
    /// Seconds to solve.
    pub solve_seconds: f64,
}

/// Computes the leading eigenpairs of X'X / n for `samples` X (n, p), by `route` or the cheapest one.
///
/// # Errors
/// [`Error::Argument`] for invalid settings or a matrix above [`LARGEST_MATRIX`], [`Error::NonFinite`] for data that
/// are not finite, and those of the device.
pub fn principal_components(
    engine: &Engine,
    samples: &Tensor,
    settings: &Settings,
    route: Option<Route>,
) -> Result<Components> {
    let shape = [samples.shape[0], samples.shape[1]];
    settings.check(shape[1])?;
    if !samples.is_finite() {
        return Err(Error::NonFinite { place: "the data".into(), hint: "remove or replace such values".into() });
    }
    let exponent = scaling(samples);
    let scaled = exponent.map(|exponent| scaled(samples, exponent));
    let samples = scaled.as_ref().unwrap_or(samples);
    let begin = Instant::now();
    let rates = Rates::of(engine.gpu.adapter.kind);
    let first_route = route.unwrap_or_else(|| Route::choose(shape, settings.count, &rates));
    let first = in_float32(engine, samples, settings, first_route)?;
    let (solved, route, arithmetic) = if first.is_enough(settings) {
        (first, first_route, Arithmetic::Float32)
    } else {
        let route = route.unwrap_or_else(|| Route::on_host(shape));
        (in_float64(samples, settings, route, &first.spectrum)?, route, Arithmetic::Float64)
    };
    let Solved { mut spectrum, prepare_seconds } = solved;
    if let Some(exponent) = exponent {
        spectrum.values.iter_mut().for_each(|value| *value *= 2f64.powi(-2 * exponent));
    }
    let solve_seconds = begin.elapsed().as_secs_f64() - prepare_seconds;
    Ok(Components { spectrum, route, arithmetic, prepare_seconds, solve_seconds })
}

/// Computes the leading eigenpairs of a second moment or a covariance that is known in float64.
///
/// # Errors
/// [`Error::Argument`] for invalid settings or a matrix above [`LARGEST_MATRIX`], [`Error::NonFinite`].
pub fn principal_components_of(matrix: Mat<f64>, settings: &Settings) -> Result<Components> {
    settings.check(matrix.nrows())?;
    expect_small(matrix.nrows(), Route::Moment)?;
    let begin = Instant::now();
    let settings = Settings { relative_to: RelativeTo::Each, ..*settings };
    let matrix = Dense::new(matrix)?.precise();
    let (found, solver) = of_matrix(&matrix, &watched(&settings), None)?;
    let mut spectrum = found.measured(&matrix, solver, &settings)?;
    spectrum.converged &= spectrum.worst_residual() <= settings.tolerance;
    let (route, arithmetic) = (Route::Moment, Arithmetic::Float64);
    let solve_seconds = begin.elapsed().as_secs_f64();
    Ok(Components { spectrum, route, arithmetic, prepare_seconds: 0.0, solve_seconds })
}

/// A spectrum, and the seconds before it was solved for.
struct Solved {
    spectrum: Spectrum,
    prepare_seconds: f64,
}

impl Solved {
    /// Returns `true` if float32 holds what is sought.
    fn is_enough(&self, settings: &Settings) -> bool {
        let Spectrum { values, converged, .. } = &self.spectrum;
        let (largest, least) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
        let is_held = largest == 0.0 || least >= LEAST_IN_FLOAT32 * largest;
        let is_met =
            settings.relative_to == RelativeTo::Largest || self.spectrum.worst_residual() <= settings.tolerance;
        *converged && is_held && is_met
    }
}

/// The exponent of the power of two that brings the largest value near one; `None` for data whose squares are far from
/// the limits of float32 as they are.
fn scaling(samples: &Tensor) -> Option<i32> {
    let of_some = |some: &[f32]| some.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let largest = samples.data.par_chunks(1 << 16).map(of_some).reduce(|| 0.0, f32::max);
    let exponent = f64::from(largest).log2().ceil();
    (largest > 0.0 && exponent.abs() > f64::from(UNSCALED)).then(|| -(exponent as i32))
}

/// The samples times a power of two.
fn scaled(samples: &Tensor, exponent: i32) -> Tensor {
    let factor = 2f64.powi(exponent);
    let values = samples.data.iter().map(|value| (f64::from(*value) * factor) as f32);
    Tensor::new(samples.shape.clone(), values.collect::<Vec<_>>())
}

/// The settings of a solver. A residual that is measured in the end may be a little larger than the one it watches.
pub(super) fn watched(settings: &Settings) -> Settings {
    match settings.relative_to {
        RelativeTo::Largest => *settings,
        RelativeTo::Each => Settings { tolerance: 0.5 * settings.tolerance, ..*settings },
    }
}

/// The eigenpairs by a route in float32.
fn in_float32(engine: &Engine, samples: &Tensor, settings: &Settings, route: Route) -> Result<Solved> {
    let begin = Instant::now();
    let watched = watched(settings);
    let data = HostCovariance::new(samples).precise();
    let (prepare_seconds, spectrum) = match route {
        Route::Moment => {
            expect_small(samples.shape[1], route)?;
            let moment = Dense::new(second_moment(samples))?;
            let prepared = begin.elapsed().as_secs_f64();
            let (found, solver) = of_matrix(&moment, &watched, None)?;
            (prepared, found.measured(&data, solver, settings)?)
        }
        Route::Gram => {
            expect_small(samples.shape[0], route)?;
            let gram = Dense::new(gram(samples))?;
            let prepared = begin.elapsed().as_secs_f64();
            let (found, solver) = by_gram(samples, &gram, &watched)?;
            (prepared, found.measured(&data, solver, settings)?)
        }
        Route::MatrixFree => {
            let operator = DeviceCovariance::new(engine, samples)?;
            let prepared = begin.elapsed().as_secs_f64();
            (prepared, solve(&operator, &watched, None)?.measured(&operator, SOLVER, settings)?)
        }
    };
    Ok(Solved { spectrum, prepare_seconds })
}

/// The eigenpairs by a route with products in float64 on the host, from those that float32 found. Residuals are watched
/// relative to each eigenvalue.
fn in_float64(samples: &Tensor, settings: &Settings, route: Route, near: &Spectrum) -> Result<Solved> {
    let begin = Instant::now();
    let settings = Settings { relative_to: RelativeTo::Each, ..*settings };
    let watched = watched(&settings);
    let data = HostCovariance::new(samples).precise();
    let start = columns_of(&near.vectors);
    let (prepare_seconds, found, solver) = match route {
        Route::Moment => {
            let moment = Dense::new(precise_second_moment(samples))?.precise();
            let prepared = begin.elapsed().as_secs_f64();
            let (found, solver) = of_matrix(&moment, &watched, Some(start.as_ref()))?;
            (prepared, found, solver)
        }
        Route::Gram => {
            let gram = Dense::new(precise_gram(samples))?.precise();
            let prepared = begin.elapsed().as_secs_f64();
            let (found, solver) = by_gram(samples, &gram, &watched)?;
            (prepared, found, solver)
        }
        Route::MatrixFree => (0.0, solve(&data, &watched, Some(start.as_ref()))?, SOLVER),
    };
    let mut spectrum = found.measured(&data, solver, &settings)?;
    spectrum.converged &= spectrum.worst_residual() <= settings.tolerance;
    spectrum.iterations += near.iterations;
    spectrum.applied_vectors += near.applied_vectors;
    Ok(Solved { spectrum, prepare_seconds })
}

fn expect_small(rows: usize, route: Route) -> Result<()> {
    if rows <= LARGEST_MATRIX {
        return Ok(());
    }
    let what = format!("the {route} of {rows} rows is not formed, the limit is {LARGEST_MATRIX}");
    Err(Error::argument(what, "use the matrix-free route"))
}

/// Computes the leading eigenpairs of a matrix on the host, with the name of the solver.
fn of_matrix(matrix: &Dense, settings: &Settings, start: Option<MatRef<'_, f64>>) -> Result<(Found, &'static str)> {
    if matrix.matrix().nrows() > WHOLE {
        return Ok((solve(matrix, settings, start)?, SOLVER));
    }
    let (values, vectors) = eigen(matrix.matrix())?;
    let found = Found {
        values: values[..settings.count].to_vec(),
        vectors: vectors.subcols(0, settings.count).to_owned(),
        converged: true,
        iterations: 1,
        applied_vectors: 0,
    };
    Ok((found, "dense eigensolver"))
}

/// Turns eigenpairs of XX' / n into those of X'X / n: v = X'u, normalised. Eigenvalues below the least share of
/// the largest that the arithmetic tells from zero count as zero, for which any orthogonal direction serves.
fn by_gram(samples: &Tensor, gram: &Dense, settings: &Settings) -> Result<(Found, &'static str)> {
    let (count, dimension) = (samples.shape[0], samples.shape[1]);
    let (within, solver) = of_matrix(gram, &Settings { count: settings.count.min(count), ..*settings }, None)?;
    let largest = within.values[0].max(0.0);
    let least = if gram.is_precise() { NO_DIRECTION_PRECISELY } else { NO_DIRECTION } * largest;
    let directions = within.values.iter().take_while(|value| **value > least).count();
    let weights = within.vectors.subcols(0, directions);
    // Vectors of a matrix of float32 products hold no more than float32 does.
    let weights = if gram.is_precise() { weights.to_owned() } else { columns_of(&rows_of(weights)) };
    let data = HostCovariance::new(samples);
    // The vectors are close to orthogonal. Orthogonalising them in order changes the leading ones least.
    let (vectors, _) = split(data.combine_samples(weights.as_ref()).as_ref(), 0.0);
    let directions = vectors.ncols();
    let rest = Random::new(settings.seed).orthogonal_to(&[vectors.as_ref()], settings.count - directions);
    let vectors = join(vectors.as_ref(), rest.as_ref());
    assert_eq!((vectors.nrows(), vectors.ncols()), (dimension, settings.count));
    let mut values = within.values[..directions].to_vec();
    values.resize(settings.count, 0.0);
    Ok((Found { values, vectors, ..within }, solver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_follows_the_shape() {
        let software = Rates::of(Kind::Software);
        let choose = |n, p, count| Route::choose([n, p], count, &software);
        assert_eq!(choose(60_000, 784, 32), Route::Moment);
        assert_eq!(choose(10_000, 784, 32), Route::Moment);
        assert_eq!(choose(500, 12_288, 32), Route::Gram);
        assert_eq!(choose(60_000, 12_288, 32), Route::MatrixFree);
        assert_eq!(choose(8_000, 12_288, 32), Route::MatrixFree);
        // A GPU applies the data faster than the host forms their second moment.
        assert_eq!(Route::choose([60_000, 784], 32, &Rates::of(Kind::Discrete)), Route::MatrixFree);
    }
}
