//! The files of a target: a folder per thread, removed at its end.

use std::path::{Path, PathBuf};

thread_local! {
    /// In memory, where the system has such a place: a disk makes a file that is written again and again wait.
    static FOLDER: tempfile::TempDir =
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder");
}

/// Writes a file of the thread's folder and returns its path. Folders in its name are created.
pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = at(name);
    if std::fs::write(&path, bytes).is_err() {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder in a temporary folder");
        std::fs::write(&path, bytes).expect("a file in a temporary folder");
    }
    path
}

/// Removes a file of the thread's folder, if it exists.
pub fn remove(name: &str) {
    let _ = std::fs::remove_file(at(name));
}

/// A path in the thread's folder.
pub fn at(name: &str) -> PathBuf {
    FOLDER.with(|folder| folder.path().join(name))
}
