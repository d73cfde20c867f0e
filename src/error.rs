//! One error type for the whole crate.
//!
//! The message of an [`Error`] says what went wrong and where (file, key, tensor, field). [`Error::hint`] says what to
//! do about it, and [`Error::kind`] groups the variants by cause. Fields of settings stand in backticks by their Rust
//! names: `` `sigma_max` ``.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The result of every fallible function of the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The most characters of a foreign text that a message quotes.
const QUOTED: usize = 200;

/// Returns a text of others as a message quotes it: its beginning, if it is long.
pub(crate) fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(QUOTED) {
        None => text.into(),
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()).into(),
    }
}

/// The cause of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or a setting that cannot be used.
    Argument,
    /// A path that does not exist.
    NotFound,
    /// No adapter, or none that fits the request.
    Adapter,
    /// A file that cannot be read, written or used.
    File,
    /// Not enough device memory, or a device limit that is exceeded.
    Memory,
    /// The device was lost, timed out or rejected a command.
    Device,
    /// NaN or infinity in the values.
    NonFinite,
    /// The caller stopped the run.
    Cancelled,
}

/// Everything that can go wrong.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument or a setting that cannot be used as given.
    #[error("{what}")]
    Argument { what: String, hint: Option<String> },

    /// A path given by the user that does not exist.
    #[error("`{}` does not exist", path.display())]
    FileNotFound { path: PathBuf },

    /// No adapter, or none that fits the request.
    #[error("{what}")]
    NoAdapter { what: String, hint: String },

    /// A model or data file that cannot be used.
    #[error("{}: {what}", file.display())]
    BadFile { file: PathBuf, what: String, hint: Option<String> },

    /// A configuration field whose value is not supported.
    #[error("{}: `{}` is {}, which is not supported", file.display(), excerpt(field), excerpt(value))]
    UnsupportedField { file: PathBuf, field: String, value: String, supported: String },

    /// A weight that the network needs and the file does not have.
    #[error("{}: no tensor `{}`", file.display(), excerpt(key))]
    MissingKey { file: PathBuf, key: String, nearest: Option<String> },

    /// A weight in the file that the network does not use.
    #[error("{}: tensor `{}` has no place in this network", file.display(), excerpt(key))]
    UnexpectedKey { file: PathBuf, key: String, nearest: Option<String> },

    /// A tensor in a file whose shape is not the one required.
    #[error("{}: `{}` has shape {found:?}, expected {expected:?}", file.display(), excerpt(key))]
    WrongShape { file: PathBuf, key: String, found: Vec<usize>, expected: Vec<usize> },

    /// A weight beyond the range of float16.
    #[error("`{key}` holds {value:e}, beyond the range of float16 (65504)")]
    BeyondFloat16 { key: String, value: f32 },

    /// Reading or writing failed in the operating system.
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: std::io::Error },

    /// A tensor larger than the device allows.
    #[error("`{tensor}` needs {}, over the device's {limit_name} of {}", binary_bytes(*bytes), binary_bytes(*limit))]
    OverLimit { tensor: String, bytes: u64, limit_name: &'static str, limit: u64, hint: String },

    /// A dispatch of more workgroups along one dimension than the device allows.
    #[error("`{dispatch}` takes {workgroups} workgroups along one dimension, over the device's limit of {limit}")]
    TooManyWorkgroups { dispatch: String, workgroups: u32, limit: u32, hint: String },

    /// An allocation that the device refused.
    #[error("out of memory while allocating `{tensor}` ({bytes} bytes)")]
    OutOfMemory { tensor: String, bytes: u64, hint: String },

    /// Memory that the device or its driver refused, for no tensor in particular.
    #[error("out of memory: {what}")]
    NoMemory { what: String, hint: String },

    /// The device was lost, timed out or rejected a command.
    #[error("the device failed: {what}")]
    Device { what: String, hint: Option<String> },

    /// NaN or infinity where a number is required.
    #[error("non-finite values in {place}")]
    NonFinite { place: String, hint: String },

    /// A run that the caller stopped.
    #[error("the run was stopped")]
    Cancelled,
}

impl Error {
    /// Creates the error for an argument that cannot be used as given, with a hint.
    pub fn argument(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Argument { what: what.into(), hint: Some(hint.into()) }
    }

    /// Creates the error for a file whose content cannot be used, without a hint.
    pub fn bad_file(file: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::BadFile { file: file.as_ref().to_path_buf(), what: what.into(), hint: None }
    }

    /// Creates the error for a file whose content cannot be used, with a hint.
    pub fn bad_file_hint(file: impl AsRef<Path>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::BadFile { file: file.as_ref().to_path_buf(), what: what.into(), hint: Some(hint.into()) }
    }

    /// Creates the error for a failed operation on `file`; a missing file becomes [`Error::FileNotFound`].
    pub fn io(file: impl AsRef<Path>, source: std::io::Error) -> Self {
        let file = file.as_ref().to_path_buf();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::FileNotFound { path: file },
            _ => Self::Io { file, source },
        }
    }

    /// The cause of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Argument { .. } => ErrorKind::Argument,
            Self::FileNotFound { .. } => ErrorKind::NotFound,
            Self::NoAdapter { .. } => ErrorKind::Adapter,
            Self::BadFile { .. }
            | Self::UnsupportedField { .. }
            | Self::MissingKey { .. }
            | Self::UnexpectedKey { .. }
            | Self::WrongShape { .. }
            | Self::BeyondFloat16 { .. }
            | Self::Io { .. } => ErrorKind::File,
            Self::OverLimit { .. }
            | Self::TooManyWorkgroups { .. }
            | Self::OutOfMemory { .. }
            | Self::NoMemory { .. } => ErrorKind::Memory,
            Self::Device { .. } => ErrorKind::Device,
            Self::NonFinite { .. } => ErrorKind::NonFinite,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// A remedy, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Argument { hint, .. } | Self::BadFile { hint, .. } | Self::Device { hint, .. } => hint.clone(),
            Self::NoAdapter { hint, .. }
            | Self::OverLimit { hint, .. }
            | Self::TooManyWorkgroups { hint, .. }
            | Self::OutOfMemory { hint, .. }
            | Self::NoMemory { hint, .. }
            | Self::NonFinite { hint, .. } => Some(hint.clone()),
            Self::UnsupportedField { supported, .. } => Some(format!("supported: {supported}")),
            Self::MissingKey { nearest, .. } | Self::UnexpectedKey { nearest, .. } => {
                nearest.as_ref().map(|key| format!("the nearest key is `{}`", excerpt(key)))
            }
            Self::WrongShape { .. } => Some(
                "the configuration and the weights belong to different networks; take both from one model".to_owned(),
            ),
            Self::BeyondFloat16 { .. } => Some("choose float32 for `dtype`".to_owned()),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("allow it by the permissions of the file and of its folder, or choose another place".to_owned())
            }
            Self::FileNotFound { .. } | Self::Io { .. } | Self::Cancelled => None,
        }
    }
}

/// The message, and the hint on a second line. A `main` that returns [`Result`] prints its error by `Debug`, and so do
/// `unwrap` and `expect`: their readers need the sentence, not the fields.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")?;
        self.hint().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

/// Returns an amount of memory in units of 1024: `512 B`, `1.46 KiB`, `1.43 MiB`.
#[must_use]
pub fn binary_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = bytes.ilog2() / 10;
    let unit = UNITS[power as usize - 1];
    format!("{:.2} {unit}", bytes as f64 / 1024f64.powi(power.cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_an_error_prints_its_message_and_its_hint() {
        assert_eq!(format!("{:?}", Error::argument("no `x`", "give `x`")), "no `x`\nhint: give `x`");
        assert_eq!(format!("{:?}", Error::bad_file("x.npy", "is empty")), "x.npy: is empty");
    }

    #[test]
    fn denied_access_has_a_remedy() {
        let failed = |kind: std::io::ErrorKind| Error::io("x", kind.into());
        let denied = failed(std::io::ErrorKind::PermissionDenied);
        assert!(denied.hint().is_some_and(|hint| hint.contains("permissions")));
        assert_eq!(denied.kind(), ErrorKind::File);
        assert_eq!(failed(std::io::ErrorKind::StorageFull).hint(), None);
    }
}
