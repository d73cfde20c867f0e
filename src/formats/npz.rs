//! Archives of arrays, as written by `np.savez` and `np.savez_compressed`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zip::ZipArchive;

use super::npy::{Size, Stored, TypedArray, entry_options, typed, write_header};
use super::values::{Kind, ToF64};
use super::{Pixels, Records, write_atomically};
use crate::error::{Error, Result, excerpt};
use crate::input::open_regular;
use crate::tensor::Tensor;

/// The numbers that are written at a time.
const PIECE: usize = 1 << 13;

/// An array in an archive.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedArray {
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub values: Vec<f64>,
}

/// Reads the arrays called `names`, in that order, as float64.
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`]; [`Error::BadFile`] if the file is not an archive, lacks an array, or holds
/// one that cannot be read; [`Error::OutOfMemory`].
pub fn read(path: &Path, names: &[&str]) -> Result<Vec<NamedArray>> {
    let mut archive = Archive::open(path)?;
    names
        .iter()
        .map(|name| {
            archive.array(name, |array| {
                let (shape, values) = array.values(ToF64)?;
                Ok(NamedArray { shape, values })
            })
        })
        .collect()
}

/// The names of the arrays.
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`]; [`Error::BadFile`] if the file is not an archive.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let archive = Archive::open(path)?;
    let names = archive.entries.file_names().flatten();
    Ok(names.filter_map(|name| name.strip_suffix(".npy").map(str::to_owned)).collect())
}

/// Reads all arrays with their names and types, in the order of the names.
///
/// # Errors
/// Those of [`read`]; [`Error::BadFile`] also for an entry that is not an array.
pub fn read_all(path: &Path) -> Result<Vec<(String, TypedArray)>> {
    let mut archive = Archive::open(path)?;
    let mut names = Vec::new();
    for entry in archive.entries.file_names() {
        let entry = entry.map_err(|error| damaged(path, &error))?;
        let Some(name) = entry.strip_suffix(".npy") else {
            let what = format!("`{}` in it is not an array", excerpt(&entry));
            return Err(Error::bad_file_hint(path, what, "an `.npz` holds arrays only, as `np.savez` writes them"));
        };
        names.push(name.to_owned());
    }
    names.sort();
    let mut arrays = Vec::with_capacity(names.len());
    for name in names {
        let array = archive.array(&name, |stored| typed(stored).map(|array| (name.clone(), array)))?;
        arrays.push(array);
    }
    Ok(arrays)
}

/// Reads the images (N, C, H, W) in the array `name` of shape (N, H, W, C): bytes according to `pixels`, other numbers
/// as they are.
///
/// # Errors
/// Those of [`read`]; [`Error::BadFile`] for an array of another shape.
pub fn read_images(path: &Path, name: &str, pixels: Pixels) -> Result<Tensor> {
    Archive::open(path)?.array(name, |array| {
        expect_images(path, name, &array.layout.shape)?;
        let (shape, values) = array.values_by(&[0, 3, 1, 2], pixels)?;
        Ok(Tensor::new(shape, values))
    })
}

/// As [`read_images`], for images read a few at a time; none for an array that is compressed.
///
/// # Errors
/// Those of [`read_images`]: the whole array is checked against its checksum.
pub(crate) fn records_of_images(path: &Path, name: &str) -> Result<Option<Records>> {
    let mut archive = Archive::open(path)?;
    let Some(start) = archive.start_of_uncompressed(name)? else { return Ok(None) };
    let (layout, header) = archive.array(name, |array| {
        expect_images(path, name, &array.layout.shape)?;
        let start = array.start;
        Ok((array.skip()?, start))
    })?;
    let (file, _) = open_regular(path)?;
    Records::new(path, Some(name), (file, start + header), layout, Some(&[2, 0, 1])).map(Some)
}

/// Returns `true` if the array `name` is one of unsigned bytes.
///
/// # Errors
/// Those of [`read`].
pub(crate) fn holds_bytes(path: &Path, name: &str) -> Result<bool> {
    Archive::open(path)?.array(name, |array| Ok(array.layout.kind == Kind::U1))
}

/// Refuses an array that is not one of images.
fn expect_images(path: &Path, name: &str, shape: &[usize]) -> Result<()> {
    if shape.len() == 4 {
        return Ok(());
    }
    let what = format!("`{name}` has shape {shape:?}");
    let hint = "images are an array (N, height, width, channels); save other samples as an `.npy`";
    Err(Error::bad_file_hint(path, what, hint))
}

/// An open archive.
struct Archive<'a> {
    path: &'a Path,
    length: u64,
    entries: ZipArchive<File>,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let (file, length) = open_regular(path)?;
        let entries = ZipArchive::new(file).map_err(|error| damaged(path, &error))?;
        Ok(Self { path, length, entries })
    }

    /// Passes the array called `name` to `read`.
    fn array<T>(&mut self, name: &str, read: impl FnOnce(Stored<'_, &mut dyn Read>) -> Result<T>) -> Result<T> {
        let at = self.place(name)?;
        let mut entry = self.entries.by_index(at).map_err(|error| damaged(self.path, &error))?;
        read(Stored::open(self.path, Some(name), &mut entry as &mut dyn Read, Size::Packed(self.length))?)
    }

    /// The place of the first byte of an array in the file; none for a compressed one.
    fn start_of_uncompressed(&mut self, name: &str) -> Result<Option<u64>> {
        let at = self.place(name)?;
        let entry = self.entries.by_index(at).map_err(|error| damaged(self.path, &error))?;
        let is_stored = entry.compression() == zip::CompressionMethod::Stored && !entry.encrypted();
        Ok(entry.data_start().filter(|_| is_stored))
    }

    /// The number of the entry of an array.
    fn place(&self, name: &str) -> Result<usize> {
        self.entries.index_for_name(&format!("{name}.npy")).ok_or_else(|| {
            let names = self.entries.file_names().flatten();
            let found: Vec<String> = names.map(|name| name.trim_end_matches(".npy").to_owned()).collect();
            let what = format!("no array `{name}` among `{}`", excerpt(&found.join("`, `")));
            Error::bad_file_hint(self.path, what, format!("the archive must hold `{name}`"))
        })
    }
}

fn damaged(path: &Path, error: &zip::result::ZipError) -> Error {
    Error::bad_file_hint(path, format!("not a readable `.npz` ({error})"), "save it again with `np.savez`")
}

/// Writes float64 arrays given as name, shape and values.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn write(path: &Path, arrays: &[(&str, &[usize], &[f64])]) -> Result<()> {
    let members: Vec<_> = arrays.iter().map(|(name, shape, values)| (*name, Member::Numbers(shape, values))).collect();
    write_members(path, &members)
}

/// An array of an archive that is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Member<'a> {
    /// A shape and float64 numbers, row-major.
    Numbers(&'a [usize], &'a [f64]),
    /// Unsigned bytes in one dimension.
    Bytes(&'a [u8]),
}

/// Writes arrays by name. The same arrays are the same bytes.
///
/// # Errors
/// Those of [`write_atomically`].
pub(crate) fn write_members(path: &Path, members: &[(&str, Member)]) -> Result<()> {
    use std::io::Write;
    write_atomically(path, |writer| {
        let mut archive = zip::ZipWriter::new(writer);
        for (name, member) in members {
            archive.start_file(format!("{name}.npy"), entry_options())?;
            match member {
                Member::Numbers(shape, values) => {
                    write_header(&mut archive, "<f8", shape)?;
                    let mut bytes = Vec::with_capacity(PIECE * size_of::<f64>());
                    for values in values.chunks(PIECE) {
                        bytes.clear();
                        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                        archive.write_all(&bytes)?;
                    }
                }
                Member::Bytes(bytes) => {
                    write_header(&mut archive, "|u1", &[bytes.len()])?;
                    archive.write_all(bytes)?;
                }
            }
        }
        archive.finish()?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let values = [1.0, -2.5e-300, std::f64::consts::PI, 4.0];
        write(&path, &[("mu", &[2], &values[..2]), ("sigma", &[2, 2], &values)]).unwrap();
        let arrays = read(&path, &["sigma", "mu"]).unwrap();
        assert_eq!((arrays[0].shape.as_slice(), arrays[0].values.as_slice()), ([2, 2].as_slice(), values.as_slice()));
        assert_eq!((arrays[1].shape.as_slice(), arrays[1].values.as_slice()), ([2].as_slice(), &values[..2]));
    }

    #[test]
    fn other_files_are_refused_with_a_word_on_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        assert_eq!(read(&path, &["mu"]).unwrap_err().kind(), crate::ErrorKind::NotFound);
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read(&path, &["mu"]).unwrap_err().kind(), crate::ErrorKind::File);
        write(&path, &[("a", &[1], &[1.0]), ("b", &[1], &[1.0])]).unwrap();
        let error = read(&path, &["mu"]).unwrap_err();
        assert!(error.to_string().contains("no array `mu` among `a`, `b`"), "{error}");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(read(&path, &["a"]).unwrap_err().kind(), crate::ErrorKind::File);
    }
}
