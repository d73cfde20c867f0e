//! Bounded lines of standard input, and a signal that may come while none does.

use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use crate::cli::interrupt::Interrupt;
use crate::error::{Error, Result};

/// The longest request in bytes.
const LONGEST: usize = 1 << 20;
/// Requests that are read ahead.
const AHEAD: usize = 16;
/// The time between looks at the signals.
const PATIENCE: Duration = Duration::from_millis(50);

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Its bytes, without the line end.
    Text(Vec<u8>),
    /// The length of a line that is too long.
    Long(u64),
}

/// The lines of standard input, read by a thread.
pub struct Lines(Receiver<io::Result<Line>>);

impl Lines {
    /// Begins to read.
    pub fn of_stdin() -> Self {
        let (sender, receiver) = sync_channel(AHEAD);
        std::thread::spawn(move || {
            let mut input = io::stdin().lock();
            while let Some(line) = read(&mut input).transpose() {
                let is_last = line.is_err();
                if sender.send(line).is_err() || is_last {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// The next line; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once a signal asks to stop; [`Error::Io`].
    pub fn next(&mut self, interrupt: &Interrupt) -> Result<Option<Line>> {
        loop {
            interrupt.check()?;
            match self.0.recv_timeout(PATIENCE) {
                Ok(line) => return line.map(Some).map_err(|source| Error::Io { file: "stdin".into(), source }),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

/// Reads a line, of which no more than the longest request is kept.
fn read(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let (mut text, mut length, mut is_empty) = (Vec::new(), 0u64, true);
    loop {
        let part = match input.fill_buf() {
            Ok(part) => part,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if part.is_empty() && is_empty {
            return Ok(None);
        }
        is_empty = false;
        let end = part.iter().position(|byte| *byte == b'\n');
        let kept = &part[..end.unwrap_or(part.len())];
        length += kept.len() as u64;
        if length <= LONGEST as u64 {
            text.extend_from_slice(kept);
        } else {
            text = Vec::new();
        }
        let used = end.map_or(part.len(), |end| end + 1);
        let is_last = end.is_some() || part.is_empty();
        input.consume(used);
        if is_last {
            let is_long = length > LONGEST as u64;
            return Ok(Some(if is_long { Line::Long(length) } else { Line::Text(text) }));
        }
    }
}

/// The error for a line that is too long.
pub fn too_long(bytes: u64) -> Error {
    Error::argument(
        format!("a request of {bytes} bytes, over the limit of {LONGEST}"),
        "a request is one line of JSON; give images and arrays as files",
    )
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn lines_are_bounded() {
        let long = "x".repeat(LONGEST + 1);
        let fits = "y".repeat(LONGEST);
        let text = format!("a\n\n{long}\n{fits}\nlast");
        let mut input = BufReader::with_capacity(1000, text.as_bytes());
        let mut next = || read(&mut input).unwrap();
        assert_eq!(next(), Some(Line::Text(b"a".to_vec())));
        assert_eq!(next(), Some(Line::Text(Vec::new())));
        assert_eq!(next(), Some(Line::Long(LONGEST as u64 + 1)));
        assert_eq!(next(), Some(Line::Text(fits.clone().into_bytes())));
        assert_eq!(next(), Some(Line::Text(b"last".to_vec())));
        assert_eq!(next(), None);
    }
}
