//! Images in `arr_0` of an `.npz`, as `downhill sample` and `OpenAI`'s evaluator write them.

use std::path::Path;

use super::source::SourceKind;
use super::stream::{InMemory, StoredSamples};
use super::{Dataset, Pixels};
use crate::error::Result;
use crate::formats::npz;
use crate::tensor::Tensor;

/// The array of the images.
const ARRAY: &str = "arr_0";

/// An `.npz` of images, by the first bytes of an archive that are not those of an `.npy`.
pub(super) static KIND: SourceKind = SourceKind {
    form: "an `.npz` of images",
    accepts: |candidate| {
        let is_npy = candidate.path.extension().is_some_and(|suffix| suffix == "npy");
        Ok(candidate.first.starts_with(b"PK") && !is_npy)
    },
    load: |path, pixels| Dataset::new(path, images(Path::new(path), pixels)?),
    stream: |path, pixels| match npz::records_of_images(Path::new(path), ARRAY)? {
        Some(records) => Ok(Box::new(StoredSamples::new(path, records, pixels)?)),
        None => Ok(Box::new(InMemory {
            data: (KIND.load)(path, pixels)?,
            has_pixels: npz::holds_bytes(Path::new(path), ARRAY)?,
        })),
    },
    extent: None,
};

/// The images (N, C, H, W) in the array `arr_0` (N, H, W, C): bytes according to `pixels`, other numbers as they are.
///
/// # Errors
/// Those of [`npz::read_images`].
pub fn images(path: &Path, pixels: Pixels) -> Result<Tensor> {
    npz::read_images(path, ARRAY, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Image, npy};

    #[test]
    fn channels_come_before_rows_and_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.npz");
        let image = |first: u8| Image { height: 1, width: 2, channels: 3, pixels: (first..first + 6).collect() };
        npy::write_npz(&path, &[image(0), image(100)]).unwrap();
        let loaded = (KIND.load)(&path.display().to_string(), Pixels::Unit).unwrap();
        assert_eq!((loaded.count(), loaded.sample_shape.as_slice()), (2, [3, 1, 2].as_slice()));
        let bytes: Vec<f32> = loaded.samples.item(1).iter().map(|value| (value * 255.0).round()).collect();
        assert_eq!(bytes, [100.0, 103.0, 101.0, 104.0, 102.0, 105.0]);
        npz::write(&path, &[("arr_0", &[1, 1, 2, 1], &[-0.5, 200.0])]).unwrap();
        assert_eq!(images(&path, Pixels::Unit).unwrap(), Tensor::new([1, 1, 1, 2], vec![-0.5, 200.0]));
        npz::write(&path, &[("arr_0", &[1, 1], &[0.0])]).unwrap();
        assert_eq!(images(&path, Pixels::Unit).unwrap_err().kind(), crate::ErrorKind::File);
    }
}
