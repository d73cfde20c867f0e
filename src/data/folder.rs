//! A folder of images, all of one size.

use std::path::{Path, PathBuf};

use super::picture::{Encoded, has_foreign_name};
use super::source::SourceKind;
use super::stream::{Stream, expect_samples};
use super::{Dataset, Pixels, arrays};
use crate::error::{Error, Result};
use crate::input::{Budget, room};
use crate::tensor::{Tensor, element_count};

/// The names of images that are read; the content decides what each is.
const SUFFIXES: [&str; 11] = ["png", "apng", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "gif", "tif", "tiff"];

/// A folder of images.
pub(super) static KIND: SourceKind = SourceKind {
    form: "a folder of images",
    accepts: |candidate| Ok(candidate.is_folder && !arrays::is_of_arrays(candidate.path)?),
    load: |path, pixels| read(Path::new(path), pixels),
    stream: |path, pixels| Ok(Box::new(Images::open(Path::new(path), pixels)?)),
    extent: None,
};

/// The images of `folder` in the order of their names, upright, as (channels, height, width): one channel where all are
/// grey, else three. Transparent images are over white.
///
/// # Errors
/// Those of [`Images::open`]; [`Error::BadFile`] for images that are far larger than their files;
/// [`Error::OutOfMemory`].
fn read(folder: &Path, pixels: Pixels) -> Result<Dataset> {
    let mut images = Images::open(folder, pixels)?;
    let (count, memory) = (images.count() * images.dimension(), images.decoding);
    let values = (count as u64).saturating_mul(size_of::<f32>() as u64);
    Budget { stored: images.stored }.ask(folder, values.saturating_add(memory))?;
    let mut values: Vec<f32> = room(folder, count)?;
    values.resize(count, 0.0);
    images.read(0, &mut values)?;
    let shape = [images.count(), images.dimension()];
    Ok(Dataset { name: images.name, sample_shape: images.shape.to_vec(), samples: Tensor::new(shape, values) })
}

/// The images of a folder, decoded as they are read.
struct Images {
    name: String,
    files: Vec<PathBuf>,
    /// (channels, height, width).
    shape: [usize; 3],
    pixels: Pixels,
    /// The length of all files in bytes.
    stored: u64,
    /// The memory that decoding one of them takes at most, in bytes.
    decoding: u64,
}

impl Images {
    /// Reads the headers of all images of `folder`.
    ///
    /// # Errors
    /// [`Error::BadFile`] for a folder without images, an image that cannot be read, one of another size than the
    /// first, one of several frames or pages, and one that is far larger than its file.
    fn open(folder: &Path, pixels: Pixels) -> Result<Self> {
        let files = images_of(folder)?;
        let Some(first) = files.first() else {
            let hint = "a folder of images holds `.png`, `.jpg`, `.webp`, `.bmp`, `.gif` or `.tif` files; `.npy` files \
                        beside others are named by a pattern, 'FOLDER/*.npy'";
            return Err(Error::bad_file_hint(folder, "no images in this folder", hint));
        };
        // All that the headers say is checked before a pixel is decoded.
        let (height, width) = Encoded::open(first)?.size();
        let (mut channels, mut stored, mut decoding) = (1, 0u64, 0);
        for file in &files {
            let image = Encoded::open(file)?;
            if image.size() != (height, width) {
                let (other_height, other_width) = image.size();
                return Err(Error::bad_file_hint(
                    file,
                    format!(
                        "the image is {other_width} x {other_height}, `{}` is {width} x {height}",
                        first.file_name().unwrap_or_default().display()
                    ),
                    "resize all images to one size",
                ));
            }
            if let Some(rest) = image.rest {
                let what = format!("the image holds several {rest}, and a sample is one image");
                return Err(Error::bad_file_hint(file, what, "save each as a file, or the first one alone"));
            }
            Budget { stored: image.stored }.ask(file, image.memory())?;
            decoding = image.memory().max(decoding);
            stored = stored.saturating_add(image.stored);
            if image.has_color() {
                channels = 3;
            }
        }
        let shape = [channels, height, width];
        if element_count(&[files.len(), channels, height, width]).is_none() {
            let what = format!("{} images of shape {shape:?} cannot be addressed", files.len());
            return Err(Error::bad_file(folder, what));
        }
        Ok(Self { name: folder.display().to_string(), files, shape, pixels, stored, decoding })
    }
}

impl Stream for Images {
    fn name(&self) -> &str {
        &self.name
    }

    fn count(&self) -> usize {
        self.files.len()
    }

    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }

    fn has_pixels(&self) -> bool {
        true
    }

    fn read(&mut self, first: usize, rows: &mut [f32]) -> Result<()> {
        expect_samples(self, first, rows)?;
        let (dimension, channels) = (self.dimension(), self.shape[0]);
        for (file, row) in self.files[first..].iter().zip(rows.chunks_exact_mut(dimension)) {
            let bytes = Encoded::open(file)?.decode()?.into_bytes(channels);
            // An image may have been replaced in between.
            if bytes.len() != dimension {
                return Err(Error::bad_file(file, "the image was changed while it was read"));
            }
            let mut places = row.iter_mut();
            for channel in 0..channels {
                for (byte, place) in bytes.iter().skip(channel).step_by(channels).zip(&mut places) {
                    *place = self.pixels.value(*byte);
                }
            }
        }
        Ok(())
    }
}

/// Returns `true` for the name of an image of a format that is read.
pub(crate) fn is_named_image(file: &Path) -> bool {
    let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    SUFFIXES.iter().any(|known| suffix.eq_ignore_ascii_case(known))
}

fn images_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io(folder, error))?.path();
        if is_named_image(&path) || has_foreign_name(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Image, png::write_png};

    fn write(folder: &Path, name: &str, channels: usize, width: usize, first: u8) {
        let pixels = (0..2 * width * channels).map(|at| first + at as u8).collect();
        write_png(folder.join(name), &Image { height: 2, width, channels, pixels }, &[]).unwrap();
    }

    #[test]
    fn images_come_in_the_order_of_their_names_channels_first() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "b.png", 1, 3, 100);
        write(folder.path(), "a.PNG", 1, 3, 0);
        std::fs::write(folder.path().join("notes.txt"), "not an image").unwrap();
        let grey = read(folder.path(), Pixels::Unit).unwrap();
        assert_eq!(grey.sample_shape, [1, 2, 3]);
        assert_eq!(grey.samples.data[6] * 255.0, 100.0);
        write(folder.path(), "c.png", 3, 3, 10);
        let colour = read(folder.path(), Pixels::Unit).unwrap();
        assert_eq!((colour.count(), colour.sample_shape.as_slice()), (3, [3, 2, 3].as_slice()));
        let reds: Vec<f32> = colour.samples.item(2)[..3].iter().map(|value| (value * 255.0).round()).collect();
        assert_eq!(reds, [10.0, 13.0, 16.0]);
    }

    #[test]
    fn bad_folders_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let empty = read(folder.path(), Pixels::Unit).unwrap_err();
        assert!(empty.to_string().contains("no images") && empty.kind() == crate::ErrorKind::File, "{empty}");
        write(folder.path(), "a.png", 1, 3, 0);
        write(folder.path(), "b.png", 1, 4, 0);
        let other = read(folder.path(), Pixels::Unit).unwrap_err();
        assert!(other.to_string().contains("b.png: the image is 4 x 2, `a.png` is 3 x 2"), "{other}");
        std::fs::write(folder.path().join("b.png"), "text").unwrap();
        let broken = read(folder.path(), Pixels::Unit).unwrap_err();
        assert!(broken.to_string().contains("b.png: not a readable image"), "{broken}");
    }
}
