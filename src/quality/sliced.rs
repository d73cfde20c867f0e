//! The sliced Wasserstein distance (Rabin et al. 2011; Bonneel et al. 2015): both sets are projected on random
//! directions. In one dimension the optimal transport follows from the order of the values.

use faer::{Mat, get_global_parallelism, linalg::matmul::matmul};

use crate::error::{Error, Result};
use crate::noise::Purpose;
use crate::tensor::Tensor;

/// The default number of directions.
pub const DIRECTIONS: usize = 128;

/// Unit directions, shared by all sets that are compared.
pub struct Directions {
    /// One direction per column.
    columns: Mat<f64>,
}

/// The projections of a set, sorted along each direction.
pub struct Slices(Vec<Vec<f64>>);

impl Directions {
    /// Draws `count` directions of `dimension` values from `seed`, uniform on the sphere.
    #[must_use]
    pub fn new(dimension: usize, count: usize, seed: u64) -> Self {
        let mut columns = Mat::zeros(dimension, count);
        for at in 0..count {
            let values: Vec<f64> =
                Purpose::Directions.normals(seed, at as u64, 0, dimension).into_iter().map(f64::from).collect();
            let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            values.iter().enumerate().for_each(|(row, value)| columns[(row, at)] = value / norm);
        }
        Self { columns }
    }

    /// Projects `rows`, (n, dimension) or (n, ...) with that many values per row.
    ///
    /// # Errors
    /// [`Error::Argument`] for rows of another size or no rows; [`Error::NonFinite`].
    pub fn slice(&self, rows: &Tensor) -> Result<Slices> {
        let dimension = self.columns.nrows();
        if rows.data.is_empty() || rows.stride() != dimension {
            let what = format!("samples of shape {:?} along directions of {dimension} values", rows.shape);
            return Err(Error::argument(what, "both sets must have samples of the same size"));
        }
        if !rows.is_finite() {
            let hint = "look for samples that are NaN or infinite".to_owned();
            return Err(Error::NonFinite { place: "the samples to project".to_owned(), hint });
        }
        let count = rows.shape[0];
        let block = Mat::from_fn(count, dimension, |row, column| f64::from(rows.data[row * dimension + column]));
        let mut projected = Mat::zeros(count, self.columns.ncols());
        matmul(&mut projected, faer::Accum::Replace, &block, &self.columns, 1.0, get_global_parallelism());
        let sorted = |at: usize| {
            let mut values: Vec<f64> = projected.col(at).iter().copied().collect();
            values.sort_by(f64::total_cmp);
            values
        };
        Ok(Slices((0..self.columns.ncols()).map(sorted).collect()))
    }
}

/// Returns the square root of the mean, over directions, of the squared Wasserstein-2 distance between the projections.
#[must_use]
pub fn distance(a: &Slices, b: &Slices) -> f64 {
    let squares: f64 = a.0.iter().zip(&b.0).map(|(a, b)| squared_transport(a, b)).sum();
    (squares / a.0.len().max(1) as f64).sqrt()
}

/// Returns the squared Wasserstein-2 distance of two sorted samples: the integral of the squared difference of their
/// quantile functions, which are step functions of n and m steps.
fn squared_transport(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len(), b.len());
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    // Positions in units of 1 / (n m), so that the ends of steps compare exactly.
    let mut from = 0;
    while i < n && j < m {
        let (end_a, end_b) = ((i + 1) * m, (j + 1) * n);
        let to = end_a.min(end_b);
        sum += (to - from) as f64 * (a[i] - b[j]).powi(2);
        i += usize::from(to == end_a);
        j += usize::from(to == end_b);
        from = to;
    }
    sum / (n * m) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transport_on_a_line() {
        assert_eq!(squared_transport(&[0.0, 1.0], &[2.0, 3.0]), 4.0);
        assert_eq!(squared_transport(&[0.0, 1.0, 2.0], &[0.0, 1.0, 2.0]), 0.0);
        // Quantiles 0,0,1,1 (in sixths: 0 0 0 1 1 1) against 0,1,2 (0 0 1 1 2 2).
        let expected = (1.0 + 1.0 + 1.0) / 6.0;
        assert!((squared_transport(&[0.0, 1.0], &[0.0, 1.0, 2.0]) - expected).abs() < 1e-12);
        let twice: Vec<f64> = [0.3, 0.3, 0.9, 0.9].to_vec();
        assert!((squared_transport(&twice, &[0.1, 0.5]) - squared_transport(&[0.3, 0.9], &[0.1, 0.5])).abs() < 1e-12);
    }

    #[test]
    fn a_shift_is_seen_by_its_length() {
        // Along a direction u, a shift by s moves by s.u; over the sphere, E (s.u)^2 = |s|^2 / d.
        let rows = Tensor::new([50, 4], Purpose::Images.normals(1, 0, 0, 200));
        let moved = Tensor::new([50, 4], rows.data.iter().map(|value| value + 1.0).collect());
        let directions = Directions::new(4, 4000, 7);
        let found = distance(&directions.slice(&rows).unwrap(), &directions.slice(&moved).unwrap());
        assert!((found - 1.0).abs() < 0.03, "{found}");
        assert_eq!(distance(&directions.slice(&rows).unwrap(), &directions.slice(&rows).unwrap()), 0.0);
    }

    #[test]
    fn no_direction_is_the_noise_of_an_image() {
        let directions = Directions::new(64, 8, 3);
        for at in 0..8 {
            let noise = Tensor::new([1, 64], Purpose::Images.normals(3, at, 0, 64));
            let slices = directions.slice(&noise).unwrap();
            let most = slices.0.iter().map(|slice| slice[0].abs()).fold(0.0, f64::max);
            assert!(most < 5.0, "the noise of image {at} lies along a direction: {most}");
        }
    }

    #[test]
    fn samples_of_another_size_are_refused() {
        let directions = Directions::new(4, 8, 0);
        for shape in [[2, 3], [0, 4]] {
            assert_eq!(directions.slice(&Tensor::zeros(shape)).err().unwrap().kind(), crate::ErrorKind::Argument);
        }
        assert_eq!(
            directions.slice(&Tensor::new([1, 4], vec![f32::NAN; 4])).err().unwrap().kind(),
            crate::ErrorKind::NonFinite
        );
    }
}
