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

use std::time::Instant;

use faer::Mat;
use serde::Serialize;

use super::basis::{Random, eigen, join, split};
use super::covariance::DeviceCovariance;
use super::host::{HostCovariance, gram, second_moment};
use super::lanczos::lanczos;
use super::operator::Dense;
use super::spectrum::{Found, Settings, Spectrum};
use crate::error::{Error, Result};
use crate::gpu::Kind;
use crate::kernels::Engine;
use crate::tensor::Tensor;

/// The largest matrix that is formed, in rows: 128 MiB in float64.
pub const LARGEST_MATRIX: usize = 4096;

/// The largest matrix that is diagonalised as a whole, in rows.
const WHOLE: usize = 1024;

/// The expected number of vectors that Lanczos applies an operator to, per eigenpair. Data with a decaying spectrum
/// take five to nine.
const EXPECTED_APPLICATIONS: f64 = 7.0;

/// Eigenvalues below this share of the largest do not determine a direction in a Gram matrix of float32 products.
const NO_DIRECTION: f64 = 1e-6;

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
}

/// Principal components, and the way they were found.
#[derive(Clone, Debug, Serialize)]
pub struct Components {
    /// Eigenvalues of X'X / n, with eigenvectors and residuals.
    #[serde(flatten)]
    pub spectrum: Spectrum,
    /// The route taken.
    pub route: Route,
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
    let rates = Rates::of(engine.gpu.adapter.kind);
    let route = route.unwrap_or_else(|| Route::choose(shape, settings.count, &rates));
    let begin = Instant::now();
    let (prepare_seconds, spectrum) = match route {
        Route::Moment => {
            expect_small(shape[1], route)?;
            let moment = Dense::new(second_moment(samples))?;
            (begin.elapsed().as_secs_f64(), of_matrix(&moment, settings)?)
        }
        Route::Gram => {
            expect_small(shape[0], route)?;
            let gram = Dense::new(gram(samples))?;
            (begin.elapsed().as_secs_f64(), by_gram(samples, &gram, settings)?)
        }
        Route::MatrixFree => {
            let operator = DeviceCovariance::new(engine, samples)?;
            (begin.elapsed().as_secs_f64(), lanczos(&operator, settings)?)
        }
    };
    let solve_seconds = begin.elapsed().as_secs_f64() - prepare_seconds;
    Ok(Components { spectrum, route, prepare_seconds, solve_seconds })
}

fn expect_small(rows: usize, route: Route) -> Result<()> {
    if rows <= LARGEST_MATRIX {
        return Ok(());
    }
    let what = format!("the {route} of {rows} rows is not formed, the limit is {LARGEST_MATRIX}");
    Err(Error::argument(what, "use the matrix-free route"))
}

/// Computes the leading eigenpairs of a matrix on the host.
fn of_matrix(matrix: &Dense, settings: &Settings) -> Result<Spectrum> {
    if matrix.matrix().nrows() > WHOLE {
        return lanczos(matrix, settings);
    }
    let (values, vectors) = eigen(matrix.matrix())?;
    let found = Found {
        values: values[..settings.count].to_vec(),
        vectors: vectors.subcols(0, settings.count).to_owned(),
        converged: true,
        iterations: 1,
        applied_vectors: 0,
    };
    found.measured(matrix, "dense eigensolver", settings)
}

/// Turns eigenpairs of XX' / n into those of X'X / n: v = X'u, normalised. Where the data have fewer directions than
/// sought, the eigenvalue is zero and any orthogonal direction serves.
fn by_gram(samples: &Tensor, gram: &Dense, settings: &Settings) -> Result<Spectrum> {
    let (count, dimension) = (samples.shape[0], samples.shape[1]);
    let within = of_matrix(gram, &Settings { count: settings.count.min(count), ..*settings })?;
    let largest = within.values[0].max(0.0);
    let directions = within.values.iter().take_while(|value| **value > NO_DIRECTION * largest).count();
    let weights = Mat::from_fn(count, directions, |i, j| f64::from(within.vectors.data[j * count + i]));
    let data = HostCovariance::new(samples);
    // The vectors are close to orthogonal. Orthogonalising them in order changes the leading ones least.
    let (vectors, _) = split(data.combine_samples(weights.as_ref()).as_ref(), 0.0);
    let directions = vectors.ncols();
    let rest = Random::new(settings.seed).orthogonal_to(&[vectors.as_ref()], settings.count - directions);
    let vectors = join(vectors.as_ref(), rest.as_ref());
    debug_assert_eq!((vectors.nrows(), vectors.ncols()), (dimension, settings.count));
    let mut values = within.values[..directions].to_vec();
    values.resize(settings.count, 0.0);
    let found = Found {
        values,
        vectors,
        converged: within.converged,
        iterations: within.iterations,
        applied_vectors: within.applied_vectors,
    };
    found.measured(&data, within.solver, settings)
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
