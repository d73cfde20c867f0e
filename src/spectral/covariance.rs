//! The second moment of data on a device, matrix-free: X'(XV) / n as two batched products on one copy of X.

use super::operator::SymmetricOperator;
use super::samples::{DeviceSamples, MOST_VECTORS};
use crate::error::Result;
use crate::kernels::Engine;
use crate::tensor::Tensor;

/// X'X / n for samples X (n, p) in device memory.
pub struct DeviceCovariance<'e> {
    samples: DeviceSamples<'e>,
}

impl<'e> DeviceCovariance<'e> {
    /// Uploads `samples` (n, p).
    ///
    /// # Errors
    /// Those of [`DeviceSamples::new`].
    pub fn new(engine: &'e Engine, samples: &Tensor) -> Result<Self> {
        Ok(Self { samples: DeviceSamples::new(engine, samples)? })
    }

    /// The number of floating-point operations of one application to `vectors` vectors.
    #[must_use]
    pub fn flops(&self, vectors: usize) -> u64 {
        4 * (self.samples.count() * self.samples.dimension() * vectors) as u64
    }
}

impl SymmetricOperator for DeviceCovariance<'_> {
    fn dimension(&self) -> usize {
        self.samples.dimension()
    }

    fn apply(&self, vectors: &Tensor) -> Result<Tensor> {
        let share = (self.samples.count() as f64).recip();
        let mut answer = Vec::with_capacity(vectors.data.len());
        for block in vectors.data.chunks(MOST_VECTORS * self.samples.dimension()) {
            let sums = self.samples.applied_twice(block)?;
            answer.extend(sums.into_iter().map(|sum| (sum * share) as f32));
        }
        Ok(Tensor::new(vectors.shape.clone(), answer))
    }
}
