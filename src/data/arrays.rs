//! Several arrays of Python's numpy as one: the samples of the first file, then those of the next.

use std::path::{Path, PathBuf};

use super::source::SourceKind;
use super::stream::{StoredSamples, Stream, expect_samples};
use super::{Dataset, Pixels};
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::input::room;
use crate::tensor::{Tensor, element_count};

/// The `.npy` files that a pattern names, or those of a folder of nothing else.
pub(super) static KIND: SourceKind = SourceKind {
    form: "several `.npy` as one, 'FOLDER/*.npy'",
    accepts: |candidate| {
        if candidate.is_folder {
            return is_of_arrays(candidate.path);
        }
        let is_pattern = !candidate.exists && pattern(candidate.path).is_some();
        Ok(is_pattern && files_of(candidate.path).map(|_| true)?)
    },
    load: |text, pixels| load(text, pixels),
    stream: |text, pixels| Ok(Box::new(Arrays::open(text, pixels)?)),
    extent: Some(extent),
};

/// The name of a file that stands for several: it holds `*` and ends in `.npy`.
fn pattern(path: &Path) -> Option<&str> {
    let is_npy = path.extension().is_some_and(|suffix| suffix == "npy");
    path.file_name()?.to_str().filter(|name| is_npy && name.contains('*'))
}

/// The length of a pattern at the beginning of `text`; 0 where it does not begin so.
fn extent(text: &str) -> usize {
    let after = text.find('*').and_then(|star| Some(star + text[star..].find(".npy")? + ".npy".len()));
    after.filter(|end| matches!(text.as_bytes().get(*end), None | Some(b','))).unwrap_or(0)
}

/// Returns `true` if `name` is `pattern`, in which each `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// Returns `true` for a folder that holds `.npy` files and nothing else.
pub(super) fn is_of_arrays(folder: &Path) -> Result<bool> {
    let mut found = false;
    for entry in std::fs::read_dir(folder).map_err(|error| Error::io(folder, error))? {
        let path = entry.map_err(|error| Error::io(folder, error))?.path();
        if path.extension().is_none_or(|suffix| suffix != "npy") || path.is_dir() {
            return Ok(false);
        }
        found = true;
    }
    Ok(found)
}

/// The files of a folder or of a pattern, in the order of their names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    let (folder, pattern) = match pattern(path) {
        Some(pattern) if !path.is_dir() => (path.parent().unwrap_or(Path::new("")), pattern),
        _ => (path, "*.npy"),
    };
    let folder = if folder == Path::new("") { Path::new(".") } else { folder };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| Error::io(folder, error))? {
        let name = entry.map_err(|error| Error::io(folder, error))?.file_name();
        if name.to_str().is_some_and(|name| fits(pattern, name)) {
            files.push(folder.join(name));
        }
    }
    files.sort();
    if files.is_empty() {
        let hint =
            "quote the pattern, so that the shell leaves it alone; `*` stands for any characters of a file's name";
        return Err(Error::bad_file_hint(path, "no file is named so", hint));
    }
    Ok(files)
}

/// Loads all samples.
fn load(text: &str, pixels: Pixels) -> Result<Dataset> {
    let mut stream = Arrays::open(text, pixels)?;
    let shape = [stream.count(), stream.dimension()];
    let count = element_count(&shape).unwrap_or(usize::MAX);
    let mut values: Vec<f32> = room(Path::new(text), count)?;
    values.resize(count, 0.0);
    stream.read(0, &mut values)?;
    let sample_shape = stream.sample_shape().to_vec();
    Ok(Dataset { name: text.to_owned(), sample_shape, samples: Tensor::new(shape, values) })
}

/// The samples of several files.
struct Arrays {
    name: String,
    /// The files, and the number of samples before each.
    files: Vec<(usize, PathBuf)>,
    count: usize,
    sample_shape: Vec<usize>,
    has_pixels: bool,
    pixels: Pixels,
    /// The file that was read last.
    open: Option<(usize, StoredSamples)>,
}

impl Arrays {
    /// Reads the headers of all files.
    fn open(text: &str, pixels: Pixels) -> Result<Self> {
        let mut arrays = Self {
            name: text.to_owned(),
            files: Vec::new(),
            count: 0,
            sample_shape: Vec::new(),
            has_pixels: false,
            pixels,
            open: None,
        };
        for file in files_of(Path::new(text))? {
            let opened = open(&file, pixels)?;
            match arrays.files.first() {
                None => {
                    arrays.sample_shape = opened.sample_shape().to_vec();
                    arrays.has_pixels = opened.has_pixels();
                }
                Some((_, first)) if opened.sample_shape() != arrays.sample_shape => {
                    let (found, expected) = (opened.sample_shape(), &arrays.sample_shape);
                    let name = name_of(first);
                    let what = format!("its samples are of shape {found:?}, those of `{name}` {expected:?}");
                    return Err(Error::bad_file_hint(file, what, "name files whose samples are of one shape"));
                }
                Some((_, first)) if opened.has_pixels() != arrays.has_pixels => {
                    let (own, others) = if arrays.has_pixels { ("not ", "") } else { ("", " not") };
                    let what = format!("its values are {own}bytes, those of `{}` are{others}", name_of(first));
                    let hint = "bytes are pixels and are scaled, other numbers are not: save all files in one type";
                    return Err(Error::bad_file_hint(file, what, hint));
                }
                Some(_) => {}
            }
            arrays.files.push((arrays.count, file));
            arrays.count = arrays.count.saturating_add(opened.count());
        }
        Ok(arrays)
    }
}

/// The last part of a path.
fn name_of(file: &Path) -> String {
    file.file_name().map(|name| name.display().to_string()).unwrap_or_default()
}

fn open(file: &Path, pixels: Pixels) -> Result<StoredSamples> {
    StoredSamples::new(&file.display().to_string(), npy::records(file)?, pixels)
}

impl Stream for Arrays {
    fn name(&self) -> &str {
        &self.name
    }

    fn count(&self) -> usize {
        self.count
    }

    fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    fn has_pixels(&self) -> bool {
        self.has_pixels
    }

    fn read(&mut self, first: usize, rows: &mut [f32]) -> Result<()> {
        expect_samples(self, first, rows)?;
        let dimension = self.dimension();
        let (mut first, mut rows) = (first, rows);
        while !rows.is_empty() {
            let at = self.files.partition_point(|(before, _)| *before <= first) - 1;
            let (before, file) = &self.files[at];
            let end = self.files.get(at + 1).map_or(self.count, |(before, _)| *before);
            let mut opened = match self.open.take() {
                Some((number, opened)) if number == at => opened,
                _ => open(file, self.pixels)?,
            };
            if opened.count() != end - before || opened.sample_shape() != self.sample_shape {
                return Err(Error::bad_file(file, "the file was changed while it was read"));
            }
            let (now, later) = rows.split_at_mut((end - first).min(rows.len() / dimension) * dimension);
            opened.read(first - before, now)?;
            self.open = Some((at, opened));
            first += now.len() / dimension;
            rows = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for name in ["a.npy", ".npy", "a.npy.npy"] {
            assert!(fits("*.npy", name), "{name}");
        }
        assert!(fits("a*-*.npy", "a0-1-2.npy") && fits("a*b*.npy", "ab.npy"));
        assert!(!fits("a*-*.npy", "a0.npy") && !fits("*.npy", "a.npz") && !fits("a*a.npy", "a.npy"));
        assert_eq!((extent("x/*.npy,k=3"), extent("x/*.npy"), extent("*.npyx"), extent("a.npy")), (7, 7, 0, 0));
    }
}
