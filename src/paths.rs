//! Where things that may be lost are kept.

use std::path::PathBuf;

use etcetera::BaseStrategy;

/// The folder for what can be made again: `DOWNHILL_CACHE_DIR`, or `downhill` in the user's cache folder. Nothing where
/// there is no home.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    if let Some(chosen) = std::env::var_os("DOWNHILL_CACHE_DIR") {
        return Some(chosen.into());
    }
    Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("downhill"))
}
