//! The kernel Inception distance (Binkowski et al. 2018): the squared maximum mean discrepancy of features under the
//! kernel `(x . y / d + 1)^3`, estimated without bias on random subsets, as in torch-fidelity.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, get_global_parallelism};

use super::subsets::RandomState;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The settings of torch-fidelity 0.3 and 0.4: `kid_subsets`, `kid_subset_size` and `rng_seed`.
pub const SUBSETS: usize = 100;
/// See [`SUBSETS`].
pub const SUBSET_SIZE: usize = 1000;
/// See [`SUBSETS`].
pub const SEED: u32 = 2020;

/// The subsets of an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subsets {
    /// Their number.
    pub count: usize,
    /// The samples of each, of both sets.
    pub size: usize,
    /// The seed of their choice, as in torch-fidelity.
    pub seed: u32,
}

impl Subsets {
    /// torch-fidelity's subsets, of at most as many samples as either set has.
    #[must_use]
    pub fn usual(first: usize, second: usize) -> Self {
        Self { count: SUBSETS, size: SUBSET_SIZE.min(first).min(second), seed: SEED }
    }
}

/// The distance and its spread over the subsets.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Kid {
    /// The mean over the subsets.
    pub mean: f64,
    /// The standard deviation over the subsets (over n), as torch-fidelity reports it.
    pub deviation: f64,
}

/// Returns the distance between two sets of features, (n, d) and (m, d).
///
/// # Errors
/// [`Error::Argument`] for features of two kinds, no subsets, and subsets of fewer than two samples or more than a set
/// has.
pub fn distance(first: &Tensor, second: &Tensor, subsets: Subsets) -> Result<Kid> {
    let dimension = first.stride();
    if dimension != second.stride() {
        let what = format!("features of {dimension} values against those of {}", second.stride());
        return Err(Error::argument(what, "both must come from the same network"));
    }
    let (n, m) = (first.shape[0], second.shape[0]);
    if subsets.size < 2 || subsets.size > n.min(m) || subsets.count == 0 {
        let what = format!("{} subsets of {} samples out of {n} and {m}", subsets.count, subsets.size);
        return Err(Error::argument(what, "the kernel distance needs subsets of two samples at least"));
    }
    let mut state = RandomState::new(subsets.seed);
    let mut found = Vec::with_capacity(subsets.count);
    for _ in 0..subsets.count {
        let a = rows(first, &state.choice(n, subsets.size));
        let b = rows(second, &state.choice(m, subsets.size));
        found.push(discrepancy(&a, &b));
    }
    let count = found.len() as f64;
    let mean = found.iter().sum::<f64>() / count;
    let variance = found.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    Ok(Kid { mean, deviation: variance.sqrt() })
}

/// Rows of a set in float64.
fn rows(set: &Tensor, picks: &[usize]) -> Mat<f64> {
    Mat::from_fn(picks.len(), set.stride(), |row, column| f64::from(set.item(picks[row])[column]))
}

/// The unbiased estimate from samples of one size.
fn discrepancy(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
    let size = a.nrows() as f64;
    let within = |set: &Mat<f64>| {
        let kernel = kernel(set, set);
        let diagonal: f64 = (0..kernel.nrows()).map(|at| kernel[(at, at)]).sum();
        (sum(&kernel) - diagonal) / (size * (size - 1.0))
    };
    within(a) + within(b) - 2.0 * sum(&kernel(a, b)) / (size * size)
}

fn sum(matrix: &Mat<f64>) -> f64 {
    (0..matrix.ncols()).map(|column| matrix.col(column).iter().sum::<f64>()).sum()
}

/// `(x . y / d + 1)^3` of all pairs of rows.
fn kernel(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    let mut products = Mat::zeros(a.nrows(), b.nrows());
    let factor = 1.0 / a.ncols() as f64;
    matmul(&mut products, Accum::Replace, a, b.transpose(), factor, get_global_parallelism());
    Mat::from_fn(products.nrows(), products.ncols(), |i, j| (products[(i, j)] + 1.0).powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_example() {
        // In one dimension: k(x, y) = (x y + 1)^3 of {0, 1} and {1, 2}.
        let set = |values: [f32; 2]| Tensor::new([2, 1], values.to_vec());
        let subsets = Subsets { count: 3, size: 2, seed: 1 };
        let found = distance(&set([0.0, 1.0]), &set([1.0, 2.0]), subsets).unwrap();
        // k(0, 1) = 1; k(1, 2) = 27; pairs between: 1, 1, 8, 27.
        assert!((found.mean - (1.0 + 27.0 - 2.0 * 37.0 / 4.0)).abs() < 1e-12, "{found:?}");
        assert!(found.deviation < 1e-12);
    }

    #[test]
    fn subsets_that_do_not_fit_are_refused() {
        let set = Tensor::zeros([4, 3]);
        for (count, size) in [(1, 5), (1, 1), (0, 2)] {
            let error = distance(&set, &set, Subsets { count, size, seed: 0 }).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Argument);
        }
        assert!(distance(&set, &Tensor::zeros([4, 2]), Subsets::usual(4, 4)).is_err());
    }
}
