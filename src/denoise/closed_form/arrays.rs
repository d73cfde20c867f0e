//! Closed forms of data in memory.

use std::path::Path;

use super::{ClosedForm, Filter, Form, checked_covariance, components_of};
use crate::data::{Dataset, Noised};
use crate::error::{Error, Result};
use crate::spectral::principal::LARGEST_MATRIX;

/// The kind of a closed form of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Determined {
    /// The projection on the leading components: their number, [`super::USUAL_COMPONENTS`] by default, and noise on the
    /// samples of each level.
    Pca {
        /// The number of components.
        components: Option<usize>,
        /// The noise on the samples.
        noise: Option<Noised>,
    },
    /// A filter of the Gaussian with the mean and the covariance of the data.
    Gaussian(Filter),
    /// The posterior mean over the samples themselves.
    Ideal,
}

impl ClosedForm {
    /// The closed form of this kind that `data` determine, under the name of the data.
    ///
    /// # Errors
    /// [`Error::Argument`] for more components than a sample has values.
    pub fn of_data(kind: Determined, data: Dataset) -> Result<Self> {
        let (name, sample_shape, mean) = (data.name.clone(), data.sample_shape.clone(), data.mean());
        let squares = data.samples.data.iter().zip(mean.iter().cycle());
        let sum: f64 = squares.map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum();
        let variance = sum / data.count() as f64;
        let form = match kind {
            Determined::Pca { components, noise } => {
                let components = components_of(&data, components)?;
                Form::Pca { data, components, noise }
            }
            Determined::Gaussian(filter) => Form::Gaussian { filter, data },
            Determined::Ideal => Form::Ideal { data },
        };
        Ok(Self { name, form, sample_shape, mean, variance })
    }

    /// The filter of a Gaussian of images of `sample_shape` with mean `mean`, of p values, and `covariance`, (p, p) and
    /// row-major, under this name.
    ///
    /// # Errors
    /// [`Error::Argument`] for sizes that do not fit each other, and for a matrix that is not a covariance;
    /// [`Error::NonFinite`].
    pub fn of_gaussian(
        name: &str,
        filter: Filter,
        sample_shape: &[usize],
        mean: Vec<f64>,
        covariance: &[f64],
    ) -> Result<Self> {
        let dimension = mean.len();
        if dimension == 0 || dimension > LARGEST_MATRIX || sample_shape.iter().product::<usize>() != dimension {
            let what = format!("a mean of {dimension} values for samples of shape {sample_shape:?}");
            return Err(Error::argument(what, format!("give one value for each of theirs, at most {LARGEST_MATRIX}")));
        }
        if covariance.len() != dimension * dimension {
            let what = format!("a covariance of {} values for a mean of {dimension}", covariance.len());
            return Err(Error::argument(what, format!("give a matrix ({dimension}, {dimension})")));
        }
        if !mean.iter().chain(covariance).all(|value| value.is_finite()) {
            let hint = "every value must be a finite number".to_owned();
            return Err(Error::NonFinite { place: "the moments of a Gaussian".into(), hint });
        }
        let covariance = checked_covariance(covariance, dimension, Path::new("covariance")).map_err(|error| {
            let hint = error.hint().unwrap_or_default();
            Error::argument(error.to_string(), hint)
        })?;
        let variance = (0..dimension).map(|at| covariance[(at, at)]).sum();
        let form = Form::Moments { filter, covariance };
        Ok(Self { name: name.to_owned(), form, sample_shape: sample_shape.to_vec(), mean, variance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::Level;
    use crate::tensor::Tensor;

    #[test]
    fn a_gaussian_is_filtered_by_its_moments() {
        let covariance = [2.0, 0.5, 0.5, 1.0];
        let form = ClosedForm::of_gaussian("g", Filter::Wiener, &[2], vec![1.0, -1.0], &covariance).unwrap();
        assert_eq!((form.image_shape(), form.name.as_str()), ([2, 1, 1], "g"));
        let Form::Moments { filter, covariance } = form.form else { panic!("not of moments") };
        let mut denoiser = filter.of(super::super::Linear::of_moments(&form.mean, &covariance, [2, 1, 1]).unwrap());
        let x = Tensor::new([1, 2, 1, 1], vec![3.0, 1.0]);
        let eps = denoiser.eps(&x, &[Level::at_sigma(1.0)]).unwrap();
        // (Sigma + I)^-1 (x - mean) by hand: [3, 0.5; 0.5, 2]^-1 (2, 2) = (3, 5) / 5.75.
        assert!((eps.data[0] - 3.0 / 5.75).abs() < 1e-6 && (eps.data[1] - 5.0 / 5.75).abs() < 1e-6, "{eps:?}");
    }

    #[test]
    fn what_is_not_a_gaussian_is_refused() {
        let of = |shape: &[usize], mean: Vec<f64>, covariance: &[f64]| {
            ClosedForm::of_gaussian("g", Filter::Wiener, shape, mean, covariance).unwrap_err()
        };
        for error in [
            of(&[3], vec![0.0; 2], &[1.0, 0.0, 0.0, 1.0]),
            of(&[2], vec![0.0; 2], &[1.0, 0.0]),
            of(&[2], vec![0.0; 2], &[1.0, 0.5, 0.0, 1.0]),
            of(&[2], vec![0.0; 2], &[1.0, 2.0, 2.0, 1.0]),
        ] {
            assert_eq!(error.kind(), crate::ErrorKind::Argument, "{error}");
        }
        assert_eq!(of(&[1], vec![f64::NAN], &[1.0]).kind(), crate::ErrorKind::NonFinite);
        let data = Dataset::new("x", Tensor::new([2, 3], vec![0.0; 6])).unwrap();
        let error = ClosedForm::of_data(Determined::Pca { components: Some(4), noise: None }, data).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Argument);
    }
}
