//! The second moment of rows that are read in place, around their mean: in float32 as a matrix, and applied to vectors
//! in float64. Threads take blocks of rows, and the sums over blocks are in their order: the results do not depend on
//! the number of threads.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

use crate::data::Rows;
use crate::error::Result;

/// The rows of a block of products in float32.
const MOMENT_ROWS: usize = 2048;
/// The rows of a block of products in float64, and those that are converted at once.
const APPLIED_ROWS: usize = 4096;
const CONVERTED_ROWS: usize = 512;

/// The second moment of rows.
pub struct Moment {
    /// X'X / n, (p, p): products in float32, sums over blocks of rows in float64.
    pub matrix: Mat<f64>,
    /// Its trace, in float64.
    pub trace: f64,
}

/// Computes the second moment of the rows, with each difference from the mean rounded to float32 once.
///
/// # Errors
/// [`crate::Error::NonFinite`] for rows that are too far from their mean for float32.
pub fn moment<T: Copy + Into<f64> + Sync>(rows: &Rows<T>) -> Result<Moment> {
    let dimension = rows.dimension();
    let of_block = |block: &[T]| {
        let mut centred = vec![0.0f32; block.len()];
        let squares = rows.subtract(block, &mut centred);
        let chunk = MatRef::from_column_major_slice(&centred, dimension, block.len() / dimension);
        let mut product = Mat::<f32>::zeros(dimension, dimension);
        triangular::matmul(
            &mut product,
            BlockStructure::TriangularLower,
            Accum::Replace,
            chunk,
            BlockStructure::Rectangular,
            chunk.transpose(),
            BlockStructure::Rectangular,
            1.0,
            Par::Seq,
        );
        (product, squares)
    };
    let (mut sum, mut trace) = (Mat::<f64>::zeros(dimension, dimension), 0.0);
    let at_once = 2 * rayon::current_num_threads() * MOMENT_ROWS * dimension;
    for some in rows.values().chunks(at_once) {
        let products: Vec<_> = some.par_chunks(MOMENT_ROWS * dimension).map(of_block).collect();
        for (product, squares) in products {
            trace += squares;
            for j in 0..dimension {
                let values = &product.col_as_slice(j)[j..];
                sum.col_as_slice_mut(j)[j..].iter_mut().zip(values).for_each(|(sum, v)| *sum += f64::from(*v));
            }
        }
    }
    if !trace.is_finite() {
        return Err(rows.not_finite());
    }
    let share = (rows.count() as f64).recip();
    let matrix = Mat::from_fn(dimension, dimension, |i, j| share * sum[(i.max(j), i.min(j))]);
    Ok(Moment { matrix, trace: share * trace })
}

/// Computes X'(XV) / n for vectors V (p, b), in float64.
#[must_use]
pub fn applied<T: Copy + Into<f64> + Sync>(rows: &Rows<T>, vectors: MatRef<'_, f64>) -> Mat<f64> {
    let dimension = rows.dimension();
    let of_block = |block: &[T]| {
        let mut sum = Mat::<f64>::zeros(dimension, vectors.ncols());
        let mut wide = vec![0.0f64; CONVERTED_ROWS.min(block.len() / dimension) * dimension];
        for some in block.chunks(CONVERTED_ROWS * dimension) {
            for (to, from) in wide.chunks_exact_mut(dimension).zip(some.chunks_exact(dimension)) {
                to.iter_mut().zip(from).zip(rows.mean()).for_each(|((to, from), mean)| *to = (*from).into() - mean);
            }
            let count = some.len() / dimension;
            let chunk = MatRef::from_column_major_slice(&wide[..some.len()], dimension, count);
            let mut along = Mat::<f64>::zeros(count, vectors.ncols());
            matmul(&mut along, Accum::Replace, chunk.transpose(), vectors, 1.0, Par::Seq);
            matmul(&mut sum, Accum::Add, chunk, along.as_ref(), 1.0, Par::Seq);
        }
        sum
    };
    let sums: Vec<Mat<f64>> = rows.values().par_chunks(APPLIED_ROWS * dimension).map(of_block).collect();
    let zero = Mat::zeros(dimension, vectors.ncols());
    sums.into_iter().fold(zero, |all, sum| all + sum) * faer::Scale((rows.count() as f64).recip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Purpose;

    #[test]
    fn the_moment_and_its_products_are_those_of_the_definition() {
        for (count, dimension) in [(1, 3), (7, 5), (2 * MOMENT_ROWS + 3, 3), (APPLIED_ROWS + CONVERTED_ROWS + 1, 2)] {
            let values = Purpose::Images.normals(5, 0, 0, count * dimension);
            let wide: Vec<f64> = values.iter().map(|value| 3.0 + f64::from(*value)).collect();
            let rows = Rows::new(&wide, dimension).unwrap();
            let x = |i: usize, j: usize| wide[i * dimension + j] - rows.mean()[j];
            let share = (count as f64).recip();
            let expected =
                Mat::from_fn(dimension, dimension, |a, b| share * (0..count).map(|i| x(i, a) * x(i, b)).sum::<f64>());
            let found = moment(&rows).unwrap();
            assert!((&found.matrix - &expected).norm_max() < 1e-5);
            let trace: f64 = (0..dimension).map(|at| expected[(at, at)]).sum();
            assert!((found.trace - trace).abs() < 1e-6);
            let vectors = Mat::from_fn(dimension, 2, |i, j| 1.0 + i as f64 - 2.0 * j as f64);
            assert!((applied(&rows, vectors.as_ref()) - &expected * &vectors).norm_max() < 1e-12);
            let single = Rows::around(&values, rows.mean().iter().map(|mean| mean - 3.0).collect());
            assert!((moment(&single).unwrap().matrix - &expected).norm_max() < 1e-5);
        }
        let far = [0.0f64, 1e300];
        assert_eq!(
            moment(&Rows::new(&far, 1).unwrap()).err().map(|error| error.kind()),
            Some(crate::ErrorKind::NonFinite)
        );
    }
}
