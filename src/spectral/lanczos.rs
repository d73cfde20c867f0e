//! Block Lanczos with full re-orthogonalisation and thick restarts (Golub and Underwood 1977; Wu and Simon 2000).

use faer::{Mat, MatRef};

use super::basis::{Random, eigen, inner, join, project_out, split};
use super::operator::{SymmetricOperator, apply_columns};
use super::spectrum::{Found, Settings, Spectrum, scale_of};
use crate::error::Result;

/// The largest default block. It is smaller if fewer eigenpairs are sought.
const BLOCK: usize = 64;
/// The number of applications, after random vectors have joined the basis, during which the eigenpairs must not change.
const PROBES: usize = 6;
/// The number of random vectors beside those that a solver starts from.
const SPARE: usize = 8;
/// The number of blocks the basis holds, beyond twice the eigenpairs sought, before it is restarted.
const BLOCKS_KEPT: usize = 8;

/// Computes the leading eigenpairs of `operator`.
///
/// Each step orthogonalises the new block twice against the whole basis, so the projected operator is computed, not
/// assumed tridiagonal. Restarts keep the best Ritz vectors, and random directions fill in what the Krylov space lacks.
/// A block with fewer vectors than eigenpairs sought sees an eigenvalue at most as often as it has vectors. Convergence
/// is then accepted only after random vectors have joined the basis and changed nothing for some steps.
///
/// # Errors
/// [`crate::Error::Argument`] for invalid settings, [`crate::Error::NonFinite`], and those of the operator.
pub fn lanczos(operator: &dyn SymmetricOperator, settings: &Settings) -> Result<Spectrum> {
    solve(operator, settings, None)?.measured(operator, SOLVER, settings)
}

/// The name of the solver.
pub(super) const SOLVER: &str = "block Lanczos";

/// As [`lanczos`], without measured residuals. The first block holds the columns of `start`, which must be near
/// eigenvectors, and some random vectors.
pub(super) fn solve(
    operator: &dyn SymmetricOperator,
    settings: &Settings,
    start: Option<MatRef<'_, f64>>,
) -> Result<Found> {
    settings.check(operator.dimension())?;
    let mut run = Run::new(operator, settings, start);
    loop {
        run.expand()?;
        let ritz = run.ritz()?;
        let exhausted = run.basis.ncols() == operator.dimension();
        let found = exhausted || run.believed(&ritz);
        if found || run.iterations == settings.most_applications {
            return Ok(run.finish(&ritz, found));
        }
        run.continue_from(&ritz);
    }
}

struct Run<'a> {
    operator: &'a dyn SymmetricOperator,
    settings: &'a Settings,
    block: usize,
    /// The number of columns at which the basis is restarted.
    most_columns: usize,
    random: Random,
    /// Orthonormal columns that the operator has been applied to.
    basis: Mat<f64>,
    /// The operator within the basis.
    projected: Mat<f64>,
    /// The next orthonormal columns to apply the operator to, orthogonal to the basis.
    next: Mat<f64>,
    /// The part of the last block's image outside the basis.
    outside: Mat<f64>,
    /// While random vectors probe for missed eigenvalues: the Ritz values before they joined, and the steps since.
    probed: Option<(Vec<f64>, usize)>,
    /// `true` if the next block is to hold such vectors.
    probe_next: bool,
    iterations: usize,
    applied_vectors: usize,
}

/// Eigenpairs of the projected operator.
struct Ritz {
    /// Eigenvalues, largest first.
    values: Vec<f64>,
    /// Eigenvectors in coordinates of the basis.
    vectors: Mat<f64>,
    /// Estimated residuals of those sought, relative to [`Settings::relative_to`].
    residuals: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(operator: &'a dyn SymmetricOperator, settings: &'a Settings, start: Option<MatRef<'_, f64>>) -> Self {
        let dimension = operator.dimension();
        let mut random = Random::new(settings.seed);
        let nothing = Mat::zeros(dimension, 0);
        let (block, next) = match start {
            None => {
                let block = settings.block.unwrap_or(settings.count.min(BLOCK)).min(dimension);
                (block, random.orthogonal_to(&[nothing.as_ref()], block))
            }
            Some(start) => {
                let (near, _) = split(start, 0.0);
                let fresh = random.orthogonal_to(&[near.as_ref()], SPARE);
                let next = join(near.as_ref(), fresh.as_ref());
                (next.ncols(), next)
            }
        };
        Self {
            operator,
            settings,
            block,
            most_columns: (2 * settings.count + BLOCKS_KEPT * block).min(dimension),
            random,
            basis: nothing.clone(),
            projected: Mat::zeros(0, 0),
            next,
            outside: nothing,
            probed: None,
            probe_next: false,
            iterations: 0,
            applied_vectors: 0,
        }
    }

    /// Applies the operator to the next block and adds the block to the basis.
    fn expand(&mut self) -> Result<()> {
        let mut image = apply_columns(self.operator, self.next.as_ref())?;
        self.iterations += 1;
        self.applied_vectors += self.next.ncols();
        let (before, added) = (self.basis.ncols(), self.next.ncols());
        self.basis = join(self.basis.as_ref(), self.next.as_ref());
        let along = project_out(self.basis.as_ref(), &mut image);
        let mut projected = Mat::zeros(before + added, before + added);
        projected.submatrix_mut(0, 0, before, before).copy_from(&self.projected);
        projected.subcols_mut(before, added).copy_from(&along);
        for j in before..before + added {
            for i in 0..j {
                // Rounding makes the two halves of the new diagonal block differ.
                let value = if i < before { projected[(i, j)] } else { 0.5 * (projected[(i, j)] + projected[(j, i)]) };
                projected[(i, j)] = value;
                projected[(j, i)] = value;
            }
        }
        self.projected = projected;
        self.outside = image;
        Ok(())
    }

    fn ritz(&self) -> Result<Ritz> {
        let (values, vectors) = eigen(self.projected.as_ref())?;
        let last = self.next.ncols();
        let first = self.basis.ncols() - last;
        let count = self.settings.count.min(values.len());
        let weights = vectors.submatrix(first, 0, last, count);
        // |outside * weights| per column, by way of the small matrix outside' outside.
        let squares = inner(self.outside.as_ref(), self.outside.as_ref());
        let scale = scale_of(&values);
        let rounding = self.operator.rounding();
        let residual = |j: usize| {
            let weight = weights.col(j);
            (weight.transpose() * &squares * weight).max(0.0).sqrt() / self.settings.scale(values[j], scale, rounding)
        };
        Ok(Ritz { residuals: (0..count).map(residual).collect(), values, vectors })
    }

    /// Returns `true` if the eigenpairs sought are found, as far as can be determined. Otherwise arranges for a probe
    /// where one is needed.
    fn believed(&mut self, ritz: &Ritz) -> bool {
        let Settings { count, tolerance, .. } = *self.settings;
        let converged = ritz.values.len() >= count && ritz.residuals.iter().all(|residual| *residual <= tolerance);
        if !converged || self.block >= count {
            return converged;
        }
        let scale = scale_of(&ritz.values);
        let (settings, rounding) = (self.settings, self.operator.rounding());
        let unchanged = |before: &[f64]| {
            let mut pairs = before.iter().zip(&ritz.values);
            pairs.all(|(before, now)| (before - now).abs() <= tolerance * settings.scale(*now, scale, rounding))
        };
        match &mut self.probed {
            Some((before, steps)) if unchanged(before) => {
                *steps += 1;
                *steps == PROBES
            }
            _ => {
                self.probe_next = true;
                false
            }
        }
    }

    /// Restarts a full basis and prepares the next block.
    fn continue_from(&mut self, ritz: &Ritz) {
        let scale = scale_of(&ritz.values);
        let (mut next, _) = split(self.outside.as_ref(), self.operator.rounding() * scale);
        project_out(self.basis.as_ref(), &mut next);
        let (columns, count) = (self.basis.ncols(), self.settings.count);
        if columns + next.ncols() > self.most_columns && columns > count + self.block {
            // Keeping half a block of neighbours speeds up those sought (Wu and Simon, section 5).
            let kept = (count + self.block.div_ceil(2)).min(columns);
            self.basis = &self.basis * ritz.vectors.subcols(0, kept);
            self.projected = Mat::from_fn(kept, kept, |i, j| if i == j { ritz.values[i] } else { 0.0 });
        }
        let probing = std::mem::take(&mut self.probe_next);
        if probing {
            self.probed = Some((ritz.values[..count.min(ritz.values.len())].to_vec(), 0));
        }
        let wanted = if probing { self.block } else { self.block.saturating_sub(next.ncols()) };
        let fresh = self.random.orthogonal_to(&[self.basis.as_ref(), next.as_ref()], wanted);
        self.next = self.fitting(join(next.as_ref(), fresh.as_ref()).as_ref());
    }

    /// Returns as many columns of a block as the space has room for.
    fn fitting(&self, block: MatRef<'_, f64>) -> Mat<f64> {
        let room = self.operator.dimension() - self.basis.ncols();
        block.subcols(0, block.ncols().min(room)).to_owned()
    }

    fn finish(&self, ritz: &Ritz, converged: bool) -> Found {
        let count = self.settings.count.min(ritz.values.len());
        Found {
            values: ritz.values[..count].to_vec(),
            vectors: &self.basis * ritz.vectors.subcols(0, count),
            converged: converged && count == self.settings.count,
            iterations: self.iterations,
            applied_vectors: self.applied_vectors,
        }
    }
}
