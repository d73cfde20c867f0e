//! One image from a file, upright, resized.

use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageError, ImageReader, Limits};

use crate::error::{Error, Result, excerpt};
use crate::guarded::guarded;
use crate::input::{Budget, ask, open_regular};
use crate::tensor::Tensor;

/// The bytes of memory per pixel of an image with all its rows resized and not yet its columns: four float32.
const RESIZING: u64 = 16;
/// The size of the memory for decoding, in units of the decoded image: the decoder's own, the image, and the image
/// turned or in other colours.
const DECODING: u64 = 4;

/// An image file whose header has been read.
pub(super) struct Encoded {
    file: PathBuf,
    decoder: Box<dyn ImageDecoder>,
    orientation: Orientation,
    /// The length of the file in bytes.
    pub stored: u64,
}

impl Encoded {
    /// Opens a PNG or JPEG file and reads its header.
    pub fn open(file: &Path) -> Result<Self> {
        let (opened, stored) = open_regular(file)?;
        let bad = |error| unreadable(file, error);
        let mut reader = ImageReader::new(std::io::BufReader::new(opened))
            .with_guessed_format()
            .map_err(|error| Error::io(file, error))?;
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(Budget { stored }.most());
        reader.limits(limits);
        let opened = guarded(|| {
            let mut decoder = reader.into_decoder()?;
            decoder.orientation().map(|orientation| (decoder, orientation))
        });
        let (decoder, orientation) = opened.map_err(|_| undecodable(file))?.map_err(bad)?;
        Ok(Self { file: file.to_path_buf(), decoder: Box::new(decoder), orientation, stored })
    }

    /// (height, width) of the upright image in pixels.
    pub fn size(&self) -> (usize, usize) {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        let (width, height) = self.decoder.dimensions();
        let (height, width) = (height as usize, width as usize);
        match self.orientation {
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (width, height),
            _ => (height, width),
        }
    }

    /// Returns `true` for an image that is not grey.
    pub fn has_color(&self) -> bool {
        self.decoder.color_type().has_color()
    }

    /// The memory that decoding takes, in bytes.
    pub fn memory(&self) -> u64 {
        self.decoder.total_bytes().saturating_mul(DECODING)
    }

    /// Decodes the image and turns it upright.
    pub fn decode(self) -> Result<Picture> {
        let budget = Budget { stored: self.stored };
        budget.ask(&self.file, self.memory())?;
        let decoded = guarded(|| DynamicImage::from_decoder(self.decoder)).map_err(|_| undecodable(&self.file))?;
        let mut image = decoded.map_err(|error| unreadable(&self.file, error))?;
        image.apply_orientation(self.orientation);
        Ok(Picture { image, file: self.file, budget })
    }
}

/// The error of reading an image.
fn unreadable(file: &Path, error: ImageError) -> Error {
    match error {
        ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Error::io(file, error),
        error => Error::bad_file_hint(
            file,
            format!("not a readable image ({})", excerpt(&error.to_string())),
            "give a PNG or JPEG file",
        ),
    }
}

/// The error of an image at which its decoder panics.
fn undecodable(file: &Path) -> Error {
    Error::bad_file_hint(file, "the image is damaged: its decoder fails", "open it in another program and save it anew")
}

/// An image file, read and not yet resized. A photograph that is stored turned or mirrored, as its EXIF data say, is
/// upright.
#[derive(Clone, Debug)]
pub struct Picture {
    image: DynamicImage,
    file: PathBuf,
    budget: Budget,
}

impl Picture {
    /// Reads a PNG or JPEG file.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for any other file; [`Error::OutOfMemory`].
    pub fn read(file: &Path) -> Result<Self> {
        Encoded::open(file)?.decode()
    }

    /// The bytes of the image, channels innermost: grey for one channel, else RGB. Transparency is left out.
    pub(super) fn into_bytes(self, channels: usize) -> Vec<u8> {
        if channels == 1 { self.image.into_luma8().into_raw() } else { self.image.into_rgb8().into_raw() }
    }

    /// (height, width) in pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let (width, height) = self.image.dimensions();
        (height as usize, width as usize)
    }

    /// The image as (1, channels, height, width) in -1..1, grey for one channel, RGB for three: scaled by Lanczos'
    /// filter, whatever its proportions, where it has another size (as diffusers does). Transparency is left out.
    ///
    /// # Errors
    /// [`Error::Argument`] for another number of channels, [`Error::OutOfMemory`].
    pub fn at(&self, channels: usize, (height, width): (usize, usize)) -> Result<Tensor> {
        if !matches!(channels, 1 | 3) {
            let what = format!("an image where {channels} channels are needed");
            return Err(Error::argument(what, "images have one channel or three"));
        }
        let pixels = |height: usize, width: usize| (height as u64).saturating_mul(width as u64);
        let values = pixels(height, width).saturating_mul((channels * (1 + size_of::<f32>())) as u64);
        let (rows, columns) = self.size();
        let resized = if (rows, columns) == (height, width) {
            self.budget.ask(&self.file, values.saturating_add(self.image.as_bytes().len() as u64))?;
            None
        } else {
            self.budget.ask(&self.file, pixels(height, columns).saturating_mul(RESIZING))?;
            ask(&self.file, values)?;
            Some(self.image.resize_exact(width as u32, height as u32, FilterType::Lanczos3))
        };
        let image = resized.as_ref().unwrap_or(&self.image);
        let bytes = if channels == 1 { image.to_luma8().into_raw() } else { image.to_rgb8().into_raw() };
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
