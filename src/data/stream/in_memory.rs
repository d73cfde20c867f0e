//! Samples that are in memory: those of the program, and those of files that can only be read as a whole.

use super::super::Dataset;
use super::{Stream, expect_samples};
use crate::error::Result;

/// A data set as a stream.
pub(in crate::data) struct InMemory {
    pub data: Dataset,
    /// `true` if the values were bytes.
    pub has_pixels: bool,
}

impl Stream for InMemory {
    fn name(&self) -> &str {
        &self.data.name
    }

    fn count(&self) -> usize {
        self.data.count()
    }

    fn sample_shape(&self) -> &[usize] {
        &self.data.sample_shape
    }

    fn has_pixels(&self) -> bool {
        self.has_pixels
    }

    fn read(&mut self, first: usize, rows: &mut [f32]) -> Result<()> {
        let count = expect_samples(self, first, rows)?;
        let dimension = self.dimension();
        rows.copy_from_slice(&self.data.samples.data[first * dimension..(first + count) * dimension]);
        Ok(())
    }
}
