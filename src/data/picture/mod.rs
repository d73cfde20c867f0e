//! One image from a file, upright, over white, resized.

mod encoded;
mod format;
mod levels;

pub(super) use encoded::Encoded;
pub(super) use format::has_foreign_name;
pub use levels::Levels;

use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, GenericImageView, GrayImage, RgbImage};

use crate::error::{Error, Result};
use crate::input::{Budget, ask, sha256};
use crate::tensor::Tensor;

/// The bytes of memory per pixel of an image with all its rows resized and not yet its columns: four float32.
const RESIZING: u64 = 16;

/// An image file, read and not yet resized, as viewers show it: upright, as its EXIF data say, and over white where it
/// is transparent.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The image without transparency.
    image: DynamicImage,
    /// One byte per pixel, 255 where it is opaque; `None` without transparency.
    alpha: Option<Vec<u8>>,
    /// `true` if values of more than 8 bits were rounded to 8 when the transparency was taken off.
    is_rounded: bool,
    /// A sentence for the user: what the file holds and is not taken.
    note: Option<String>,
    sha256: String,
    file: PathBuf,
    budget: Budget,
}

impl Picture {
    /// Reads a PNG, JPEG, WebP, BMP, GIF or TIFF file, which its content decides. Of an animation or of several pages,
    /// the first image is taken, and [`Picture::note`] says so.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for any other file; [`Error::OutOfMemory`].
    pub fn read(file: &Path) -> Result<Self> {
        let picture = Encoded::open(file)?.decode()?;
        Ok(Self { sha256: sha256(file)?, ..picture })
    }

    /// The picture under the name of another file: that of which its own is a copy.
    #[cfg(feature = "cli")]
    pub(crate) fn named(mut self, file: &Path) -> Self {
        let other = self.file.display().to_string();
        self.note = self.note.map(|note| note.replace(&other, &file.display().to_string()));
        self.file = file.to_path_buf();
        self
    }

    /// A decoded image, whose transparency is taken off.
    fn of(image: DynamicImage, note: Option<String>, file: &Path, budget: Budget) -> Self {
        let color = image.color();
        let is_rounded = color.has_alpha() && color.bits_per_pixel() > 8 * u16::from(color.channel_count());
        let (image, alpha) = over_white(image);
        Self { image, alpha, is_rounded, note, sha256: String::new(), file: file.to_path_buf(), budget }
    }

    /// A sentence for the user on what the file holds besides this image.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// A sentence for the user if a run of images of `size`, (height, width), scales this one.
    #[must_use]
    pub fn scaled_note(&self, size: (usize, usize)) -> Option<String> {
        let (height, width) = self.size();
        ((height, width) != size)
            .then(|| format!("the image of {height} x {width} is scaled to {} x {}", size.0, size.1))
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The SHA-256 of the file's content, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The image without transparency.
    pub(super) fn into_image(self) -> DynamicImage {
        self.image
    }

    /// One byte per pixel, row by row, from 0 (transparent) to 255; `None` for an image without transparency.
    #[must_use]
    pub fn alpha(&self) -> Option<&[u8]> {
        self.alpha.as_deref()
    }

    /// The bytes of the image, channels innermost: grey for one channel, else RGB.
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
    /// filter, whatever its proportions, where it has another size (as diffusers does).
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

/// The image over white, and its transparency.
fn over_white(image: DynamicImage) -> (DynamicImage, Option<Vec<u8>>) {
    let over = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let (width, height) = image.dimensions();
    if !image.color().has_alpha() {
        return (image, None);
    }
    if image.color().has_color() {
        let pixels = image.into_rgba8().into_raw();
        let alpha = pixels.iter().skip(3).step_by(4).copied().collect();
        let shown = pixels.chunks_exact(4).flat_map(|pixel| [0, 1, 2].map(|at| over(pixel[at], pixel[3]))).collect();
        (RgbImage::from_raw(width, height, shown).unwrap_or_default().into(), Some(alpha))
    } else {
        let pixels = image.into_luma_alpha8().into_raw();
        let alpha = pixels.iter().skip(1).step_by(2).copied().collect();
        let shown = pixels.chunks_exact(2).map(|pixel| over(pixel[0], pixel[1])).collect();
        (GrayImage::from_raw(width, height, shown).unwrap_or_default().into(), Some(alpha))
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
