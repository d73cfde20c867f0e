//! The quality of restored images: how far they are from the images that were measured, and from the measurement.

use serde::Serialize;

use super::Measurement;
use crate::tensor::Tensor;

/// A misfit below this is rounding.
const ROUNDING: f64 = 1e-4;

/// The quality of restored images.
#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// The number of restored images.
    pub images: usize,
    /// Their peak signal-to-noise ratios, where the images that were measured are known.
    pub psnr: Option<Psnr>,
    /// The root mean square of y - A x over measured values and images.
    pub misfit: f64,
    /// The images that have diverged: farther from the measurement than an image of zeros, or out of range.
    pub diverged: Vec<usize>,
    /// The first reason, for the first of these.
    pub divergence: Option<Divergence>,
}

/// A reason for which an image counts as diverged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Divergence {
    /// Its largest magnitude is beyond the range of the model's images.
    OutOfRange {
        /// The largest magnitude.
        largest: f64,
        /// The bound.
        most: f64,
    },
    /// It is farther from the measurement than an image of zeros.
    FarFromMeasurement {
        /// The root mean square of y - A x.
        misfit: f64,
        /// The same for zeros.
        of_zeros: f64,
    },
}

impl std::fmt::Display for Divergence {
    /// The reason in words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfRange { largest, most } => {
                write!(f, "has values up to {largest:.3}, beyond {most}, twice the range of the model's images")
            }
            Self::FarFromMeasurement { misfit, of_zeros } => {
                write!(f, "has a misfit of {misfit:.3e}, and an image of zeros has {of_zeros:.3e}")
            }
        }
    }
}

/// Peak signal-to-noise ratios in dB: 10 log10(range^2 / mean square error), image by image.
#[derive(Clone, Debug, Serialize)]
pub struct Psnr {
    /// The mean.
    pub mean: f64,
    /// The standard error of the mean; `None` for a single image.
    pub error: Option<f64>,
    /// The mean for the pseudo-inverses of the measurements.
    pub pseudo_inverse: f64,
    /// That of each image.
    pub each: Vec<f64>,
}

/// The ratio of one image, whose values are `range` apart at most.
#[must_use]
pub fn psnr(image: &[f32], reference: &[f32], range: f64) -> f64 {
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    let mean = image.iter().zip(reference).map(square).sum::<f64>() / reference.len().max(1) as f64;
    10.0 * (range * range / mean.max(f64::MIN_POSITIVE)).log10()
}

/// The quality of `images`, (n, c, h, w), as many for each measurement, against `reference`, one per measurement. Their
/// values are `range` apart at most; one beyond `most`, if it is known, is out of range.
#[must_use]
pub fn quality(
    measurement: &Measurement,
    images: &Tensor,
    reference: Option<&Tensor>,
    (range, most): (f64, Option<f64>),
) -> Quality {
    let count = images.shape[0];
    let each = (count / measurement.count()).max(1);
    let misfits: Vec<f64> = (0..count).map(|at| measurement.misfit(at / each, images.item(at))).collect();
    let misfit = (misfits.iter().map(|misfit| misfit * misfit).sum::<f64>() / count.max(1) as f64).sqrt();
    let zeros = vec![0.0; images.stride()];
    let divergence = |at: usize| {
        let largest = images.item(at).iter().fold(0.0, |most: f64, value| most.max(f64::from(value.abs())));
        let (misfit, of_zeros) = (misfits[at], measurement.misfit(at / each, &zeros));
        match most {
            Some(most) if largest > most => Some(Divergence::OutOfRange { largest, most }),
            _ if misfit.is_nan() || misfit > of_zeros.max(ROUNDING) => {
                Some(Divergence::FarFromMeasurement { misfit, of_zeros })
            }
            _ => None,
        }
    };
    let divergences: Vec<_> = (0..count).filter_map(|at| Some((at, divergence(at)?))).collect();
    let psnr = reference.map(|reference| {
        let ratios: Vec<f64> = (0..count).map(|at| psnr(images.item(at), reference.item(at / each), range)).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let centre = mean(&ratios);
        let variance = ratios.iter().map(|ratio| (ratio - centre).powi(2)).sum::<f64>() / (count.max(2) - 1) as f64;
        let simple = measurement.pseudo_inverse();
        let of_simple: Vec<f64> =
            (0..measurement.count()).map(|at| psnr(simple.item(at), reference.item(at), range)).collect();
        let error = (count > 1).then(|| (variance / count as f64).sqrt());
        Psnr { mean: centre, error, pseudo_inverse: mean(&of_simple), each: ratios }
    });
    Quality {
        images: count,
        psnr,
        misfit,
        diverged: divergences.iter().map(|(at, _)| *at).collect(),
        divergence: divergences.first().map(|(_, reason)| *reason),
    }
}
