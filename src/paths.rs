//! Folders for files that may be lost.

use std::path::PathBuf;

use etcetera::BaseStrategy;

/// Returns the folder for files that can be recreated: `DOWNHILL_CACHE_DIR`, or `downhill` in the user's cache folder.
/// `None` if there is no home folder.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    if let Some(chosen) = std::env::var_os("DOWNHILL_CACHE_DIR") {
        return Some(chosen.into());
    }
    Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("downhill"))
}
