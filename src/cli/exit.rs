//! Exit codes.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ErrorKind;

/// The exit code of a comparison that has found a difference, not an error: 1.
const DIFFERENCE: u8 = 1;

static DIFFERS: AtomicBool = AtomicBool::new(false);

/// Makes a program that ends well exit with 1: a comparison has found a difference.
pub fn with_difference() {
    DIFFERS.store(true, Ordering::Relaxed);
}

/// The exit code of a program that ends well.
pub fn success() -> ExitCode {
    if DIFFERS.load(Ordering::Relaxed) { ExitCode::from(DIFFERENCE) } else { ExitCode::SUCCESS }
}

/// The exit code of an error: 2 usage, 3 no adapter, 4 a bad file, 5 out of memory, 6 the device failed, 7 non-finite
/// values.
pub const fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Argument | ErrorKind::NotFound => 2,
        ErrorKind::Adapter => 3,
        ErrorKind::File => 4,
        ErrorKind::Memory => 5,
        ErrorKind::Device => 6,
        ErrorKind::NonFinite => 7,
        ErrorKind::Cancelled => 130,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_help() {
        let kinds = [
            (ErrorKind::Argument, 2),
            (ErrorKind::NotFound, 2),
            (ErrorKind::Adapter, 3),
            (ErrorKind::File, 4),
            (ErrorKind::Memory, 5),
            (ErrorKind::Device, 6),
            (ErrorKind::NonFinite, 7),
            (ErrorKind::Cancelled, 130),
        ];
        for (kind, expected) in kinds {
            assert_eq!(code(kind), expected, "{kind:?}");
        }
    }
}
