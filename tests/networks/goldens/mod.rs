//! The networks whose outputs diffusers computed in float64.

pub mod autoencoder;
pub mod conditioned;

use std::path::{Path, PathBuf};

/// The folders in `tests/golden/KIND`, sorted.
pub fn golden_folders(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(kind);
    let entries = std::fs::read_dir(root).expect("goldens");
    let mut folders: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    folders.sort();
    folders
}
