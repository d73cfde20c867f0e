//! Denoisers that know a measurement.

use super::pull::pull;
use super::{Measurement, Method};
use crate::denoise::vjp::Pullback;
use crate::denoise::{Denoiser, Level};
use crate::error::{Error, Result};
use crate::sample::walk::Bound;
use crate::tensor::Tensor;

/// A denoiser whose x0 fits a measurement: projected ([`Method::Project`]) or moved by the score of the measurement
/// ([`Method::PiGdm`]); under any other method it is the denoiser itself.
pub struct Guided<'a> {
    denoiser: &'a mut dyn Denoiser,
    pullback: Option<&'a mut dyn Pullback>,
    measurement: &'a Measurement,
    method: Method,
    /// The measurement of each image under way.
    which: Vec<usize>,
    /// The values that x0 has.
    bound: Option<Bound>,
}

impl<'a> Guided<'a> {
    /// `denoiser` on images of which image i has measurement `which[i]`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a method that needs a `pullback` and has none, settings out of range, and a measurement
    /// of other images.
    pub fn new(
        denoiser: &'a mut dyn Denoiser,
        pullback: Option<&'a mut dyn Pullback>,
        measurement: &'a Measurement,
        method: Method,
        which: Vec<usize>,
    ) -> Result<Self> {
        method.check()?;
        let (of, image) = (measurement.operator().image_shape(), denoiser.image_shape());
        if of != image {
            let what = format!("an operator on images of {of:?} for a denoiser of {image:?}");
            return Err(Error::argument(what, "make the operator for the images of the denoiser"));
        }
        if method.pulls_back() && pullback.is_none() {
            let what = format!("`{}` without the transposed Jacobian of the denoiser", method.name());
            return Err(Error::argument(what, "give a pullback, or take `project`"));
        }
        if let Some(at) = which.iter().find(|at| **at >= measurement.count()) {
            let what = format!("measurement {at} of {}", measurement.count());
            return Err(Error::argument(what, "measurements are numbered from 0"));
        }
        Ok(Self { denoiser, pullback, measurement, method, which, bound: None })
    }

    /// The values that images have. An x0 that [`Method::PiGdm`] has moved is clipped to them, and eps follows from it:
    /// the mean of images within bounds is within them, too. A walk's own clipping leaves eps as it is in some
    /// samplers.
    #[must_use]
    pub fn within(mut self, bound: Option<Bound>) -> Self {
        self.bound = bound;
        self
    }

    /// The measurements.
    pub(super) fn measurement(&self) -> &'a Measurement {
        self.measurement
    }

    /// The measurement of each image under way.
    pub(super) fn which(&self) -> &[usize] {
        &self.which
    }

    /// Returns J' v of the denoiser.
    pub(super) fn pulled(&mut self, x: &Tensor, levels: &[Level], vectors: &Tensor) -> Result<Tensor> {
        match &mut self.pullback {
            Some(pullback) => pullback.transposed(self.denoiser, x, levels, vectors),
            None => Err(Error::argument("a method without the transposed Jacobian", "give a pullback")),
        }
    }

    /// The modes of each image through `of`, which knows the image, as an image again.
    fn by_modes(&self, images: &Tensor, mut of: impl FnMut(usize, Vec<f64>) -> Vec<f64>) -> Tensor {
        let operator = self.measurement.operator();
        let found = (0..images.shape[0]).flat_map(|at| {
            let modes = of(at, self.measurement.modes_of(images.item(at)));
            operator.image(&modes)
        });
        let data: Vec<f32> = found.map(|value| value as f32).collect();
        Tensor::new(images.shape.clone(), data)
    }

    fn expect_images(&self, x: &Tensor) -> Result<()> {
        if x.shape.first() == Some(&self.which.len()) {
            return Ok(());
        }
        let what = format!("{:?} images, and measurements of {}", x.shape.first(), self.which.len());
        Err(Error::argument(what, "each image has a measurement"))
    }
}

impl Denoiser for Guided<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.denoiser.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        Ok(self.parts(x, levels)?.0)
    }

    fn parts(&mut self, x: &Tensor, levels: &[Level]) -> Result<(Tensor, Tensor)> {
        self.expect_images(x)?;
        let (eps, x0) = self.denoiser.parts(x, levels)?;
        let x0 = match self.method {
            Method::Ddrm { .. } | Method::Dps { .. } => return Ok((eps, x0)),
            Method::Project { variance } => self.by_modes(&x0, |at, mut modes| {
                self.measurement.draw_to(self.which[at], &mut modes, Method::spread(variance, levels[at].sigma));
                modes
            }),
            // Nothing is seen of x0 in noise alone.
            Method::PiGdm { .. } if levels.iter().any(|level| level.sigma.is_infinite()) => return Ok((eps, x0)),
            Method::PiGdm { covariance } => {
                let mut moved = x0;
                pull(self, (x, levels), covariance, &mut moved)?;
                if let Some(bound) = self.bound {
                    bound.clip(&mut moved);
                }
                moved
            }
        };
        let stride = x.stride().max(1);
        let mut eps = eps;
        for (at, level) in levels.iter().enumerate() {
            let values = eps.data[at * stride..][..stride].iter_mut().zip(x.item(at).iter().zip(x0.item(at)));
            for (eps, (x, x0)) in values {
                *eps = if level.sigma.is_infinite() {
                    *x
                } else {
                    ((f64::from(*x) - f64::from(*x0)) / level.sigma) as f32
                };
            }
        }
        Ok((eps, x0))
    }

    fn variance(&self) -> Option<&Tensor> {
        self.denoiser.variance()
    }

    fn gradient(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        self.denoiser.gradient(x, levels)
    }

    fn begin(&mut self, levels: &[Level]) {
        self.denoiser.begin(levels);
    }

    fn trace_nonfinite(&mut self, x: &Tensor, levels: &[Level]) -> Result<()> {
        self.denoiser.trace_nonfinite(x, levels)
    }
}
