//! PNG files with the settings of a run as text chunks.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use super::{Image, write_atomically};
use crate::error::{Error, Result, excerpt};
use crate::input::open_regular;

/// The most bytes of text in a file: its settings, and far more than anyone writes.
const MOST_TEXT: usize = 16 << 20;

/// Writes `image` with `metadata` as (keyword, text) pairs: `tEXt` chunks, or `iTXt` where the text is not ASCII. The
/// same arguments give the same bytes.
///
/// # Errors
/// Those of [`write_atomically`]; [`Error::Io`] also for a keyword that PNG does not allow (1 to 79 Latin-1 characters)
/// or an image without pixels.
pub fn write_png(path: impl AsRef<Path>, image: &Image, metadata: &[(String, String)]) -> Result<()> {
    write_atomically(path, |writer| encode(writer, image, metadata))
}

/// Writes an animation of `frames`, images of one size, as an APNG that plays without end. A frame is shown for a fifth
/// of a second, the last one for two seconds. Readers without animations show the first frame.
///
/// # Errors
/// As [`write_png`]; [`Error::Io`] also without frames.
pub fn write_animation(path: impl AsRef<Path>, frames: &[Image], metadata: &[(String, String)]) -> Result<()> {
    write_atomically(path, |writer| {
        let first = frames.first().ok_or_else(|| io::Error::other("an animation without frames"))?;
        let mut encoder = encoder(writer, first, metadata)?;
        encoder.set_animated(u32::try_from(frames.len()).map_err(io::Error::other)?, 0)?;
        let mut writer = encoder.write_header()?;
        for (index, frame) in frames.iter().enumerate() {
            let is_last = index + 1 == frames.len();
            let (seconds, parts) = if is_last { LAST_FRAME } else { FRAME };
            writer.set_frame_delay(seconds, parts)?;
            writer.write_image_data(&frame.pixels)?;
        }
        writer.finish()?;
        Ok(())
    })
}

/// Seconds of a frame and of the last one, as fractions.
const FRAME: (u16, u16) = (1, 5);
const LAST_FRAME: (u16, u16) = (2, 1);

fn encode(writer: impl Write, image: &Image, metadata: &[(String, String)]) -> io::Result<()> {
    let mut writer = encoder(writer, image, metadata)?.write_header()?;
    writer.write_image_data(&image.pixels)?;
    writer.finish()?;
    Ok(())
}

/// An encoder for an image of this size and these channels.
fn encoder<W: Write>(writer: W, image: &Image, metadata: &[(String, String)]) -> io::Result<png::Encoder<'static, W>> {
    let extent = |extent: usize| u32::try_from(extent).map_err(|_| io::Error::other("the image is too large for PNG"));
    let mut encoder = png::Encoder::new(writer, extent(image.width)?, extent(image.height)?);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(match image.channels {
        1 => png::ColorType::Grayscale,
        4 => png::ColorType::Rgba,
        _ => png::ColorType::Rgb,
    });
    for (keyword, text) in metadata {
        if text.is_ascii() {
            encoder.add_text_chunk(keyword.clone(), text.clone())?;
        } else {
            encoder.add_itxt_chunk(keyword.clone(), text.clone())?;
        }
    }
    Ok(encoder)
}

/// Reads the text chunks of a PNG as (keyword, text): plain ones first, then those in UTF-8, each kind in file order.
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`], or [`Error::BadFile`] if the file is not a complete PNG.
pub fn read_metadata(path: impl AsRef<Path>) -> Result<Vec<(String, String)>> {
    let path = path.as_ref();
    let (file, _) = open_regular(path)?;
    let bad = |error| match error {
        png::DecodingError::IoError(error) if error.kind() != io::ErrorKind::UnexpectedEof => Error::io(path, error),
        error => Error::bad_file(path, format!("not a complete PNG file ({})", excerpt(&error.to_string()))),
    };
    let reader = decode(file).map_err(bad)?;
    let mut texts = Texts { pairs: Vec::new(), bytes: 0 };
    let info = reader.info();
    for chunk in &info.uncompressed_latin1_text {
        texts.add(path, &chunk.keyword, chunk.text.clone())?;
    }
    // The crate limits a decompressed chunk to one megabyte of text.
    for chunk in &info.compressed_latin1_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text().map_err(bad)?;
        texts.add(path, &chunk.keyword, chunk.get_text().map_err(bad)?)?;
    }
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text().map_err(bad)?;
        texts.add(path, &chunk.keyword, chunk.get_text().map_err(bad)?)?;
    }
    Ok(texts.pairs)
}

/// The texts of a file, which may hold many that are compressed.
struct Texts {
    pairs: Vec<(String, String)>,
    bytes: usize,
}

impl Texts {
    fn add(&mut self, path: &Path, keyword: &str, text: String) -> Result<()> {
        self.bytes += text.len();
        if self.bytes > MOST_TEXT {
            return Err(Error::bad_file(path, format!("its texts have more than {MOST_TEXT} bytes")));
        }
        self.pairs.push((keyword.to_owned(), text));
        Ok(())
    }
}

/// Returns `true` if `path` is a PNG that decodes to its end.
#[must_use]
pub fn is_complete(path: impl AsRef<Path>) -> bool {
    open_regular(path.as_ref()).is_ok_and(|(file, _)| decode(file).is_ok())
}

/// Decodes to the end of the file, row by row.
fn decode(file: File) -> std::result::Result<png::Reader<BufReader<File>>, png::DecodingError> {
    let mut reader = png::Decoder::new(BufReader::new(file)).read_info()?;
    while reader.next_row()?.is_some() {}
    reader.finish()?;
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(channels: usize) -> Image {
        Image { height: 5, width: 7, channels, pixels: (0..35 * channels).map(|at| at as u8).collect() }
    }

    fn pair(keyword: &str, text: &str) -> (String, String) {
        (keyword.to_string(), text.to_string())
    }

    #[test]
    fn pixels_come_back_from_another_decoder() {
        let folder = tempfile::tempdir().unwrap();
        for channels in [1, 3, 4] {
            let path = folder.path().join(format!("{channels}.png"));
            write_png(&path, &image(channels), &[]).unwrap();
            let read = image::open(&path).unwrap();
            assert_eq!((read.width(), read.height()), (7, 5));
            assert_eq!(usize::from(read.color().channel_count()), channels);
            assert_eq!(read.as_bytes(), image(channels).pixels);
        }
    }

    #[test]
    fn metadata_round_trips() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        let metadata = [
            pair("seed", "18446744073709551615"),
            pair("empty", ""),
            pair("lines", "a=1\nb = \"two\""),
            pair("prompt", "Größe: 数字 \u{1f58b}"),
            pair("software", "x".repeat(10_000).as_str()),
        ];
        write_png(&path, &image(3), &metadata).unwrap();
        let mut read = read_metadata(&path).unwrap();
        assert_eq!(read.last(), Some(&metadata[3]), "UTF-8 text comes last");
        read.sort();
        let mut expected = metadata.to_vec();
        expected.sort();
        assert_eq!(read, expected);

        let bytes = std::fs::read(&path).unwrap();
        write_png(&path, &image(3), &metadata).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "the same image is the same file");
    }

    #[test]
    fn an_animation_holds_every_frame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        let frames: Vec<Image> = (0..3).map(|at| Image { pixels: vec![at * 40; 105], ..image(3) }).collect();
        write_animation(&path, &frames, &[pair("seed", "1")]).unwrap();
        let file = BufReader::new(File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        assert_eq!(reader.info().animation_control().unwrap().num_frames, 3);
        for (at, frame) in frames.iter().enumerate() {
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut pixels).unwrap();
            assert_eq!(&pixels[..frame.pixels.len()], frame.pixels, "{at}");
            let control = reader.info().frame_control().unwrap();
            let delay = (control.delay_num, control.delay_den);
            assert_eq!(delay, if at == 2 { LAST_FRAME } else { FRAME });
        }
        assert_eq!(read_metadata(&path).unwrap(), [pair("seed", "1")]);
        assert!(is_complete(&path));
        assert!(write_animation(&path, &[], &[]).is_err());
    }

    #[test]
    fn keywords_that_png_refuses_are_errors_and_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        for keyword in ["", "k".repeat(80).as_str(), "ключ"] {
            let error = write_png(folder.path().join("x.png"), &image(1), &[pair(keyword, "v")]).unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_whole_files_count_as_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        write_png(&path, &image(3), &[pair("seed", "1")]).unwrap();
        assert!(is_complete(&path));
        let bytes = std::fs::read(&path).unwrap();
        let cut = folder.path().join("cut.png");
        for length in 0..bytes.len() - 4 {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            assert!(!is_complete(&cut), "{length} of {} bytes", bytes.len());
            assert_eq!(read_metadata(&cut).unwrap_err().kind(), crate::ErrorKind::File, "{length} bytes");
        }
        assert!(!is_complete(folder.path().join("none.png")));
        assert_eq!(read_metadata(folder.path().join("none.png")).unwrap_err().kind(), crate::ErrorKind::NotFound);
        assert!(!is_complete(folder.path()));
    }
}
