//! JSON of others: every file of it is read here.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result, excerpt};
use crate::input::read_regular;

/// The largest configuration in bytes. Those of published models have a few thousand.
pub const LARGEST: u64 = 1 << 20;
/// The largest list of names in bytes: a vocabulary, an index of weights.
pub const LARGEST_LIST: u64 = 16 << 20;

/// The mark at the beginning of a text that some editors write: it says UTF-8 and nothing else.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
/// The marks of UTF-16.
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Parses JSON in UTF-8, with or without a byte order mark.
///
/// # Errors
/// A sentence about what is wrong.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, String> {
    if UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err("the text is in UTF-16; save it as UTF-8".to_owned());
    }
    let text = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    serde_json::from_slice(text).map_err(|error| excerpt(&error.to_string()).into_owned())
}

/// Reads a file of at most [`LARGEST`] bytes. `what` is the beginning of the message about another file: "not an error
/// model".
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`], and [`Error::BadFile`] with `hint`.
pub fn read<T: DeserializeOwned>(file: &Path, what: &str, hint: &str) -> Result<T> {
    let bytes = read_regular(file, LARGEST)?;
    parse(&bytes).map_err(|error| Error::bad_file_hint(file, format!("{what}: {error}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        for text in ["[1, 2]", "\u{feff}[1, 2]", "\u{feff}\r\n[1, 2]\r\n"] {
            assert_eq!(parse::<Vec<u8>>(text.as_bytes()).unwrap(), [1, 2]);
        }
        let utf16: Vec<u8> = "\u{feff}[1]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(parse::<Vec<u8>>(&utf16).unwrap_err().contains("UTF-16"));
    }

    #[test]
    fn quoted_text_is_cut() {
        let long = format!("\"{}\"", "x".repeat(100_000));
        let error = parse::<u8>(long.as_bytes()).unwrap_err();
        assert!(error.len() < 300, "{error}");
    }
}
