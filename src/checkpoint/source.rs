//! The bytes of weights: a file read piece by piece, or memory.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::held;
use crate::input::{open_regular, read_regular, room, too_long};

/// Bytes that can be read at any offset.
#[derive(Debug)]
pub(super) enum Source {
    /// An open file and its length.
    File(File, u64),
    /// A whole file in memory.
    Bytes(Cow<'static, [u8]>),
    /// A whole file in memory that is held by others, too.
    Held(Arc<Vec<u8>>),
}

impl Source {
    /// Opens `file`, which a model folder or an index refers to: its absence is a fault of the model.
    pub(super) fn open(file: &Path) -> Result<Self> {
        if let Some(content) = held::content(file) {
            return Ok(Self::Held(content));
        }
        let (handle, length) = open_regular(file).map_err(of_model)?;
        Ok(Self::File(handle, length))
    }

    /// The total size in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::File(_, length) => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Held(bytes) => bytes.len() as u64,
        }
    }

    /// Reads `count` bytes from `offset`. Errors name `file`.
    pub(super) fn read(&self, file: &Path, offset: u64, count: usize) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::File(handle, _) => {
                let mut bytes = room(file, count)?;
                bytes.resize(count, 0);
                read_exact_at(handle, &mut bytes, offset)
                    .map_err(|source| Error::Io { file: file.to_path_buf(), source })?;
                Ok(Cow::Owned(bytes))
            }
            Self::Bytes(bytes) => piece(file, bytes, offset, count),
            Self::Held(bytes) => piece(file, bytes, offset, count),
        }
    }
}

/// A piece of a file in memory.
fn piece<'b>(file: &Path, bytes: &'b [u8], offset: u64, count: usize) -> Result<Cow<'b, [u8]>> {
    let first = usize::try_from(offset).ok();
    let piece = first.and_then(|first| bytes.get(first..)).and_then(|rest| rest.get(..count)).map(Cow::Borrowed);
    piece.ok_or_else(|| Error::bad_file(file, format!("ends before byte {}", offset + count as u64)))
}

/// Reads the whole of a model's file (a configuration, an index) of at most `most` bytes.
pub(super) fn read_model_file(file: &Path, most: u64) -> Result<Vec<u8>> {
    match held::content(file) {
        Some(content) if content.len() as u64 <= most => Ok(content.to_vec()),
        Some(content) => Err(too_long(file, &format!("{} bytes", content.len()), most)),
        None => read_regular(file, most).map_err(of_model),
    }
}

/// The error about a file of a model. A missing file is a fault of the model.
fn of_model(error: Error) -> Error {
    match error {
        Error::FileNotFound { path } => Error::bad_file(path, "the model needs this file, which is missing"),
        other => other,
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(any(unix, windows)))]
fn read_exact_at(_: &File, _: &mut [u8], _: u64) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes = &mut bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
