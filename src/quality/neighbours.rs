//! Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020): the balls around each
//! sample of a set that reach its k-th nearest neighbour, and the samples of the other set that lie in them. As in the
//! package prdc.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, get_global_parallelism};

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The usual number of neighbours.
pub const NEIGHBOURS: usize = 5;
/// The most samples of a set that are compared, as in the papers: the cost grows with the square.
pub const MOST: usize = 10_000;
/// Rows of a block of distances.
const BLOCK: usize = 512;

/// Shares of samples within the balls of the other set.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Prdc {
    /// The share of samples that lie in a ball of the data.
    pub precision: f64,
    /// The share of the data that lie in a ball of the samples.
    pub recall: f64,
    /// The mean number of balls of the data that a sample lies in, over k.
    pub density: f64,
    /// The share of balls of the data that hold a sample.
    pub coverage: f64,
}

/// A set of features with the ball around each, which reaches its k-th nearest neighbour.
pub struct Balls {
    set: Set,
    /// Squared.
    radii: Vec<f64>,
    k: usize,
}

impl Balls {
    /// The balls around features, (n, d), of at most [`MOST`] samples.
    ///
    /// # Errors
    /// [`Error::Argument`] for no more than `k` samples, and for a `k` of 0.
    pub fn new(features: &Tensor, k: usize) -> Result<Self> {
        let count = features.shape[0].min(MOST);
        if k == 0 || count <= k {
            let what = format!("{k} neighbours among {count} samples");
            return Err(Error::argument(what, "each set must have more samples than there are neighbours"));
        }
        let set = Set::new(features, count);
        let radii = set.radii(k);
        Ok(Self { set, radii, k })
    }
}

/// Returns the shares for the data and for samples.
///
/// # Errors
/// [`Error::Argument`] for features or neighbours of two kinds.
pub fn shares(data: &Balls, samples: &Balls) -> Result<Prdc> {
    let (Balls { set: data, radii: of_data, k }, Balls { set: samples, radii: of_samples, .. }) = (data, samples);
    let (dimension, other) = (data.rows.ncols(), samples.rows.ncols());
    if dimension != other {
        let what = format!("features of {dimension} values against those of {other}");
        return Err(Error::argument(what, "both must come from the same network"));
    }
    let (n, m) = (data.rows.nrows(), samples.rows.nrows());
    let (mut hits, mut covered) = (0usize, 0usize);
    let (mut precise, mut recalled) = (vec![false; m], 0usize);
    for first in (0..n).step_by(BLOCK) {
        let distances = data.distances(first..(first + BLOCK).min(n), samples);
        for row in 0..distances.nrows() {
            let radius = of_data[first + row];
            let (mut nearest, mut is_recalled) = (f64::INFINITY, false);
            for sample in 0..m {
                let distance = distances[(row, sample)];
                nearest = nearest.min(distance);
                is_recalled |= distance < of_samples[sample];
                if distance < radius {
                    hits += 1;
                    precise[sample] = true;
                }
            }
            covered += usize::from(nearest < radius);
            recalled += usize::from(is_recalled);
        }
    }
    let share = |part: usize, whole: usize| part as f64 / whole as f64;
    Ok(Prdc {
        precision: share(precise.iter().filter(|is| **is).count(), m),
        recall: share(recalled, n),
        density: share(hits, m * *k),
        coverage: share(covered, n),
    })
}

/// Rows in float64 with their squared norms.
struct Set {
    rows: Mat<f64>,
    norms: Vec<f64>,
}

impl Set {
    fn new(features: &Tensor, count: usize) -> Self {
        let rows = Mat::from_fn(count, features.stride(), |row, column| {
            f64::from(features.data[row * features.stride() + column])
        });
        let norms = (0..rows.nrows()).map(|row| rows.row(row).iter().map(|value| value * value).sum()).collect();
        Self { rows, norms }
    }

    /// Squared distances of a range of rows from all rows of another set.
    fn distances(&self, range: std::ops::Range<usize>, other: &Self) -> Mat<f64> {
        let block = self.rows.as_ref().subrows(range.start, range.len());
        let mut distances = Mat::zeros(range.len(), other.rows.nrows());
        let transposed = other.rows.transpose();
        matmul(&mut distances, Accum::Replace, block, transposed, -2.0, get_global_parallelism());
        for (column, norm) in other.norms.iter().enumerate() {
            for row in 0..range.len() {
                let squared = distances[(row, column)] + self.norms[range.start + row] + norm;
                distances[(row, column)] = squared.max(0.0);
            }
        }
        distances
    }

    /// The squared distance of each row from its k-th nearest neighbour.
    fn radii(&self, k: usize) -> Vec<f64> {
        let count = self.rows.nrows();
        let mut radii = Vec::with_capacity(count);
        for first in (0..count).step_by(BLOCK) {
            let distances = self.distances(first..(first + BLOCK).min(count), self);
            for row in 0..distances.nrows() {
                let others = (0..count).filter(|other| *other != first + row);
                let mut others: Vec<f64> = others.map(|other| distances[(row, other)]).collect();
                radii.push(*others.select_nth_unstable_by(k - 1, f64::total_cmp).1);
            }
        }
        radii
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_example() {
        // On a line, with one neighbour: balls of the data around 0, 1, 3 of radius 1, 1, 2; of the samples around
        // 0.5, 0.9, 10 of radius 0.4, 0.4, 9.1.
        let set = |values: &[f32]| Tensor::new([values.len(), 1], values.to_vec());
        let balls = |values: &[f32]| Balls::new(&set(values), 1).unwrap();
        let found = shares(&balls(&[0.0, 1.0, 3.0]), &balls(&[0.5, 0.9, 10.0])).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{found:?}");
        close(found.precision, 2.0 / 3.0);
        // 1 is within 0.4 of 0.9, 3 within 9.1 of 10; 0 is in no ball.
        close(found.recall, 2.0 / 3.0);
        // 0.5 lies in the balls of 0 and 1; 0.9 in those of 0 and 1, and 2.1 away from 3.
        close(found.density, 4.0 / 3.0);
        close(found.coverage, 2.0 / 3.0);
    }

    #[test]
    fn sets_that_are_too_small_are_refused() {
        for (count, k) in [(5, 5), (3, 0)] {
            let error = Balls::new(&Tensor::zeros([count, 2]), k).err().unwrap();
            assert_eq!(error.kind(), crate::ErrorKind::Argument);
        }
        let balls = |dimension: usize| Balls::new(&Tensor::zeros([3, dimension]), 1).unwrap();
        assert_eq!(shares(&balls(2), &balls(3)).unwrap_err().kind(), crate::ErrorKind::Argument);
    }
}
