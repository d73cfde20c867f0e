//! The part of an image that is to be painted.

use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage};

use super::picture::Picture;
use crate::error::{Error, Result};
use crate::input::{ask, sha256_of};

/// The least value that is painted: half of white, as diffusers' `VaeImageProcessor.binarize` has it.
const PAINTED: u8 = 128;

/// A mask: white is to be painted, black is known.
#[derive(Clone, Debug)]
pub struct Mask {
    /// One byte per pixel.
    values: GrayImage,
    /// A sentence for the user: the kind of images that the file holds besides.
    note: Option<String>,
    origin: Origin,
}

/// The origin of a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file, with the SHA-256 of its content.
    File {
        /// The file.
        path: PathBuf,
        /// The digest in hexadecimal.
        sha256: String,
    },
    /// The transparency of the image itself.
    Alpha,
    /// Values in memory, with the SHA-256 of them.
    Values {
        /// The digest of one byte per pixel, 255 where it is painted, in hexadecimal.
        sha256: String,
    },
}

impl Mask {
    /// Reads a mask from an image file: its luminance, of which half of white and more is painted.
    ///
    /// # Errors
    /// Those of [`Picture::read`]; [`Error::BadFile`] for a mask with transparency, which could mean either.
    pub fn read(file: &Path) -> Result<Self> {
        Self::of_picture(Picture::read(file)?)
    }

    /// The luminance of a picture as a mask, as [`Mask::read`].
    ///
    /// # Errors
    /// [`Error::BadFile`] for a picture with transparency.
    pub(crate) fn of_picture(picture: Picture) -> Result<Self> {
        if picture.alpha().is_some_and(|alpha| alpha.iter().any(|value| *value < u8::MAX)) {
            return Err(Error::bad_file_hint(
                picture.file(),
                "a mask with transparent pixels, which does not say whether they are painted",
                "save it without transparency: white is painted, black is kept; the transparency of the image itself \
                 is taken by the mask `alpha`",
            ));
        }
        let origin = Origin::File { path: picture.file().to_path_buf(), sha256: picture.sha256().to_owned() };
        let note = picture.note().map(str::to_owned);
        Ok(Self { values: luminance(picture.into_image()), note, origin })
    }

    /// The transparency of a picture as a mask: what is more transparent than opaque is painted.
    ///
    /// # Errors
    /// [`Error::BadFile`] for a picture without transparency.
    pub fn of_alpha(picture: &Picture) -> Result<Self> {
        let (height, width) = picture.size();
        let values = picture.alpha().map(|alpha| alpha.iter().map(|value| u8::MAX - value).collect());
        match values.and_then(|values| GrayImage::from_raw(width as u32, height as u32, values)) {
            Some(values) => Ok(Self { values, note: None, origin: Origin::Alpha }),
            None => Err(Error::bad_file_hint(
                picture.file(),
                "the image does not have transparency, which the mask `alpha` is taken from",
                "save it with an alpha channel, or give the mask as a file",
            )),
        }
    }

    /// A mask of values in memory, row by row: `true` is painted.
    ///
    /// # Errors
    /// [`Error::Argument`] for another number of values than pixels.
    pub fn of_values((height, width): (usize, usize), painted: &[bool]) -> Result<Self> {
        let sides = u32::try_from(width).ok().zip(u32::try_from(height).ok());
        let values = painted.iter().map(|is_painted| if *is_painted { u8::MAX } else { 0 }).collect();
        let fits = height.checked_mul(width) == Some(painted.len());
        match sides.filter(|_| fits).and_then(|(width, height)| GrayImage::from_raw(width, height, values)) {
            Some(values) => {
                let origin = Origin::Values { sha256: sha256_of(values.as_raw()) };
                Ok(Self { values, note: None, origin })
            }
            None => Err(Error::argument(
                format!("a mask of {} values for {width} x {height} pixels", painted.len()),
                "a mask has one value per pixel",
            )),
        }
    }

    /// (height, width) in pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.values.height() as usize, self.values.width() as usize)
    }

    /// A sentence for the user on what the file holds besides this mask.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Its origin.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The mask in words, for messages.
    fn name(&self) -> String {
        match &self.origin {
            Origin::File { path, .. } => format!("the mask `{}`", path.display()),
            Origin::Alpha => "the transparency of the image".to_owned(),
            Origin::Values { .. } => "the mask".to_owned(),
        }
    }

    /// Refuses a mask of another size than the picture that it is for.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn expect_size_of(&self, picture: &Picture) -> Result<()> {
        let ((height, width), (rows, columns)) = (self.size(), picture.size());
        if (height, width) == (rows, columns) {
            return Ok(());
        }
        let what = format!(
            "{} has {width} x {height} pixels, and the image `{}` has {columns} x {rows}",
            self.name(),
            picture.file().display()
        );
        Err(Error::argument(what, "give `mask` the size of the image: both are then scaled together"))
    }

    /// The mask at a size, row by row: `true` is painted. It is scaled as its picture is, by Lanczos' filter, and then
    /// cut at half of white, as diffusers does.
    ///
    /// # Errors
    /// [`Error::Argument`] for a mask of which nothing or everything is painted; [`Error::OutOfMemory`].
    pub fn at(&self, (height, width): (usize, usize)) -> Result<Vec<bool>> {
        let scaled;
        let values = if self.size() == (height, width) {
            &self.values
        } else {
            let pixels = (height as u64).saturating_mul((width as u64).max(u64::from(self.values.width())));
            ask(Path::new("mask"), pixels.saturating_mul(size_of::<f32>() as u64 * 4))?;
            let whole = DynamicImage::ImageLuma8(self.values.clone());
            scaled = whole.resize_exact(width as u32, height as u32, FilterType::Lanczos3).into_luma8();
            &scaled
        };
        let painted: Vec<bool> = values.as_raw().iter().map(|value| *value >= PAINTED).collect();
        self.expect_both(&painted, "")?;
        Ok(painted)
    }

    /// Every `factor`-th pixel of a mask of a size, as diffusers' inpainting pipelines bring it to the size of latents.
    ///
    /// # Errors
    /// [`Error::Argument`] for a mask of which nothing or everything is painted then.
    pub fn of_latents(&self, painted: &[bool], width: usize, factor: usize) -> Result<Vec<bool>> {
        let rows = painted.chunks_exact(width.max(1)).step_by(factor.max(1));
        let latents: Vec<bool> = rows.flat_map(|row| row.iter().step_by(factor.max(1)).copied()).collect();
        let at = format!(" at the size of latents, which have one value per {factor} x {factor} pixels");
        self.expect_both(&latents, &at)?;
        Ok(latents)
    }

    /// Refuses a mask of one value.
    fn expect_both(&self, painted: &[bool], at: &str) -> Result<()> {
        let name = self.name();
        if !painted.contains(&true) {
            let what = format!("{name} is all black{at}: nothing would be painted");
            return Err(Error::argument(what, "white is painted, black is kept; paint a larger part white in `mask`"));
        }
        if !painted.contains(&false) {
            let what = format!("{name} is all white{at}: nothing of the image would be kept");
            return Err(Error::argument(what, "white is painted, black is kept; leave out `mask` to keep nothing"));
        }
        Ok(())
    }
}

/// The luminance of an image in 8 bits as Pillow has it (ITU-R 601-2), which diffusers converts masks by.
fn luminance(image: DynamicImage) -> GrayImage {
    if !image.color().has_color() {
        return image.into_luma8();
    }
    let image = image.into_rgb8();
    let (width, height) = image.dimensions();
    let of = |pixel: &[u8]| {
        let [red, green, blue] = [0, 1, 2].map(|at| u32::from(pixel[at]));
        ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
    };
    GrayImage::from_raw(width, height, image.as_raw().chunks_exact(3).map(of).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Image, png::write_png};

    fn written(folder: &Path, channels: usize, pixels: Vec<u8>) -> PathBuf {
        let file = folder.join("m.png");
        let width = pixels.len() / channels / 2;
        write_png(&file, &Image { height: 2, width, channels, pixels }, &[]).unwrap();
        file
    }

    #[test]
    fn half_of_white_and_more_is_painted() {
        let folder = tempfile::tempdir().unwrap();
        let mask = Mask::read(&written(folder.path(), 1, vec![0, 127, 128, 255])).unwrap();
        assert_eq!(mask.at((2, 2)).unwrap(), [false, false, true, true]);
        assert!(matches!(mask.origin(), Origin::File { sha256, .. } if sha256.len() == 64));
        // Green is brighter than red and blue.
        let colours = vec![0, 255, 0, 255, 0, 0, 0, 0, 255, 255, 255, 255];
        let mask = Mask::read(&written(folder.path(), 3, colours)).unwrap();
        assert_eq!(mask.at((2, 2)).unwrap(), [true, false, false, true]);
        assert_eq!(mask.at((4, 4)).unwrap().len(), 16);
    }

    #[test]
    fn transparency_is_painted_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = written(folder.path(), 4, vec![9, 9, 9, 0, 9, 9, 9, 127, 9, 9, 9, 128, 9, 9, 9, 255]);
        let error = Mask::read(&file).unwrap_err();
        assert!(error.to_string().contains("transparent pixels"), "{error}");
        let mask = Mask::of_alpha(&Picture::read(&file).unwrap()).unwrap();
        assert_eq!(mask.at((2, 2)).unwrap(), [true, true, false, false]);
        let opaque = Picture::read(&written(folder.path(), 3, vec![9; 12])).unwrap();
        let error = Mask::of_alpha(&opaque).unwrap_err();
        assert!(error.to_string().contains("does not have transparency"), "{error}");
    }

    #[test]
    fn masks_of_one_value_and_of_another_size_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |painted: &[bool]| {
            let error = Mask::of_values((2, 2), painted).and_then(|mask| mask.at((2, 2))).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Argument);
            error.to_string()
        };
        assert!(refused(&[false; 4]).contains("all black"));
        assert!(refused(&[true; 4]).contains("all white"));
        assert!(refused(&[true; 3]).contains("3 values for 2 x 2 pixels"));
        let picture = Picture::read(&written(folder.path(), 1, vec![0; 6])).unwrap();
        let mask = Mask::of_values((2, 2), &[true, false, false, false]).unwrap();
        let error = mask.expect_size_of(&picture).unwrap_err().to_string();
        assert!(error.contains("2 x 2 pixels") && error.contains("3 x 2"), "{error}");
    }

    #[test]
    fn latents_take_every_eighth_pixel() {
        let mut painted = vec![false; 16 * 24];
        (painted[8], painted[9], painted[8 * 24 + 16]) = (true, true, true);
        let mask = Mask::of_values((16, 24), &painted).unwrap();
        let latents = mask.of_latents(&mask.at((16, 24)).unwrap(), 24, 8).unwrap();
        assert_eq!(latents, [false, true, false, false, false, true]);
        let mut thin = vec![false; 16 * 24];
        thin[9] = true;
        let mask = Mask::of_values((16, 24), &thin).unwrap();
        let error = mask.of_latents(&thin, 24, 8).unwrap_err().to_string();
        assert!(error.contains("all black at the size of latents"), "{error}");
    }
}
