//! IDX files, the format of MNIST (<http://yann.lecun.com/exdb/mnist/>): two zero bytes, a type, the number of
//! dimensions, their extents and the values, all big-endian, with or without gzip compression.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::Pixels;
use super::records::Records;
use super::values::{Cut, Kind, Layout};
use crate::error::{Error, Result};
use crate::input::{Budget, open_regular, room};
use crate::tensor::Tensor;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The largest number of dimensions that is accepted.
const MOST_DIMENSIONS: usize = 8;
const COPY: &str = "copy or download it again";

/// Returns `true` for the first bytes of an IDX file, or of a gzip file.
pub fn looks_like(first: &[u8]) -> bool {
    first.starts_with(&GZIP) || matches!(first, [0, 0, 0x08..=0x0e, 1..=8, ..])
}

/// Reads the values of an IDX file as float32: bytes according to `pixels`, other types unchanged.
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`], [`Error::OutOfMemory`]; [`Error::BadFile`] for anything but a single
/// complete array, and for one that is far larger than its file.
pub fn read(path: &Path, pixels: Pixels) -> Result<Tensor> {
    let (file, length) = open_regular(path)?;
    read_from(path, BufReader::new(file), length, pixels)
}

/// The samples of an IDX file, read a few at a time; none for a compressed one.
///
/// # Errors
/// Those of [`read`].
pub fn records(path: &Path) -> Result<Option<Records>> {
    let (file, length) = open_regular(path)?;
    let mut reader = BufReader::new(file);
    let first = reader.fill_buf().map_err(|error| Error::io(path, error))?;
    if first.starts_with(&GZIP) {
        return Ok(None);
    }
    let mut input = Input { file: path, reader, stored: length, is_packed: false };
    let (layout, start) = input.layout()?;
    input.check(&layout, start)?;
    Records::new(path, None, (input.reader.into_inner(), start), layout, None).map(Some)
}

/// Returns `true` if a file, compressed or not, holds unsigned bytes.
///
/// # Errors
/// Those of [`read`].
pub fn holds_bytes(path: &Path) -> Result<bool> {
    let (file, stored) = open_regular(path)?;
    let mut reader = BufReader::new(file);
    let first = reader.fill_buf().map_err(|error| Error::io(path, error))?;
    let layout = if first.starts_with(&GZIP) {
        Input { file: path, reader: MultiGzDecoder::new(reader), stored, is_packed: true }.layout()?.0
    } else {
        Input { file: path, reader, stored, is_packed: false }.layout()?.0
    };
    Ok(layout.kind == Kind::U1)
}

/// As [`read`], for a file in memory. Messages name it `file`.
///
/// # Errors
/// Those of [`read`].
pub fn parse(file: &Path, bytes: &[u8], pixels: Pixels) -> Result<Tensor> {
    read_from(file, bytes, bytes.len() as u64, pixels)
}

fn read_from(file: &Path, mut reader: impl BufRead, length: u64, pixels: Pixels) -> Result<Tensor> {
    let first = reader.fill_buf().map_err(|error| Error::io(file, error))?;
    if first.starts_with(&GZIP) {
        let unpacked = MultiGzDecoder::new(reader);
        return Input { file, reader: unpacked, stored: length, is_packed: true }.read(pixels);
    }
    Input { file, reader, stored: length, is_packed: false }.read(pixels)
}

/// An array to be read.
struct Input<'a, R> {
    file: &'a Path,
    reader: R,
    /// The length of the file.
    stored: u64,
    is_packed: bool,
}

impl<R: Read> Input<'_, R> {
    fn read(mut self, pixels: Pixels) -> Result<Tensor> {
        let (layout, header) = self.layout()?;
        let shape = &layout.shape;
        let (count, bytes) = self.check(&layout, header)?;
        let differs = |found: &str| differs(shape, bytes, found);
        let mut values = room(self.file, count)?;
        let axes: Vec<usize> = (0..shape.len()).collect();
        match layout.read(&mut self.reader, &axes, pixels, &mut values) {
            Ok(()) => {}
            Err(Cut::Short(found)) => return Err(self.bad(differs(&found.to_string()), COPY)),
            Err(Cut::Io(error)) => return Err(self.failed(error)),
        }
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(Tensor::new(layout.shape, values)),
            Ok(_) => Err(self.bad(differs("more"), COPY)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Checks the number of values and of their bytes, which it returns, against the length of the file.
    fn check(&self, layout: &Layout, header: u64) -> Result<(usize, usize)> {
        let shape = &layout.shape;
        let Some((count, bytes)) = layout.extent() else {
            return Err(self.bad(format!("shape {shape:?} needs more bytes than can be addressed"), COPY));
        };
        if self.is_packed {
            Budget { stored: self.stored }.ask(self.file, (count as u64).saturating_mul(size_of::<f32>() as u64))?;
        } else if self.stored.saturating_sub(header) != bytes as u64 {
            return Err(self.bad(differs(shape, bytes, &self.stored.saturating_sub(header).to_string()), COPY));
        }
        Ok((count, bytes))
    }

    /// Reads the header. Returns the description of the array, and the number of bytes read.
    fn layout(&mut self) -> Result<(Layout, u64)> {
        let [0, 0, code, dimensions] = self.take(4)?[..] else {
            let hint = "an IDX file begins with two zero bytes, a type and a number of dimensions";
            return Err(self.bad("not an IDX file", hint));
        };
        let Some(kind) = kind(code) else {
            let supported = "supported: 0x08 and 0x09 (bytes), 0x0b, 0x0c (integers), 0x0d, 0x0e (floats)";
            return Err(self.bad(format!("type 0x{code:02x} is not a type of IDX"), supported));
        };
        let dimensions = usize::from(dimensions);
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            let what = format!("it claims {dimensions} dimensions");
            return Err(self.bad(what, "an array of 1 to 8 dimensions is expected"));
        }
        let extents = self.take(dimensions * size_of::<u32>())?;
        if extents.len() < dimensions * size_of::<u32>() {
            return Err(self.bad("truncated inside the header", COPY));
        }
        let shape = extents.as_chunks().0.iter().map(|extent| u32::from_be_bytes(*extent) as usize).collect();
        Ok((Layout { kind, big_endian: true, fortran: false, shape }, 4 + extents.len() as u64))
    }

    /// Reads `count` bytes, or as many as there are.
    fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        match self.reader.by_ref().take(count as u64).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn bad(&self, what: impl Into<String>, hint: &str) -> Error {
        Error::bad_file_hint(self.file, what, hint)
    }

    /// The error of reading. Within a compressed file it is one of its content.
    fn failed(&self, error: io::Error) -> Error {
        if self.is_packed {
            self.bad(format!("not a complete gzip file ({error})"), COPY)
        } else {
            Error::io(self.file, error)
        }
    }
}

/// The sentence for a file whose length does not fit its header.
fn differs(shape: &[usize], bytes: usize, found: &str) -> String {
    format!("shape {shape:?} needs {bytes} bytes, the file has {found}")
}

/// Returns the type of a code of IDX.
fn kind(code: u8) -> Option<Kind> {
    Some(match code {
        0x08 => Kind::U1,
        0x09 => Kind::I1,
        0x0b => Kind::I2,
        0x0c => Kind::I4,
        0x0d => Kind::F4,
        0x0e => Kind::F8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(code: u8, shape: &[u32], values: &[u8]) -> Vec<u8> {
        let extents: Vec<u8> = shape.iter().flat_map(|extent| extent.to_be_bytes()).collect();
        [&[0, 0, code, shape.len() as u8], extents.as_slice(), values].concat()
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_unit(bytes: &[u8]) -> Result<Tensor> {
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
                assert_eq!(read_unit(&bytes).unwrap(), Tensor::new([2, 1], expected.to_vec()), "0x{code:02x}");
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
            let error = read_unit(&bytes).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::File);
            assert!(error.to_string().starts_with("x.idx: ") && error.to_string().contains(part), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
