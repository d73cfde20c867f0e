//! The bytes of a pickle, read a part at a time.

use std::path::Path;

use super::SAVE_AGAIN;
use crate::checkpoint::source::Source;
use crate::error::{Error, Result};

/// The most bytes of the pickles of a file. That of a network with ten thousand tensors has one or two megabytes.
const MOST_BYTES: u64 = 64 << 20;
/// The bytes read at a time.
const PART: u64 = 1 << 16;

/// A reader of a range of a file.
pub(super) struct Input<'a> {
    pub(super) file: &'a Path,
    source: &'a Source,
    /// The place of the next byte that is not yet in `part`, and the end of the range.
    next: u64,
    end: u64,
    /// The bytes read ahead, of which the first `at` were taken.
    part: Vec<u8>,
    at: usize,
    /// The bytes that may still be taken.
    left: u64,
}

impl<'a> Input<'a> {
    /// A reader of the bytes from `start` to `end`, which is at most the length of the file.
    pub(super) fn new(file: &'a Path, source: &'a Source, start: u64, end: u64) -> Self {
        Self { file, source, next: start, end, part: Vec::new(), at: 0, left: MOST_BYTES }
    }

    /// The place of the next byte in the file.
    pub(super) fn place(&self) -> u64 {
        self.next - (self.part.len() - self.at) as u64
    }

    /// Takes the next `count` bytes.
    ///
    /// # Errors
    /// [`Error::BadFile`] at the end of the range and beyond the limit.
    pub(super) fn take(&mut self, count: u64) -> Result<&[u8]> {
        self.fill(count)?;
        self.left -= count;
        let start = self.at;
        self.at += count as usize;
        Ok(&self.part[start..self.at])
    }

    /// Takes the next `N` bytes.
    ///
    /// # Errors
    /// As [`Input::take`].
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// Takes the bytes up to the next end of a line, without it.
    ///
    /// # Errors
    /// As [`Input::take`].
    pub(super) fn line(&mut self) -> Result<Vec<u8>> {
        let mut length = 0;
        loop {
            self.fill(length + 1)?;
            if self.part[self.at + length as usize] == b'\n' {
                let line = self.take(length + 1)?;
                return Ok(line[..length as usize].to_vec());
            }
            length += 1;
        }
    }

    /// Reads ahead until `count` bytes are there.
    fn fill(&mut self, count: u64) -> Result<()> {
        let held = (self.part.len() - self.at) as u64;
        if count <= held {
            return self.check_left(count);
        }
        if count > self.end - self.place() {
            let what = format!("its pickle ends at byte {} in the middle of a value", self.end);
            return Err(Error::bad_file_hint(self.file, what, SAVE_AGAIN));
        }
        self.check_left(count)?;
        let wanted = (count - held).max(PART).min(self.end - self.next);
        let bytes = self.source.read(self.file, self.next, wanted as usize)?;
        self.part.drain(..self.at);
        self.at = 0;
        self.part.extend_from_slice(&bytes);
        self.next += wanted;
        Ok(())
    }

    fn check_left(&self, count: u64) -> Result<()> {
        if count <= self.left {
            return Ok(());
        }
        let what = format!("its pickle has more than {MOST_BYTES} bytes");
        Err(Error::bad_file_hint(self.file, what, "the file is damaged or hostile, or holds more than tensors"))
    }
}
