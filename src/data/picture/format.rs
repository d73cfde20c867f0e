//! The formats of image files, told by the first bytes. The name of a file says nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use image::ImageFormat;

use crate::error::{Error, Result};

/// The formats that are read, for hints.
pub(super) const READ: &str = "PNG, JPEG, WebP, BMP, GIF or TIFF";
/// The bytes that tell a format: an SVG may begin with comments.
const LOOKED_AT: u64 = 1024;

/// Formats of images that are not read, with the way out.
struct Foreign {
    name: &'static str,
    is: fn(&[u8]) -> bool,
    way_out: &'static str,
}

const EXPORT: &str = "export it as PNG or JPEG";
const FOREIGN: &[Foreign] = &[
    Foreign {
        name: "AVIF",
        is: |start| brand(start, &[b"avif", b"avis"]),
        way_out: "convert it to PNG or JPEG, for example with `avifdec x.avif x.png`",
    },
    Foreign {
        name: "HEIC, the format of phone photos",
        is: |start| brand(start, &[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]),
        way_out: "export the photo as JPEG (iPhone: Settings, Camera, Formats, Most Compatible), or convert it with \
                  `heif-convert x.heic x.png`",
    },
    Foreign {
        name: "a photo in the raw format of a camera",
        is: |start| brand(start, &[b"crx "]) || start.starts_with(b"FUJIFILM") || start.starts_with(b"IIRO"),
        way_out: "develop it to PNG, JPEG or TIFF",
    },
    Foreign { name: "SVG", is: is_svg, way_out: "draw it as PNG at the size you need" },
    Foreign { name: "a Photoshop file (PSD)", is: |start| start.starts_with(b"8BPS"), way_out: EXPORT },
    Foreign { name: "a GIMP file (XCF)", is: |start| start.starts_with(b"gimp xcf"), way_out: EXPORT },
    Foreign {
        name: "JPEG XL",
        is: |start| start.starts_with(b"\xff\x0a") || start.get(4..8) == Some(b"JXL "),
        way_out: "convert it to PNG, for example with `djxl x.jxl x.png`",
    },
    Foreign {
        name: "JPEG 2000",
        is: |start| start.get(4..8) == Some(b"jP  ") || start.starts_with(b"\xff\x4f\xff\x51"),
        way_out: EXPORT,
    },
    Foreign { name: "a PDF", is: |start| start.starts_with(b"%PDF"), way_out: "export a page as PNG" },
    Foreign { name: "an OpenEXR file", is: |start| start.starts_with(b"\x76\x2f\x31\x01"), way_out: EXPORT },
    Foreign { name: "a Radiance file (HDR)", is: |start| start.starts_with(b"#?RADIANCE"), way_out: EXPORT },
    Foreign { name: "QOI", is: |start| start.starts_with(b"qoif"), way_out: EXPORT },
    Foreign { name: "an icon (ICO)", is: |start| start.starts_with(&[0, 0, 1, 0]), way_out: EXPORT },
    Foreign { name: "DDS", is: |start| start.starts_with(b"DDS "), way_out: EXPORT },
    Foreign { name: "farbfeld", is: |start| start.starts_with(b"farbfeld"), way_out: EXPORT },
    Foreign {
        name: "a PNM file",
        is: |start| matches!(start, [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace()),
        way_out: EXPORT,
    },
];

/// Suffixes of images that are not read.
const FOREIGN_SUFFIXES: [&str; 18] = [
    "avif", "heic", "heif", "hif", "svg", "svgz", "psd", "xcf", "jxl", "jp2", "exr", "hdr", "qoi", "dds", "tga", "ico",
    "ppm", "pgm",
];

/// Returns the format of a file, which is left at its beginning.
///
/// # Errors
/// [`Error::BadFile`] for anything but the formats that are read; a format of images that is not is named.
pub(super) fn of(file: &Path, opened: &mut File) -> Result<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let failed = |error| Error::io(file, error);
    let mut start = Vec::new();
    opened.by_ref().take(LOOKED_AT).read_to_end(&mut start).map_err(failed)?;
    opened.seek(SeekFrom::Start(0)).map_err(failed)?;
    if let Some(foreign) = FOREIGN.iter().find(|foreign| (foreign.is)(&start)) {
        let what = format!("the file is {}, which is not read here", foreign.name);
        return Err(Error::bad_file_hint(file, what, foreign.way_out));
    }
    match image::guess_format(&start) {
        Ok(format @ (Png | Jpeg | WebP | Bmp | Gif | Tiff)) => Ok(format),
        Ok(_) | Err(_) => Err(Error::bad_file_hint(
            file,
            format!("not a readable image (its content is not {READ})"),
            format!("give a {READ} file"),
        )),
    }
}

/// Returns `true` for a name that an image has which is not read.
pub(in crate::data) fn has_foreign_name(file: &Path) -> bool {
    let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    FOREIGN_SUFFIXES.iter().any(|foreign| suffix.eq_ignore_ascii_case(foreign))
}

/// Returns `true` for a file of boxes (ISO base media) of one of these major brands.
fn brand(start: &[u8], brands: &[&[u8; 4]]) -> bool {
    start.get(4..8) == Some(b"ftyp") && brands.iter().any(|brand| start.get(8..12) == Some(&brand[..]))
}

fn is_svg(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<svg") || ((text.starts_with("<?xml") || text.starts_with("<!")) && text.contains("<svg"))
}

/// Checks that the first image of a JPEG has an end: the decoder fills up what is missing, and does not say so.
///
/// # Errors
/// [`Error::BadFile`] for a file that ends within the image, [`Error::Io`].
pub(super) fn check_end(file: &Path, opened: &mut File) -> Result<()> {
    let failed = |error| Error::io(file, error);
    opened.seek(SeekFrom::Start(0)).map_err(failed)?;
    match find_end(&mut BufReader::new(opened)) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::bad_file_hint(
            file,
            "not a readable image (the file ends before its image does)",
            "give a whole file, or save the image again as a plain PNG",
        )),
        Err(error) => Err(failed(error)),
    }
}

/// Reads up to the marker of the end. What a segment holds, such as a preview, is passed over.
fn find_end(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        input.skip_until(0xff)?;
        let mut marker = [0xff];
        while marker == [0xff] {
            input.read_exact(&mut marker)?;
        }
        match marker[0] {
            // A byte of the image, and markers without a segment.
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            0xd9 => return Ok(()),
            _ => {
                let mut length = [0; 2];
                input.read_exact(&mut length)?;
                let rest = u64::from(u16::from_be_bytes(length)).saturating_sub(2);
                io::copy(&mut input.take(rest), &mut io::sink())?;
            }
        }
    }
}

/// Returns `true` for a TIFF of several pages: its first directory names the place of another.
///
/// # Errors
/// [`Error::Io`]. A file that ends too early has one page.
pub(super) fn has_more_pages(file: &Path, opened: &mut File) -> Result<bool> {
    match next_directory(opened) {
        Ok(next) => Ok(next != 0),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(Error::io(file, error)),
    }
}

/// Returns the place of the second directory of a TIFF, or 0.
fn next_directory(opened: &mut File) -> std::io::Result<u64> {
    opened.seek(SeekFrom::Start(0))?;
    let mut order = [0; 2];
    opened.read_exact(&mut order)?;
    let is_big_endian = &order == b"MM";
    let number = |bytes: usize, opened: &mut File| {
        let mut read = [0; 8];
        opened.read_exact(&mut read[8 - bytes..])?;
        if !is_big_endian {
            read[8 - bytes..].reverse();
        }
        Ok::<u64, std::io::Error>(u64::from_be_bytes(read))
    };
    // Version 43 is BigTIFF, whose numbers are twice as long.
    let is_long = number(2, opened)? == 43;
    if is_long {
        number(4, opened)?;
    }
    let (count_bytes, entry_bytes, place_bytes) = if is_long { (8, 20, 8) } else { (2, 12, 4) };
    let first = number(place_bytes, opened)?;
    // A place beyond what files can have is beyond the end of this one.
    if first > i64::MAX as u64 {
        return Ok(0);
    }
    opened.seek(SeekFrom::Start(first))?;
    let entries = number(count_bytes, opened)?;
    let end = first.saturating_add(count_bytes as u64).saturating_add(entries.saturating_mul(entry_bytes));
    if end > i64::MAX as u64 {
        return Ok(0);
    }
    opened.seek(SeekFrom::Start(end))?;
    number(place_bytes, opened)
}

/// Refuses a WebP file of which a chunk is longer than the file: decoders ask for the memory of a chunk first.
///
/// # Errors
/// [`Error::BadFile`], [`Error::Io`].
pub(super) fn check_chunks(file: &Path, opened: &mut File, stored: u64) -> Result<()> {
    let failed = |error| Error::io(file, error);
    let mut at = 12;
    while at + 8 <= stored {
        let mut header = [0; 8];
        opened.seek(SeekFrom::Start(at)).map_err(failed)?;
        opened.read_exact(&mut header).map_err(failed)?;
        let [name @ .., a, b, c, d] = header;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        at += 8 + length + length % 2;
        // Some writers leave out the last byte that evens a chunk.
        if at > stored.saturating_add(length % 2) {
            let what = format!("not a readable image (its chunk `{}` ends beyond the file)", name.escape_ascii());
            return Err(Error::bad_file_hint(file, what, "give a whole file"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_other_formats_are_refused_by_name() {
        let cases: [(&[u8], &str, &str); 8] = [
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", "export the photo as JPEG"),
            (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF", "avifdec"),
            (b"<?xml version=\"1.0\"?>\n<!-- a drawing -->\n<svg xmlns=\"x\"/>", "SVG", "draw it as PNG"),
            (b"\xef\xbb\xbf  <svg/>", "SVG", "draw it as PNG"),
            (b"8BPS\0\x01", "PSD", "export it"),
            (b"\0\0\0\x0cJXL \x0d\x0a", "JPEG XL", "djxl"),
            (b"%PDF-1.7", "PDF", "a page"),
            (b"P6 1 1 255 abc", "PNM", "export it"),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo.png");
        for (bytes, name, way_out) in cases {
            std::fs::write(&path, bytes).unwrap();
            let error = of(&path, &mut File::open(&path).unwrap()).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::File);
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.hint().unwrap_or_default().contains(way_out), "{error}: {:?}", error.hint());
        }
    }

    #[test]
    fn pages_are_counted_in_both_orders_of_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tif");
        let pages = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            has_more_pages(&path, &mut File::open(&path).unwrap()).unwrap()
        };
        let entry = [0; 12];
        assert!(pages(&[b"II*\0\x08\0\0\0\x01\0", &entry[..], b"\x20\0\0\0"].concat()));
        assert!(!pages(&[b"II*\0\x08\0\0\0\x01\0", &entry[..], b"\0\0\0\0"].concat()));
        assert!(pages(&[b"MM\0*\0\0\0\x08\0\x01", &entry[..], b"\0\0\0\x20"].concat()));
        let big = [0; 20];
        assert!(pages(
            &[b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0", &big[..], b"\x20\0\0\0\0\0\0\0"].concat()
        ));
        assert!(!pages(b"II*\0\xff\xff"));
        assert!(!pages(b"II+\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"));
    }
}
