//! From the name of a model to a place on disk.

use std::path::{Path, PathBuf};

use super::hub::{self, Environment, HubId};
use crate::error::{Error, Result};

/// The forms of a model's name, for help texts and hints.
pub const MODEL_FORMS: &str =
    "a diffusers folder, a `.safetensors` beside its `config.json`, or a hub id `org/name` in the local cache";

/// The place of a model.
pub(super) enum Located {
    /// A diffusers folder: the one named, or a snapshot in the hub cache.
    Folder(PathBuf),
    /// The file named.
    File(PathBuf),
}

/// Finds the model that `spec` names. An existing path wins; any other text of the form `org/name[@revision]` is looked
/// up in the local hub cache.
///
/// # Errors
/// [`Error::FileNotFound`] for a path that does not exist; [`Error::BadFile`] for a hub id that is not in the cache.
pub(super) fn locate(spec: &str, environment: Environment) -> Result<Located> {
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
