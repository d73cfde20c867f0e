//! One error type for the whole house: each variant knows its exit code and its remedy.
//!
//! A message says what went wrong and where (file, key, tensor, field); [`Error::hint`] says what to do about it.
//! The command line prints `error: ...` and, where there is one, `hint: ...`, and exits with [`Error::exit_code`].

use std::path::{Path, PathBuf};

/// What every fallible function of the crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, grouped by the exit code it leads to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument or a setting that cannot be used as given.
    #[error("{what}")]
    Argument { what: String, hint: Option<String> },

    /// A path given by the user that is not there (exit code 2).
    #[error("`{}` does not exist", path.display())]
    FileNotFound { path: PathBuf },

    /// No adapter, or none that fits the request (exit code 3).
    #[error("{what}")]
    NoAdapter { what: String, hint: String },

    /// A model or data file that cannot be used (exit code 4).
    #[error("{}: {what}", file.display())]
    BadFile { file: PathBuf, what: String, hint: Option<String> },

    /// A configuration field whose value this program does not support (exit code 4).
    #[error("{}: `{field}` is {value}, which is not supported", file.display())]
    UnsupportedField { file: PathBuf, field: String, value: String, supported: String },

    /// A weight that the network needs and the file lacks (exit code 4).
    #[error("{}: no tensor `{key}`", file.display())]
    MissingKey { file: PathBuf, key: String, nearest: Option<String> },

    /// A weight that the file holds and the network has no place for (exit code 4).
    #[error("{}: tensor `{key}` has no place in this network", file.display())]
    UnexpectedKey { file: PathBuf, key: String, nearest: Option<String> },

    /// A tensor of another shape than the network or the command needs (exit code 4).
    #[error("{}: `{key}` has shape {found:?}, expected {expected:?}", file.display())]
    WrongShape { file: PathBuf, key: String, found: Vec<usize>, expected: Vec<usize> },

    /// A weight that float16 cannot hold (exit code 4).
    #[error("`{key}` holds {value:e}, and float16 nothing beyond 65504")]
    BeyondFloat16 { key: String, value: f32 },

    /// Reading or writing failed below us (exit code 4).
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: std::io::Error },

    /// A tensor or a dispatch larger than the device grants (exit code 5).
    #[error("`{tensor}` needs {bytes} bytes, over the device's {limit_name} of {limit}")]
    OverLimit { tensor: String, bytes: u64, limit_name: &'static str, limit: u64, hint: String },

    /// The device refused an allocation (exit code 5).
    #[error("out of memory while allocating `{tensor}` ({bytes} bytes)")]
    OutOfMemory { tensor: String, bytes: u64, hint: String },

    /// The device was lost, timed out or rejected a command (exit code 6).
    #[error("the device failed: {what}")]
    Device { what: String, hint: Option<String> },

    /// NaN or infinity where a number was due (exit code 7).
    #[error("non-finite values in {place}")]
    NonFinite { place: String, hint: String },
}

impl Error {
    /// An argument that cannot be used as given, with a remedy.
    pub fn argument(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Argument { what: what.into(), hint: Some(hint.into()) }
    }

    /// A file whose content cannot be used (exit code 4), without a particular remedy.
    pub fn bad_file(file: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::BadFile { file: file.as_ref().to_path_buf(), what: what.into(), hint: None }
    }

    /// A file whose content cannot be used (exit code 4), with a remedy.
    pub fn bad_file_hint(file: impl AsRef<Path>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::BadFile { file: file.as_ref().to_path_buf(), what: what.into(), hint: Some(hint.into()) }
    }

    /// An input/output error on `file`; a missing file becomes [`Error::FileNotFound`].
    pub fn io(file: impl AsRef<Path>, source: std::io::Error) -> Self {
        let file = file.as_ref().to_path_buf();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::FileNotFound { path: file },
            _ => Self::Io { file, source },
        }
    }

    /// The process exit code of the command-line contract.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Argument { .. } | Self::FileNotFound { .. } => 2,
            Self::NoAdapter { .. } => 3,
            Self::BadFile { .. }
            | Self::UnsupportedField { .. }
            | Self::MissingKey { .. }
            | Self::UnexpectedKey { .. }
            | Self::WrongShape { .. }
            | Self::BeyondFloat16 { .. }
            | Self::Io { .. } => 4,
            Self::OverLimit { .. } | Self::OutOfMemory { .. } => 5,
            Self::Device { .. } => 6,
            Self::NonFinite { .. } => 7,
        }
    }

    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Argument { hint, .. } | Self::BadFile { hint, .. } | Self::Device { hint, .. } => hint.clone(),
            Self::NoAdapter { hint, .. }
            | Self::OverLimit { hint, .. }
            | Self::OutOfMemory { hint, .. }
            | Self::NonFinite { hint, .. } => Some(hint.clone()),
            Self::UnsupportedField { supported, .. } => Some(format!("supported: {supported}")),
            Self::MissingKey { nearest, .. } | Self::UnexpectedKey { nearest, .. } => {
                nearest.as_ref().map(|key| format!("the nearest key is `{key}`"))
            }
            Self::WrongShape { .. } => {
                Some("the configuration and the weights are of different networks; take both from one model".to_owned())
            }
            Self::BeyondFloat16 { .. } => Some("keep the weights in float32: `--dtype f32`".to_owned()),
            Self::FileNotFound { .. } | Self::Io { .. } => None,
        }
    }
}
