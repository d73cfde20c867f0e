//! The files of two folders, paired by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::data::is_named_image;
use crate::error::{Error, Result};

/// The names of images and arrays in two folders and the folders in them, relative to them, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileNames {
    /// Names in both.
    pub both: Vec<PathBuf>,
    /// Names in the first folder only.
    pub only_a: Vec<PathBuf>,
    /// Names in the second folder only.
    pub only_b: Vec<PathBuf>,
    /// Names that are neither of images nor of arrays, and links to folders, which are not followed.
    pub others: Vec<PathBuf>,
}

/// Returns the names in two folders.
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`]; [`Error::BadFile`] if neither folder has an image or an array.
pub fn shared_names(a: &Path, b: &Path) -> Result<FileNames> {
    let (mut of_a, mut of_b, mut others) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    collect(a, Path::new(""), &mut of_a, &mut others)?;
    collect(b, Path::new(""), &mut of_b, &mut others)?;
    if of_a.is_empty() && of_b.is_empty() {
        let what = format!("no images or arrays in this folder, nor in `{}`", b.display());
        return Err(Error::bad_file_hint(a, what, "name folders with `.png`, `.npy`, `.npz` or other such files"));
    }
    Ok(FileNames {
        both: of_a.intersection(&of_b).cloned().collect(),
        only_a: of_a.difference(&of_b).cloned().collect(),
        only_b: of_b.difference(&of_a).cloned().collect(),
        others: others.into_iter().collect(),
    })
}

/// Adds the names under `root/below`.
fn collect(root: &Path, below: &Path, names: &mut BTreeSet<PathBuf>, others: &mut BTreeSet<PathBuf>) -> Result<()> {
    let folder = root.join(below);
    let failed = |error| Error::io(&folder, error);
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = below.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(root, &name, names, others)?;
        } else if is_compared(&name) && !entry.path().is_dir() {
            names.insert(name);
        } else {
            others.insert(name);
        }
    }
    Ok(())
}

/// Returns `true` for the name of an image or an array.
fn is_compared(name: &Path) -> bool {
    let is_array = |suffix: &std::ffi::OsStr| ["npy", "npz"].iter().any(|known| suffix.eq_ignore_ascii_case(known));
    is_named_image(name) || name.extension().is_some_and(is_array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn names_are_paired_in_folders_of_folders() {
        let a = folder(&["b/x.PNG", "a.npy", "only.npz", "report.json"]);
        let b = folder(&["b/x.PNG", "a.npy", "b/other.jpg", "notes.txt"]);
        let names = shared_names(a.path(), b.path()).unwrap();
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(names.both, paths(&["a.npy", "b/x.PNG"]));
        assert_eq!((names.only_a, names.only_b), (paths(&["only.npz"]), paths(&["b/other.jpg"])));
        assert_eq!(names.others, paths(&["notes.txt", "report.json"]));
    }

    #[cfg(unix)]
    #[test]
    fn links_to_folders_are_not_followed() {
        let a = folder(&["x.npy"]);
        std::os::unix::fs::symlink(a.path(), a.path().join("loop.npy")).unwrap();
        let names = shared_names(a.path(), a.path()).unwrap();
        assert_eq!((names.both, names.others), (vec!["x.npy".into()], vec!["loop.npy".into()]));
    }

    #[test]
    fn a_comparison_of_nothing_is_an_error() {
        let (a, b) = (folder(&["report.json"]), folder(&[]));
        let error = shared_names(a.path(), b.path()).unwrap_err();
        assert!(error.to_string().contains("no images or arrays"), "{error}");
        let missing = shared_names(a.path(), &b.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), crate::ErrorKind::NotFound);
    }
}
