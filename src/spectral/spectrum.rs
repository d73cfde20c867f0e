//! Settings and results of the solvers.

use faer::{Mat, MatRef};
use serde::Serialize;

use super::operator::{FLOAT64_ROUNDING, SymmetricOperator, apply_columns, rows_of};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The settings of a solver.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The number of leading eigenpairs sought, by eigenvalue, largest first.
    pub count: usize,
    /// The residual at which an eigenpair counts as found.
    pub tolerance: f64,
    /// The eigenvalue that residuals and the tolerance are relative to.
    pub relative_to: RelativeTo,
    /// The number of vectors per block. `None` lets the solver choose.
    pub block: Option<usize>,
    /// The number of applications to a block after which a solver gives up.
    pub most_applications: usize,
    /// The seed of the initial vectors.
    pub seed: u64,
}

/// The eigenvalue that residuals are relative to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelativeTo {
    /// The largest |lambda|.
    #[default]
    Largest,
    /// Its own. For eigenvalues that are blurred by the rounding of products, the least that is not.
    Each,
}

impl Settings {
    /// Settings for `count` eigenpairs to a residual of 1e-5, with the solver's choice of blocks and seed 0.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { count, tolerance: 1e-5, relative_to: RelativeTo::Largest, block: None, most_applications: 1000, seed: 0 }
    }

    /// Checks the settings against an operator on `dimension` entries.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self, dimension: usize) -> Result<()> {
        let refuse = |what: String, hint: String| Err(Error::argument(what, hint));
        if self.count == 0 || self.count > dimension {
            let what = format!("{} eigenpairs requested of an operator in {dimension} dimensions", self.count);
            return refuse(what, format!("ask for 1 to {dimension}"));
        }
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            let what = format!("a tolerance of {} cannot be met", self.tolerance);
            return refuse(what, "give a number above 0, such as 1e-5".into());
        }
        if self.block == Some(0) || self.most_applications == 0 {
            let what = "a solver needs a block of at least one vector and at least one application".to_owned();
            return refuse(what, "raise `block` and `most_applications` to at least 1".into());
        }
        Ok(())
    }
}

impl Settings {
    /// The scale of the residual of an eigenvalue, where the largest has the scale `largest`, by products of this
    /// relative rounding.
    pub(super) fn scale(&self, value: f64, largest: f64, rounding: f64) -> f64 {
        match self.relative_to {
            RelativeTo::Largest => largest,
            RelativeTo::Each => value.abs().max((rounding / self.tolerance).min(1.0) * largest),
        }
    }

    /// The share of the largest eigenvalue below which the rounding of float64 is more than the tolerance.
    #[must_use]
    pub fn least_resolved(&self) -> f64 {
        (FLOAT64_ROUNDING / self.tolerance).min(1.0)
    }
}

/// Leading eigenpairs, with the work it took to find them.
#[derive(Clone, Debug, Serialize)]
pub struct Spectrum {
    /// Eigenvalues, largest first.
    pub values: Vec<f64>,
    /// Orthonormal eigenvectors, one per row: (count, p).
    #[serde(skip)]
    pub vectors: Tensor,
    /// |A v - lambda v| per eigenpair, relative to [`Settings::relative_to`], measured by an application after the last
    /// step.
    pub residuals: Vec<f64>,
    /// `true` if every residual that the solver watches is below the tolerance.
    pub converged: bool,
    /// The number of iterations of the solver.
    pub iterations: usize,
    /// The number of vectors that the operator was applied to, including those of the final residuals.
    pub applied_vectors: usize,
    /// The solver.
    pub solver: &'static str,
    /// The settings of the solver.
    pub settings: Settings,
}

impl Spectrum {
    /// Returns the largest residual.
    #[must_use]
    pub fn worst_residual(&self) -> f64 {
        self.residuals.iter().copied().fold(0.0, f64::max)
    }
}

/// Eigenpairs before their residuals are measured.
pub(super) struct Found {
    pub values: Vec<f64>,
    /// Eigenvectors, one per column.
    pub vectors: Mat<f64>,
    pub converged: bool,
    pub iterations: usize,
    pub applied_vectors: usize,
}

impl Found {
    /// Returns the spectrum, with residuals measured by one more application.
    pub fn measured(
        self,
        operator: &dyn SymmetricOperator,
        solver: &'static str,
        settings: &Settings,
    ) -> Result<Spectrum> {
        let residuals = residuals(operator, &self.values, self.vectors.as_ref(), settings)?;
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

/// Computes |A v - lambda v| of each pair, relative to [`Settings::relative_to`], or absolute if every eigenvalue is
/// zero.
///
/// # Errors
/// Those of the operator.
pub fn residuals(
    operator: &dyn SymmetricOperator,
    values: &[f64],
    vectors: MatRef<'_, f64>,
    settings: &Settings,
) -> Result<Vec<f64>> {
    let applied = apply_columns(operator, vectors)?;
    let scale = scale_of(values);
    let pairs = values.iter().zip(applied.col_iter().zip(vectors.col_iter()));
    Ok(pairs
        .map(|(value, (image, vector))| {
            let squares = image.iter().zip(vector.iter()).map(|(image, entry)| (image - value * entry).powi(2));
            squares.sum::<f64>().sqrt() / settings.scale(*value, scale, FLOAT64_ROUNDING)
        })
        .collect())
}

/// Returns the scale of residuals: the largest |lambda|, or one if all are zero.
pub(super) fn scale_of(values: &[f64]) -> f64 {
    match values.iter().fold(0.0f64, |most, value| most.max(value.abs())) {
        0.0 => 1.0,
        scale => scale,
    }
}
