//! The interface of a solver to its matrix: the action on a block of vectors.

use faer::{Mat, MatRef};

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A symmetric linear map of R^p, given by its action on a block of vectors.
pub trait SymmetricOperator {
    /// The length of a vector, p.
    fn dimension(&self) -> usize;

    /// Applies the operator to each row of `vectors`, (b, p). The result has the same shape.
    ///
    /// # Errors
    /// Those of the device or data behind the operator.
    fn apply(&self, vectors: &Tensor) -> Result<Tensor>;

    /// Applies the operator to the columns of `vectors`, (p, b). An operator that computes in float64 does not round
    /// them to float32.
    ///
    /// # Errors
    /// As [`SymmetricOperator::apply`].
    fn apply_columns(&self, vectors: MatRef<'_, f64>) -> Result<Mat<f64>> {
        Ok(columns_of(&self.apply(&rows_of(vectors))?))
    }

    /// The rounding of the result, relative to the largest eigenvalue.
    fn rounding(&self) -> f64 {
        FLOAT32_ROUNDING
    }
}

/// The rounding of products in float32, and of those in float64, relative to the largest eigenvalue.
pub(super) const FLOAT32_ROUNDING: f64 = 1e-6;
pub(super) const FLOAT64_ROUNDING: f64 = 1e-14;

/// Applies `operator` to the columns of `vectors` (p, b), float64 on this side.
///
/// # Errors
/// Those of the operator; [`Error::NonFinite`] if its result holds NaN or infinity.
pub fn apply_columns(operator: &dyn SymmetricOperator, vectors: MatRef<'_, f64>) -> Result<Mat<f64>> {
    let images = operator.apply_columns(vectors)?;
    if images.col_iter().all(|column| column.iter().all(|value| value.is_finite())) {
        return Ok(images);
    }
    Err(Error::NonFinite {
        place: "the product of the operator and a block of vectors".into(),
        hint: "its entries are too large for float32, or not finite; scale the data down".into(),
    })
}

/// Returns the columns of a matrix as the rows of a float32 tensor.
#[must_use]
pub fn rows_of(columns: MatRef<'_, f64>) -> Tensor {
    let mut values = Vec::with_capacity(columns.nrows() * columns.ncols());
    for column in columns.col_iter() {
        values.extend(column.iter().map(|value| *value as f32));
    }
    Tensor::new([columns.ncols(), columns.nrows()], values)
}

/// Returns the rows of a tensor (b, p) as the columns of a float64 matrix.
#[must_use]
pub fn columns_of(rows: &Tensor) -> Mat<f64> {
    let dimension = rows.shape[1];
    Mat::from_fn(dimension, rows.shape[0], |i, j| f64::from(rows.data[j * dimension + i]))
}

/// A symmetric matrix on the host.
pub struct Dense {
    matrix: Mat<f64>,
    is_precise: bool,
}

impl Dense {
    /// Creates an operator from a square matrix whose upper triangle mirrors the lower.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if an entry is NaN or infinite.
    ///
    /// # Panics
    /// Panics if the matrix is not square.
    pub fn new(matrix: Mat<f64>) -> Result<Self> {
        assert_eq!(matrix.nrows(), matrix.ncols(), "a symmetric operator is square");
        check_finite(matrix.as_ref(), "the matrix")?;
        Ok(Self { matrix, is_precise: false })
    }

    /// The same operator on vectors in float64, for a matrix that is known to that precision.
    #[must_use]
    pub fn precise(self) -> Self {
        Self { is_precise: true, ..self }
    }

    /// Returns `true` if the matrix is known to float64, and so are its products.
    #[must_use]
    pub fn is_precise(&self) -> bool {
        self.is_precise
    }

    /// The matrix.
    #[must_use]
    pub fn matrix(&self) -> MatRef<'_, f64> {
        self.matrix.as_ref()
    }
}

impl SymmetricOperator for Dense {
    fn dimension(&self) -> usize {
        self.matrix.nrows()
    }

    fn apply(&self, vectors: &Tensor) -> Result<Tensor> {
        Ok(rows_of((&self.matrix * columns_of(vectors)).as_ref()))
    }

    fn apply_columns(&self, vectors: MatRef<'_, f64>) -> Result<Mat<f64>> {
        if self.is_precise { Ok(&self.matrix * vectors) } else { Ok(columns_of(&self.apply(&rows_of(vectors))?)) }
    }

    fn rounding(&self) -> f64 {
        if self.is_precise { FLOAT64_ROUNDING } else { FLOAT32_ROUNDING }
    }
}

/// Checks that no entry is NaN or infinite. The error names `place`.
///
/// # Errors
/// [`Error::NonFinite`].
pub fn check_finite(matrix: MatRef<'_, f64>, place: &str) -> Result<()> {
    let finite = matrix.col_iter().all(|column| column.iter().all(|value| value.is_finite()));
    if finite {
        return Ok(());
    }
    let hint = "remove NaN and infinity from the data; they have no spectrum".into();
    Err(Error::NonFinite { place: place.to_owned(), hint })
}
