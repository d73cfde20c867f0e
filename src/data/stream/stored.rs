//! Samples in a file that is read where they lie.

use super::super::Pixels;
use super::{Stream, dimension_of, expect_finite, expect_samples};
use crate::error::Result;
use crate::formats::Records;

/// The samples of an array in a file.
pub(in crate::data) struct StoredSamples {
    name: String,
    records: Records,
    pixels: Pixels,
}

impl StoredSamples {
    /// The samples of `records`, under the name that the user gave.
    ///
    /// # Errors
    /// [`Error::BadFile`](crate::Error::BadFile) for an array that holds no samples.
    pub fn new(name: &str, records: Records, pixels: Pixels) -> Result<Self> {
        dimension_of(name, records.shape())?;
        Ok(Self { name: name.to_owned(), records, pixels })
    }
}

impl Stream for StoredSamples {
    fn name(&self) -> &str {
        &self.name
    }

    fn count(&self) -> usize {
        self.records.shape()[0]
    }

    fn sample_shape(&self) -> &[usize] {
        &self.records.shape()[1..]
    }

    fn has_pixels(&self) -> bool {
        self.records.holds_bytes()
    }

    fn read(&mut self, first: usize, rows: &mut [f32]) -> Result<()> {
        expect_samples(self, first, rows)?;
        self.records.read(first, self.pixels, rows)?;
        expect_finite(&self.name, first, self.dimension(), rows)
    }
}
