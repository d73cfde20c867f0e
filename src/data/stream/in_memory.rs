//! Samples that are in memory: those of the program, and those of files that can only be read as a whole.

use super::super::Dataset;
use super::{Stream, expect_samples};
use crate::error::Result;

/// A data set as a stream.
pub(in crate::data) struct InMemory(pub Dataset);

impl Stream for InMemory {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn count(&self) -> usize {
        self.0.count()
    }

    fn sample_shape(&self) -> &[usize] {
        &self.0.sample_shape
    }

    fn read(&mut self, first: usize, rows: &mut [f32]) -> Result<()> {
        let count = expect_samples(self, first, rows)?;
        let dimension = self.dimension();
        rows.copy_from_slice(&self.0.samples.data[first * dimension..(first + count) * dimension]);
        Ok(())
    }
}
