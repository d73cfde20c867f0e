//! Metrics for gradient estimation from the variances of data.

use crate::data::Dataset;
use crate::sample::solvers::metric::Metric;
use crate::spectral::basis::eigen;
use crate::spectral::host::precise_second_moment;
use crate::spectral::principal::LARGEST_MATRIX;
use crate::{Error, Result};

/// Returns one variance for all directions: the mean of those of `data`.
#[must_use]
pub fn uniform(data: &Dataset) -> Metric {
    let variances = variances(data);
    let mean = variances.iter().sum::<f64>() / variances.len() as f64;
    Metric::uniform(format!("identity:{}", data.name), mean)
}

/// Returns the variance of each value of `data`.
#[must_use]
pub fn diagonal(data: &Dataset) -> Metric {
    Metric::diagonal(format!("diagonal:{}", data.name), variances(data))
}

/// Returns the variances along the leading `count` principal components of `data`, or along all of them by default;
/// every direction orthogonal to these has the mean of the remaining variances.
///
/// # Errors
/// [`Error::Argument`] for data with more values than a covariance matrix is formed of, and for more components than
/// values.
pub fn principal(mut data: Dataset, count: Option<usize>) -> Result<Metric> {
    let dimension = data.dimension();
    if dimension > LARGEST_MATRIX {
        let what = format!("the covariance of {dimension} values is not formed");
        return Err(Error::argument(what, format!("`metric` takes data of up to {LARGEST_MATRIX} values per image")));
    }
    let kept = count.unwrap_or(dimension);
    if kept == 0 || kept > dimension {
        let what = format!("{kept} components of the {dimension} values of a sample");
        return Err(Error::argument(what, format!("give `k` a number from 1 to {dimension}")));
    }
    let name = format!("pca:{}", data.name);
    data.centre();
    let (values, vectors) = eigen(precise_second_moment(&data.samples).as_ref())?;
    let values: Vec<f64> = values.into_iter().map(|value| value.max(0.0)).collect();
    let rest = values[kept..].iter().sum::<f64>() / (dimension - kept).max(1) as f64;
    Metric::principal(name, vectors.subcols(0, kept).to_owned(), values[..kept].to_vec(), rest)
}

/// The variance of each value.
fn variances(data: &Dataset) -> Vec<f64> {
    let mean = data.mean();
    let mut sums = vec![0.0; mean.len()];
    for sample in data.samples.data.chunks_exact(mean.len()) {
        let values = sample.iter().zip(&mean);
        sums.iter_mut().zip(values).for_each(|(sum, (value, mean))| *sum += (f64::from(*value) - mean).powi(2));
    }
    sums.into_iter().map(|sum| sum / data.count() as f64).collect()
}
