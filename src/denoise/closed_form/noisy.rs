//! Projections on the principal components of noisy samples: the estimator of linear diffusion, which has n samples at
//! each level and no others.
//!
//! With the projection at level s, D = U U' of the leading eigenvectors of the noisy samples' second moment around the
//! data's mean, eps = (x - D x) / s. Noise turns U, and turns it more for smaller eigenvalues (Nadler 2008), so the
//! result of a chain of such projections depends on how the levels share their noise.

use std::collections::HashMap;

use super::linear::Linear;
use crate::data::{Coupling, Dataset, Noised};
use crate::denoise::{Denoiser, Level};
use crate::error::Result;
use crate::kernels::Engine;
use crate::tensor::Tensor;

/// Bytes of the projections that are kept; a walk asks for each of its levels again in every batch.
const KEPT_BYTES: usize = 1 << 30;

/// The projection of each level, computed at its first use.
pub struct NoisyProjection<'e> {
    engine: &'e Engine,
    /// Without their mean.
    centred: Dataset,
    mean: Vec<f64>,
    count: usize,
    image: [usize; 3],
    noise: Noised,
    /// Levels of the walk, rising: those of a nested process.
    levels: Vec<f64>,
    found: HashMap<u64, Linear>,
}

impl<'e> NoisyProjection<'e> {
    /// The projections on `count` components of `centred` data under `noise`; `mean` was the mean of the data.
    #[must_use]
    pub fn new(
        engine: &'e Engine,
        centred: Dataset,
        mean: Vec<f64>,
        count: usize,
        image: [usize; 3],
        noise: Noised,
    ) -> Self {
        Self { engine, centred, mean, count, image, noise, levels: Vec::new(), found: HashMap::new() }
    }

    /// Computes the projection at a level; for a nested process, those of the other levels too.
    fn find(&mut self, sigma: f64) -> Result<Linear> {
        let most = KEPT_BYTES / (size_of::<f64>() * self.mean.len() * self.count.max(1));
        if self.noise.coupling == Coupling::Nested && self.levels.contains(&sigma) && self.levels.len() <= most {
            self.walk()?;
            if let Some(projection) = self.found.remove(&sigma.to_bits()) {
                return Ok(projection);
            }
        }
        if self.found.len() >= most {
            self.found.clear();
        }
        self.projection(self.noise.at(&self.centred.samples, sigma))
    }

    /// Finds the projections of a whole nested process.
    fn walk(&mut self) -> Result<()> {
        let mut found = HashMap::new();
        self.noise.each(&self.centred.samples, &self.levels, &mut |at, noisy| {
            found.insert(self.levels[at].to_bits(), self.projection(noisy)?);
            Ok(())
        })?;
        self.found = found;
        Ok(())
    }

    fn projection(&self, samples: Tensor) -> Result<Linear> {
        let noisy =
            Dataset { name: self.centred.name.clone(), sample_shape: self.centred.sample_shape.clone(), samples };
        Linear::near_projection(self.engine, &noisy, &self.mean, self.count, self.image)
    }
}

impl Denoiser for NoisyProjection<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let sigma = &Level::sigmas(levels)[..];
        let mut eps = Vec::with_capacity(x.data.len());
        for (at, sigma) in sigma.iter().enumerate() {
            let projection = match self.found.remove(&sigma.to_bits()) {
                Some(projection) => projection,
                None => self.find(*sigma)?,
            };
            eps.extend(projection.eps_of(x.item(at), *sigma));
            self.found.insert(sigma.to_bits(), projection);
        }
        Ok(Tensor::new(x.shape.clone(), eps))
    }

    fn begin(&mut self, levels: &[Level]) {
        let mut levels: Vec<f64> = levels.iter().map(|level| level.sigma).filter(|sigma| *sigma > 0.0).collect();
        levels.sort_by(f64::total_cmp);
        if self.noise.coupling == Coupling::Nested && levels != self.levels {
            self.found.clear();
        }
        self.levels = levels;
    }
}
