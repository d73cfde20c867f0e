//! The container of a single file, by its first bytes: a file's content decides, not its name.

use std::path::Path;

use super::source::Source;
use crate::error::{Error, Result};

/// Bytes at the beginning that tell containers apart.
const READ: usize = 16;

/// Refuses a file whose content is known and is not a file of weights that can be read, by the name of its format.
///
/// # Errors
/// [`Error::BadFile`]; those of opening the file.
pub(super) fn refuse_other(file: &Path) -> Result<()> {
    let source = Source::open(file)?;
    let length = source.length().min(READ as u64);
    let start = source.read(file, 0, usize::try_from(length).unwrap_or(READ))?;
    match FORMATS.iter().find(|(magic, ..)| start.starts_with(magic)) {
        None => Ok(()),
        Some((_, what, hint)) => Err(Error::bad_file_hint(file, *what, *hint)),
    }
}

/// The name of the format of a file with another content than it should have, such as "a picture (PNG)".
pub(crate) fn known_format(start: &[u8]) -> Option<&'static str> {
    FORMATS.iter().find(|(magic, ..)| start.starts_with(magic)).map(|(_, what, _)| *what)
}

const NOT_WEIGHTS: &str = "a model is a diffusers folder, or a file of safetensors";

/// The first bytes of a format, what it is, and what to do.
const FORMATS: [(&[u8], &str, &str); 13] = [
    (
        b"GGUF",
        "a GGUF file, whose weights are quantised in blocks, which is not supported",
        "take the safetensors file of the same model, in float16, bfloat16 or float32",
    ),
    (b"ggml", "a GGML file, which is not supported", "take the safetensors file of the same model"),
    (b"\x89HDF", "an HDF5 file (Keras), which is not supported", "convert it to safetensors"),
    (b"\x89PNG", "a picture (PNG)", NOT_WEIGHTS),
    (b"\xff\xd8\xff", "a picture (JPEG)", NOT_WEIGHTS),
    (b"\x93NUMPY", "an array (.npy)", NOT_WEIGHTS),
    (b"\x1f\x8b", "a compressed file (gzip)", "unpack it first"),
    (b"7z\xbc\xaf", "an archive (7z)", "unpack it first"),
    (b"Rar!", "an archive (RAR)", "unpack it first"),
    (b"<!DOCTYPE", "a web page, not the weights themselves", "the download went wrong; download the file again"),
    (b"<!doctype", "a web page, not the weights themselves", "the download went wrong; download the file again"),
    (b"<html", "a web page, not the weights themselves", "the download went wrong; download the file again"),
    (b"\x08\x00\x00\x00TFL3", "a TensorFlow Lite file, which is not supported", "convert it to safetensors"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        for (content, what) in [
            (&b"GGUF\x03\0\0\0"[..], "a GGUF file"),
            (b"<!DOCTYPE html><html>", "a web page"),
            (b"\x93NUMPY\x01\0", "an array"),
        ] {
            std::fs::write(&file, content).unwrap();
            let error = refuse_other(&file).unwrap_err();
            assert!(error.to_string().contains(what) && error.hint().is_some(), "{error}");
        }
        for content in [&b""[..], b"\x08\0\0\0\0\0\0\0{}      ", b"PK\x03\x04", b"\x80\x02"] {
            std::fs::write(&file, content).unwrap();
            refuse_other(&file).unwrap();
        }
    }
}
