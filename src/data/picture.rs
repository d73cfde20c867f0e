//! One image from a file, resized.

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, GenericImageView};

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// An image file, read and not yet resized.
#[derive(Clone, Debug)]
pub struct Picture(DynamicImage);

impl Picture {
    /// Reads a PNG or JPEG file.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for any other file.
    pub fn read(file: &Path) -> Result<Self> {
        let decoded = image::ImageReader::open(file)
            .and_then(image::ImageReader::with_guessed_format)
            .map_err(|error| Error::io(file, error))?
            .decode();
        let read = decoded.map_err(|error| match error {
            image::ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                Error::io(file, error)
            }
            error => Error::bad_file_hint(file, format!("not a readable image ({error})"), "give a PNG or JPEG file"),
        });
        read.map(Self)
    }

    /// (height, width) in pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let (width, height) = self.0.dimensions();
        (height as usize, width as usize)
    }

    /// The image as (1, channels, height, width) in -1..1, grey for one channel, RGB for three: scaled by Lanczos'
    /// filter, whatever its proportions, where it has another size (as diffusers does). Transparency is left out.
    ///
    /// # Errors
    /// [`Error::Argument`] for another number of channels.
    pub fn at(&self, channels: usize, (height, width): (usize, usize)) -> Result<Tensor> {
        let resized = if self.size() == (height, width) {
            self.0.clone()
        } else {
            self.0.resize_exact(width as u32, height as u32, FilterType::Lanczos3)
        };
        let bytes = match channels {
            1 => resized.to_luma8().into_raw(),
            3 => resized.to_rgb8().into_raw(),
            _ => {
                let what = format!("an image where {channels} channels are needed");
                return Err(Error::argument(what, "images have one channel or three"));
            }
        };
        let of_channel = |channel| bytes.iter().skip(channel).step_by(channels);
        let values = (0..channels).flat_map(of_channel).map(|byte| f32::from(*byte) / 127.5 - 1.0).collect::<Vec<_>>();
        Ok(Tensor::new([1, channels, height, width], values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Image, png::write_png};

    #[test]
    fn pixels_are_in_their_places_and_sizes_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.png");
        let pixels = vec![0, 255, 51, 255, 0, 102, 0, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0];
        write_png(&file, &Image { height: 2, width: 3, channels: 3, pixels }, &[]).unwrap();
        let picture = Picture::read(&file).unwrap();
        assert_eq!(picture.size(), (2, 3));
        let whole = picture.at(3, (2, 3)).unwrap();
        assert_eq!(whole.shape, [1, 3, 2, 3]);
        assert_eq!(whole.data[..6], [-1.0, 1.0, -1.0, 1.0, -1.0, -1.0]);
        assert_eq!(whole.data[12], 51.0 / 127.5 - 1.0);
        assert_eq!(picture.at(1, (8, 16)).unwrap().shape, [1, 1, 8, 16]);
        assert_eq!(picture.at(4, (2, 3)).unwrap_err().kind(), crate::ErrorKind::Argument);
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.png");
        assert_eq!(Picture::read(&file).unwrap_err().kind(), crate::ErrorKind::NotFound);
        std::fs::write(&file, "text").unwrap();
        let error = Picture::read(&file).unwrap_err();
        assert!(error.to_string().contains("a.png: not a readable image"), "{error}");
    }
}
