//! An array of Python's numpy.

use std::path::Path;

use super::Dataset;
use super::source::SourceKind;
use super::stream::StoredSamples;
use crate::formats::npy;

/// An `.npy`, by its first bytes or its suffix. Unsigned bytes are pixels; other numbers are not rescaled.
pub(super) static KIND: SourceKind = SourceKind {
    form: "an `.npy` of shape (N,...)",
    accepts: |candidate| {
        let has_suffix = candidate.path.extension().is_some_and(|suffix| suffix == "npy");
        Ok(candidate.exists && !candidate.is_folder && (candidate.first.starts_with(b"\x93NUMPY") || has_suffix))
    },
    load: |path, pixels| Dataset::new(path, npy::read_pixels(path, pixels)?),
    stream: |path, pixels| Ok(Box::new(StoredSamples::new(path, npy::records(Path::new(path))?, pixels)?)),
    extent: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Pixels;

    #[test]
    fn bytes_are_pixels_and_other_numbers_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        for (kind, values, expected) in [("|u1", [0, 255], [-1.0, 1.0]), ("|i1", [0, 127], [0.0, 127.0])] {
            let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (1, 2), }}\n");
            let length = (header.len() as u16).to_le_bytes();
            let bytes = [npy::MAGIC, &[1, 0], &length, header.as_bytes(), &values].concat();
            std::fs::write(&path, bytes).unwrap();
            let loaded = (KIND.load)(&path.display().to_string(), Pixels::Signed).unwrap();
            assert_eq!(loaded.samples.data, expected, "{kind}");
        }
    }
}
