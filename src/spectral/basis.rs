//! Tall matrices with orthonormal columns, and the small eigenproblems on them, in float64 by faer.

use faer::linalg::matmul::matmul;
use faer::{Accum, Col, Mat, MatRef, Side, get_global_parallelism};

use super::operator::check_finite;
use crate::error::{Error, Result};
use crate::noise::Purpose;

/// The relative length of a projected vector below which only rounding is left.
const NOTHING_LEFT: f64 = 1e-10;

/// Computes the eigenvalues of a symmetric matrix, largest first, and its eigenvectors as columns in that order. Only
/// the lower triangle is read.
///
/// # Errors
/// [`Error::NonFinite`] if an entry is NaN or infinite, or if the iteration does not converge.
pub fn eigen(matrix: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    check_finite(matrix, "a projected operator")?;
    let solved = matrix.self_adjoint_eigen(Side::Lower).map_err(|error| Error::NonFinite {
        place: format!("a symmetric eigenproblem of {} rows ({error:?})", matrix.nrows()),
        hint: "scale the data so that their squares stay far from the limits of float64".into(),
    })?;
    let count = matrix.nrows();
    let (values, vectors) = (solved.S(), solved.U());
    let descending = (0..count).rev().map(|at| values[at]).collect();
    Ok((descending, vectors.reverse_cols().to_owned()))
}

/// left' * right
#[must_use]
pub fn inner(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(left.ncols(), right.ncols());
    matmul(&mut product, Accum::Replace, left.transpose(), right, 1.0, get_global_parallelism());
    product
}

/// Removes from `block` its components along the orthonormal columns of `basis`, in two passes. Returns the removed
/// coefficients, (columns of basis, columns of block).
pub fn project_out(basis: MatRef<'_, f64>, block: &mut Mat<f64>) -> Mat<f64> {
    let mut taken = Mat::zeros(basis.ncols(), block.ncols());
    // Twice is enough (Kahan, Parlett): a single pass leaves cancellation errors behind.
    for _ in 0..2 {
        let along = inner(basis, block.as_ref());
        matmul(block.as_mut(), Accum::Add, basis, along.as_ref(), -1.0, get_global_parallelism());
        taken += along;
    }
    taken
}

/// Splits `block`, already orthogonal to the basis it extends, into orthonormal columns and a matrix R with block =
/// columns * R. Directions shorter than `negligible` are omitted.
#[must_use]
pub fn split(block: MatRef<'_, f64>, negligible: f64) -> (Mat<f64>, Mat<f64>) {
    let (rows, count) = (block.nrows(), block.ncols());
    let mut columns = Mat::<f64>::zeros(rows, count);
    let mut factors = Mat::<f64>::zeros(count, count);
    let mut found = 0;
    for j in 0..count {
        let mut vector = block.col(j).to_owned();
        let taken = take_off(columns.subcols(0, found), &mut vector);
        for (i, value) in taken.iter().enumerate() {
            factors[(i, j)] = *value;
        }
        let norm = vector.norm_l2();
        if found < rows && norm > negligible && norm > NOTHING_LEFT * block.col(j).norm_l2() {
            factors[(found, j)] = norm;
            columns.col_mut(found).copy_from(vector * faer::Scale(norm.recip()));
            found += 1;
        }
    }
    (columns.subcols(0, found).to_owned(), factors.subrows(0, found).to_owned())
}

/// Removes from one vector its components along the columns of `basis`, in two passes, and returns them.
fn take_off(basis: MatRef<'_, f64>, vector: &mut Col<f64>) -> Col<f64> {
    let mut taken = Col::zeros(basis.ncols());
    for _ in 0..2 {
        let along = basis.transpose() * &*vector;
        *vector -= basis * &along;
        taken += along;
    }
    taken
}

/// Returns the orthonormal columns of a block. Columns without an independent direction are replaced by random ones.
#[must_use]
pub fn orthonormal(block: MatRef<'_, f64>, random: &mut Random) -> Mat<f64> {
    let (columns, _) = split(block, 0.0);
    let missing = block.ncols() - columns.ncols();
    let none = Mat::zeros(block.nrows(), 0);
    join(columns.as_ref(), random.orthogonal_to(&[none.as_ref(), columns.as_ref()], missing).as_ref())
}

/// Places two matrices side by side.
#[must_use]
pub fn join(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut joined = Mat::zeros(left.nrows(), left.ncols() + right.ncols());
    joined.subcols_mut(0, left.ncols()).copy_from(left);
    joined.subcols_mut(left.ncols(), right.ncols()).copy_from(right);
    joined
}

/// Random vectors of one seed, each drawn once.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    /// Starts the vectors of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// Draws a block of standard normals, (rows, count).
    #[must_use]
    pub fn block(&mut self, rows: usize, count: usize) -> Mat<f64> {
        let first = self.drawn;
        self.drawn += count as u64;
        let drawn = |index| Purpose::SolverVectors.normals(self.seed, index, 0, rows);
        let vectors: Vec<Vec<f32>> = (first..self.drawn).map(drawn).collect();
        Mat::from_fn(rows, count, |i, j| f64::from(vectors[j][i]))
    }

    /// Draws `count` orthonormal columns orthogonal to every basis in `bases`, or fewer if the space has no room for
    /// more.
    #[must_use]
    pub fn orthogonal_to(&mut self, bases: &[MatRef<'_, f64>], count: usize) -> Mat<f64> {
        let rows = bases.first().map_or(0, MatRef::nrows);
        let taken: usize = bases.iter().map(MatRef::ncols).sum();
        let count = count.min(rows.saturating_sub(taken));
        let mut found = Mat::zeros(rows, 0);
        while found.ncols() < count {
            let mut block = self.block(rows, count - found.ncols());
            for basis in bases.iter().copied().chain([found.as_ref()]) {
                project_out(basis, &mut block);
            }
            // When few dimensions are left, the rest of a random vector is short and needs its passes again.
            let (mut columns, _) = split(block.as_ref(), 0.0);
            for basis in bases.iter().copied().chain([found.as_ref()]) {
                project_out(basis, &mut columns);
            }
            let (columns, _) = split(columns.as_ref(), 0.5);
            found = join(found.as_ref(), columns.as_ref());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity_error(columns: MatRef<'_, f64>) -> f64 {
        (inner(columns, columns) - Mat::<f64>::identity(columns.ncols(), columns.ncols())).norm_max()
    }

    #[test]
    fn eigenpairs_come_largest_first() {
        let matrix = Mat::from_fn(3, 3, |i, j| if i == j { [1.0, 5.0, 3.0][i] } else { 0.0 });
        let (values, vectors) = eigen(matrix.as_ref()).unwrap();
        assert!(values.iter().zip([5.0, 3.0, 1.0]).all(|(value, expected)| (value - expected).abs() < 1e-14));
        assert!((vectors[(1, 0)].abs() - 1.0).abs() < 1e-14);
        let broken = Mat::from_fn(2, 2, |_, _| f64::NAN);
        assert_eq!(eigen(broken.as_ref()).unwrap_err().kind(), crate::ErrorKind::NonFinite);
    }

    #[test]
    fn a_block_without_full_rank_is_split_into_what_it_spans() {
        let mut random = Random::new(1);
        let two = random.block(30, 2);
        let block = join(two.as_ref(), (&two * random.block(2, 3)).as_ref());
        let (columns, factors) = split(block.as_ref(), 1e-9);
        assert_eq!((columns.ncols(), factors.nrows(), factors.ncols()), (2, 2, 5));
        assert!(identity_error(columns.as_ref()) < 1e-14);
        assert!((&columns * &factors - &block).norm_max() < 1e-12);
        assert!(identity_error(orthonormal(block.as_ref(), &mut random).as_ref()) < 1e-13);
    }

    #[test]
    fn random_vectors_are_not_the_start_states_of_a_run_of_the_same_seed() {
        let (rows, count, seed) = (400, 8, 3);
        let mut random = Random::new(seed);
        let vectors = random.orthogonal_to(&[Mat::zeros(rows, 0).as_ref()], count);
        for image in 0..count as u64 {
            for step in [0, 1, 2] {
                let noise = Purpose::Images.normals(seed, image, step, rows);
                let length = noise.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
                for vector in vectors.col_iter() {
                    let along = vector.iter().zip(&noise).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
                    assert!((along / length).abs() < 0.25, "image {image}, step {step}: {}", along / length);
                }
            }
        }
    }

    #[test]
    fn random_columns_fill_a_space_to_its_end() {
        let mut random = Random::new(2);
        let basis = orthonormal(random.block(20, 17).as_ref(), &mut random.clone());
        let more = random.orthogonal_to(&[basis.as_ref()], 8);
        assert_eq!(more.ncols(), 3);
        assert!(identity_error(join(basis.as_ref(), more.as_ref()).as_ref()) < 1e-13);
    }
}
