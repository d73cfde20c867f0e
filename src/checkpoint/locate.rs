//! From the name of a model to a place on disk.

use std::path::{Path, PathBuf};

use super::hub::{self, Environment, HubId};
use crate::error::{Error, Result};

/// The place of a model.
pub(super) enum Located {
    /// A diffusers folder: the one named, or a snapshot in the hub cache.
    Folder(PathBuf),
    /// The file named.
    File(PathBuf),
}

/// Finds the place that `spec` names. An existing path is used first. A name that is not a path and has the form
/// `org/name[@revision]` is looked up in the local hub cache.
///
/// # Errors
/// [`Error::FileNotFound`] or [`Error::Argument`] if there is nothing of that name; [`Error::BadFile`] for a hub id
/// that the cache lacks.
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

/// Refuses closed-form denoisers: they are named like models, but have no files.
fn refuse_closed_form(spec: &str) -> Result<()> {
    match spec.split_once(':') {
        Some((kind @ ("pca" | "wiener" | "ideal"), _)) => Err(Error::argument(
            format!("`{spec}`: a closed-form denoiser (`{kind}:`) is not supported by this command"),
            "give a network: a diffusers folder, a `.safetensors` file or a hub id",
        )),
        _ => Ok(()),
    }
}
