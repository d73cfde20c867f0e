//! The squared Frechet distance between Gaussians of given means and covariances, as reported by FID (Heusel et al.
//! 2017; Dowson and Landau 1982).

use faer::{Mat, MatRef, Side};

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
    // Both covariances are checked: that of b enters a product that would hide its faults.
    check(a)?;
    check(b)?;
    let rows = |statistics: &Statistics| statistics.factor.as_ref().map_or(usize::MAX, Mat::nrows);
    let (fewer, other) = if rows(b) < rows(a) { (b, a) } else { (a, b) };
    let product = if let Some(factor) = &fewer.factor {
        // With S1 = F'F, the product of S1 and S2 has the eigenvalues of F S2 F' other than 0.
        factor * &other.covariance * factor.transpose()
    } else {
        let root = square_root(a.covariance.as_ref())?;
        &root * &b.covariance * &root
    };
    let (values, _) = eigen(symmetric(product.as_ref()).as_ref())?;
    let shared: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
    Ok((between + trace(&a.covariance) + trace(&b.covariance) - 2.0 * shared).max(0.0))
}

/// Refuses a matrix that is not a covariance. Statistics with a factor are one by construction.
fn check(statistics: &Statistics) -> Result<()> {
    if statistics.factor.is_some() {
        return Ok(());
    }
    let matrix = &statistics.covariance;
    let count = matrix.nrows();
    let row = |row: usize| (0..count).map(|column| matrix[(row, column)].abs()).sum::<f64>();
    let bound = (0..count).map(row).fold(f64::MIN_POSITIVE, f64::max);
    // A matrix that has a Cholesky factor with this much added has no eigenvalue below what rounding explains.
    let raised = Mat::from_fn(count, count, |i, j| matrix[(i, j)] + if i == j { ROUNDING * bound } else { 0.0 });
    match raised.llt(Side::Lower) {
        Ok(_) => Ok(()),
        Err(_) => square_root(matrix.as_ref()).map(|_| ()),
    }
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
    fn few_samples_of_many_features_have_the_distance_of_their_covariances() {
        let rows = |seed: u64, count: usize| crate::noise::Purpose::Images.normals(seed, 0, 0, count * 520);
        let statistics = |seed: u64, count: usize| of_rows(&rows(seed, count), 520).unwrap();
        let whole = |few: &Statistics| Statistics { factor: None, ..few.clone() };
        let (few, fewer) = (statistics(1, 30), statistics(2, 7));
        assert!(few.factor.is_some() && fewer.factor.is_some());
        let expected = distance(&whole(&few), &whole(&fewer)).unwrap();
        for (a, b) in [(&few, &fewer), (&fewer, &few), (&few, &whole(&fewer)), (&whole(&few), &fewer)] {
            let found = distance(a, b).unwrap();
            assert!((found - expected).abs() < 1e-5 * expected, "{found} against {expected}");
        }
        assert!(statistics(3, 261).factor.is_none(), "as many as half of the features");
    }

    #[test]
    fn what_is_no_covariance_is_refused() {
        let (a, b) = (diagonal(&[0.0; 2], &[1.0, 1.0]), diagonal(&[0.0; 2], &[1.0, -0.5]));
        assert_eq!(distance(&a, &b).unwrap_err().kind(), crate::ErrorKind::File);
        assert_eq!(distance(&b, &a).unwrap_err().kind(), crate::ErrorKind::File);
        assert_eq!(distance(&a, &diagonal(&[0.0], &[1.0])).unwrap_err().kind(), crate::ErrorKind::Argument);
    }
}
