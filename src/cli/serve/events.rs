//! Events: JSON objects on standard output, one per line.

use std::io::{self, Write};

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::report::printable::printable_json;

/// Writes an event. A reader that has gone ends the server, with [`Error::Cancelled`].
///
/// # Errors
/// [`Error::Cancelled`], and [`Error::Io`] for anything else than a closed pipe.
pub fn emit(event: &Value) -> Result<()> {
    let line = printable_json(&event.to_string()).into_owned() + "\n";
    let mut output = io::stdout().lock();
    output.write_all(line.as_bytes()).and_then(|()| output.flush()).map_err(|source| match source.kind() {
        io::ErrorKind::BrokenPipe => Error::Cancelled,
        _ => Error::Io { file: "stdout".into(), source },
    })
}

/// The name of the cause of an error.
pub const fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Argument => "argument",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Adapter => "adapter",
        ErrorKind::File => "file",
        ErrorKind::Memory => "memory",
        ErrorKind::Device => "device",
        ErrorKind::NonFinite => "non_finite",
        ErrorKind::Cancelled => "cancelled",
    }
}
