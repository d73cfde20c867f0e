//! A folder of images, all of one size.

use std::path::{Path, PathBuf};

use super::source::SourceKind;
use super::{Dataset, Pixels};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

const SUFFIXES: [&str; 3] = ["png", "jpg", "jpeg"];

/// A folder of images.
pub(super) static KIND: SourceKind = SourceKind {
    form: "a folder of images",
    accepts: |candidate| Ok(candidate.is_folder),
    load: |path, pixels| read(Path::new(path), pixels),
    extent: None,
};

/// The images of `folder` in the order of their names, as (channels, height, width): one channel where all are grey,
/// else three. Transparency is left out.
///
/// # Errors
/// [`Error::BadFile`] for a folder without images, an image that cannot be read, and one of another size than the
/// first.
fn read(folder: &Path, pixels: Pixels) -> Result<Dataset> {
    let files = images_of(folder)?;
    let images = files
        .iter()
        .map(|file| {
            image::open(file).map_err(|error| match error {
                image::ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                    Error::io(file, error)
                }
                error => Error::bad_file_hint(file, format!("not a readable image ({error})"), "remove or replace it"),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let Some(first) = images.first() else {
        let hint = "a folder of images holds `.png` or `.jpg` files";
        return Err(Error::bad_file_hint(folder, "no images in this folder", hint));
    };
    let (width, height) = (first.width(), first.height());
    if let Some(at) = images.iter().position(|image| (image.width(), image.height()) != (width, height)) {
        let (other_width, other_height) = (images[at].width(), images[at].height());
        return Err(Error::bad_file_hint(
            &files[at],
            format!(
                "the image is {other_width} x {other_height}, `{}` is {width} x {height}",
                files[0].file_name().unwrap_or_default().display()
            ),
            "resize all images to one size",
        ));
    }
    let channels = if images.iter().any(|image| image.color().has_color()) { 3 } else { 1 };
    let area = width as usize * height as usize;
    let mut values = Vec::with_capacity(images.len() * channels * area);
    for image in &images {
        let bytes = if channels == 1 { image.to_luma8().into_raw() } else { image.to_rgb8().into_raw() };
        for channel in 0..channels {
            values.extend(bytes.iter().skip(channel).step_by(channels).map(|byte| pixels.value(*byte)));
        }
    }
    let shape = [images.len(), channels, height as usize, width as usize];
    Dataset::new(&folder.display().to_string(), Tensor::new(shape, values))
}

fn images_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io(folder, error))?.path();
        let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default().to_ascii_lowercase();
        if SUFFIXES.contains(&suffix.as_str()) {
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
