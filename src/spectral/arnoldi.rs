//! Leading eigenpairs of the symmetric part of a nearly symmetric operator whose transpose cannot be applied, such as a
//! network's Jacobian by forward-mode tangents.
//!
//! With an orthonormal basis Q, the symmetric part (A + A') / 2 within the basis is exactly that of Q' A Q. Only the
//! growth of the basis depends on A: its Krylov space (Arnoldi 1951, in blocks) is that of the symmetric part up to the
//! asymmetry. Where the asymmetry is large compared with the gaps between eigenvalues, [`whole`] forms the matrix, at
//! the price of one product per dimension.

use faer::{Mat, MatRef};
use serde::Serialize;

use super::basis::{Random, eigen, inner, join, project_out, split};
use super::operator::{FLOAT64_ROUNDING, SymmetricOperator, apply_columns, rows_of};
use super::spectrum::{Settings, Spectrum, scale_of};
use crate::error::Result;

/// The number of vectors in a block beyond those sought, by default.
const SPARE: usize = 8;
/// The least part outside the basis, relative to the largest eigenvalue, that is more than float32 rounding.
const ROUNDING: f64 = 1e-6;
/// The number of columns of the identity applied at once.
const UNITS: usize = 256;

/// Eigenpairs of the symmetric part of an operator, with a measure of its asymmetry.
#[derive(Clone, Debug, Serialize)]
pub struct NearlySymmetric {
    /// The eigenpairs of the symmetric part. Residuals are |A v - lambda v|, so they include the asymmetry of A.
    pub spectrum: Spectrum,
    /// |A - A'| / |A + A'| in the Frobenius norm: 0 for a symmetric operator, 1 when both parts are equally large.
    /// [`arnoldi`] estimates it from the random vectors of the first block.
    pub asymmetry: f64,
    /// The number of vectors in the basis.
    pub basis: usize,
    /// |A v - Q Q' A v| of each eigenvector, relative to the largest |lambda|: the part outside the basis Q, which
    /// decides convergence.
    pub outside: Vec<f64>,
    /// The estimated norm of the error with which the symmetric part is known, in units of the eigenvalues. For
    /// [`whole`] it is the rounding of products, from random vectors; for [`arnoldi`] the largest part of an
    /// eigenvector's image that is outside the basis, under A and, by the asymmetry, under A'.
    pub error: f64,
}

impl NearlySymmetric {
    /// Keeps the first `count` eigenpairs.
    pub fn keep(&mut self, count: usize) {
        let spectrum = &mut self.spectrum;
        if count < spectrum.values.len() {
            spectrum.values.truncate(count);
            spectrum.vectors = spectrum.vectors.slice(0..count);
            spectrum.residuals.truncate(count);
            self.outside.truncate(count);
        }
    }
}

/// The name of [`arnoldi`] in results.
pub(crate) const ARNOLDI: &str = "block Arnoldi";
/// The name of [`whole`] in results.
pub(crate) const WHOLE: &str = "the whole matrix";

/// Random vectors by which the rounding of products is measured.
const PROBES: usize = 4;

/// Computes the leading eigenpairs of the symmetric part of `operator`, until the part of each outside the basis is
/// below the tolerance.
///
/// # Errors
/// [`crate::Error::Argument`] for invalid settings, [`crate::Error::NonFinite`], and those of the operator.
pub fn arnoldi(operator: &dyn SymmetricOperator, settings: &Settings) -> Result<NearlySymmetric> {
    let dimension = operator.dimension();
    settings.check(dimension)?;
    let count = settings.count;
    let block = settings.block.unwrap_or(count + SPARE).min(dimension);
    let mut random = Random::new(settings.seed);
    let mut basis = Mat::zeros(dimension, 0);
    let mut images = Mat::zeros(dimension, 0);
    let mut next = random.orthogonal_to(&[basis.as_ref()], block);
    let mut iterations = 0;
    loop {
        let mut image = apply_columns(operator, next.as_ref())?;
        iterations += 1;
        basis = join(basis.as_ref(), next.as_ref());
        images = join(images.as_ref(), image.as_ref());
        let projected = inner(basis.as_ref(), images.as_ref());
        let (values, vectors) = eigen(symmetric_part(&projected).as_ref())?;
        let exhausted = basis.ncols() == dimension;
        let found = count.min(values.len());
        let (scale, turn) = (scale_of(&values), vectors.subcols(0, found));
        let applied = &images * turn;
        let mut beyond = applied.clone();
        project_out(basis.as_ref(), &mut beyond);
        let outside: Vec<f64> = (beyond.col_iter().zip(&values))
            .map(|(column, value)| column.norm_l2() / settings.scale(*value, scale, operator.rounding()))
            .collect();
        let converged = exhausted || found == count && outside.iter().all(|outside| *outside <= settings.tolerance);
        if converged || iterations == settings.most_applications {
            let ritz = &basis * turn;
            let apart = |at: usize| applied.col(at) - ritz.col(at) * faer::Scale(values[at]);
            let relative = |at: usize| apart(at).norm_l2() / settings.scale(values[at], scale, FLOAT64_ROUNDING);
            let residuals = (0..found).map(relative).collect();
            let spectrum = Spectrum {
                values: values[..found].to_vec(),
                vectors: rows_of(ritz.as_ref()),
                residuals,
                converged,
                iterations,
                applied_vectors: basis.ncols(),
                solver: ARNOLDI,
                settings: *settings,
            };
            let first = images.subcols(0, block);
            let asymmetry = if exhausted { asymmetry(&projected) } else { sampled_asymmetry(&basis, &images, first) };
            let beyond = outside.iter().copied().fold(0.0, f64::max) * scale;
            let share = 1.0 - basis.ncols() as f64 / dimension as f64;
            let mean_image = first.norm_l2() / (block as f64).sqrt();
            let error = beyond + asymmetry * mean_image * share.sqrt() + operator.rounding() * scale;
            return Ok(NearlySymmetric { spectrum, asymmetry, basis: basis.ncols(), outside, error });
        }
        project_out(basis.as_ref(), &mut image);
        let (mut more, _) = split(image.as_ref(), ROUNDING * scale);
        project_out(basis.as_ref(), &mut more);
        let wanted = block.min(dimension - basis.ncols());
        let more = more.subcols(0, more.ncols().min(wanted)).to_owned();
        let fresh = random.orthogonal_to(&[basis.as_ref(), more.as_ref()], wanted - more.ncols());
        next = join(more.as_ref(), fresh.as_ref());
    }
}

/// Computes the leading eigenpairs of the symmetric part of `operator` exactly, from its whole matrix: one product per
/// dimension.
///
/// # Errors
/// Those of [`arnoldi`].
pub fn whole(operator: &dyn SymmetricOperator, settings: &Settings) -> Result<NearlySymmetric> {
    let dimension = operator.dimension();
    settings.check(dimension)?;
    let mut matrix = Mat::<f64>::zeros(dimension, dimension);
    let mut iterations = 0;
    for first in (0..dimension).step_by(UNITS) {
        let some = UNITS.min(dimension - first);
        let units = Mat::from_fn(dimension, some, |i, j| f64::from(u8::from(i == first + j)));
        matrix.subcols_mut(first, some).copy_from(&apply_columns(operator, units.as_ref())?);
        iterations += 1;
    }
    let (values, vectors) = eigen(symmetric_part(&matrix).as_ref())?;
    let (scale, ritz) = (scale_of(&values), vectors.subcols(0, settings.count));
    let applied = &matrix * ritz;
    let apart = |at: usize| applied.col(at) - ritz.col(at) * faer::Scale(values[at]);
    let spectrum = Spectrum {
        values: values[..settings.count].to_vec(),
        vectors: rows_of(ritz),
        residuals: (0..settings.count)
            .map(|at| apart(at).norm_l2() / settings.scale(values[at], scale, FLOAT64_ROUNDING))
            .collect(),
        converged: true,
        iterations,
        applied_vectors: dimension,
        solver: WHOLE,
        settings: *settings,
    };
    let outside = vec![0.0; settings.count];
    let error = rounding(operator, &matrix, settings.seed)?.max(FLOAT64_ROUNDING * scale);
    Ok(NearlySymmetric { spectrum, asymmetry: asymmetry(&matrix), basis: dimension, outside, error })
}

/// Returns the norm of the error of `matrix` as the operator, estimated from random vectors z: an error matrix E of
/// independent entries has a norm of about 2 |E z| for unit vectors z. The largest of a few is taken.
fn rounding(operator: &dyn SymmetricOperator, matrix: &Mat<f64>, seed: u64) -> Result<f64> {
    let dimension = operator.dimension();
    let nothing = Mat::zeros(dimension, 0);
    let probes = Random::new(seed).orthogonal_to(&[nothing.as_ref()], PROBES.min(dimension));
    let apart = apply_columns(operator, probes.as_ref())? - matrix * &probes;
    Ok(2.0 * apart.col_iter().map(|column| column.norm_l2()).fold(0.0, f64::max))
}

fn symmetric_part(matrix: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(matrix.nrows(), matrix.ncols(), |i, j| 0.5 * (matrix[(i, j)] + matrix[(j, i)]))
}

/// Returns |A - A'| / |A + A'|, 0 for a matrix of zeros.
fn asymmetry(matrix: &Mat<f64>) -> f64 {
    let (apart, together) = (matrix - matrix.transpose(), matrix + matrix.transpose());
    let whole = together.norm_l2();
    if whole > 0.0 { apart.norm_l2() / whole } else { 0.0 }
}

/// Estimates [`asymmetry`] from random orthonormal vectors Z and their `first` images A Z. These lie in the basis Q up
/// to the rounding of the last steps. |A -+ A'|^2 = 2 |A|^2 -+ 2 tr A^2, and |A Z|^2 and tr Z' A A Z estimate both
/// terms up to the same factor (Hutchinson 1990).
fn sampled_asymmetry(basis: &Mat<f64>, images: &Mat<f64>, first: MatRef<'_, f64>) -> f64 {
    let twice = images * inner(basis.as_ref(), first);
    let block = first.ncols();
    let trace: f64 = (0..block).map(|at| basis.col(at).transpose() * twice.col(at)).sum();
    let square = first.norm_l2().powi(2);
    if square + trace > 0.0 { ((square - trace).max(0.0) / (square + trace)).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectral::operator::columns_of;
    use crate::tensor::Tensor;

    /// A matrix that may be asymmetric.
    struct Plain(Mat<f64>);

    impl SymmetricOperator for Plain {
        fn dimension(&self) -> usize {
            self.0.nrows()
        }

        fn apply(&self, vectors: &Tensor) -> Result<Tensor> {
            Ok(rows_of((&self.0 * columns_of(vectors)).as_ref()))
        }
    }

    /// Eigenvalues 0.8^i along random directions, plus an antisymmetric part of `share` of the norm.
    fn operator(dimension: usize, share: f64) -> (Plain, Mat<f64>) {
        let mut random = Random::new(3);
        let nothing = Mat::zeros(dimension, 0);
        let directions = random.orthogonal_to(&[nothing.as_ref()], dimension);
        let values = Mat::from_fn(dimension, dimension, |i, j| if i == j { 0.8f64.powi(i as i32) } else { 0.0 });
        let symmetric = &directions * values * directions.transpose();
        let noise = random.block(dimension, dimension);
        let turn = &noise - noise.transpose();
        let antisymmetric = &turn * faer::Scale(share * symmetric.norm_l2() / turn.norm_l2());
        (Plain(&symmetric + antisymmetric), directions)
    }

    fn sine(vector: &[f32], direction: faer::ColRef<f64>) -> f64 {
        let cosine: f64 = vector.iter().zip(direction.iter()).map(|(a, b)| f64::from(*a) * b).sum();
        (1.0 - cosine * cosine).max(0.0).sqrt()
    }

    #[test]
    fn a_symmetric_operator_has_its_eigenpairs_and_little_asymmetry() {
        let (operator, directions) = operator(120, 0.0);
        let settings = Settings { tolerance: 1e-5, ..Settings::new(6) };
        for found in [arnoldi(&operator, &settings).unwrap(), whole(&operator, &settings).unwrap()] {
            let spectrum = &found.spectrum;
            assert!(spectrum.converged && spectrum.worst_residual() < 2e-5, "{spectrum:?}");
            assert!(found.asymmetry < 1e-3, "{}", found.asymmetry);
            for at in 0..6 {
                assert!((spectrum.values[at] - 0.8f64.powi(at as i32)).abs() < 1e-6);
                assert!(sine(spectrum.vectors.item(at), directions.col(at)) < 1e-3);
            }
        }
        let few = arnoldi(&operator, &settings).unwrap();
        assert!(few.basis < 120, "a basis of {} is the whole space", few.basis);
    }

    #[test]
    fn what_is_not_symmetric_is_measured_and_left_out() {
        let (operator, directions) = operator(90, 0.05);
        let settings = Settings { tolerance: 1e-3, ..Settings::new(4) };
        let exact = whole(&operator, &settings).unwrap();
        assert!((exact.asymmetry - 0.05).abs() < 1e-6, "{}", exact.asymmetry);
        let found = arnoldi(&operator, &settings).unwrap();
        assert!((found.asymmetry - 0.05).abs() < 0.02, "{}", found.asymmetry);
        for at in 0..4 {
            assert!(sine(exact.spectrum.vectors.item(at), directions.col(at)) < 1e-3);
            assert!((exact.spectrum.values[at] - 0.8f64.powi(at as i32)).abs() < 1e-6);
            assert!((found.spectrum.values[at] - exact.spectrum.values[at]).abs() < 2e-3);
            assert!(sine(found.spectrum.vectors.item(at), directions.col(at)) < 0.05);
        }
    }

    #[test]
    fn an_operator_of_low_rank_and_zero_end() {
        let mut random = Random::new(5);
        let narrow = random.block(40, 3);
        let low = Plain(&narrow * narrow.transpose());
        let settings = Settings { tolerance: 1e-6, ..Settings::new(5) };
        let found = arnoldi(&low, &settings).unwrap();
        assert!(found.spectrum.converged && found.spectrum.values[3].abs() < 1e-5 * found.spectrum.values[0]);
        let nothing = arnoldi(&Plain(Mat::zeros(12, 12)), &settings).unwrap();
        assert_eq!((nothing.spectrum.values.as_slice(), nothing.asymmetry), ([0.0; 5].as_slice(), 0.0));
    }
}
