//! Archives of arrays, as written by `np.savez` and `np.savez_compressed`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::npy::{Array, entry_options, parse, write_header};
use super::write_atomically;
use crate::error::{Error, Result};

/// The largest array that is read, in bytes. Anything larger is a decompression bomb, not a set of samples.
const LARGEST: u64 = 1 << 32;

/// An array in an archive.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedArray {
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub values: Vec<f64>,
    /// `true` if the array holds bytes, as images do.
    pub is_bytes: bool,
}

/// Reads the arrays called `names`, in that order, as float64.
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`]; [`Error::BadFile`] if the file is not an archive, lacks an array, or holds
/// one that cannot be read.
pub fn read(path: &Path, names: &[&str]) -> Result<Vec<NamedArray>> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::FileNotFound { path: path.to_path_buf() },
        _ => Error::io(path, error),
    })?;
    let damaged = |error: &dyn std::fmt::Display| {
        Error::bad_file_hint(path, format!("not a readable `.npz` ({error})"), "save it again with `np.savez`")
    };
    let mut archive = zip::ZipArchive::new(file).map_err(|error| damaged(&error))?;
    let found: Vec<String> =
        archive.file_names().flatten().map(|name| name.trim_end_matches(".npy").to_owned()).collect();
    names
        .iter()
        .map(|name| {
            let entry = match archive.by_name(&format!("{name}.npy")) {
                Ok(entry) => entry,
                Err(zip::result::ZipError::FileNotFound) => {
                    let what = format!("no array `{name}` among `{}`", found.join("`, `"));
                    let hint = format!("the archive must hold `{}`", names.join("`, `"));
                    return Err(Error::bad_file_hint(path, what, hint));
                }
                Err(error) => return Err(damaged(&error)),
            };
            let mut bytes = Vec::new();
            let read = entry.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
            if read as u64 > LARGEST {
                return Err(Error::bad_file(path, format!("`{name}` is larger than {LARGEST} bytes")));
            }
            let array = parse(&bytes)
                .map_err(|fault| Error::bad_file_hint(path, format!("`{name}`: {}", fault.what), fault.hint))?;
            let is_bytes = array.is_bytes();
            let Array { shape, kind, values } = array;
            Ok(NamedArray { shape, values: kind.decode(values, |value| value), is_bytes })
        })
        .collect()
}

/// Writes float64 arrays given as name, shape and values.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn write(path: &Path, arrays: &[(&str, &[usize], &[f64])]) -> Result<()> {
    use std::io::Write;
    write_atomically(path, |writer| {
        let mut archive = zip::ZipWriter::new(writer);
        for (name, shape, values) in arrays {
            archive.start_file(format!("{name}.npy"), entry_options())?;
            write_header(&mut archive, "<f8", shape)?;
            values.iter().try_for_each(|value| archive.write_all(&value.to_le_bytes()))?;
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
        assert!(!arrays[0].is_bytes);
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
