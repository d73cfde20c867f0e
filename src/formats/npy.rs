//! Array files of `NumPy`: `.npy` of any real type is read as float32; images are written as `.npz`.
//!
//! The format is that of `numpy.save` (`numpy.lib.format`, NEP 1): magic, version, header length, a Python dictionary
//! with `descr`, `fortran_order` and `shape`, then the values. Supported are little-endian values in C order, of every
//! integer and float type up to 8 bytes, and bool. A file is checked in full before its values are used; nothing is
//! guessed.

use std::io::{self, Write};
use std::path::Path;

use half::f16;
use zip::write::SimpleFileOptions;

use super::{Image, write_atomically};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The first bytes of every array file.
pub const MAGIC: &[u8] = b"\x93NUMPY";
/// The alignment of the values, in bytes.
const ALIGNMENT: usize = 64;
/// The longest header that is read, the same limit as `numpy.load`.
const LONGEST_HEADER: usize = 10_000;
const RESAVE: &str = "save it again with `np.save(path, np.ascontiguousarray(array, dtype=np.float32))`";

/// Reads an array as float32, rounding wider types. A scalar becomes an array of shape (1).
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`], and [`Error::BadFile`] for anything but a complete little-endian array of
/// real numbers in C order.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor> {
    let (shape, values) = read_as(path.as_ref(), |value| value as f32)?;
    Ok(Tensor::new(shape, values))
}

/// Reads an array of any shape as float64, row-major, for timesteps, labels and sigmas. Integers above 2^53 are
/// rounded.
///
/// # Errors
/// Those of [`read`].
pub fn read_f64(path: impl AsRef<Path>) -> Result<Vec<f64>> {
    Ok(read_as(path.as_ref(), |value| value)?.1)
}

/// Writes a float32 array.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn write(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    write_atomically(path, |writer| {
        write_header(writer, "<f4", &tensor.shape)?;
        tensor.data.iter().try_for_each(|value| writer.write_all(&value.to_le_bytes()))
    })
}

/// Writes images in the format of guided-diffusion's evaluator: one `.npz` whose `arr_0` is uint8 of shape (N, height,
/// width, channels). The same images give the same bytes.
///
/// # Errors
/// Those of [`write_atomically`].
///
/// # Panics
/// Panics if the images differ in size.
pub fn write_npz(path: impl AsRef<Path>, images: &[Image]) -> Result<()> {
    let [height, width, channels] = images.first().map_or([0; 3], |image| [image.height, image.width, image.channels]);
    assert!(images.iter().all(|image| [image.height, image.width, image.channels] == [height, width, channels]));
    write_atomically(path, |writer| {
        let mut archive = zip::ZipWriter::new(writer);
        archive.start_file("arr_0.npy", entry_options())?;
        write_header(&mut archive, "|u1", &[images.len(), height, width, channels])?;
        images.iter().try_for_each(|image| archive.write_all(&image.pixels))?;
        archive.finish()?;
        Ok(())
    })
}

/// The options of `np.savez`: uncompressed, of any size, and without a timestamp.
pub(super) fn entry_options() -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .large_file(true)
}

/// Writes the header of a C-order array, version 1.0.
pub(super) fn write_header(writer: &mut impl Write, descr: &str, shape: &[usize]) -> io::Result<()> {
    let extents = match shape {
        [extent] => format!("{extent},"),
        _ => shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGNMENT) - before;
    header = format!("{header:<width$}\n", width = padded - 1);
    let length = u16::try_from(header.len()).map_err(|_| io::Error::other("the array has too many dimensions"))?;
    writer.write_all(MAGIC)?;
    writer.write_all(&[1, 0])?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(header.as_bytes())
}

/// Reads shape and values, each value passed through `convert`.
fn read_as<T>(path: &Path, convert: impl Fn(f64) -> T) -> Result<(Vec<usize>, Vec<T>)> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    let array = parse(&bytes).map_err(|fault| Error::bad_file_hint(path, fault.what, fault.hint))?;
    let shape = if array.shape.is_empty() { vec![1] } else { array.shape };
    Ok((shape, array.kind.decode(array.values, convert)))
}

/// A parsed array file.
pub(super) struct Array<'a> {
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// The values, exactly the number of bytes that `shape` and `kind` require.
    pub values: &'a [u8],
}

impl Array<'_> {
    /// `true` if the values are unsigned bytes, as in images.
    pub fn is_bytes(&self) -> bool {
        matches!(self.kind, Kind::U1)
    }
}

/// A fault of a file, and a hint.
pub(super) struct Fault {
    pub what: String,
    pub hint: &'static str,
}

fn fault<T>(what: impl Into<String>, hint: &'static str) -> std::result::Result<T, Fault> {
    Err(Fault { what: what.into(), hint })
}

pub(super) fn parse(bytes: &[u8]) -> std::result::Result<Array<'_>, Fault> {
    let (header, values) = split(bytes)?;
    let Some(descr) = field(header, "descr") else { return fault("the header has no `descr`", RESAVE) };
    let kind = Kind::parse(descr)?;
    match field(header, "fortran_order") {
        Some(value) if value.starts_with("False") => {}
        Some(value) if value.starts_with("True") => return fault("the array is in Fortran order", RESAVE),
        _ => return fault("the header has no usable `fortran_order`", RESAVE),
    }
    let Some(shape) = field(header, "shape").and_then(parse_shape) else {
        return fault("the header has no usable `shape`", RESAVE);
    };
    let needed = shape.iter().try_fold(kind.size(), |bytes, extent| bytes.checked_mul(*extent));
    match needed.map(|needed| (needed, needed.cmp(&values.len()))) {
        Some((_, std::cmp::Ordering::Equal)) => Ok(Array { shape, kind, values }),
        Some((needed, std::cmp::Ordering::Less)) => {
            let extra = values.len() - needed;
            fault(format!("{extra} bytes follow the values of shape {shape:?}"), "the file holds more than one array")
        }
        _ => {
            let needed =
                needed.map_or("more bytes than can be addressed".to_string(), |needed| format!("{needed} bytes"));
            let what = format!("truncated: shape {shape:?} needs {needed}, the file has {}", values.len());
            fault(what, "copy or save the file again")
        }
    }
}

/// Splits a file into the text of its header and the bytes after it.
fn split(bytes: &[u8]) -> std::result::Result<(&str, &[u8]), Fault> {
    const CUT: &str = "copy or save the file again";
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        let hint = if bytes.starts_with(b"PK") {
            "this is a zip archive, perhaps an `.npz`: save the one array with `np.save`"
        } else {
            "save the array with `np.save`"
        };
        return fault("not an `.npy` file", hint);
    };
    let (length, rest) = match rest {
        [1, 0, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, 0, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [major, minor, _, _, ..] if !matches!((major, minor), (1..=3, 0)) => {
            return fault(format!("`.npy` version {major}.{minor} is not known"), RESAVE);
        }
        _ => return fault("truncated inside the header", CUT),
    };
    if length > LONGEST_HEADER {
        return fault(format!("the header claims {length} bytes, over the limit of {LONGEST_HEADER}"), RESAVE);
    }
    let Some((header, values)) = rest.split_at_checked(length) else {
        return fault("truncated inside the header", CUT);
    };
    match std::str::from_utf8(header) {
        Ok(header) => Ok((header, values)),
        Err(_) => fault("the header is not text", RESAVE),
    }
}

/// Returns the text that follows `'key':` in the header's dictionary.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = ["'", "\""].iter().find_map(|quote| header.split_once(&format!("{quote}{key}{quote}")))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// Parses a tuple of extents: `()`, `(5,)`, `(2, 3)`.
fn parse_shape(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let inside = inside.trim();
    if inside.is_empty() {
        return Some(Vec::new());
    }
    let inside = inside.strip_suffix(',').unwrap_or(inside);
    inside.split(',').map(|extent| extent.trim().parse().ok()).collect()
}

/// The element types that can be read.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    F2,
    F4,
    F8,
    I1,
    I2,
    I4,
    I8,
    U1,
    U2,
    U4,
    U8,
    Bool,
}

impl Kind {
    /// Parses the value of `descr`: a quoted byte order and type, such as `'<f4'`.
    fn parse(descr: &str) -> std::result::Result<Self, Fault> {
        let quoted = descr.strip_prefix('\'').and_then(|text| text.split_once('\''));
        let quoted = quoted.or_else(|| descr.strip_prefix('"').and_then(|text| text.split_once('"')));
        let Some((name, _)) = quoted else {
            return fault("the array has a structured type", "save one field of it, as float32");
        };
        let kind = match name.trim_start_matches(['<', '>', '|', '=']) {
            "f2" => Self::F2,
            "f4" => Self::F4,
            "f8" => Self::F8,
            "i1" => Self::I1,
            "i2" => Self::I2,
            "i4" => Self::I4,
            "i8" => Self::I8,
            "u1" => Self::U1,
            "u2" => Self::U2,
            "u4" => Self::U4,
            "u8" => Self::U8,
            "b1" => Self::Bool,
            code if code.starts_with('O') => {
                return fault("the array holds Python objects", "convert it to numbers: `array.astype(np.float32)`");
            }
            _ => return fault(format!("type `{name}` is not a real number of up to 8 bytes"), RESAVE),
        };
        if name.starts_with('>') && kind.size() > 1 {
            return fault(format!("the values are big-endian (`{name}`)"), RESAVE);
        }
        Ok(kind)
    }

    /// The size of a value in bytes.
    fn size(self) -> usize {
        match self {
            Self::I1 | Self::U1 | Self::Bool => 1,
            Self::F2 | Self::I2 | Self::U2 => 2,
            Self::F4 | Self::I4 | Self::U4 => 4,
            Self::F8 | Self::I8 | Self::U8 => 8,
        }
    }

    /// Decodes the values in `bytes`, each passed through `convert`.
    pub(super) fn decode<T>(self, bytes: &[u8], convert: impl Fn(f64) -> T) -> Vec<T> {
        match self {
            Self::F2 => each(bytes, |value| f16::from_le_bytes(value).to_f64(), convert),
            Self::F4 => each(bytes, |value| f64::from(f32::from_le_bytes(value)), convert),
            Self::F8 => each(bytes, f64::from_le_bytes, convert),
            Self::I1 => each(bytes, |value| f64::from(i8::from_le_bytes(value)), convert),
            Self::I2 => each(bytes, |value| f64::from(i16::from_le_bytes(value)), convert),
            Self::I4 => each(bytes, |value| f64::from(i32::from_le_bytes(value)), convert),
            Self::I8 => each(bytes, |value| i64::from_le_bytes(value) as f64, convert),
            Self::U1 => each(bytes, |value| f64::from(u8::from_le_bytes(value)), convert),
            Self::U2 => each(bytes, |value| f64::from(u16::from_le_bytes(value)), convert),
            Self::U4 => each(bytes, |value| f64::from(u32::from_le_bytes(value)), convert),
            Self::U8 => each(bytes, |value| u64::from_le_bytes(value) as f64, convert),
            Self::Bool => each(bytes, |[value]| f64::from(u8::from(value != 0)), convert),
        }
    }
}

fn each<const SIZE: usize, T>(bytes: &[u8], read: impl Fn([u8; SIZE]) -> f64, convert: impl Fn(f64) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|value| convert(read(*value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;
    use proptest::prelude::*;
    use std::path::PathBuf;

    /// A folder and, in it, a file of `bytes`.
    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    /// An array file written by another library.
    fn saved<T: npyz::Serialize + npyz::AutoSerialize + Clone>(values: &[T], shape: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes);
        let mut writer = options.begin_nd().unwrap();
        writer.extend(values.iter().cloned()).unwrap();
        writer.finish().unwrap();
        bytes
    }

    /// A version 1.0 file with this header and these bytes.
    fn raw(header: &str, values: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), values].concat()
    }

    fn header(descr: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
    }

    #[test]
    fn every_real_type_is_read() {
        let expected: Vec<f64> = [0.0, 1.0, 100.0, 7.0].to_vec();
        let files = [
            saved(&[0i8, 1, 100, 7], &[2, 2]),
            saved(&[0u8, 1, 100, 7], &[2, 2]),
            saved(&[0i16, 1, 100, 7], &[2, 2]),
            saved(&[0u16, 1, 100, 7], &[2, 2]),
            saved(&[0i32, 1, 100, 7], &[2, 2]),
            saved(&[0u32, 1, 100, 7], &[2, 2]),
            saved(&[0i64, 1, 100, 7], &[2, 2]),
            saved(&[0u64, 1, 100, 7], &[2, 2]),
            saved(&[0f32, 1.0, 100.0, 7.0], &[2, 2]),
            saved(&[0f64, 1.0, 100.0, 7.0], &[2, 2]),
            raw(&header("'<f2'", "False", "(2, 2)"), &[0, 0, 0, 0x3c, 0x40, 0x56, 0, 0x47]),
        ];
        for bytes in files {
            let (_folder, path) = file(&bytes);
            assert_eq!(read_f64(&path).unwrap(), expected);
            assert_eq!(read(&path).unwrap(), Tensor::new([2, 2], vec![0.0, 1.0, 100.0, 7.0]));
        }
        let (_folder, path) = file(&saved(&[true, false, true], &[3]));
        assert_eq!(read_f64(&path).unwrap(), [1.0, 0.0, 1.0]);
        let (_folder, path) = file(&saved(&[-3i8, i8::MIN], &[2]));
        assert_eq!(read_f64(&path).unwrap(), [-3.0, -128.0]);
    }

    #[test]
    fn scalars_empty_arrays_and_later_versions_are_read() {
        let (_folder, path) = file(&saved(&[500i64], &[]));
        assert_eq!(read(&path).unwrap(), Tensor::new([1], vec![500.0]));
        let (_folder, path) = file(&saved::<f32>(&[], &[0, 3]));
        assert_eq!(read(&path).unwrap(), Tensor::new([0, 3], vec![]));
        for version in [2, 3] {
            let text = header("\"|u1\"", "False", "(1 ,)").replace('\'', "\"");
            let length = u32::try_from(text.len()).unwrap().to_le_bytes();
            let (_folder, path) = file(&[MAGIC, &[version, 0], &length, text.as_bytes(), &[9]].concat());
            assert_eq!(read_f64(&path).unwrap(), [9.0]);
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let f4 = |shape: &str| header("'<f4'", "False", shape);
        let cases = [
            (b"".to_vec(), "not an `.npy` file"),
            (b"PK\x03\x04".to_vec(), "not an `.npy` file"),
            (MAGIC.to_vec(), "truncated inside the header"),
            ([MAGIC, &[1, 0, 200, 0], b"{'descr'"].concat(), "truncated inside the header"),
            ([MAGIC, &[9, 1, 0, 0]].concat(), "`.npy` version 9.1 is not known"),
            ([MAGIC, &[2, 0, 255, 255, 255, 255]].concat(), "the header claims 4294967295 bytes"),
            ([MAGIC, &[1, 0, 2, 0, 0xff, 0xfe]].concat(), "the header is not text"),
            (raw("{}\n", &[]), "the header has no `descr`"),
            (raw(&"(".repeat(9_000), &[]), "the header has no `descr`"),
            (raw(&header("'>f4'", "False", "(1,)"), &[0; 4]), "the values are big-endian (`>f4`)"),
            (raw(&header("'|O'", "False", "(1,)"), &[0; 4]), "the array holds Python objects"),
            (raw(&header("'<c8'", "False", "(1,)"), &[0; 8]), "type `<c8` is not a real number"),
            (raw(&header("[('a', '<f4')]", "False", "(1,)"), &[0; 4]), "structured type"),
            (raw(&header("'<f4'", "True", "(1, 1)"), &[0; 4]), "the array is in Fortran order"),
            (raw(&header("'<f4'", "0", "(1, 1)"), &[0; 4]), "no usable `fortran_order`"),
            (raw(&f4("(-1,)"), &[0; 4]), "no usable `shape`"),
            (raw(&f4("5"), &[0; 4]), "no usable `shape`"),
            (raw(&f4("(2, 3)"), &[0; 20]), "truncated: shape [2, 3] needs 24 bytes, the file has 20"),
            (raw(&f4("(2, 3)"), &[0; 25]), "1 bytes follow the values of shape [2, 3]"),
            (raw(&f4("(4294967296, 4294967296)"), &[0; 4]), "more bytes than can be addressed"),
        ];
        for (bytes, message) in cases {
            let (_folder, path) = file(&bytes);
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains(message), "{error} does not say: {message}");
            assert!(error.to_string().starts_with(&path.display().to_string()));
            assert_eq!(error.kind(), crate::ErrorKind::File);
            assert!(error.hint().is_some(), "{error}");
        }
        assert_eq!(read("/nowhere/x.npy").unwrap_err().kind(), crate::ErrorKind::NotFound);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arrays_round_trip_bit_for_bit(shape in prop::collection::vec(0usize..5, 1..5), seed: u64) {
            let len: usize = shape.iter().product();
            let tensor = Tensor::new(shape.clone(), crate::noise::philox::normals(seed, 0, 0, len));
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.npy");
            write(&path, &tensor).unwrap();
            prop_assert_eq!(&read(&path).unwrap(), &tensor);

            let bytes = std::fs::read(&path).unwrap();
            let other = npyz::NpyFile::new(&bytes[..]).unwrap();
            prop_assert_eq!(other.shape(), shape.iter().map(|extent| *extent as u64).collect::<Vec<_>>());
            prop_assert_eq!(other.into_vec::<f32>().unwrap(), tensor.data.clone());
            prop_assert_eq!((bytes.len() - 4 * len) % ALIGNMENT, 0);
        }

        #[test]
        fn damaged_files_never_panic(cut in 0usize..160, at in 0usize..128, byte: u8) {
            let mut bytes = saved(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[2, 4]);
            bytes[at] = byte;
            bytes.truncate(cut);
            if let Ok(array) = parse(&bytes) {
                prop_assert_eq!(array.values.len(), array.shape.iter().product::<usize>() * array.kind.size());
            }
        }
    }

    #[test]
    fn images_are_written_as_one_array_and_the_same_bytes_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let image = |value: u8| Image { height: 2, width: 3, channels: 3, pixels: vec![value; 18] };
        let paths = [folder.path().join("a.npz"), folder.path().join("b.npz")];
        for path in &paths {
            write_npz(path, &[image(1), image(200)]).unwrap();
        }
        let bytes = std::fs::read(&paths[0]).unwrap();
        assert_eq!(bytes, std::fs::read(&paths[1]).unwrap());

        let mut archive = zip::ZipArchive::new(io::Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), 1);
        let array = npyz::NpyFile::new(archive.by_name("arr_0.npy").unwrap()).unwrap();
        assert_eq!(array.shape(), [2, 2, 3, 3]);
        assert_eq!(array.into_vec::<u8>().unwrap(), [[1; 18], [200; 18]].concat());
    }
}
