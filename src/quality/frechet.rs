//! The squared Frechet distance between Gaussians of given means and covariances, as reported by FID (Heusel et al.
//! 2017; Dowson and Landau 1982).

use faer::{Mat, MatRef};

use super::Statistics;
use crate::error::{Error, Result};
use crate::spectral::basis::eigen;

/// Negative eigenvalues of a covariance up to this share of the largest are taken for rounding.
const ROUNDING: f64 = 1e-6;

/// |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2).
///
/// The trace is that of (S1 S2)^1/2, taken of a symmetric matrix without negative eigenvalues. That holds even where S1
/// and S2 are singular, as they are for fewer samples than dimensions: no offset is needed and no imaginary part
/// appears.
///
/// # Errors
/// [`Error::Argument`] for statistics of different features; [`Error::BadFile`] for a matrix that is not a covariance;
/// [`Error::NonFinite`].
pub fn distance(a: &Statistics, b: &Statistics) -> Result<f64> {
    if a.dimension() != b.dimension() {
        let what = format!("statistics of {} features against those of {}", a.dimension(), b.dimension());
        return Err(Error::argument(what, "both must come from the same network"));
    }
    let between: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b) * (a - b)).sum();
    let root = square_root(a.covariance.as_ref())?;
    // Both covariances are checked: that of b enters a product that would hide its faults.
    square_root(b.covariance.as_ref())?;
    let product = &root * &b.covariance * &root;
    let (values, _) = eigen(symmetric(product.as_ref()).as_ref())?;
    let shared: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
    Ok((between + trace(&a.covariance) + trace(&b.covariance) - 2.0 * shared).max(0.0))
}

/// Returns the symmetric square root of a covariance.
fn square_root(matrix: MatRef<'_, f64>) -> Result<Mat<f64>> {
    let (values, vectors) = eigen(matrix)?;
    let largest = values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    if let Some(value) = values.iter().find(|value| **value < -ROUNDING * largest) {
        return Err(Error::bad_file_hint(
            "the statistics",
            format!("the covariance has an eigenvalue of {value:.2e} (the largest is {largest:.2e})"),
            "`sigma` must be a covariance: symmetric, with no negative eigenvalue",
        ));
    }
    let scaled = Mat::from_fn(vectors.nrows(), vectors.ncols(), |row, column| {
        vectors[(row, column)] * values[column].max(0.0).sqrt()
    });
    Ok(&scaled * vectors.transpose())
}

fn symmetric(matrix: MatRef<'_, f64>) -> Mat<f64> {
    Mat::from_fn(matrix.nrows(), matrix.ncols(), |i, j| f64::midpoint(matrix[(i, j)], matrix[(j, i)]))
}

fn trace(matrix: &Mat<f64>) -> f64 {
    (0..matrix.nrows()).map(|at| matrix[(at, at)]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::moments::of_rows;

    fn diagonal(mean: &[f64], variances: &[f64]) -> Statistics {
        let count = mean.len();
        let covariance = Mat::from_fn(count, count, |i, j| if i == j { variances[i] } else { 0.0 });
        Statistics::new(mean.to_vec(), covariance).unwrap()
    }

    #[test]
    fn diagonal_covariances_have_a_closed_form() {
        let a = diagonal(&[0.0, 1.0, 2.0], &[1.0, 4.0, 0.0]);
        let b = diagonal(&[1.0, 1.0, 0.0], &[9.0, 1.0, 0.25]);
        let spread: f64 = [(1.0, 3.0), (2.0, 1.0), (0.0, 0.5)].iter().map(|(a, b): &(f64, f64)| (a - b).powi(2)).sum();
        assert!((distance(&a, &b).unwrap() - (5.0 + spread)).abs() < 1e-12);
        assert!((distance(&b, &a).unwrap() - (5.0 + spread)).abs() < 1e-12);
        assert!(distance(&a, &a).unwrap() < 1e-12);
    }

    #[test]
    fn singular_covariances_are_no_obstacle() {
        // Five samples in eight dimensions, and the same samples shifted: only the means differ.
        let rows: Vec<f32> = (0..40u8).map(|i| (f32::from(i) * 1.3).sin()).collect();
        let moved: Vec<f32> = rows.iter().map(|value| value + 0.5).collect();
        let found = distance(&of_rows(&rows, 8).unwrap(), &of_rows(&moved, 8).unwrap()).unwrap();
        assert!((found - 8.0 * 0.25).abs() < 1e-6, "{found}");
    }

    #[test]
    fn what_is_no_covariance_is_refused() {
        let (a, b) = (diagonal(&[0.0; 2], &[1.0, 1.0]), diagonal(&[0.0; 2], &[1.0, -0.5]));
        assert_eq!(distance(&a, &b).unwrap_err().kind(), crate::ErrorKind::File);
        assert_eq!(distance(&b, &a).unwrap_err().kind(), crate::ErrorKind::File);
        assert_eq!(distance(&a, &diagonal(&[0.0], &[1.0])).unwrap_err().kind(), crate::ErrorKind::Argument);
    }
}
