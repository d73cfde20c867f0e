//! Samples of a model, drawn as they are read.

use super::{Stream, expect_finite, expect_samples};
use crate::error::Result;

/// Draws samples, from a number on, into rows.
type Draw = Box<dyn Fn(usize, &mut [f32]) + Send>;

/// Samples of a model as a stream.
pub(in crate::data) struct Drawn {
    pub name: String,
    pub count: usize,
    /// (p).
    pub shape: [usize; 1],
    pub draw: Draw,
}

impl Stream for Drawn {
    fn name(&self) -> &str {
        &self.name
    }

    fn count(&self) -> usize {
        self.count
    }

    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }

    fn has_pixels(&self) -> bool {
        false
    }

    fn read(&mut self, first: usize, rows: &mut [f32]) -> Result<()> {
        expect_samples(self, first, rows)?;
        (self.draw)(first, rows);
        expect_finite(&self.name, first, self.shape[0], rows)
    }
}
