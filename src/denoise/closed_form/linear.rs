//! Denoisers that are linear in the image: x0 = mean + U diag(gain) U' (x - mean), in float64 on the host.

use faer::{Col, ColRef, Mat, MatRef};

use crate::data::Dataset;
use crate::denoise::{Denoiser, Level};
use crate::error::{Error, Result};
use crate::kernels::Engine;
use crate::spectral::basis::{eigen, split};
use crate::spectral::host::{HostCovariance, precise_gram, precise_second_moment};
use crate::spectral::operator::columns_of;
use crate::spectral::principal::LARGEST_MATRIX;
use crate::spectral::{Settings, principal_components};
use crate::tensor::Tensor;

/// Rows of a matrix that is diagonalised as a whole to find some of its eigenvectors.
const WHOLE: usize = 1024;
/// Residual of the components of larger data, over the largest eigenvalue.
const TOLERANCE: f64 = 3e-6;
/// Eigenvalues of a Gram matrix below this share of the largest are rounding of the float32 data.
const ROUNDING: f64 = 1e-12;

/// The factors of the parts of an image along each direction.
#[derive(Clone, Debug, PartialEq)]
enum Gain {
    /// 1: orthogonal projection.
    Projection,
    /// lambda / (lambda + sigma^2), for the variances lambda: the posterior mean of a Gaussian.
    Wiener(Vec<f64>),
}

/// A linear denoiser: the projection on principal components, or the Wiener filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    mean: Col<f64>,
    /// Orthonormal directions as columns, (p, r); along all others the gain is 0.
    directions: Mat<f64>,
    gain: Gain,
    image: [usize; 3],
}

impl Linear {
    /// The projection on the leading `count` components of `centred` data, whose mean was `mean`.
    ///
    /// # Errors
    /// [`Error::BadFile`] when the components are not found to sufficient precision; those of the device.
    pub fn projection(
        engine: &Engine,
        centred: &Dataset,
        mean: &[f64],
        count: usize,
        image: [usize; 3],
    ) -> Result<Self> {
        if centred.count().min(centred.dimension()) > WHOLE || count > centred.count() {
            return Self::near_projection(engine, centred, mean, count, image);
        }
        let (values, vectors) = whole_spectrum(centred)?;
        // There may be fewer directions than requested: the data have no extent along the rest.
        let directions = vectors.subcols(0, count.min(values.len())).to_owned();
        Ok(Self { mean: column(mean), directions, gain: Gain::Projection, image })
    }

    /// [`Self::projection`] by the cheapest route in float32, to a residual of 3e-6 of the largest eigenvalue.
    ///
    /// # Errors
    /// Those of [`Self::projection`].
    pub fn near_projection(
        engine: &Engine,
        centred: &Dataset,
        mean: &[f64],
        count: usize,
        image: [usize; 3],
    ) -> Result<Self> {
        let settings = Settings { tolerance: TOLERANCE, ..Settings::new(count) };
        let found = principal_components(engine, &centred.samples, &settings, None)?.spectrum;
        if !found.converged {
            let what = format!("its {count} components are known to {:.1e} only", found.worst_residual());
            return Err(Error::bad_file_hint(&centred.name, what, "take fewer components"));
        }
        let directions = split(columns_of(&found.vectors).as_ref(), 0.0).0;
        Ok(Self { mean: column(mean), directions, gain: Gain::Projection, image })
    }

    /// The Wiener filter of `centred` data, whose mean was `mean`: covariance X'X / n.
    ///
    /// # Errors
    /// [`Error::Argument`] for data of more values and samples than a matrix is formed of.
    pub fn wiener(centred: &Dataset, mean: &[f64], image: [usize; 3]) -> Result<Self> {
        let (values, directions) = whole_spectrum(centred)?;
        Ok(Self { mean: column(mean), directions, gain: Gain::Wiener(values), image })
    }

    /// The Wiener filter of a Gaussian of mean `mean` and `covariance`, symmetric without negative eigenvalues.
    ///
    /// # Errors
    /// Those of [`eigen`].
    pub fn of_moments(mean: &[f64], covariance: &Mat<f64>, image: [usize; 3]) -> Result<Self> {
        let (values, directions) = eigen(covariance.as_ref())?;
        Ok(Self { mean: column(mean), directions, gain: Gain::Wiener(not_negative(values)), image })
    }

    /// The r variances of a Wiener filter, largest first, and its orthonormal directions as columns, (p, r). A
    /// projection does not have variances.
    #[must_use]
    pub fn spectrum(&self) -> (&[f64], MatRef<'_, f64>) {
        let variances: &[f64] = match &self.gain {
            Gain::Projection => &[],
            Gain::Wiener(variances) => variances,
        };
        (variances, self.directions.as_ref())
    }

    /// The mean, of p values.
    #[must_use]
    pub fn mean(&self) -> ColRef<'_, f64> {
        self.mean.as_ref()
    }

    /// The state at level `to` on the path of the probability flow, dx / dsigma = eps(x, sigma), that is at `x` at
    /// level `from`: along a direction of variance lambda the distance from the mean changes by the factor
    /// sqrt((lambda + to^2) / (lambda + from^2)). At an infinite `from`, `x` is the noise, of unit variance. Of a
    /// projection every variance counts as zero.
    #[must_use]
    pub fn flow(&self, x: &[f32], from: f64, to: f64) -> Vec<f32> {
        let is_noise = from.is_infinite();
        let factor = |variance: f64| {
            let before = if is_noise { 1.0 } else { variance + from * from };
            ((variance + to * to) / before).sqrt()
        };
        let centre = |at: usize| if is_noise { 0.0 } else { self.mean[at] };
        let centred = Col::from_fn(x.len(), |at| f64::from(x[at]) - centre(at));
        let mut along = self.directions.transpose() * &centred;
        let outside = factor(0.0);
        let (variances, _) = self.spectrum();
        for (at, part) in along.iter_mut().enumerate() {
            *part *= factor(variances.get(at).copied().unwrap_or(0.0)) - outside;
        }
        let inside = &self.directions * &along;
        (0..x.len()).map(|at| (self.mean[at] + inside[at] + outside * centred[at]) as f32).collect()
    }

    /// The projection on the first `count` of the directions.
    #[must_use]
    pub fn leading(&self, count: usize) -> Self {
        let directions = self.directions.subcols(0, count.min(self.directions.ncols())).to_owned();
        Self { mean: self.mean.clone(), directions, gain: Gain::Projection, image: self.image }
    }

    /// eps of one image. Each image by itself, so that its bits do not depend on the batch.
    pub(super) fn eps_of(&self, x: &[f32], sigma: f64) -> Vec<f32> {
        let centred = Col::from_fn(x.len(), |at| f64::from(x[at]) - self.mean[at]);
        let mut along = self.directions.transpose() * &centred;
        if let Gain::Wiener(values) = &self.gain {
            along.iter_mut().zip(values).for_each(|(part, value)| *part *= value / (value + sigma * sigma));
        }
        let kept = &self.directions * &along;
        centred.iter().zip(kept.iter()).map(|(x, kept)| ((x - kept) / sigma) as f32).collect()
    }
}

impl Denoiser for Linear {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let sigma = &Level::sigmas(levels)[..];
        let images = sigma.iter().enumerate();
        let data = images.flat_map(|(at, sigma)| self.eps_of(x.item(at), *sigma)).collect();
        Ok(Tensor::new(x.shape.clone(), data))
    }
}

pub(super) fn column(values: &[f64]) -> Col<f64> {
    Col::from_fn(values.len(), |at| values[at])
}

/// Variances, clamped to zero where rounding made them negative.
pub(super) fn not_negative(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|value| value.max(0.0)).collect()
}

/// All eigenvalues above zero of X'X / n in float64, largest first, with their eigenvectors as columns.
pub(super) fn whole_spectrum(data: &Dataset) -> Result<(Vec<f64>, Mat<f64>)> {
    let (count, dimension) = (data.count(), data.dimension());
    if dimension <= count.min(LARGEST_MATRIX) {
        let (values, vectors) = eigen(precise_second_moment(&data.samples).as_ref())?;
        return Ok((not_negative(values), vectors));
    }
    if count > LARGEST_MATRIX {
        let what = format!("the covariance of {dimension} values, from {count} samples, is not formed");
        let hint = format!("give at most {LARGEST_MATRIX} of either, or take `pca:`, which needs no covariance");
        return Err(Error::argument(what, hint));
    }
    let (values, weights) = eigen(precise_gram(&data.samples).as_ref())?;
    let largest = values.first().copied().unwrap_or(0.0);
    let kept = values.iter().take_while(|value| **value > ROUNDING * largest).count();
    let vectors = HostCovariance::new(&data.samples).combine_samples(weights.subcols(0, kept));
    let (vectors, _) = split(vectors.as_ref(), 0.0);
    let values = values[..vectors.ncols()].to_vec();
    Ok((values, vectors))
}
