//! The file of a run that goes on: a valid beginning of its rows, rewritten every now and then.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::moments::Moments;

/// The time between two files.
const EVERY: Duration = Duration::from_secs(30);

/// Writes moments when the last file is older than [`EVERY`].
pub struct Keeper {
    file: PathBuf,
    since: Instant,
    /// The rows of the last file.
    rows: usize,
}

impl Keeper {
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_path_buf(), since: Instant::now(), rows: 0 }
    }

    /// Writes `moments`, if it is time and there is more than before.
    ///
    /// # Errors
    /// Those of [`Moments::write`].
    pub fn see(&mut self, moments: &Moments) -> Result<()> {
        let rows = moments.held();
        if self.since.elapsed() < EVERY || rows == self.rows {
            return Ok(());
        }
        moments.write(&self.file)?;
        (self.since, self.rows) = (Instant::now(), rows);
        Ok(())
    }
}
