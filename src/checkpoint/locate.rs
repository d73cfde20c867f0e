//! From the name of a model to a place on disk.

use std::path::{Path, PathBuf};

use super::hub::{self, Environment, HubId};
use super::pipeline::{CONFIG, MODEL_INDEX, SCHEDULER_CONFIG};
use crate::error::{Error, Result, excerpt};
use crate::held;

/// The forms of a model's name, for help texts and hints.
pub const MODEL_FORMS: &str = "a diffusers folder, a single file of Stable Diffusion, a `.safetensors` beside its \
                               `config.json`, or a hub id `org/name` in the local cache";

/// The place of a model.
pub(super) enum Located {
    /// A diffusers folder: the one named, or a snapshot in the hub cache.
    Folder(PathBuf),
    /// The file named.
    File(PathBuf),
}

/// Refuses an address in place of a name.
///
/// # Errors
/// [`Error::Argument`] with the name in the address, if it has the form of one.
pub fn refuse_address(spec: &str) -> Result<()> {
    let Some((scheme, rest)) = spec.split_once("://") else { return Ok(()) };
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) || held::exists(Path::new(spec)) {
        return Ok(());
    }
    let mut parts =
        rest.split(['?', '#']).next().unwrap_or_default().split('/').skip(1).filter(|part| !part.is_empty());
    let id = parts.next().zip(parts.next()).map(|(organisation, name)| format!("{organisation}/{name}"));
    let hint = match id.filter(|id| HubId::parse(id).is_some()) {
        Some(id) => format!("a model on the hub is named without its address: `{id}`"),
        None => format!("a model is {MODEL_FORMS}"),
    };
    Err(Error::argument(format!("`{}` is an address, not the name of a model", excerpt(spec)), hint))
}

/// Finds the model that `spec` names. An existing path wins; any other text of the form `org/name[@revision]` is looked
/// up in the local hub cache.
///
/// # Errors
/// [`Error::FileNotFound`] for a path that does not exist; [`Error::BadFile`] for a hub id that is not in the cache;
/// [`Error::Argument`] for an address.
pub(super) fn locate(spec: &str, environment: Environment) -> Result<Located> {
    refuse_address(spec)?;
    let path = Path::new(spec);
    if held::is_dir(path) {
        inside(path.to_path_buf())
    } else if held::exists(path) {
        Ok(Located::File(path.to_path_buf()))
    } else if let Some(id) = HubId::parse(spec) {
        inside(hub::snapshot(&id, environment)?)
    } else {
        Err(Error::FileNotFound { path: path.to_path_buf() })
    }
}

/// The most files that a message names.
const NAMED: usize = 8;
/// The suffixes of files of weights.
const WEIGHTS: [&str; 6] = ["safetensors", "ckpt", "pt", "pth", "bin", "pkl"];

/// A folder, or the single file of weights in it: a folder without a configuration and without components is only the
/// place of a file.
///
/// # Errors
/// [`Error::BadFile`] for several files of which none is named.
fn inside(folder: PathBuf) -> Result<Located> {
    let entries = held::entries(&folder).into_iter();
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| held::is_dir(path));
    let is_configured = [CONFIG, MODEL_INDEX, SCHEDULER_CONFIG].iter().any(|name| held::exists(&folder.join(name)))
        || folders.iter().any(|component| held::exists(&component.join(CONFIG)));
    let has_weights_suffix = |file: &PathBuf| {
        file.extension().is_some_and(|suffix| WEIGHTS.iter().any(|known| suffix.eq_ignore_ascii_case(known)))
    };
    let mut weights: Vec<PathBuf> = files.into_iter().filter(has_weights_suffix).collect();
    weights.sort();
    match &weights[..] {
        _ if is_configured => Ok(Located::Folder(folder)),
        [] => Ok(Located::Folder(folder)),
        [file] => Ok(Located::File(file.clone())),
        several => {
            let names = several.iter().filter_map(|file| file.file_name()).map(|name| format!("`{}`", name.display()));
            let more = (several.len() > NAMED).then(|| format!("{} more", several.len() - NAMED));
            let names = names.take(NAMED).chain(more).collect::<Vec<_>>().join(", ");
            let what = format!("no configuration, and several files of weights: {names}");
            Err(Error::bad_file_hint(folder, what, "name one of them by its path"))
        }
    }
}
