//! The second moment X'X / n of data on the host: as an operator in float64, the twin of the device's, and as a matrix.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatRef, get_global_parallelism};

use super::operator::{FLOAT32_ROUNDING, FLOAT64_ROUNDING, SymmetricOperator, columns_of, rows_of};
use super::rows;
use crate::data::Rows;
use crate::error::Result;
use crate::tensor::Tensor;

/// The number of samples taken at once. Their float32 sums stay within about 1e-6 of the truth, and their float64 copy
/// stays small.
const SAMPLES: usize = 4096;

/// X'X / n for samples X (n, p), computed in float64 on the host.
pub struct HostCovariance<'a> {
    samples: &'a Tensor,
    is_precise: bool,
}

impl<'a> HostCovariance<'a> {
    /// Wraps `samples`, (n, p).
    #[must_use]
    pub fn new(samples: &'a Tensor) -> Self {
        Self { samples, is_precise: false }
    }

    /// The same operator on vectors in float64.
    #[must_use]
    pub fn precise(self) -> Self {
        Self { is_precise: true, ..self }
    }

    fn applied(&self, vectors: MatRef<'_, f64>) -> Mat<f64> {
        let zero = vec![0.0; self.samples.shape[1]];
        rows::applied(&Rows::around(&self.samples.data, zero), vectors)
    }

    /// Iterates over the samples in float64, some rows at a time.
    fn chunks(&self) -> impl Iterator<Item = Mat<f64>> {
        let dimension = self.samples.shape[1];
        self.samples.data.chunks(SAMPLES * dimension).map(move |values| {
            let rows = values.len() / dimension;
            Mat::from_fn(dimension, rows, |i, j| f64::from(values[j * dimension + i])).transpose().to_owned()
        })
    }

    /// Computes X' U for U (n, b), in float64: (p, b).
    #[must_use]
    pub fn combine_samples(&self, weights: MatRef<'_, f64>) -> Mat<f64> {
        let mut sum = Mat::zeros(self.samples.shape[1], weights.ncols());
        let mut first = 0;
        for chunk in self.chunks() {
            let some = weights.subrows(first, chunk.nrows());
            matmul(&mut sum, Accum::Add, chunk.transpose(), some, 1.0, get_global_parallelism());
            first += chunk.nrows();
        }
        sum
    }
}

impl SymmetricOperator for HostCovariance<'_> {
    fn dimension(&self) -> usize {
        self.samples.shape[1]
    }

    fn apply(&self, vectors: &Tensor) -> Result<Tensor> {
        Ok(rows_of(self.applied(columns_of(vectors).as_ref()).as_ref()))
    }

    fn apply_columns(&self, vectors: MatRef<'_, f64>) -> Result<Mat<f64>> {
        if self.is_precise { Ok(self.applied(vectors)) } else { Ok(columns_of(&self.apply(&rows_of(vectors))?)) }
    }

    fn rounding(&self) -> f64 {
        if self.is_precise { FLOAT64_ROUNDING } else { FLOAT32_ROUNDING }
    }
}

/// Computes X'X / n, (p, p): products in float32, sums over many samples in float64. Only one triangle is computed.
#[must_use]
pub fn second_moment(samples: &Tensor) -> Mat<f64> {
    let (count, dimension) = (samples.shape[0], samples.shape[1]);
    // The rows of X, viewed as columns.
    let columns = MatRef::from_column_major_slice(&samples.data, dimension, count);
    times_own_transpose(columns, (count as f64).recip())
}

/// Computes XX' / n, (n, n). It has the nonzero eigenvalues of X'X / n, and is smaller when there are fewer samples
/// than values.
#[must_use]
pub fn gram(samples: &Tensor) -> Mat<f64> {
    let (count, dimension) = (samples.shape[0], samples.shape[1]);
    times_own_transpose(MatRef::from_row_major_slice(&samples.data, count, dimension), (count as f64).recip())
}

/// As [`second_moment`], with products in float64 too, at about half the speed: for small eigenvalues beside large
/// ones.
#[must_use]
pub fn precise_second_moment(samples: &Tensor) -> Mat<f64> {
    let (count, dimension) = (samples.shape[0], samples.shape[1]);
    let columns = MatRef::from_column_major_slice(&samples.data, dimension, count);
    precisely_times_own_transpose(columns, (count as f64).recip())
}

/// As [`gram`], with products in float64 too.
#[must_use]
pub fn precise_gram(samples: &Tensor) -> Mat<f64> {
    let (count, dimension) = (samples.shape[0], samples.shape[1]);
    let rows = MatRef::from_row_major_slice(&samples.data, count, dimension);
    precisely_times_own_transpose(rows, (count as f64).recip())
}

fn precisely_times_own_transpose(matrix: MatRef<'_, f32>, scale: f64) -> Mat<f64> {
    let (rows, columns) = (matrix.nrows(), matrix.ncols());
    let mut sum = Mat::<f64>::zeros(rows, rows);
    for first in (0..columns).step_by(SAMPLES) {
        let some = matrix.subcols(first, SAMPLES.min(columns - first));
        let chunk = Mat::from_fn(rows, some.ncols(), |i, j| f64::from(some[(i, j)]));
        triangular::matmul(
            &mut sum,
            BlockStructure::TriangularLower,
            Accum::Add,
            &chunk,
            BlockStructure::Rectangular,
            chunk.transpose(),
            BlockStructure::Rectangular,
            scale,
            get_global_parallelism(),
        );
    }
    Mat::from_fn(rows, rows, |i, j| sum[(i.max(j), i.min(j))])
}

fn times_own_transpose(matrix: MatRef<'_, f32>, scale: f64) -> Mat<f64> {
    let (rows, columns) = (matrix.nrows(), matrix.ncols());
    let mut sum = Mat::<f64>::zeros(rows, rows);
    let mut product = Mat::<f32>::zeros(rows, rows);
    for first in (0..columns).step_by(SAMPLES) {
        let chunk = matrix.subcols(first, SAMPLES.min(columns - first));
        triangular::matmul(
            &mut product,
            BlockStructure::TriangularLower,
            Accum::Replace,
            chunk,
            BlockStructure::Rectangular,
            chunk.transpose(),
            BlockStructure::Rectangular,
            1.0,
            get_global_parallelism(),
        );
        for j in 0..rows {
            let some = &product.col_as_slice(j)[j..];
            for (sum, value) in sum.col_as_slice_mut(j)[j..].iter_mut().zip(some) {
                *sum += f64::from(*value);
            }
        }
    }
    Mat::from_fn(rows, rows, |i, j| scale * sum[(i.max(j), i.min(j))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Purpose;

    #[test]
    fn operator_matrix_and_gram_are_of_one_moment() {
        let (count, dimension) = (37, 11);
        let samples = Tensor::new([count, dimension], Purpose::Images.normals(1, 0, 0, count * dimension));
        let x = |i: usize, j: usize| f64::from(samples.data[i * dimension + j]);
        let moment = second_moment(&samples);
        let expected = |i: usize, j: usize| (0..count).map(|k| x(k, i) * x(k, j)).sum::<f64>() / count as f64;
        let gram = gram(&samples);
        for i in 0..dimension {
            for j in 0..dimension {
                assert!((moment[(i, j)] - expected(i, j)).abs() < 1e-6);
            }
        }
        let inner = (0..dimension).map(|j| x(3, j) * x(20, j)).sum::<f64>() / count as f64;
        let precise = precise_second_moment(&samples);
        assert!((precise[(2, 7)] - expected(2, 7)).abs() < 1e-15 && precise[(2, 7)] == precise[(7, 2)]);
        assert!((precise_gram(&samples)[(20, 3)] - inner).abs() < 1e-15);
        assert!((gram[(3, 20)] - inner).abs() < 1e-6 && gram[(3, 20)] == gram[(20, 3)]);
        let units = rows_of(Mat::identity(dimension, dimension).as_ref());
        let columns = HostCovariance::new(&samples).apply(&units).unwrap();
        for (at, value) in columns.data.iter().enumerate() {
            assert!((f64::from(*value) - expected(at / dimension, at % dimension)).abs() < 1e-6);
        }
    }
}
