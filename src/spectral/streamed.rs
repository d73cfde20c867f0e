//! Principal components of rows that are read in passes, with all products in float64 on the host.
//!
//! | values per row | method | passes |
//! |---|---|---|
//! | up to [`LARGEST_MATRIX`] | eigenpairs of the matrix X'X / n | one |
//! | more | block Lanczos, each application a pass | one per application, and one for the mean |

use std::cell::RefCell;

use faer::{Mat, MatRef};
use web_time::Instant;

use super::lanczos::{SOLVER, solve};
use super::operator::{FLOAT64_ROUNDING, SymmetricOperator, columns_of, rows_of};
use super::passes::Passes;
use super::principal::{Arithmetic, Components, LARGEST_MATRIX, Route, principal_components_of, watched};
use super::rows::applied;
use super::spectrum::Settings;
use crate::data::Rows;
use crate::error::{Error, Result};
use crate::moments::{Description, Moments};
use crate::tensor::Tensor;

/// The passes of block Lanczos to expect: data with a decaying spectrum take six to ten.
const LANCZOS_PASSES: u64 = 10;

/// X'X / n for rows X (n, p) less a mean. Each application is a pass over the rows, with all products in float64.
pub struct StreamedCovariance<'a> {
    passes: RefCell<Passes<'a>>,
    mean: Vec<f64>,
}

impl<'a> StreamedCovariance<'a> {
    /// The second moment of the rows less `mean`, of p values: zeros for the rows as they are.
    #[must_use]
    pub const fn new(passes: Passes<'a>, mean: Vec<f64>) -> Self {
        Self { passes: RefCell::new(passes), mean }
    }

    /// The number of passes made so far.
    #[must_use]
    pub fn passes(&self) -> usize {
        self.passes.borrow().made()
    }
}

impl SymmetricOperator for StreamedCovariance<'_> {
    fn dimension(&self) -> usize {
        self.mean.len()
    }

    fn apply(&self, vectors: &Tensor) -> Result<Tensor> {
        Ok(rows_of(self.apply_columns(columns_of(vectors).as_ref())?.as_ref()))
    }

    fn apply_columns(&self, vectors: MatRef<'_, f64>) -> Result<Mat<f64>> {
        let mut passes = self.passes.borrow_mut();
        let all = passes.count() as f64;
        let mean = &self.mean;
        let mut sum = Mat::<f64>::zeros(mean.len(), vectors.ncols());
        passes.pass(|rows| {
            let some = Rows::around(rows, mean.clone());
            sum += applied(&some, vectors) * faer::Scale(some.count() as f64 / all);
            Ok(())
        })?;
        Ok(sum)
    }

    fn rounding(&self) -> f64 {
        FLOAT64_ROUNDING
    }
}

/// Principal components of rows that were read in passes.
#[derive(Clone, Debug)]
pub struct StreamedComponents {
    /// The eigenpairs.
    pub components: Components,
    /// The mean that was subtracted, if any.
    pub mean: Option<Vec<f64>>,
    /// The number of passes over the rows.
    pub passes: usize,
}

/// Computes the leading eigenpairs of X'X / n for rows X, less their mean where `centred`, by `route` or by the matrix
/// where its rows are at most [`LARGEST_MATRIX`]. The residuals of that route are those of the matrix, which the rows
/// are not read again for.
///
/// # Errors
/// [`Error::Argument`] for invalid settings, for [`Route::Gram`], and for a matrix above the limit; those of reading.
pub fn streamed_components(
    passes: Passes,
    settings: &Settings,
    centred: bool,
    route: Option<Route>,
) -> Result<StreamedComponents> {
    let dimension = passes.dimension();
    settings.check(dimension)?;
    let fits = dimension <= LARGEST_MATRIX;
    match route.unwrap_or(if fits { Route::Moment } else { Route::MatrixFree }) {
        Route::Moment if fits => by_moment(passes, settings, centred),
        Route::MatrixFree => by_passes(passes, settings, centred),
        route => {
            let what = format!("the {route} is not formed of {} rows of {dimension} values in passes", passes.count());
            Err(Error::argument(what, "use the matrix-free route, or leave the choice to the program"))
        }
    }
}

/// By the matrix, of the sums of one pass.
fn by_moment(mut passes: Passes, settings: &Settings, centred: bool) -> Result<StreamedComponents> {
    let begin = Instant::now();
    let mut moments = Moments::whole(Description::of_rows(passes.count(), &[passes.dimension()]))?;
    passes.pass(|rows| {
        moments.add(rows);
        Ok(())
    })?;
    let prepare_seconds = begin.elapsed().as_secs_f64();
    let (components, mean) = components_of_moments(&moments, settings, centred)?;
    let components = Components { prepare_seconds, ..components };
    Ok(StreamedComponents { components, mean, passes: passes.made() })
}

/// Computes the leading eigenpairs of the second moment of rows whose moments are known, or of their covariance, beside
/// the mean, where `centred`.
///
/// # Errors
/// Those of [`principal_components_of`]; [`Error::Argument`] for moments of a part of the rows.
pub fn components_of_moments(
    moments: &Moments,
    settings: &Settings,
    centred: bool,
) -> Result<(Components, Option<Vec<f64>>)> {
    let mean = centred.then(|| moments.mean()).transpose()?;
    let matrix = if centred { moments.covariance(0)? } else { moments.second_moment()? };
    Ok((principal_components_of(matrix, settings)?, mean))
}

/// By applying X'(XV), a pass each time.
fn by_passes(mut passes: Passes, settings: &Settings, centred: bool) -> Result<StreamedComponents> {
    let begin = Instant::now();
    let mean = if centred { Some(passes.mean()?) } else { None };
    let prepare_seconds = begin.elapsed().as_secs_f64();
    let zero = vec![0.0; passes.dimension()];
    let operator = StreamedCovariance::new(passes, mean.clone().unwrap_or(zero));
    let mut spectrum = solve(&operator, &watched(settings), None)?.measured(&operator, SOLVER, settings)?;
    spectrum.converged &= spectrum.worst_residual() <= settings.tolerance;
    let solve_seconds = begin.elapsed().as_secs_f64() - prepare_seconds;
    let components = Components {
        spectrum,
        route: Route::MatrixFree,
        arithmetic: Arithmetic::Float64,
        prepare_seconds,
        solve_seconds,
    };
    Ok(StreamedComponents { components, mean, passes: operator.passes() })
}

/// The number of passes to expect of [`streamed_components`], for a progress bar.
#[must_use]
pub const fn expected_passes(dimension: usize, route: Option<Route>) -> u64 {
    match route {
        Some(Route::MatrixFree) => LANCZOS_PASSES,
        None if dimension > LARGEST_MATRIX => LANCZOS_PASSES,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Pixels, Source};
    use crate::spectral::basis::eigen;
    use crate::spectral::host::precise_second_moment;

    #[test]
    fn both_routes_find_the_eigenpairs_of_the_whole() {
        let source = Source::parse("power-law:n=3000,p=40,seed=1").unwrap();
        for centred in [false, true] {
            let mut data = source.load(Pixels::Unit).unwrap();
            let mean = centred.then(|| data.centre());
            let (values, _) = eigen(precise_second_moment(&data.samples).as_ref()).unwrap();
            for route in [None, Some(Route::Moment), Some(Route::MatrixFree)] {
                let mut stream = source.stream(Pixels::Unit).unwrap();
                let (used, settings) = (std::cell::Cell::new(0), Settings { tolerance: 1e-7, ..Settings::new(5) });
                let watch = |rows| {
                    used.set(used.get() + rows);
                    Ok(())
                };
                let passes = Passes::over(stream.as_mut(), usize::MAX, &watch);
                let found = streamed_components(passes, &settings, centred, route).unwrap();
                assert!(found.components.spectrum.converged);
                for (found, expected) in found.components.spectrum.values.iter().zip(&values) {
                    assert!((found / expected - 1.0).abs() < 1e-6, "{route:?}: {found} {expected}");
                }
                assert_eq!(used.get(), 3000 * found.passes as u64);
                assert_eq!(found.passes == 1, route != Some(Route::MatrixFree));
                let apart = found.mean.iter().flatten().zip(mean.iter().flatten()).map(|(a, b)| (a - b).abs());
                assert!(apart.fold(0.0, f64::max) < 1e-12 && found.mean.is_some() == centred);
            }
        }
    }

    #[test]
    fn a_route_that_needs_all_rows_is_refused() {
        let mut stream = Source::parse("spiked:n=9,p=7").unwrap().stream(Pixels::Unit).unwrap();
        for (count, route) in [(2, Some(Route::Gram)), (8, None)] {
            let passes = Passes::over(stream.as_mut(), 9, &|_| Ok(()));
            let error = streamed_components(passes, &Settings::new(count), false, route).err().unwrap();
            assert_eq!(error.kind(), crate::ErrorKind::Argument);
        }
    }
}
