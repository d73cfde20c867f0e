//! Block subspace iteration: the power method on a block, with a Rayleigh-Ritz step (Stewart 1969).

use faer::Mat;

use super::basis::{Random, eigen, inner, orthonormal};
use super::operator::{SymmetricOperator, apply_columns};
use super::spectrum::{Found, Settings, Spectrum, scale_of};
use crate::error::Result;

/// The number of vectors iterated beyond those sought, so that the last of these converge too.
const SPARE: usize = 8;

/// Computes the eigenpairs of largest modulus, which are the leading ones of a positive operator.
///
/// The error of a pair shrinks per step by the ratio of the first eigenvalue outside the block to its own. The default
/// block holds eight vectors more than are sought.
///
/// # Errors
/// [`crate::Error::Argument`] for invalid settings, [`crate::Error::NonFinite`], and those of the operator.
pub fn subspace_iteration(operator: &dyn SymmetricOperator, settings: &Settings) -> Result<Spectrum> {
    let (dimension, count) = (operator.dimension(), settings.count);
    settings.check(dimension)?;
    let block = settings.block.unwrap_or(count + SPARE).clamp(count, dimension);
    let mut random = Random::new(settings.seed);
    let start = random.block(dimension, block);
    let mut vectors = orthonormal(start.as_ref(), &mut random);
    let mut iterations = 0;
    loop {
        iterations += 1;
        let image = apply_columns(operator, vectors.as_ref())?;
        let (values, turn) = rayleigh_ritz(&vectors, &image)?;
        let (ritz, image) = (&vectors * &turn, &image * &turn);
        let scale = scale_of(&values);
        let converged = (0..count).all(|j| {
            let apart = image.col(j) - ritz.col(j) * faer::Scale(values[j]);
            apart.norm_l2() <= settings.tolerance * settings.scale(values[j], scale, operator.rounding())
        });
        if converged || iterations == settings.most_applications {
            let found = Found {
                values: values[..count].to_vec(),
                vectors: ritz.subcols(0, count).to_owned(),
                converged,
                iterations,
                applied_vectors: iterations * block,
            };
            return found.measured(operator, "subspace iteration", settings);
        }
        vectors = orthonormal(image.as_ref(), &mut random);
    }
}

/// Computes the eigenpairs of vectors' * image: the operator within the span of orthonormal vectors.
pub(super) fn rayleigh_ritz(vectors: &Mat<f64>, image: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let projected = inner(vectors.as_ref(), image.as_ref());
    let symmetric =
        Mat::from_fn(projected.nrows(), projected.ncols(), |i, j| 0.5 * (projected[(i, j)] + projected[(j, i)]));
    eigen(symmetric.as_ref())
}
