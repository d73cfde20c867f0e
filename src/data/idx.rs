//! The format of MNIST's files.

use std::path::Path;

use super::Dataset;
use super::source::SourceKind;
use super::stream::{InMemory, StoredSamples};
use crate::formats::idx;

/// An IDX file, by its first bytes.
pub(super) static KIND: SourceKind = SourceKind {
    form: "an IDX file (gzip or not)",
    accepts: |candidate| {
        let is_npy = candidate.path.extension().is_some_and(|suffix| suffix == "npy");
        Ok(idx::looks_like(&candidate.first) && !is_npy)
    },
    load: |path, pixels| Dataset::new(path, idx::read(Path::new(path), pixels)?),
    stream: |path, pixels| match idx::records(Path::new(path))? {
        Some(records) => Ok(Box::new(StoredSamples::new(path, records, pixels)?)),
        None => {
            Ok(Box::new(InMemory { data: (KIND.load)(path, pixels)?, has_pixels: idx::holds_bytes(Path::new(path))? }))
        }
    },
    extent: None,
};
