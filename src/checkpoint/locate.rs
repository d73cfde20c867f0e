//! From what the user typed as MODEL to a place on disk.

use std::path::{Path, PathBuf};

use super::hub::{self, Environment, HubId};
use crate::error::{Error, Result};

/// Where a model lies.
pub(super) enum Located {
    /// A diffusers folder: one that was named, or a snapshot in the hub cache.
    Folder(PathBuf),
    /// A file that was named.
    File(PathBuf),
}

/// Finds what `spec` names. An existing path wins; what is no path and has the shape `org/name[@revision]` is looked up
/// in the local hub cache.
///
/// # Errors
/// [`Error::FileNotFound`] or [`Error::Argument`] when nothing of that name is there; [`Error::BadFile`] for a hub id that
/// the cache lacks.
pub(super) fn locate(spec: &str, environment: Environment) -> Result<Located> {
    refuse_closed_form(spec)?;
    let path = Path::new(spec);
    if path.is_dir() {
        Ok(Located::Folder(path.to_path_buf()))
    } else if path.exists() {
        Ok(Located::File(path.to_path_buf()))
    } else if let Some(id) = HubId::parse(spec) {
        Ok(Located::Folder(hub::snapshot(&id, environment)?))
    } else {
        Err(Error::FileNotFound { path: path.to_path_buf() })
    }
}

/// Closed-form denoisers are named like models, but have no files to open.
fn refuse_closed_form(spec: &str) -> Result<()> {
    match spec.split_once(':') {
        Some((kind @ ("pca" | "wiener" | "ideal"), _)) => Err(Error::argument(
            format!("`{spec}`: a closed-form denoiser (`{kind}:`) is not supported by this command"),
            "give a network: a diffusers folder, a `.safetensors` file or a hub id",
        )),
        _ => Ok(()),
    }
}
