//! Angles between the leading subspaces of two symmetric operators that are known up to an error.
//!
//! A single eigenvector is defined as far as its eigenvalue is apart from the others. By the theorem of Davis and Kahan
//! (1970, SIAM J. Numer. Anal. 7:1) an error of norm e turns the span of the eigenvectors before a gap g by a sine of
//! at most e / g. So the spectrum is cut only at gaps of at least e / floor: eigenvalues between two cuts are a
//! cluster, whose eigenvectors are compared as one subspace, and a sine below the sum of both sides' e / g says
//! nothing.
//!
//! Two leading subspaces that were cut at different places have turned as far as the smaller one is outside the larger
//! one. If the eigenvectors of both operators are the same, in the same order, that is 0, wherever the cuts are.

use faer::{Mat, MatRef};

use crate::spectral::arnoldi::NearlySymmetric;
use crate::spectral::basis::inner;
use crate::spectral::operator::columns_of;

/// The leading eigenpairs at a place, and their clusters.
#[derive(Clone, Debug)]
pub struct Leading {
    /// Eigenvalues, largest first: all of them, or as many as were computed.
    values: Vec<f64>,
    /// Eigenvectors as columns, orthonormal up to rounding.
    vectors: Mat<f64>,
    /// The least gap between two clusters.
    least_gap: f64,
    /// The error of the operator.
    error: f64,
    /// The length of an eigenvector.
    dimension: usize,
}

/// A run of eigenvalues that no wide gap divides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cluster {
    /// The first eigenvector of the cluster, and the one after its last.
    pub first: usize,
    pub end: usize,
    /// The largest sine that the error of the operator can make.
    pub floor: f64,
}

/// The angle between two leading subspaces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turned {
    /// The root mean square sine of the cluster of the smaller subspace to the larger one.
    pub sine: f64,
    /// The largest sine that the errors of both operators can make.
    pub floor: f64,
    /// The sine of a random direction: sqrt(1 - m / p) for a larger subspace of m directions of p.
    pub chance: f64,
    /// The directions of the larger subspace, m.
    pub directions: usize,
}

impl Leading {
    /// The eigenpairs `found`, cut at gaps which keep the effect of the error below `floor`.
    #[must_use]
    pub fn new(found: &NearlySymmetric, floor: f64) -> Self {
        let vectors = columns_of(&found.spectrum.vectors);
        Self {
            values: found.spectrum.values.clone(),
            dimension: vectors.nrows(),
            vectors,
            least_gap: found.error / floor,
            error: found.error,
        }
    }

    /// The cluster of eigenvector `i`; `None` if it reaches beyond the eigenpairs that were computed, or to the end of
    /// the space.
    #[must_use]
    pub fn cluster(&self, i: usize) -> Option<Cluster> {
        let gap = |at: usize| self.values[at - 1] - self.values[at];
        // A gap of zero never divides, not even without an error.
        let divides = |at: &usize| gap(*at) > 0.0 && gap(*at) >= self.least_gap;
        let first = (1..=i).rev().find(divides).unwrap_or(0);
        let end = (i + 1..self.values.len()).find(divides)?;
        let narrow = if first == 0 { gap(end) } else { gap(end).min(gap(first)) };
        Some(Cluster { first, end, floor: self.error / narrow })
    }

    /// The angle between the leading subspaces, here and at `other`, that end with the clusters of eigenvector `i`;
    /// `None` if either is not determined.
    #[must_use]
    pub fn turned(&self, other: &Self, i: usize) -> Option<Turned> {
        let (here, there) = (self.cluster(i)?, other.cluster(i)?);
        let (small, cluster, large, directions) =
            if here.end <= there.end { (self, here, other, there.end) } else { (other, there, self, here.end) };
        let part = small.vectors.subcols(cluster.first, cluster.end - cluster.first);
        let sine = outside(part, large.vectors.subcols(0, directions));
        let chance = (1.0 - directions as f64 / self.dimension as f64).max(0.0).sqrt();
        Some(Turned { sine, floor: here.floor + there.floor, chance, directions })
    }

    /// The sine between single eigenvectors `i`, whatever their gaps.
    #[must_use]
    pub fn single_sine(&self, other: &Self, i: usize) -> f64 {
        outside(self.vectors.subcols(i, 1), other.vectors.subcols(i, 1))
    }

    /// The share of eigenvector `i` in the span of the first `count` at `other`.
    #[must_use]
    pub fn share(&self, other: &Self, i: usize, count: usize) -> f64 {
        let sine = outside(self.vectors.subcols(i, 1), other.vectors.subcols(0, count));
        (1.0 - sine * sine).max(0.0)
    }
}

/// The root mean square distance of orthonormal columns from the span of others. It is computed from what is left, not
/// from cosines, which do not hold small sines.
fn outside(part: MatRef<'_, f64>, span: MatRef<'_, f64>) -> f64 {
    let left = part - span * inner(span, part);
    (left.squared_norm_l2() / part.ncols().max(1) as f64).sqrt().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectral::Settings;
    use crate::spectral::operator::rows_of;
    use crate::spectral::spectrum::Spectrum;

    fn leading(values: &[f64], vectors: &Mat<f64>, error: f64) -> Leading {
        let spectrum = Spectrum {
            values: values.to_vec(),
            vectors: rows_of(vectors.as_ref()),
            residuals: vec![0.0; values.len()],
            converged: true,
            iterations: 1,
            applied_vectors: values.len(),
            solver: "none",
            settings: Settings::new(values.len()),
        };
        let found = NearlySymmetric { spectrum, asymmetry: 0.0, basis: 6, outside: vec![], error };
        Leading::new(&found, 0.01)
    }

    /// The axes of six values, the first two of them turned by an angle.
    fn turned_axes(angle: f64) -> Mat<f64> {
        let mut axes = Mat::<f64>::identity(6, 6);
        axes[(0, 0)] = angle.cos();
        axes[(1, 0)] = angle.sin();
        axes[(0, 1)] = -angle.sin();
        axes[(1, 1)] = angle.cos();
        axes
    }

    #[test]
    fn directions_of_one_eigenvalue_are_one_subspace() {
        let apart = leading(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], &Mat::identity(6, 6), 1e-6);
        let close = leading(&[6.0, 6.0 - 1e-6, 4.0, 3.0, 2.0, 1.0], &turned_axes(0.7), 1e-6);
        assert_eq!(close.cluster(0).map(|found| (found.first, found.end)), Some((0, 2)));
        let found = close.turned(&apart, 0).unwrap();
        assert!((found.directions, found.sine < 1e-6) == (2, true), "{found:?}");
        assert!((close.single_sine(&apart, 0) - 0.7f64.sin()).abs() < 1e-6);
        // The third turned with neither.
        let third = close.turned(&apart, 2).unwrap();
        assert!(third.sine < 1e-6 && third.floor < 0.02 && third.directions == 3, "{third:?}");
        assert!((third.chance - 0.5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn directions_that_turn_between_eigenvalues_apart_are_seen() {
        let values = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        let (before, after) = (leading(&values, &Mat::identity(6, 6), 1e-6), leading(&values, &turned_axes(0.3), 1e-6));
        for i in 0..2 {
            let found = before.turned(&after, i).unwrap();
            // The first leads alone; the second with the first spans what it did.
            let expected = if i == 0 { 0.3f64.sin() } else { 0.0 };
            assert!((found.sine - expected).abs() < 1e-6, "{i}: {found:?}");
        }
    }

    #[test]
    fn what_no_gap_divides_is_not_determined() {
        let same = leading(&[1.0; 6], &Mat::identity(6, 6), 0.0);
        assert_eq!(same.cluster(0), None);
        // The error is as large as the gaps.
        let rough = leading(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], &Mat::identity(6, 6), 0.5);
        assert_eq!(rough.cluster(3), None);
        assert_eq!(rough.turned(&same, 0), None);
    }
}
