//! Archives of arrays with a description: the `.npz` of `np.savez`, with one more entry, `description.json`.

use std::io::{Read, Write};
use std::path::Path;

use serde_json::Value;
use zip::ZipArchive;

use super::npy::{entry_options, write_header};
use super::npz::{self, NamedArray};
use super::{json, write_atomically};
use crate::error::{Error, Result};
use crate::input::open_regular;

const DESCRIPTION: &str = "description.json";

/// Writes float64 arrays, given as name, shape and values, with their description. The same content gives the same
/// bytes.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn write(path: &Path, description: &Value, arrays: &[(&str, &[usize], &[f64])]) -> Result<()> {
    write_atomically(path, |writer| {
        let mut archive = zip::ZipWriter::new(writer);
        archive.start_file(DESCRIPTION, entry_options())?;
        archive.write_all(description.to_string().as_bytes())?;
        for (name, shape, values) in arrays {
            archive.start_file(format!("{name}.npy"), entry_options())?;
            write_header(&mut archive, "<f8", shape)?;
            values.iter().try_for_each(|value| archive.write_all(&value.to_le_bytes()))?;
        }
        archive.finish()?;
        Ok(())
    })
}

/// Reads the description.
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`]; [`Error::BadFile`] with `hint` for a file without one.
pub fn read_description(path: &Path, hint: &str) -> Result<Value> {
    let bad = |what: String| Error::bad_file_hint(path, what, hint);
    let (file, _) = open_regular(path)?;
    let mut archive = ZipArchive::new(file).map_err(|error| bad(format!("not a readable archive ({error})")))?;
    let entry = archive.by_name(DESCRIPTION).map_err(|error| bad(format!("no readable `{DESCRIPTION}` ({error})")))?;
    let mut bytes = Vec::new();
    entry.take(json::LARGEST_LIST).read_to_end(&mut bytes).map_err(|error| bad(format!("`{DESCRIPTION}`: {error}")))?;
    json::parse(&bytes).map_err(|error| bad(format!("`{DESCRIPTION}` is not JSON: {error}")))
}

/// Reads the array called `name`.
///
/// # Errors
/// Those of [`npz::read`].
pub fn read(path: &Path, name: &str) -> Result<NamedArray> {
    npz::read(path, &[name])?.pop().ok_or_else(|| Error::bad_file(path, format!("no array `{name}`")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arrays_and_their_description_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let values = [f64::NAN, -2.5e-300, std::f64::consts::PI, 4.0];
        let description = json!({ "count": 4, "name": "σ" });
        write(&path, &description, &[("rows", &[2, 2], &values)]).unwrap();
        assert_eq!(read_description(&path, "").unwrap(), description);
        let array = read(&path, "rows").unwrap();
        assert_eq!(array.shape, [2, 2]);
        assert_eq!(array.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.map(f64::to_bits));
        let bytes = std::fs::read(&path).unwrap();
        write(&path, &description, &[("rows", &[2, 2], &values)]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read_description(&path, "remove it").unwrap_err();
        assert_eq!((error.kind(), error.hint().as_deref()), (crate::ErrorKind::File, Some("remove it")));
        npz::write(&path, &[("rows", &[1], &[1.0])]).unwrap();
        assert!(read_description(&path, "").unwrap_err().to_string().contains("description.json"));
    }
}
