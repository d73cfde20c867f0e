//! An array of Python's numpy.

use std::path::Path;

use super::source::SourceKind;
use super::{Dataset, Pixels};
use crate::formats::npy;

/// An `.npy`, by its first bytes or its suffix. Its numbers are not rescaled.
pub(super) static KIND: SourceKind = SourceKind {
    form: "an `.npy` of shape (N,...)",
    accepts: |candidate| {
        let has_suffix = candidate.path.extension().is_some_and(|suffix| suffix == "npy");
        Ok(candidate.exists && !candidate.is_folder && (candidate.first.starts_with(b"\x93NUMPY") || has_suffix))
    },
    load: |path, _: Pixels| Dataset::new(path, npy::read(Path::new(path))?),
    extent: None,
};
