//! What a solver is asked, and what it answers.

use faer::{Mat, MatRef};
use serde::Serialize;

use super::operator::{SymmetricOperator, apply_columns, rows_of};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// What is asked of a solver.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Leading eigenpairs sought, by eigenvalue, largest first.
    pub count: usize,
    /// Residual at which an eigenpair counts as found, relative to the largest eigenvalue.
    pub tolerance: f64,
    /// Vectors of a block; `None` lets the solver choose.
    pub block: Option<usize>,
    /// Applications of the operator to a block after which a solver gives up.
    pub most_applications: usize,
    /// Of the vectors that a solver begins with.
    pub seed: u64,
}

impl Settings {
    /// `count` eigenpairs to a residual of 1e-5, in blocks as the solver chooses, seed 0.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { count, tolerance: 1e-5, block: None, most_applications: 1000, seed: 0 }
    }

    /// Refuses what cannot be asked of an operator on `dimension` entries.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self, dimension: usize) -> Result<()> {
        let refuse = |what: String, hint: String| Err(Error::argument(what, hint));
        if self.count == 0 || self.count > dimension {
            let what = format!("{} eigenpairs are asked of an operator in {dimension} dimensions", self.count);
            return refuse(what, format!("ask for 1 to {dimension}"));
        }
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            let what = format!("a tolerance of {} cannot be met", self.tolerance);
            return refuse(what, "give a number above 0, such as 1e-5".into());
        }
        if self.block == Some(0) || self.most_applications == 0 {
            let what = "a solver needs a block of at least one vector and at least one application".to_owned();
            return refuse(what, "raise them".into());
        }
        Ok(())
    }
}

/// Leading eigenpairs, with what it took to find them.
#[derive(Clone, Debug, Serialize)]
pub struct Spectrum {
    /// Eigenvalues, largest first.
    pub values: Vec<f64>,
    /// Orthonormal eigenvectors, one a row: (count, p).
    #[serde(skip)]
    pub vectors: Tensor,
    /// |A v - lambda v| of each, over the largest |lambda|, by an application after the last step.
    pub residuals: Vec<f64>,
    /// True when every residual that the solver watches came under the tolerance.
    pub converged: bool,
    /// Steps of the solver's loop.
    pub iterations: usize,
    /// Vectors that the operator was applied to, those of the final residuals included.
    pub applied_vectors: usize,
    /// The solver.
    pub solver: &'static str,
    /// What was asked.
    pub settings: Settings,
}

impl Spectrum {
    /// The largest residual.
    #[must_use]
    pub fn worst_residual(&self) -> f64 {
        self.residuals.iter().copied().fold(0.0, f64::max)
    }
}

/// What a solver found, before its residuals are measured.
pub(super) struct Found {
    pub values: Vec<f64>,
    /// Eigenvectors, one a column.
    pub vectors: Mat<f64>,
    pub converged: bool,
    pub iterations: usize,
    pub applied_vectors: usize,
}

impl Found {
    /// The answer, with the residuals measured by one more application.
    pub fn measured(
        self,
        operator: &dyn SymmetricOperator,
        solver: &'static str,
        settings: &Settings,
    ) -> Result<Spectrum> {
        let residuals = residuals(operator, &self.values, self.vectors.as_ref())?;
        Ok(Spectrum {
            vectors: rows_of(self.vectors.as_ref()),
            residuals,
            converged: self.converged,
            iterations: self.iterations,
            applied_vectors: self.applied_vectors + self.values.len(),
            values: self.values,
            solver,
            settings: *settings,
        })
    }
}

/// |A v - lambda v| of each pair over the largest |lambda|; absolute where every eigenvalue is zero.
///
/// # Errors
/// Those of the operator.
pub fn residuals(operator: &dyn SymmetricOperator, values: &[f64], vectors: MatRef<'_, f64>) -> Result<Vec<f64>> {
    let applied = apply_columns(operator, vectors)?;
    let scale = scale_of(values);
    let pairs = values.iter().zip(applied.col_iter().zip(vectors.col_iter()));
    Ok(pairs
        .map(|(value, (image, vector))| {
            let squares = image.iter().zip(vector.iter()).map(|(image, entry)| (image - value * entry).powi(2));
            squares.sum::<f64>().sqrt() / scale
        })
        .collect())
}

/// The largest |lambda|, or one where all are zero: what residuals are relative to.
pub(super) fn scale_of(values: &[f64]) -> f64 {
    match values.iter().fold(0.0f64, |most, value| most.max(value.abs())) {
        0.0 => 1.0,
        scale => scale,
    }
}
