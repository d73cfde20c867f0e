//! IDX files, the format of MNIST (<http://yann.lecun.com/exdb/mnist/>): two zero bytes, a type, the number of
//! dimensions, their extents and the values, all big-endian, with or without gzip compression.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::Pixels;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The largest file after decompression: far above any published data set, and far below a decompression bomb.
const LARGEST: u64 = 1 << 34;
/// The largest number of dimensions that is accepted.
const MOST_DIMENSIONS: usize = 8;

/// Returns `true` for the first bytes of an IDX file, or of a gzip file.
pub fn looks_like(first: &[u8]) -> bool {
    first.starts_with(&GZIP) || matches!(first, [0, 0, 0x08..=0x0e, 1..=8, ..])
}

/// Parses the values of an IDX file as float32: bytes according to `pixels`, other types unchanged.
///
/// # Errors
/// [`Error::BadFile`] naming `file` for anything but a single complete array.
pub fn parse(file: &Path, bytes: &[u8], pixels: Pixels) -> Result<Tensor> {
    if bytes.starts_with(&GZIP) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes).take(LARGEST).read_to_end(&mut plain).map_err(|error| {
            Error::bad_file_hint(file, format!("not a complete gzip file ({error})"), "copy or download it again")
        })?;
        return parse_plain(file, &plain, pixels);
    }
    parse_plain(file, bytes, pixels)
}

fn parse_plain(file: &Path, bytes: &[u8], pixels: Pixels) -> Result<Tensor> {
    let bad = |what: String, hint: &str| Err(Error::bad_file_hint(file, what, hint));
    let [0, 0, code, dimensions, rest @ ..] = bytes else {
        let hint = "an IDX file begins with two zero bytes, a type and a number of dimensions";
        return bad("not an IDX file".into(), hint);
    };
    let Some(kind) = Kind::parse(*code) else {
        let supported = "supported: 0x08 and 0x09 (bytes), 0x0b, 0x0c (integers), 0x0d, 0x0e (floats)";
        return bad(format!("type 0x{code:02x} is not a type of IDX"), supported);
    };
    let dimensions = usize::from(*dimensions);
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return bad(format!("it claims {dimensions} dimensions"), "an array of 1 to 8 dimensions is expected");
    }
    let Some((extents, values)) = rest.split_at_checked(dimensions * size_of::<u32>()) else {
        return bad("truncated inside the header".into(), "copy or download it again");
    };
    let shape: Vec<usize> = extents.as_chunks().0.iter().map(|extent| u32::from_be_bytes(*extent) as usize).collect();
    let needed = shape.iter().try_fold(kind.size(), |bytes, extent| bytes.checked_mul(*extent));
    if needed != Some(values.len()) {
        let needed = needed.map_or("more bytes than can be addressed".to_owned(), |needed| format!("{needed} bytes"));
        let what = format!("shape {shape:?} needs {needed}, the file has {}", values.len());
        return bad(what, "copy or download it again");
    }
    Ok(Tensor::new(shape, kind.decode(values, pixels)))
}

/// The element types of IDX.
#[derive(Clone, Copy)]
enum Kind {
    U8,
    I8,
    I16,
    I32,
    F32,
    F64,
}

impl Kind {
    fn parse(code: u8) -> Option<Self> {
        Some(match code {
            0x08 => Self::U8,
            0x09 => Self::I8,
            0x0b => Self::I16,
            0x0c => Self::I32,
            0x0d => Self::F32,
            0x0e => Self::F64,
            _ => return None,
        })
    }

    /// The size of a value in bytes.
    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn decode(self, bytes: &[u8], pixels: Pixels) -> Vec<f32> {
        match self {
            Self::U8 => bytes.iter().map(|byte| pixels.value(*byte)).collect(),
            Self::I8 => bytes.iter().map(|byte| f32::from(byte.cast_signed())).collect(),
            Self::I16 => each(bytes, |value| f32::from(i16::from_be_bytes(value))),
            Self::I32 => each(bytes, |value| i32::from_be_bytes(value) as f32),
            Self::F32 => each(bytes, f32::from_be_bytes),
            Self::F64 => each(bytes, |value| f64::from_be_bytes(value) as f32),
        }
    }
}

fn each<const SIZE: usize>(bytes: &[u8], read: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|value| read(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(code: u8, shape: &[u32], values: &[u8]) -> Vec<u8> {
        let extents: Vec<u8> = shape.iter().flat_map(|extent| extent.to_be_bytes()).collect();
        [&[0, 0, code, shape.len() as u8], extents.as_slice(), values].concat()
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Tensor> {
        parse(Path::new("x.idx"), bytes, Pixels::Unit)
    }

    #[test]
    fn every_type_is_read_compressed_or_not() {
        let cases: [(u8, Vec<u8>, [f32; 2]); 6] = [
            (0x08, vec![255, 51], [1.0, 0.2]),
            (0x09, vec![255, 7], [-1.0, 7.0]),
            (0x0b, [(-300i16).to_be_bytes(), 7i16.to_be_bytes()].concat(), [-300.0, 7.0]),
            (0x0c, [70_000i32.to_be_bytes(), (-1i32).to_be_bytes()].concat(), [70_000.0, -1.0]),
            (0x0d, [0.5f32.to_be_bytes(), (-2.0f32).to_be_bytes()].concat(), [0.5, -2.0]),
            (0x0e, [0.25f64.to_be_bytes(), 3.0f64.to_be_bytes()].concat(), [0.25, 3.0]),
        ];
        for (code, values, expected) in cases {
            let bytes = file(code, &[2, 1], &values);
            for bytes in [zipped(&bytes), bytes] {
                assert!(looks_like(&bytes));
                assert_eq!(read(&bytes).unwrap(), Tensor::new([2, 1], expected.to_vec()), "0x{code:02x}");
            }
        }
        let signed = parse(Path::new("x"), &file(0x08, &[3], &[0, 255, 51]), Pixels::Signed).unwrap();
        assert_eq!(signed.data, [-1.0, 1.0, -0.6]);
    }

    #[test]
    fn malformed_files_are_refused_by_what_is_wrong() {
        let sound = file(0x08, &[2, 2], &[1, 2, 3, 4]);
        let mut cut = zipped(&sound);
        cut.truncate(cut.len() - 9);
        let cases: [(Vec<u8>, &str); 9] = [
            (Vec::new(), "not an IDX file"),
            (b"text".to_vec(), "not an IDX file"),
            (file(0x0a, &[1], &[1]), "type 0x0a is not a type"),
            (vec![0, 0, 8, 0], "claims 0 dimensions"),
            (vec![0, 0, 8, 200], "claims 200 dimensions"),
            (vec![0, 0, 8, 2, 0, 0, 0, 1], "truncated inside the header"),
            (sound[..sound.len() - 1].to_vec(), "shape [2, 2] needs 4 bytes, the file has 3"),
            (file(0x0e, &[u32::MAX, u32::MAX, u32::MAX], &[]), "needs more bytes than can be addressed"),
            (cut, "not a complete gzip file"),
        ];
        for (bytes, part) in cases {
            let error = read(&bytes).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::File);
            assert!(error.to_string().starts_with("x.idx: ") && error.to_string().contains(part), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
