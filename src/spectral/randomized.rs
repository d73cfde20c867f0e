//! The randomised range finder (Halko, Martinsson and Tropp 2011, algorithm 4.4), and the eigenpairs within its range.

use faer::Mat;

use super::basis::{Random, orthonormal};
use super::operator::{SymmetricOperator, apply_columns};
use super::spectrum::{Found, Settings, Spectrum};
use super::subspace::rayleigh_ritz;
use crate::error::Result;

/// The number of vectors beyond those sought, by default, as in scikit-learn.
const OVERSAMPLING: usize = 10;

/// Computes orthonormal columns that span most of the operator's range: `columns` random vectors after `passes`
/// applications, orthonormalised in between.
///
/// # Errors
/// [`crate::Error::NonFinite`], and those of the operator.
pub fn range_finder(
    operator: &dyn SymmetricOperator,
    columns: usize,
    passes: usize,
    random: &mut Random,
) -> Result<Mat<f64>> {
    let mut block = random.block(operator.dimension(), columns);
    for _ in 0..passes {
        block = apply_columns(operator, orthonormal(block.as_ref(), random).as_ref())?;
    }
    Ok(orthonormal(block.as_ref(), random))
}

/// Computes the leading eigenpairs within the range that `passes` (at least 1) applications find. Their residuals are
/// reported, and `converged` is `true` if they are below the tolerance.
///
/// # Errors
/// [`crate::Error::Argument`] for invalid settings, [`crate::Error::NonFinite`], and those of the operator.
pub fn randomized(operator: &dyn SymmetricOperator, passes: usize, settings: &Settings) -> Result<Spectrum> {
    let (dimension, count) = (operator.dimension(), settings.count);
    settings.check(dimension)?;
    let columns = settings.block.unwrap_or(count + OVERSAMPLING).clamp(count, dimension);
    let vectors = range_finder(operator, columns, passes, &mut Random::new(settings.seed))?;
    let image = apply_columns(operator, vectors.as_ref())?;
    let (values, turn) = rayleigh_ritz(&vectors, &image)?;
    let found = Found {
        values: values[..count].to_vec(),
        vectors: &vectors * turn.subcols(0, count),
        converged: true,
        iterations: passes + 1,
        applied_vectors: (passes + 1) * columns,
    };
    let mut spectrum = found.measured(operator, "randomised range finder", settings)?;
    spectrum.converged = spectrum.worst_residual() <= settings.tolerance;
    Ok(spectrum)
}
