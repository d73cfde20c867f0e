//! An image file whose header has been read.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::tiff::TiffDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageResult, Limits};

use super::{Picture, format};
use crate::error::{Error, Result, excerpt};
use crate::guarded::guarded;
use crate::input::{Budget, open_regular};

/// The size of the memory for decoding, in units of the decoded image: the decoder's own, the image, and the image
/// turned or in other colours.
const DECODING: u64 = 4;

/// An image file whose header has been read.
pub(in crate::data) struct Encoded {
    file: PathBuf,
    decoder: Box<dyn ImageDecoder>,
    orientation: Orientation,
    /// The kind of images that the file holds besides the first, in words.
    pub rest: Option<&'static str>,
    /// The length of the file in bytes.
    pub stored: u64,
}

impl Encoded {
    /// Opens a file of one of the formats that are read, whatever its name, and reads its header.
    pub fn open(file: &Path) -> Result<Self> {
        let (mut opened, stored) = open_regular(file)?;
        let format = format::of(file, &mut opened)?;
        let bad = |error| unreadable(file, error);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(Budget { stored }.most());
        let rest = match format {
            ImageFormat::Gif if has_second_frame(file, &limits)? => Some("frames"),
            ImageFormat::Tiff if format::has_more_pages(file, &mut opened)? => Some("pages"),
            _ => None,
        };
        if format == ImageFormat::WebP {
            format::check_chunks(file, &mut opened, stored)?;
        }
        if format == ImageFormat::Jpeg {
            format::check_end(file, &mut opened)?;
        }
        opened.seek(SeekFrom::Start(0)).map_err(|error| Error::io(file, error))?;
        let reader = BufReader::new(opened);
        let opened = guarded(|| {
            let (mut decoder, rest) = decoder(format, reader, &limits, rest)?;
            decoder.set_limits(limits)?;
            decoder.orientation().map(|orientation| (decoder, orientation, rest))
        });
        let (decoder, orientation, rest) = opened.map_err(|_| undecodable(file))?.map_err(bad)?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            let what = format!("not a readable image ({width} x {height} pixels)");
            return Err(Error::bad_file_hint(file, what, "give an image with pixels"));
        }
        Ok(Self { file: file.to_path_buf(), decoder, orientation, rest, stored })
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

    /// Decodes the first image and turns it upright.
    pub fn decode(self) -> Result<Picture> {
        let budget = Budget { stored: self.stored };
        budget.ask(&self.file, self.memory())?;
        let decoded = guarded(|| DynamicImage::from_decoder(self.decoder)).map_err(|_| undecodable(&self.file))?;
        let mut image = decoded.map_err(|error| unreadable(&self.file, error))?;
        image.apply_orientation(self.orientation);
        let note = |rest| format!("`{}` holds several {rest}: the first one is taken", self.file.display());
        Ok(Picture::of(image, self.rest.map(note), &self.file, budget))
    }
}

/// The decoder of a file, and the kind of images that it holds besides the first: `rest`, or what its header says.
fn decoder(
    format: ImageFormat,
    reader: BufReader<File>,
    limits: &Limits,
    rest: Option<&'static str>,
) -> ImageResult<(Box<dyn ImageDecoder>, Option<&'static str>)> {
    Ok(match format {
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(reader, limits.clone())?;
            let rest = decoder.is_apng()?.then_some("frames");
            (Box::new(decoder), rest)
        }
        ImageFormat::WebP => {
            let decoder = WebPDecoder::new(reader)?;
            let rest = decoder.has_animation().then_some("frames");
            (Box::new(decoder), rest)
        }
        ImageFormat::Gif => (Box::new(GifDecoder::new(reader)?), rest),
        ImageFormat::Tiff => (Box::new(TiffDecoder::new(reader)?), rest),
        ImageFormat::Bmp => (Box::new(BmpDecoder::new(reader)?), rest),
        _ => (Box::new(JpegDecoder::new(reader)?), rest),
    })
}

/// Returns `true` for a GIF whose second frame can be read.
fn has_second_frame(file: &Path, limits: &Limits) -> Result<bool> {
    let opened = File::open(file).map_err(|error| Error::io(file, error))?;
    let bad = |error| unreadable(file, error);
    let frames = guarded(|| {
        let mut decoder = GifDecoder::new(BufReader::new(opened))?;
        let (width, height) = decoder.dimensions();
        // The frames are decoded to be counted.
        let pixels = u64::from(width).saturating_mul(u64::from(height));
        if pixels.saturating_mul(4 * DECODING) > limits.max_alloc.unwrap_or(u64::MAX) {
            return Ok(0);
        }
        decoder.set_limits(limits.clone())?;
        Ok::<usize, ImageError>(decoder.into_frames().take(2).flatten().count())
    });
    Ok(frames.map_err(|_| undecodable(file))?.map_err(bad)? == 2)
}

/// The error of reading an image.
fn unreadable(file: &Path, error: ImageError) -> Error {
    match error {
        ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Error::io(file, error),
        error => Error::bad_file_hint(
            file,
            format!("not a readable image ({})", excerpt(&error.to_string())),
            "give a whole file, or save the image again as a plain PNG",
        ),
    }
}

/// The error of an image at which its decoder panics.
fn undecodable(file: &Path) -> Error {
    Error::bad_file_hint(
        file,
        "the image is damaged: its decoder fails",
        "open it in another program and save it again",
    )
}
