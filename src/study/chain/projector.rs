//! The principal components of one level, or of many at once.

use faer::Mat;

use crate::error::{Error, Result};
use crate::gpu::Kind;
use crate::kernels::Engine;
use crate::spectral::basis::{eigen, split};
use crate::spectral::host::{HostCovariance, precise_gram, precise_second_moment, second_moment};
use crate::spectral::lanczos::lanczos;
use crate::spectral::moments::second_moments;
use crate::spectral::operator::{Dense, columns_of};
use crate::spectral::principal::{LARGEST_MATRIX, LEAST_IN_FLOAT32};
use crate::spectral::{RelativeTo, Route, Settings, principal_components};
use crate::tensor::Tensor;

/// Rows up to which a matrix is diagonalised as a whole: beyond, Lanczos finds a few eigenpairs faster.
const WHOLE: usize = 320;
/// As above, where float64 is asked for.
const WHOLE_PRECISELY: usize = 1024;
/// Residual at which Lanczos stops: about the precision of vectors in float32.
const TOLERANCE: f64 = 1e-6;
/// Values of the levels that are worked on at once.
const BATCH_VALUES: usize = 16 << 20;

/// The arithmetic of second moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// Products in float64 on the host, for comparison with a reference.
    Precise,
    /// Products in float32 on the host, sums in float64.
    Host,
    /// Many levels in one batch on the device, float32, sums of splits in float64.
    Device,
}

/// Finds the leading eigenpairs of x'x / n.
pub struct Projector<'e> {
    /// `None` on the host alone.
    engine: Option<&'e Engine>,
    count: usize,
    arithmetic: Arithmetic,
}

/// Leading eigenpairs of one level.
#[derive(Clone, Debug)]
pub struct Leading {
    /// Largest first.
    pub values: Vec<f64>,
    /// Orthonormal eigenvectors as columns, (p, k).
    pub vectors: Mat<f64>,
}

impl<'e> Projector<'e> {
    /// For `count` components, on the device, unless it is a software adapter: then the host is faster.
    #[must_use]
    pub fn new(engine: &'e Engine, count: usize) -> Self {
        let software = engine.gpu.adapter.kind == Kind::Software;
        let arithmetic = if software { Arithmetic::Host } else { Arithmetic::Device };
        Self { engine: Some(engine), count, arithmetic }
    }

    /// For `count` components, by products in float32 on the host, without a device.
    #[must_use]
    pub fn on_host(count: usize) -> Self {
        Self { engine: None, count, arithmetic: Arithmetic::Host }
    }

    /// With this arithmetic.
    #[must_use]
    pub fn with(self, arithmetic: Arithmetic) -> Self {
        Self { arithmetic, ..self }
    }

    /// Components, k.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The arithmetic of moments.
    #[must_use]
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Levels of shape (n, p) that are best worked on at once.
    #[must_use]
    pub fn batch(&self, shape: [usize; 2]) -> usize {
        if self.arithmetic == Arithmetic::Device {
            (BATCH_VALUES / (shape[0] * shape[1]).max(1)).clamp(1, 64)
        } else {
            1
        }
    }

    /// The leading eigenpairs of each of `levels`, all of one shape (n, p).
    ///
    /// # Errors
    /// [`Error::Argument`] for more components than p, [`Error::NonFinite`], and those of the device.
    pub fn leading(&self, levels: &[Tensor]) -> Result<Vec<Leading>> {
        let Some(first) = levels.first() else { return Ok(Vec::new()) };
        let (n, p) = (first.shape[0], first.shape[1]);
        Settings::new(self.count).check(p)?;
        if let Some(at) = levels.iter().position(|level| !level.is_finite()) {
            let place = format!("level {at} of the chain");
            return Err(Error::NonFinite { place, hint: "the data or the noise are too large for float32".into() });
        }
        let forms_moment = p <= LARGEST_MATRIX && (p <= n.max(WHOLE));
        match self.arithmetic {
            _ if !forms_moment && n > LARGEST_MATRIX => levels.iter().map(|level| self.by_route(level, None)).collect(),
            Arithmetic::Precise if forms_moment => {
                levels.iter().map(|level| self.of_moment(precise_second_moment(level))).collect()
            }
            Arithmetic::Precise => levels.iter().map(|level| self.by_precise_gram(level)).collect(),
            Arithmetic::Host | Arithmetic::Device if !forms_moment => {
                levels.iter().map(|level| self.by_route(level, Some(Route::Gram))).collect()
            }
            Arithmetic::Host => levels.iter().map(|level| self.of_level(level, second_moment(level))).collect(),
            Arithmetic::Device => {
                let moments = second_moments(self.device()?, levels)?;
                levels.iter().zip(moments).map(|(level, moment)| self.of_level(level, moment)).collect()
            }
        }
    }

    /// The leading eigenpairs of a level by its moment in float32, or in float64 where float32 does not hold them
    /// beside the largest.
    fn of_level(&self, level: &Tensor, moment: Mat<f64>) -> Result<Leading> {
        let found = self.of_moment(moment)?;
        match (found.values.first(), found.values.last()) {
            (Some(largest), Some(least)) if *least < LEAST_IN_FLOAT32 * largest => {
                let precise = Self { arithmetic: Arithmetic::Precise, ..*self };
                precise.of_moment(precise_second_moment(level))
            }
            _ => Ok(found),
        }
    }

    /// The device, for what the host does not do alone.
    fn device(&self) -> Result<&'e Engine> {
        self.engine.ok_or_else(|| {
            let what = "levels with more values than samples, on the host alone";
            Error::argument(what, "give more samples, or a device")
        })
    }

    /// The leading eigenpairs of a symmetric matrix.
    ///
    /// # Errors
    /// [`Error::NonFinite`].
    pub fn of_moment(&self, moment: Mat<f64>) -> Result<Leading> {
        let whole = if self.arithmetic == Arithmetic::Precise { WHOLE_PRECISELY } else { WHOLE };
        if moment.nrows() <= whole {
            let (values, vectors) = eigen(moment.as_ref())?;
            let vectors = vectors.subcols(0, self.count).to_owned();
            return Ok(Leading { values: values[..self.count].to_vec(), vectors });
        }
        let settings = Settings { tolerance: TOLERANCE, ..Settings::new(self.count) };
        let found = match self.arithmetic {
            Arithmetic::Precise => {
                let settings = Settings { relative_to: RelativeTo::Each, ..settings };
                lanczos(&Dense::new(moment)?.precise(), &settings)?
            }
            Arithmetic::Host | Arithmetic::Device => lanczos(&Dense::new(moment)?, &settings)?,
        };
        Ok(Leading { vectors: orthonormal(&found.vectors), values: found.values })
    }

    /// By [`principal_components`], which forms no moment.
    fn by_route(&self, level: &Tensor, route: Option<Route>) -> Result<Leading> {
        let settings = Settings { tolerance: TOLERANCE, ..Settings::new(self.count) };
        let found = principal_components(self.device()?, level, &settings, route)?.spectrum;
        Ok(Leading { vectors: orthonormal(&found.vectors), values: found.values })
    }

    /// By xx' / n in float64. Where there are fewer directions than components, the rest is zero.
    fn by_precise_gram(&self, level: &Tensor) -> Result<Leading> {
        /// Eigenvalues below this share of the largest are rounding.
        const NOTHING: f64 = 1e-12;
        let (values, weights) = eigen(precise_gram(level).as_ref())?;
        let largest = values.first().copied().unwrap_or(0.0);
        let found = values.iter().take(self.count).take_while(|value| **value > NOTHING * largest).count();
        if found < self.count {
            return self.by_route(level, Some(Route::Gram));
        }
        let (vectors, _) = split(HostCovariance::new(level).combine_samples(weights.subcols(0, found)).as_ref(), 0.0);
        Ok(Leading { values: values[..found].to_vec(), vectors })
    }
}

/// Rows in float32 as columns that are orthonormal in float64.
fn orthonormal(rows: &Tensor) -> Mat<f64> {
    split(columns_of(rows).as_ref(), 0.0).0
}
