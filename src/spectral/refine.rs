//! Eigenpairs of a matrix in float32, brought to float64 by one application of the operator that it stands for.
//!
//! The matrix B has all its eigenpairs (d, U); of the operator A = B + E, products with the leading k of U are known in
//! float64. Within these k, U' A U is diagonalised as it is, to the eigenvalues t. Towards the others, first-order
//! perturbation suffices: vector i gains `(U' A U)_ji / (t_i - d_j)` of each vector j. What remains is E times these
//! corrections, of second order in E, and is part of the residuals.

use faer::{Mat, MatRef};

use super::basis::{eigen, inner};
use crate::error::Result;

/// Corrections of this length and more are not small.
const SMALL: f64 = 1e-2;

/// Refined eigenpairs.
pub struct Refined {
    /// Eigenvalues, largest first.
    pub values: Vec<f64>,
    /// Orthonormal eigenvectors as columns, (p, k).
    pub vectors: Mat<f64>,
    /// A bound of |A v - lambda v| of each.
    pub residuals: Vec<f64>,
}

/// Refines the leading eigenpairs of B with `values` d, largest first, and `vectors` U, (p, p), by the products
/// `applied` of A with the leading k of U, (p, k). `None` where a correction would not be small.
///
/// # Errors
/// Those of [`eigen`].
pub fn refined(values: &[f64], vectors: MatRef<'_, f64>, applied: MatRef<'_, f64>) -> Result<Option<Refined>> {
    let (dimension, count) = (applied.nrows(), applied.ncols());
    let (leading, others) = (vectors.subcols(0, count), vectors.subcols(count, dimension - count));
    let within = inner(leading, applied);
    let symmetric = Mat::from_fn(count, count, |i, j| 0.5 * (within[(i, j)] + within[(j, i)]));
    let (thetas, turn) = eigen(symmetric.as_ref())?;
    let towards = inner(others, applied) * &turn;
    let mut corrections = Mat::<f64>::zeros(dimension - count, count);
    for i in 0..count {
        for j in 0..dimension - count {
            let gap = thetas[i] - values[count + j];
            if towards[(j, i)] != 0.0 {
                corrections[(j, i)] = towards[(j, i)] / gap;
            }
        }
    }
    // How far A is from B, as far as it has been applied.
    let difference = |i: usize| {
        let square = |j: usize| {
            let expected = if i == j { values[i] } else { 0.0 };
            (within[(j, i)] - expected).powi(2)
        };
        (0..count).map(square).sum::<f64>().sqrt().max(towards.col(i).norm_l2())
    };
    let error = (0..count).map(difference).fold(0.0, f64::max);
    let most = (0..count).map(|i| corrections.col(i).norm_l2()).fold(0.0, f64::max);
    if !most.is_finite() || most > SMALL {
        return Ok(None);
    }
    // W = U_k Q + U_rest C is orthonormal but for C'C, half of which is taken off; the rest is of fourth order.
    let square = inner(corrections.as_ref(), corrections.as_ref());
    let factor = Mat::from_fn(count, count, |i, j| f64::from(u8::from(i == j)) - 0.5 * square[(i, j)]);
    let scaled = Mat::from_fn(dimension - count, count, |j, i| values[count + j] * corrections[(j, i)]);
    let vectors = (leading * &turn + others * &corrections) * &factor;
    let images = (applied * &turn + others * scaled) * &factor;
    // The second order of the eigenvalues follows from the first of the vectors.
    let lambdas: Vec<f64> = (0..count).map(|i| thetas[i] + towards.col(i).transpose() * corrections.col(i)).collect();
    let residual = |i: usize| {
        let off = images.col(i) - vectors.col(i) * faer::Scale(lambdas[i]);
        off.norm_l2() + error * corrections.col(i).norm_l2()
    };
    let residuals = (0..count).map(residual).collect();
    Ok(Some(Refined { values: lambdas, vectors, residuals }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectral::basis::Random;

    /// A symmetric matrix with eigenvalues that fall by `rate`, and a small symmetric change of it.
    fn pair(dimension: usize, rate: f64, size: f64) -> (Mat<f64>, Mat<f64>) {
        let mut random = Random::new(3);
        let basis = random.orthogonal_to(&[Mat::zeros(dimension, 0).as_ref()], dimension);
        let scaled = Mat::from_fn(dimension, dimension, |i, j| basis[(i, j)] * rate.powi(j as i32));
        let change = random.block(dimension, dimension);
        let near = &scaled * basis.transpose();
        let near = (&near + near.transpose()) * faer::Scale(0.5);
        let exact = &near + (&change + change.transpose()) * faer::Scale(size);
        (near, exact)
    }

    #[test]
    fn one_application_brings_eigenpairs_to_the_square_of_their_error() {
        for (dimension, count) in [(40, 6), (25, 1), (12, 11), (9, 9)] {
            let (near, exact) = pair(dimension, 0.7, 1e-8);
            let (values, vectors) = eigen(near.as_ref()).unwrap();
            let applied = &exact * vectors.subcols(0, count);
            let found = refined(&values, vectors.as_ref(), applied.as_ref()).unwrap().unwrap();
            let (expected, _) = eigen(exact.as_ref()).unwrap();
            for (i, expected) in expected.iter().enumerate().take(count) {
                assert!((found.values[i] - expected).abs() < 1e-13, "{dimension}, {count}, {i}");
                let v = found.vectors.col(i);
                let residual = (&exact * v - v * faer::Scale(found.values[i])).norm_l2();
                assert!(residual < found.residuals[i] + 1e-15 && found.residuals[i] < 1e-12, "{residual:e}");
            }
            let identity = inner(found.vectors.as_ref(), found.vectors.as_ref());
            assert!((identity - Mat::<f64>::identity(count, count)).norm_max() < 1e-13);
        }
    }

    #[test]
    fn close_eigenvalues_at_the_end_are_not_refined_by_a_large_correction() {
        let (near, exact) = pair(10, 1.0, 1e-3);
        let (values, vectors) = eigen(near.as_ref()).unwrap();
        let applied = &exact * vectors.subcols(0, 4);
        assert!(refined(&values, vectors.as_ref(), applied.as_ref()).unwrap().is_none());
    }
}
