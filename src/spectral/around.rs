//! Principal components of rows around their mean, read in place.
//!
//! Where their covariance is the cheapest route and is diagonalised as a whole, the rows are never copied: blocks of
//! them are centred as the covariance is formed, in float32, and its eigenpairs are brought to float64 by one
//! application of the rows (`refine`). Everywhere else they are copied once, less their mean, for
//! [`principal_components`].

use web_time::Instant;

use super::basis::eigen;
use super::operator::{FLOAT64_ROUNDING, rows_of};
use super::principal::{Rates, Route, UNSCALED, WHOLE, principal_components};
use super::refine::{Refined, refined};
use super::rows::{applied, moment};
use super::spectrum::{RelativeTo, Settings, Spectrum, scale_of};
use super::{Arithmetic, Components};
use crate::data::{Centred, Rows};
use crate::error::Result;
use crate::kernels::Engine;

/// The most eigenpairs, as a share of the values of a row, for which applying the rows to them is cheaper than forming
/// their covariance in float64.
const MOST_REFINED: f64 = 0.125;

/// Principal components of rows, and their mean.
#[derive(Clone, Debug)]
pub struct ComponentsAround {
    /// The eigenpairs of the covariance with the divisor n.
    pub components: Components,
    /// The mean, of p values.
    pub mean: Vec<f64>,
    /// The trace of the covariance.
    pub variance: f64,
}

/// Computes the leading eigenpairs of the covariance of rows of `dimension` values, in float32 or float64, by `route`
/// or the cheapest one. Residuals are relative to each eigenvalue.
///
/// # Errors
/// As [`principal_components`].
pub fn components_around<T: Copy + Into<f64> + Sync>(
    engine: &Engine,
    values: &[T],
    dimension: usize,
    settings: &Settings,
    route: Option<Route>,
) -> Result<ComponentsAround> {
    let settings = Settings { relative_to: RelativeTo::Each, ..*settings };
    let begin = Instant::now();
    let rows = Rows::new(values, dimension)?;
    settings.check(dimension)?;
    let shape = [rows.count(), dimension];
    let chosen = route.unwrap_or_else(|| Route::choose(shape, settings.count, &Rates::of(engine.gpu.adapter.kind)));
    let is_few = settings.count as f64 <= MOST_REFINED * dimension as f64;
    if chosen == Route::Moment
        && dimension <= WHOLE
        && is_few
        && let Some((spectrum, variance, prepare_seconds)) = refined_moment(&rows, &settings, begin)?
    {
        let solve_seconds = begin.elapsed().as_secs_f64() - prepare_seconds;
        let (route, arithmetic) = (Route::Moment, Arithmetic::Float64);
        let components = Components { spectrum, route, arithmetic, prepare_seconds, solve_seconds };
        return Ok(ComponentsAround { components, mean: rows.mean().to_vec(), variance });
    }
    let Centred { samples, mean, variance } = Centred::new(rows)?;
    let components = principal_components(engine, &samples, &settings, Some(chosen))?;
    Ok(ComponentsAround { components, mean, variance })
}

/// The eigenpairs by the covariance in float32 and one application of the rows in float64, with the trace of the
/// covariance and the seconds that it took to form; `None` where they miss the tolerance, and for variances whose
/// products are near the limits of float32.
fn refined_moment<T: Copy + Into<f64> + Sync>(
    rows: &Rows<T>,
    settings: &Settings,
    begin: Instant,
) -> Result<Option<(Spectrum, f64, f64)>> {
    let found = moment(rows)?;
    let prepare_seconds = begin.elapsed().as_secs_f64();
    let limit = 2f64.powi(2 * UNSCALED);
    let largest = (0..rows.dimension()).map(|at| found.matrix[(at, at)]).fold(0.0, f64::max);
    if !(limit.recip()..=limit).contains(&largest) {
        return Ok(None);
    }
    let (values, vectors) = eigen(found.matrix.as_ref())?;
    let images = applied(rows, vectors.subcols(0, settings.count));
    let Some(Refined { values, vectors, residuals }) = refined(&values, vectors.as_ref(), images.as_ref())? else {
        return Ok(None);
    };
    let scale = scale_of(&values);
    let relative =
        values.iter().zip(residuals).map(|(value, off)| off / settings.scale(*value, scale, FLOAT64_ROUNDING));
    let residuals: Vec<f64> = relative.collect();
    if residuals.iter().any(|residual| *residual > settings.tolerance) {
        return Ok(None);
    }
    let spectrum = Spectrum {
        vectors: rows_of(vectors.as_ref()),
        values,
        residuals,
        converged: true,
        iterations: 2,
        applied_vectors: settings.count,
        solver: "dense eigensolver",
        settings: *settings,
    };
    Ok(Some((spectrum, found.trace, prepare_seconds)))
}
