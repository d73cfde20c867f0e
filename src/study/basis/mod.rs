//! The adaptive bases of a denoiser: the eigenvectors of the Jacobian J of x0(x, sigma) along its sampling
//! trajectories, their shrinkage factors, and the symmetry of J (Kadkhodaie, Guth, Simoncelli and Mallat 2024,
//! "Generalization in diffusion models arises from geometry-adaptive harmonic representations").
//!
//! | file | contents |
//! |---|---|
//! | [`loops`] | the circulation of eps around closed loops |
//! | [`control`] | denoisers whose circulation is known |
//! | [`sheet`] | eigenvectors as pictures |
//! | [`report`] | files, figures and findings |
//!
//! With the eigenpairs of (J + J') / 2, largest first:
//!
//! ```text
//! degrees of freedom   tr J = sum over i of lambda_i
//! participation ratio  (sum over i of lambda_i)^2 / sum over i of lambda_i^2
//! energy of r          sum over i <= r of (u_i' (x0 - mean))^2 / |x0 - mean|^2
//! ```
//!
//! For the posterior mean J is the posterior covariance over sigma^2 (Miyasawa 1961), so that J is symmetric, eps is
//! the gradient of a function, and sigma^2 tr J is the expected squared error.

pub mod control;
pub mod loops;
mod plots;
pub mod report;
pub mod sheet;

pub use control::{Control, Role};
pub use loops::{Kind, Loop, Plane, Rounds, circulations, planes};
pub use report::{FILES, Found};

use faer::Mat;
use serde::Serialize;

use super::Advance;
use super::jacobian::Solver;
use crate::denoise::jacobian::{Jacobian, JacobianAt, Place};
use crate::denoise::vjp::NetworkVjp;
use crate::error::Result;
use crate::noise::Purpose;
use crate::spectral::lanczos::lanczos;
use crate::spectral::operator::{apply_columns, columns_of, rows_of};
use crate::spectral::spectrum::Spectrum;
use crate::spectral::{Settings, SymmetricOperator};
use crate::study::estimate::Estimate;
use crate::tensor::Tensor;

/// Random vectors that estimate traces where no whole matrix is formed.
const PROBES: usize = 32;

/// A number and the half width of its 95 % interval, 0 where it is exact.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Known {
    pub value: f64,
    pub half_width: f64,
}

impl Known {
    fn exactly(value: f64) -> Self {
        Self { value, half_width: 0.0 }
    }

    fn from_draws(draws: &[f64]) -> Self {
        let Estimate { mean, half_width, .. } = Estimate::of(draws);
        Self { value: mean, half_width }
    }
}

/// The eigenvectors of the symmetric part of a Jacobian at a place, and its sums.
#[derive(Clone, Debug)]
pub struct Basis {
    /// Eigenvalues, largest first: all, or the leading ones.
    pub values: Vec<f64>,
    /// The eigenvectors that are kept, (k, p).
    pub vectors: Tensor,
    /// tr J.
    pub freedom: Known,
    /// The squared Frobenius norm of the symmetric part: the sum of squared eigenvalues.
    pub squares: Known,
    /// |J - J'| / |J + J'|.
    pub asymmetry: f64,
    /// The norm of the error of the symmetric part.
    pub error: f64,
    /// For each vector that was expanded: the share of its energy in the first r eigenvectors, r from 1.
    pub energy: Vec<Vec<f64>>,
    /// The planes of loops.
    pub planes: Vec<Plane>,
    /// `true` if the solver met its tolerance.
    pub converged: bool,
    /// Products with J or J'.
    pub products: usize,
}

impl Basis {
    /// Keeps the first `count` eigenvalues, and `kept` eigenvectors.
    fn keep(&mut self, count: usize, kept: usize) {
        self.values.truncate(count);
        self.energy.iter_mut().for_each(|energy| energy.truncate(count));
        self.vectors = self.vectors.slice(0..kept);
    }

    /// The participation ratio, (sum lambda)^2 / sum lambda^2: k for k equal eigenvalues among zeros.
    #[must_use]
    pub fn participation(&self) -> f64 {
        self.freedom.value.powi(2) / self.squares.value.max(f64::MIN_POSITIVE)
    }

    /// The number of eigenvectors that hold `share` of the energy of expanded vector `of`; `None` if those that were
    /// computed hold less.
    #[must_use]
    pub fn holding(&self, of: usize, share: f64) -> Option<usize> {
        self.energy.get(of)?.iter().position(|held| *held >= share).map(|at| at + 1)
    }

    /// The share of the energy of expanded vector `of` in as many eigenvectors as the degrees of freedom `freedom`,
    /// rounded up; `None` if fewer were computed.
    #[must_use]
    pub fn held(&self, of: usize, freedom: f64) -> Option<f64> {
        // A network's trace may be more than its dimension.
        let count = (freedom.ceil().max(1.0) as usize).min(self.vectors.stride());
        self.energy.get(of)?.get(count - 1).copied()
    }
}

/// The solver of a study: whole matrices, or a Krylov space of J, or of (J + J') / 2 where products with J' are exact.
pub struct Finder<'a> {
    pub jacobian: &'a dyn Jacobian,
    /// The transposed Jacobian of a network; `None` for whole matrices and closed forms.
    pub transposed: Option<&'a NetworkVjp<'a>>,
    /// Its components are those that are kept.
    pub solver: Solver,
    /// Random planes of loops per place.
    pub random_planes: usize,
}

/// (J + J') / 2 at a place, from products with both.
struct SymmetricPart<'a> {
    jacobian: &'a dyn Jacobian,
    transposed: &'a NetworkVjp<'a>,
    place: &'a Place,
}

impl SymmetricPart<'_> {
    fn transposed(&self, vectors: &Tensor) -> Result<Tensor> {
        let [channels, height, width] = self.jacobian.image_shape();
        let shape = [vectors.shape[0], channels, height, width];
        let x = Tensor::new(shape, self.place.x.data.repeat(vectors.shape[0]));
        let given = Tensor::new(shape, vectors.data.clone());
        let product = self.transposed.products(&x, &vec![self.place.level; vectors.shape[0]], &given)?;
        Ok(Tensor::new(vectors.shape.clone(), product.data))
    }
}

impl SymmetricOperator for SymmetricPart<'_> {
    fn dimension(&self) -> usize {
        self.jacobian.image_shape().iter().product()
    }

    fn apply(&self, vectors: &Tensor) -> Result<Tensor> {
        let (mut sum, other) = (self.jacobian.products(self.place, vectors)?, self.transposed(vectors)?);
        sum.data.iter_mut().zip(&other.data).for_each(|(sum, other)| *sum = 0.5 * (*sum + other));
        Ok(sum)
    }
}

/// The sums of a Jacobian.
struct Sums {
    freedom: Known,
    squares: Known,
    asymmetry: f64,
}

impl Finder<'_> {
    /// The basis at `place`, with the energy of each of `expanded` in it. `index` numbers the places of a level, and
    /// `level` the levels: both key the random draws.
    ///
    /// # Errors
    /// Those of the solvers and of the denoiser.
    pub fn basis(&self, place: &Place, expanded: &[Vec<f64>], index: usize, level: usize) -> Result<Basis> {
        let (spectrum, sums, error) = self.solved(place, index, level)?;
        let columns = columns_of(&spectrum.vectors);
        let energy = expanded.iter().map(|vector| shares(&columns, vector)).collect();
        let leading = spectrum.vectors.slice(0..spectrum.vectors.shape[0].min(2));
        let planes =
            planes(self.jacobian, place, &leading, self.random_planes, self.solver.settings.seed, (index, level))?;
        let Spectrum { values, vectors, converged, applied_vectors, .. } = spectrum;
        let kept = self.solver.components.min(vectors.shape[0]);
        Ok(Basis {
            values,
            vectors: with_signs(vectors.slice(0..kept)),
            freedom: sums.freedom,
            squares: sums.squares,
            asymmetry: sums.asymmetry,
            error,
            energy,
            planes,
            converged,
            products: applied_vectors,
        })
    }

    /// Eigenpairs, sums, and the norm of the error of the symmetric part.
    fn solved(&self, place: &Place, index: usize, level: usize) -> Result<(Spectrum, Sums, f64)> {
        if let (false, Some(transposed)) = (self.solver.is_whole, self.transposed) {
            let part = SymmetricPart { jacobian: self.jacobian, transposed, place };
            let count = self.solver.count(part.dimension());
            let spectrum = lanczos(&part, &Settings { count, ..self.solver.settings })?;
            let probes = self.probes(part.dimension(), index, level);
            let forward = columns_of(&self.jacobian.products(place, &rows_of(probes.as_ref()))?);
            let backward = columns_of(&part.transposed(&rows_of(probes.as_ref()))?);
            let sums = Sums::of_both(&probes, &forward, &backward);
            let error = spectrum.worst_residual() * spectrum.values.first().map_or(0.0, |value| value.abs());
            return Ok((spectrum, sums, error));
        }
        let found = self.solver.solve(self.jacobian, place)?;
        let asymmetry = found.asymmetry;
        let sums = if found.spectrum.values.len() == found.spectrum.vectors.shape[1] {
            let freedom = found.spectrum.values.iter().sum();
            let squares = found.spectrum.values.iter().map(|value| value * value).sum();
            Sums { freedom: Known::exactly(freedom), squares: Known::exactly(squares), asymmetry }
        } else {
            let operator = JacobianAt::new(self.jacobian, place);
            let probes = self.probes(operator.dimension(), index, level);
            let once = apply_columns(&operator, probes.as_ref())?;
            let twice = apply_columns(&operator, once.as_ref())?;
            Sums { asymmetry, ..Sums::of_powers(&probes, &once, &twice) }
        };
        Ok((found.spectrum, sums, found.error))
    }

    /// Random vectors as columns.
    fn probes(&self, dimension: usize, index: usize, level: usize) -> Mat<f64> {
        let seed = self.solver.settings.seed;
        let draw =
            |probe: usize| Purpose::BasisProbes.normals(seed, (index * PROBES + probe) as u64, level as u32, dimension);
        let drawn: Vec<Vec<f32>> = (0..PROBES).map(draw).collect();
        Mat::from_fn(dimension, PROBES, |i, j| f64::from(drawn[j][i]))
    }
}

impl Sums {
    /// From z, J z and J' z for random normals z (Hutchinson 1990): E z' J z = tr J, E |J z|^2 = |J|^2.
    fn of_both(probes: &Mat<f64>, forward: &Mat<f64>, backward: &Mat<f64>) -> Self {
        let each = |value: &dyn Fn(usize) -> f64| (0..probes.ncols()).map(value).collect::<Vec<f64>>();
        let freedom = each(&|at| 0.5 * (probes.col(at).transpose() * (forward.col(at) + backward.col(at))));
        let together = each(&|at| 0.25 * (forward.col(at) + backward.col(at)).squared_norm_l2());
        let apart = each(&|at| 0.25 * (forward.col(at) - backward.col(at)).squared_norm_l2());
        let squares = Known::from_draws(&together);
        let asymmetry = (Known::from_draws(&apart).value / squares.value.max(f64::MIN_POSITIVE)).sqrt();
        Self { freedom: Known::from_draws(&freedom), squares, asymmetry }
    }

    /// From z, J z and J J z: |J + J'|^2 / 4 = (|J|^2 + tr J^2) / 2.
    fn of_powers(probes: &Mat<f64>, once: &Mat<f64>, twice: &Mat<f64>) -> Self {
        let each = |value: &dyn Fn(usize) -> f64| (0..probes.ncols()).map(value).collect::<Vec<f64>>();
        let freedom = each(&|at| probes.col(at).transpose() * once.col(at));
        let squares = each(&|at| 0.5 * (once.col(at).squared_norm_l2() + probes.col(at).transpose() * twice.col(at)));
        Self { freedom: Known::from_draws(&freedom), squares: Known::from_draws(&squares), asymmetry: f64::NAN }
    }
}

/// The share of |vector|^2 in the span of the first r of orthonormal columns, for each r from 1; NaN for a vector of
/// zeros.
fn shares(columns: &Mat<f64>, vector: &[f64]) -> Vec<f64> {
    let whole: f64 = vector.iter().map(|value| value * value).sum();
    let along = |column: faer::ColRef<'_, f64>| column.iter().zip(vector).map(|(u, v)| u * v).sum::<f64>();
    let mut sum = 0.0;
    let mut add = |part: f64| {
        sum += part * part;
        if whole > 0.0 { sum / whole } else { f64::NAN }
    };
    columns.col_iter().map(|column| add(along(column))).collect()
}

/// Rows with the sign that makes the entry of largest magnitude positive: the sign of an eigenvector means nothing.
fn with_signs(mut rows: Tensor) -> Tensor {
    let stride = rows.stride().max(1);
    for row in rows.data.chunks_mut(stride) {
        let largest =
            row.iter().copied().fold(0.0f32, |most, value| if value.abs() > most.abs() { value } else { most });
        if largest < 0.0 {
            for value in row.iter_mut() {
                *value = -*value;
            }
        }
    }
    rows
}

/// `count` of the places of each path, evenly, with the first and the last; all if there are fewer.
#[must_use]
pub fn thinned(paths: Vec<Vec<Place>>, count: usize) -> Vec<Vec<Place>> {
    let thin = |path: Vec<Place>| {
        let last = path.len().saturating_sub(1);
        if count < 2 || count > last {
            return path;
        }
        let chosen: Vec<usize> = (0..count).map(|at| (at * last + (count - 1) / 2) / (count - 1)).collect();
        path.into_iter().enumerate().filter(|(at, _)| chosen.contains(at)).map(|(_, place)| place).collect()
    };
    paths.into_iter().map(thin).collect()
}

/// The bases at all places, (images) (levels). `centred` is x0 - mean of each, (levels) (images); the energy of the
/// image itself comes first, then that of the next image, if there are several. `advance` counts places.
///
/// # Errors
/// Those of [`Finder::basis`].
pub fn bases(
    finder: &Finder,
    paths: &[Vec<Place>],
    centred: &[Vec<Vec<f64>>],
    advance: Advance,
) -> Result<Vec<Vec<Basis>>> {
    let at = |image: usize, level: usize| {
        let next = (image + 1) % paths.len();
        let own = &centred[level][image];
        let expanded = if next == image { vec![own.clone()] } else { vec![own.clone(), centred[level][next].clone()] };
        let found = finder.basis(&paths[image][level], &expanded, image, level)?;
        advance(1);
        Ok(found)
    };
    let all = (0..paths.len()).map(|image| (0..paths[image].len()).map(|level| at(image, level)).collect());
    let mut found = all.collect::<Result<Vec<Vec<Basis>>>>()?;
    // A Krylov space that is full early has fewer eigenpairs.
    let least = |length: fn(&Basis) -> usize| found.iter().flatten().map(length).min().unwrap_or(0);
    let (count, kept) = (least(|basis| basis.values.len()), least(|basis| basis.vectors.shape[0]));
    found.iter_mut().flatten().for_each(|basis| basis.keep(count, kept));
    Ok(found)
}

/// |x0 - mean - J (x - mean)| / |x0 - mean| at each place, (images) (levels): 0 for a denoiser that is linear around
/// its mean, and for a network without additive constants, around 0.
///
/// # Errors
/// Those of the Jacobian.
pub fn nonlinearity(
    jacobian: &dyn Jacobian,
    paths: &[Vec<Place>],
    centred: &[Vec<Vec<f64>>],
    mean: &[f64],
) -> Result<Vec<Vec<f64>>> {
    let at = |image: usize, level: usize| -> Result<f64> {
        let place = &paths[image][level];
        let away: Vec<f32> = place.x.data.iter().zip(mean).map(|(x, mean)| (f64::from(*x) - mean) as f32).collect();
        let product = jacobian.products(place, &Tensor::new([1, away.len()], away))?;
        let own = &centred[level][image];
        let missed: f64 = own.iter().zip(&product.data).map(|(own, product)| (own - f64::from(*product)).powi(2)).sum();
        let whole: f64 = own.iter().map(|value| value * value).sum();
        Ok((missed / whole.max(f64::MIN_POSITIVE)).sqrt())
    };
    (0..paths.len()).map(|image| (0..paths[image].len()).map(|level| at(image, level)).collect()).collect()
}

/// x0 - mean of predictions, (levels) (images).
#[must_use]
pub fn centred(predictions: Vec<Vec<Vec<f64>>>, mean: &[f64]) -> Vec<Vec<Vec<f64>>> {
    let mut centred = predictions;
    for x0 in centred.iter_mut().flatten() {
        x0.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
    }
    centred
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::Level;

    #[test]
    fn energy_adds_up() {
        let columns = Mat::<f64>::identity(3, 3);
        assert_eq!(shares(&columns, &[3.0, 0.0, 4.0]), [9.0 / 25.0, 9.0 / 25.0, 1.0]);
        assert!(shares(&columns, &[0.0; 3]).iter().all(|share| share.is_nan()));
    }

    #[test]
    fn places_are_thinned_evenly_with_both_ends() {
        let place = |at: usize| Place { x: Tensor::zeros([1, 1, 1, 1]), level: Level::at_sigma(1.0 + at as f64) };
        let sigmas = |count: usize, kept: usize| -> Vec<f64> {
            let thin = thinned(vec![(0..count).map(place).collect()], kept);
            thin[0].iter().map(|place| place.level.sigma - 1.0).collect()
        };
        assert_eq!(sigmas(21, 6), [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]);
        assert_eq!(sigmas(4, 2), [0.0, 3.0]);
        assert_eq!(sigmas(3, 6), [0.0, 1.0, 2.0]);
        assert_eq!(sigmas(10, 3), [0.0, 5.0, 9.0]);
    }

    #[test]
    fn signs_are_fixed() {
        let rows = with_signs(Tensor::new([2, 2], vec![0.5, -0.8, 0.9, -0.1]));
        assert_eq!(rows.data, [-0.5, 0.8, 0.9, -0.1]);
    }

    #[test]
    fn probes_estimate_the_sums_of_a_matrix() {
        let dimension = 40;
        let matrix =
            Mat::from_fn(dimension, dimension, |i, j| f64::from(u8::from(i == j)) + 0.02 * (i as f64 - j as f64));
        let drawn: Vec<f32> = Purpose::BasisProbes.normals(1, 0, 0, dimension * 2000);
        let probes = Mat::from_fn(dimension, 2000, |i, j| f64::from(drawn[j * dimension + i]));
        let (forward, backward) = (&matrix * &probes, matrix.transpose() * &probes);
        let squares: f64 = 40.0;
        let apart: f64 = (matrix.clone() - matrix.transpose()).squared_norm_l2() / 4.0;
        let both = Sums::of_both(&probes, &forward, &backward);
        let powers = Sums::of_powers(&probes, &forward, &(&matrix * &forward));
        for sums in [&both, &powers] {
            assert!((sums.freedom.value - 40.0).abs() < 2.0 * sums.freedom.half_width, "{:?}", sums.freedom);
            assert!((sums.squares.value - squares).abs() < 2.0 * sums.squares.half_width, "{:?}", sums.squares);
        }
        let asymmetry = (apart / squares).sqrt();
        assert!((both.asymmetry / asymmetry - 1.0).abs() < 0.1, "{} {asymmetry}", both.asymmetry);
    }
}
