//! Power iteration, one eigenpair at a time: those found are deflated (Hotelling 1933).

use faer::Mat;

use super::basis::{Random, inner, join, project_out, split};
use super::operator::{SymmetricOperator, apply_columns};
use super::spectrum::{Found, Settings, Spectrum};
use crate::error::Result;

/// Computes the eigenpairs of largest modulus, which are the leading ones of a positive operator.
///
/// The error of a pair shrinks per step by the ratio of the next eigenvalue to its own. Of two equal eigenvalues, some
/// vector of their plane comes first. `most_applications` applies to each pair; `block` is ignored.
///
/// # Errors
/// [`crate::Error::Argument`] for invalid settings, [`crate::Error::NonFinite`], and those of the operator.
pub fn power_iteration(operator: &dyn SymmetricOperator, settings: &Settings) -> Result<Spectrum> {
    let dimension = operator.dimension();
    settings.check(dimension)?;
    let mut random = Random::new(settings.seed);
    let mut found =
        Found { values: vec![], vectors: Mat::zeros(dimension, 0), converged: true, iterations: 0, applied_vectors: 0 };
    let mut scale = 0.0f64;
    for _ in 0..settings.count {
        let mut vector = random.orthogonal_to(&[found.vectors.as_ref()], 1);
        for step in 1.. {
            let mut image = apply_columns(operator, vector.as_ref())?;
            found.iterations += 1;
            // Deflation: the operator without its action along the vectors already found.
            project_out(found.vectors.as_ref(), &mut image);
            let value = inner(vector.as_ref(), image.as_ref())[(0, 0)];
            scale = scale.max(value.abs());
            let residual = (&image - &vector * faer::Scale(value)).norm_l2();
            let converged = residual <= settings.tolerance * settings.scale(value, scale, operator.rounding());
            if converged || step == settings.most_applications {
                found.converged &= converged;
                found.values.push(value);
                found.vectors = join(found.vectors.as_ref(), vector.as_ref());
                break;
            }
            let (next, _) = split(image.as_ref(), 0.0);
            vector = if next.ncols() == 1 { next } else { random.orthogonal_to(&[found.vectors.as_ref()], 1) };
        }
    }
    found.applied_vectors = found.iterations;
    sort(&mut found);
    found.measured(operator, "power iteration", settings)
}

/// Sorts the pairs, largest first. Of two close eigenvalues, the smaller may have converged first.
fn sort(found: &mut Found) {
    let mut order: Vec<usize> = (0..found.values.len()).collect();
    order.sort_by(|a, b| found.values[*b].total_cmp(&found.values[*a]));
    found.vectors = Mat::from_fn(found.vectors.nrows(), order.len(), |i, j| found.vectors[(i, order[j])]);
    found.values = order.iter().map(|at| found.values[*at]).collect();
}
