//! Array files of `NumPy`: `.npy` of any real type is read as float32; images are written as `.npz`.
//!
//! The format is that of `numpy.save` (`numpy.lib.format`, NEP 1), versions 1 to 3: magic, version, header length, a
//! Python dictionary with `descr`, `fortran_order` and `shape`, then the values. Every integer and float type of up to
//! 8 bytes and bool are read, of either byte order, in C or Fortran order. A file is checked in full before its values
//! are used; nothing is guessed.

mod header;
mod stored;

use std::io::{Read, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;

use super::values::{Convert, ToF32, ToF64};
use super::{Image, Pixels, Records, write_atomically};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::input::open_regular;
use crate::tensor::Tensor;
pub(super) use header::write_header;
pub(super) use stored::{Size, Stored};

/// The first bytes of every array file.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// An array with the type that its file gives.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedArray {
    /// The name of the type in `NumPy`: `float32`, `uint8`, `bool`.
    pub dtype: &'static str,
    /// The extents; none for a scalar.
    pub shape: Vec<usize>,
    /// The values, row-major. Integers above 2^53 are rounded.
    pub values: Vec<f64>,
}

/// Reads an array of any type and shape as float64, with its type.
///
/// # Errors
/// Those of [`read`].
pub fn read_typed(path: impl AsRef<Path>) -> Result<TypedArray> {
    let path = path.as_ref();
    let (file, length) = open_regular(path)?;
    typed(Stored::open(path, None, file, Size::Plain(length))?)
}

/// The array of a file or an archive as float64.
pub(super) fn typed<R: Read>(array: Stored<'_, R>) -> Result<TypedArray> {
    let (dtype, shape) = (array.layout.kind.name(), array.layout.shape.clone());
    let (_, values) = array.values(ToF64)?;
    Ok(TypedArray { dtype, shape, values })
}

/// Reads an array as float32, rounding wider types. A scalar becomes an array of shape (1).
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`], [`Error::OutOfMemory`], and [`Error::BadFile`] for anything but a complete
/// array of real numbers.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor> {
    let (shape, values) = read_as(path.as_ref(), ToF32)?;
    Ok(Tensor::new(shape, values))
}

/// Reads an array as float32, unsigned bytes according to `pixels`.
///
/// # Errors
/// Those of [`read`].
pub fn read_pixels(path: impl AsRef<Path>, pixels: Pixels) -> Result<Tensor> {
    let (shape, values) = read_as(path.as_ref(), pixels)?;
    Ok(Tensor::new(shape, values))
}

/// The samples of an array, read a few at a time.
///
/// # Errors
/// Those of [`read`].
pub(crate) fn records(path: &Path) -> Result<Records> {
    let (file, length) = open_regular(path)?;
    let stored = Stored::open(path, None, &file, Size::Plain(length))?;
    let (mut layout, start) = (stored.layout, stored.start);
    if layout.shape.is_empty() {
        layout.shape = vec![1];
    }
    Records::new(path, None, (file, start), layout, None)
}

/// Reads an array of any shape as float64, row-major, for timesteps, labels and sigmas. Integers above 2^53 are
/// rounded.
///
/// # Errors
/// Those of [`read`].
pub fn read_f64(path: impl AsRef<Path>) -> Result<Vec<f64>> {
    Ok(read_as(path.as_ref(), ToF64)?.1)
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

/// Reads shape and values of a file.
fn read_as<C: Convert>(path: &Path, convert: C) -> Result<(Vec<usize>, Vec<C::Value>)> {
    let (file, length) = open_regular(path)?;
    Stored::open(path, None, file, Size::Plain(length))?.values(convert)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

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
    fn byte_orders_column_order_and_the_longs_of_python_2_are_read() {
        let big: Vec<u8> = [1.0f64, -2.5, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|value| value.to_be_bytes()).collect();
        let rows = Tensor::new([2, 3], vec![1.0, -2.5, 3.0, 4.0, 5.0, 6.0]);
        let columns = Tensor::new([2, 3], vec![1.0, 3.0, 5.0, -2.5, 4.0, 6.0]);
        for (descr, fortran, shape, expected) in [
            ("'>f8'", "False", "(2, 3)", &rows),
            ("'>f8'", "False", "(2L, 3L)", &rows),
            ("\">f8\"", "True", "(2L, 3L,)", &columns),
        ] {
            let (_folder, path) = file(&raw(&header(descr, fortran, shape), &big));
            assert_eq!(&read(&path).unwrap(), expected, "{descr} {fortran} {shape}");
        }
        for (descr, values, expected) in [
            ("'>i2'", [0xff, 0xfe, 0x01, 0x00], [-2.0, 256.0]),
            ("'>u2'", [0xff, 0xfe, 0x01, 0x00], [65534.0, 256.0]),
            ("'>f2'", [0x3c, 0x00, 0xc0, 0x00], [1.0, -2.0]),
        ] {
            let (_folder, path) = file(&raw(&header(descr, "False", "(2,)"), &values));
            assert_eq!(read_f64(&path).unwrap(), expected, "{descr}");
        }
    }

    #[test]
    fn bytes_are_pixels_where_pixels_are_read() {
        let (_folder, path) = file(&saved(&[0u8, 255, 51], &[3]));
        assert_eq!(read_pixels(&path, Pixels::Signed).unwrap().data, [-1.0, 1.0, -0.6]);
        assert_eq!(read(&path).unwrap().data, [0.0, 255.0, 51.0]);
        let (_folder, path) = file(&saved(&[0i8, 7], &[2]));
        assert_eq!(read_pixels(&path, Pixels::Signed).unwrap().data, [0.0, 7.0]);
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
            (raw(&header("'|O'", "False", "(1,)"), &[0; 4]), "the array holds Python objects"),
            (raw(&header("'<c8'", "False", "(1,)"), &[0; 8]), "type `<c8` is not a real number"),
            (raw(&header("[('a', '<f4')]", "False", "(1,)"), &[0; 4]), "structured type"),
            (raw(&header("'<f4'", "0", "(1, 1)"), &[0; 4]), "no usable `fortran_order`"),
            (raw(&f4("(-1,)"), &[0; 4]), "no usable `shape`"),
            (raw(&f4("5"), &[0; 4]), "no usable `shape`"),
            (raw(&f4(&format!("({})", "1, ".repeat(65))), &[0; 4]), "the array has 65 dimensions, more than 64"),
            (raw(&f4("(2, 3)"), &[0; 20]), "truncated: shape [2, 3] needs 24 bytes, the file has 20"),
            (raw(&f4("(2, 3)"), &[0; 25]), "1 bytes follow the values of shape [2, 3]"),
            (raw(&f4("(4294967296, 4294967296)"), &[0; 4]), "more bytes than can be addressed"),
            (raw(&f4("(0, 4294967296, 4294967296)"), &[]), "more bytes than can be addressed"),
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
            let tensor = Tensor::new(shape.clone(), crate::noise::Purpose::Images.normals(seed, 0, 0, len));
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.npy");
            write(&path, &tensor).unwrap();
            prop_assert_eq!(&read(&path).unwrap(), &tensor);

            let bytes = std::fs::read(&path).unwrap();
            let other = npyz::NpyFile::new(&bytes[..]).unwrap();
            prop_assert_eq!(other.shape(), shape.iter().map(|extent| *extent as u64).collect::<Vec<_>>());
            prop_assert_eq!(other.into_vec::<f32>().unwrap(), tensor.data.clone());
            prop_assert_eq!((bytes.len() - 4 * len) % header::ALIGNMENT, 0);
        }

        #[test]
        fn damaged_files_never_panic(cut in 0usize..160, at in 0usize..128, byte: u8) {
            let mut bytes = saved(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[2, 4]);
            bytes[at] = byte;
            bytes.truncate(cut);
            let size = Size::Plain(bytes.len() as u64);
            if let Ok(array) = Stored::open(Path::new("x.npy"), None, &bytes[..], size) {
                let (shape, values) = array.values(ToF64).unwrap();
                prop_assert_eq!(values.len(), shape.iter().product::<usize>());
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
