//! Files held in memory: the readers of models find them under their paths as if they lay on a disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files by their paths.
pub(crate) type Held = BTreeMap<PathBuf, Arc<Vec<u8>>>;

thread_local! {
    /// The files that readers of this thread find before those of the disk.
    static HELD: RefCell<Held> = const { RefCell::new(Held::new()) };
}

/// Restores the files that were held before.
struct Restore(Held);

impl Drop for Restore {
    fn drop(&mut self) {
        HELD.set(std::mem::take(&mut self.0));
    }
}

/// Runs `read` on this thread with files in memory. What it opens keeps them.
pub(crate) fn with<T>(files: Held, read: impl FnOnce() -> T) -> T {
    let _restore = Restore(HELD.replace(files));
    read()
}

/// Returns the content of a file in memory.
pub(crate) fn content(path: &Path) -> Option<Arc<Vec<u8>>> {
    HELD.with_borrow(|held| held.get(path).cloned())
}

/// Returns `true` for a file, in memory or on the disk.
pub(crate) fn is_file(path: &Path) -> bool {
    is_file_in_memory(path) || path.is_file()
}

/// Returns `true` for a folder, in memory or on the disk.
pub(crate) fn is_dir(path: &Path) -> bool {
    is_dir_in_memory(path) || path.is_dir()
}

/// Returns `true` for a file or a folder, in memory or on the disk.
pub(crate) fn exists(path: &Path) -> bool {
    is_file_in_memory(path) || is_dir_in_memory(path) || path.exists()
}

fn is_file_in_memory(path: &Path) -> bool {
    HELD.with_borrow(|held| held.contains_key(path))
}

fn is_dir_in_memory(path: &Path) -> bool {
    HELD.with_borrow(|held| held.keys().any(|file| is_below(file, path)))
}

/// Returns the paths of the files and folders in a folder, in memory or else on the disk; none if it cannot be read.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let held: Vec<PathBuf> = HELD.with_borrow(|held| {
        let below = held.keys().filter(|file| is_below(file, folder));
        let mut entries: Vec<PathBuf> =
            below.filter_map(|file| Some(folder.join(file.strip_prefix(folder).ok()?.iter().next()?))).collect();
        entries.dedup();
        entries
    });
    if held.is_empty() {
        return std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    }
    held
}

fn is_below(file: &Path, folder: &Path) -> bool {
    file != folder && !folder.as_os_str().is_empty() && file.starts_with(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_memory_are_found_under_their_paths_while_they_are_held() {
        let file = |path: &str| (PathBuf::from(path), Arc::new(path.as_bytes().to_vec()));
        let held = Held::from([file("m/unet/a.bin"), file("m/unet/b.bin"), file("m/index.json")]);
        with(held, || {
            assert!(is_file(Path::new("m/unet/a.bin")) && !is_dir(Path::new("m/unet/a.bin")));
            assert!(is_dir(Path::new("m")) && is_dir(Path::new("m/unet")) && exists(Path::new("m/unet")));
            assert!(!exists(Path::new("m/vae")) && !is_dir(Path::new("")));
            assert_eq!(entries(Path::new("m")), [PathBuf::from("m/index.json"), PathBuf::from("m/unet")]);
            assert_eq!(content(Path::new("m/index.json")).unwrap().as_slice(), b"m/index.json");
            assert!(!with(Held::new(), || exists(Path::new("m"))));
            assert!(exists(Path::new("m")));
        });
        assert!(!exists(Path::new("m")) && content(Path::new("m/index.json")).is_none());
    }
}
