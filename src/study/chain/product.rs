//! The chain itself: projections level by level, their product, and its effect on noise.

use faer::{Mat, MatRef};

use super::Coupling;
use super::levels::{LevelNoise, Levels};
use super::projector::{Leading, Projector};
use crate::error::Result;
use crate::spectral::basis::inner;
use crate::study::Advance;
use crate::tensor::Tensor;

/// The data and the noise of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// `x_0`, (n, p).
    pub data: &'a Tensor,
    /// `sigma_1` ... `sigma_T`.
    pub sigmas: &'a [f64],
    pub coupling: Coupling,
    pub noise: LevelNoise<'a>,
}

/// The projections of levels 0 to T and their product. Signs of eigenvectors are such that the largest entry of each u
/// at level 0 is positive, and that u never turns by more than a right angle from a level to the next.
#[derive(Clone, Debug)]
pub struct Projections {
    /// Leading eigenvalues of each level, (T + 1, k).
    pub values: Vec<Vec<f64>>,
    /// |cos| of `u_i` at levels t and t + 1, (T, k).
    pub adjacent: Vec<Vec<f64>>,
    /// |cos| of `u_i` at levels t and 0, (T + 1, k).
    pub to_first: Vec<Vec<f64>>,
    /// C of each partial product `P_t` = `U_0 C_t U_t'`, (k, k), of Frobenius norm 1 (T + 1 of them).
    pub partial: Vec<Mat<f64>>,
    /// The natural logarithm of the Frobenius norm of each `P_t`.
    pub log_norm: Vec<f64>,
    /// `U_t' U_(t+1)`, (k, k), for each t below T.
    pub overlaps: Vec<Mat<f64>>,
    /// `U_t` of each level as rows, (T + 1) (k, p), where they were requested.
    pub bases: Vec<f32>,
    first: Mat<f64>,
    last: Mat<f64>,
}

impl Chain<'_> {
    /// Levels without the first, T.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.sigmas.len()
    }

    /// Projects level by level; `advance` counts levels, T + 1 in all. Bases are kept for `keep_bases` only.
    ///
    /// # Errors
    /// Those of [`Projector::leading`].
    pub fn run(&self, projector: &Projector, keep_bases: bool, advance: Advance) -> Result<Projections> {
        let batch = projector.batch([self.data.shape[0], self.data.shape[1]]);
        let mut levels = Levels::new(self.data, self.sigmas, self.coupling, self.noise);
        let mut projections = Projections::default();
        loop {
            let some: Vec<Tensor> = levels.by_ref().take(batch).collect();
            if some.is_empty() {
                return Ok(projections);
            }
            for leading in projector.leading(&some)? {
                projections.push(leading, keep_bases);
                advance(1);
            }
        }
    }
}

impl Default for Projections {
    /// No level yet.
    fn default() -> Self {
        Self {
            values: Vec::new(),
            adjacent: Vec::new(),
            to_first: Vec::new(),
            partial: Vec::new(),
            log_norm: Vec::new(),
            overlaps: Vec::new(),
            bases: Vec::new(),
            first: Mat::zeros(0, 0),
            last: Mat::zeros(0, 0),
        }
    }
}

impl Projections {
    /// Adds the next level, with eigenvectors as columns.
    pub fn push(&mut self, mut level: Leading, keep_basis: bool) {
        let count = level.values.len();
        if self.partial.is_empty() {
            for i in 0..count {
                let values = level.vectors.col(i).iter().copied();
                let largest = values.fold(0.0f64, |most, value| if value.abs() > most.abs() { value } else { most });
                if largest < 0.0 {
                    level.vectors.col_mut(i).iter_mut().for_each(|value| *value = -*value);
                }
            }
            self.first = level.vectors.clone();
            self.partial.push(Mat::<f64>::identity(count, count) * faer::Scale((count as f64).sqrt().recip()));
            self.log_norm.push(0.5 * (count as f64).ln());
            self.to_first.push(vec![1.0; count]);
        } else {
            let mut overlap = inner(self.last.as_ref(), level.vectors.as_ref());
            for i in 0..count {
                if overlap[(i, i)] < 0.0 {
                    level.vectors.col_mut(i).iter_mut().for_each(|value| *value = -*value);
                    overlap.col_mut(i).iter_mut().for_each(|value| *value = -*value);
                }
            }
            let before = &self.partial[self.partial.len() - 1];
            let product = before * &overlap;
            let norm = product.norm_l2();
            let log_norm = self.log_norm[self.log_norm.len() - 1] + norm.ln();
            self.log_norm.push(log_norm);
            self.partial.push(if norm > 0.0 { product * faer::Scale(norm.recip()) } else { product });
            self.adjacent.push((0..count).map(|i| overlap[(i, i)].min(1.0)).collect());
            let to_first = inner(self.first.as_ref(), level.vectors.as_ref());
            self.to_first.push((0..count).map(|i| to_first[(i, i)].abs().min(1.0)).collect());
            self.overlaps.push(overlap);
        }
        if keep_basis {
            for column in level.vectors.col_iter() {
                self.bases.extend(column.iter().map(|value| *value as f32));
            }
        }
        self.values.push(level.values);
        self.last = level.vectors;
    }

    /// Components, k.
    #[must_use]
    pub fn count(&self) -> usize {
        self.first.ncols()
    }

    /// `U_0`, (p, k).
    #[must_use]
    pub fn first(&self) -> MatRef<'_, f64> {
        self.first.as_ref()
    }

    /// `U_T`, (p, k).
    #[must_use]
    pub fn last(&self) -> MatRef<'_, f64> {
        self.last.as_ref()
    }

    /// The whole product over its Frobenius norm, (p, p).
    #[must_use]
    pub fn product(&self) -> Tensor {
        let size = self.first.nrows();
        let Some(inner) = self.partial.last() else { return Tensor::zeros([0, 0]) };
        let left = &self.first * inner;
        let product = &left * self.last.transpose();
        Tensor::new([size, size], (0..size * size).map(|at| product[(at / size, at % size)] as f32).collect())
    }

    /// The mean energy of x = `P_t` eps along each `u_i` of level 0, eps being white: the diagonal of C C', over its
    /// sum.
    #[must_use]
    pub fn expected_energy(&self, t: usize) -> Vec<f64> {
        let inner = &self.partial[t];
        let energies: Vec<f64> = inner.row_iter().map(|row| row.iter().map(|value| value * value).sum()).collect();
        normalised_energy(&energies)
    }

    /// Equation 26 for x = P eps: energies along each `u_i` of level 0, over their sum; `eps` holds one draw per row,
    /// (m, p).
    #[must_use]
    pub fn energy_of(&self, eps: &Tensor) -> Vec<f64> {
        let mut energies = vec![0.0; self.count()];
        let Some(inner) = self.partial.last() else { return energies };
        for draw in 0..eps.shape[0] {
            let draw = eps.item(draw).iter().map(|value| f64::from(*value)).collect::<faer::Col<f64>>();
            let along = inner * (self.last.transpose() * draw);
            energies.iter_mut().zip(along.iter()).for_each(|(sum, value)| *sum += value * value);
        }
        normalised_energy(&energies)
    }
}

/// Energies over their sum; as they are where that is zero.
#[must_use]
pub fn normalised_energy(energies: &[f64]) -> Vec<f64> {
    let total: f64 = energies.iter().sum();
    if total > 0.0 { energies.iter().map(|energy| energy / total).collect() } else { energies.to_vec() }
}

/// The effective number of modes, (sum e)^2 / sum e^2: 1 when one mode has all energy, k when all have the same.
#[must_use]
pub fn participation_ratio(energies: &[f64]) -> f64 {
    let squares: f64 = energies.iter().map(|energy| energy * energy).sum();
    energies.iter().sum::<f64>().powi(2) / squares
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two directions in three dimensions, turned by an angle about the first axis of the plane they span.
    fn level(angle: f64) -> Leading {
        let vectors = Mat::from_fn(3, 2, |i, j| match (i, j) {
            (0, 0) => 1.0,
            (1, 1) => angle.cos(),
            (2, 1) => angle.sin(),
            _ => 0.0,
        });
        Leading { values: vec![2.0, 1.0], vectors }
    }

    #[test]
    fn a_turning_component_fades_and_a_still_one_wins() {
        let mut chain = Projections::default();
        let (angle, steps) = (0.3f64, 400);
        for t in 0..=steps {
            let mut level = level(angle * t as f64);
            // A solver's signs are anyone's.
            if t % 3 == 1 {
                level.vectors.col_mut(1).iter_mut().for_each(|value| *value = -*value);
            }
            chain.push(level, true);
        }
        let cos = angle.cos();
        assert!(
            chain.adjacent.iter().all(|cosines| (cosines[0] - 1.0).abs() < 1e-12 && (cosines[1] - cos).abs() < 1e-12)
        );
        assert!((chain.to_first[7][1] - (7.0 * angle).cos().abs()).abs() < 1e-12);
        // P = diag(1, cos^t) in the coordinates of U_0 and U_t.
        for t in [0, 1, 5, steps] {
            let second = cos.powi(t as i32);
            let norm = 1.0f64.hypot(second);
            assert!((chain.log_norm[t] - norm.ln()).abs() < 1e-9, "{t}: {}", chain.log_norm[t]);
            assert!((chain.partial[t][(0, 0)] - norm.recip()).abs() < 1e-9);
            let energy = chain.expected_energy(t);
            assert!((energy[1] - second.powi(2) / (1.0 + second.powi(2))).abs() < 1e-9);
        }
        assert!((participation_ratio(&chain.expected_energy(steps)) - 1.0).abs() < 1e-6);
        let product = chain.product();
        assert!((product.data[0] - 1.0).abs() < 1e-6 && product.data[1..].iter().all(|value| value.abs() < 1e-6));
        assert_eq!(chain.bases.len(), (steps + 1) * 2 * 3);
        let eps = Tensor::new([2, 3], vec![1.0, 1.0, 0.0, 0.5, 0.0, 1.0]);
        assert!((chain.energy_of(&eps)[0] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_underflows_where_every_direction_is_lost() {
        let mut chain = Projections::default();
        for t in 0..=1000u32 {
            let angle = f64::from(t) * 1.5;
            let vectors = Mat::from_fn(2, 1, |i, _| if i == 0 { angle.cos() } else { angle.sin() });
            chain.push(Leading { values: vec![1.0], vectors }, false);
        }
        // 0.07^1000 is far below float64.
        assert!((chain.log_norm[1000] - 1000.0 * 1.5f64.cos().ln()).abs() < 1e-6);
        assert!((chain.partial[1000][(0, 0)].abs() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn participation_counts_modes() {
        assert_eq!(participation_ratio(&[1.0; 5]), 5.0);
        assert_eq!(participation_ratio(&[0.0, 3.0]), 1.0);
        assert_eq!(normalised_energy(&[1.0, 3.0]), [0.25, 0.75]);
        assert_eq!(normalised_energy(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
