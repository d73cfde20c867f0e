//! The local cache of the Hugging Face hub, read offline.
//!
//! `models--{org}--{name}/refs/{revision}` holds a commit, `snapshots/{commit}/` the files (links into `blobs/`). The
//! cache is where `huggingface_hub` puts it, in the first of these that is set: `HF_HUB_CACHE`, its old name
//! `HUGGINGFACE_HUB_CACHE`, `HF_HOME/hub`, `XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub`.

#[cfg(feature = "download")]
mod download;
mod files;

#[cfg(feature = "download")]
pub use download::{Event, fetch, fetch_in};

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::input::read_regular;

/// A lookup of environment variables: those of the process, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

const DEFAULT_REVISION: &str = "main";
/// The largest size of a file in `refs/` in bytes: it holds a commit.
const LONGEST_REFERENCE: u64 = 1024;

/// A model on the hub: `org/name` at a branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubId {
    organisation: String,
    name: String,
    revision: Option<String>,
}

impl HubId {
    /// Parses `org/name[@revision]`. Returns `None` for any other form, including paths with a file suffix.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        let (organisation, name) = repository.split_once('/')?;
        let is_file = Path::new(name).extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("safetensors"));
        let shaped = is_name(organisation)
            && is_name(name)
            && !is_file
            && revision.is_none_or(|revision| revision.split('/').all(is_name));
        shaped.then(|| Self {
            organisation: organisation.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }
}

impl std::fmt::Display for HubId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.organisation, self.name)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

/// Returns `true` for letters, digits, `-`, `_` and `.`, not beginning with `.` or `-`: the names that the hub allows,
/// and never `..`.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Returns the folder of the snapshot of `id`.
///
/// Without a revision, it is that of `refs/main`, or the only snapshot there is. With one, it is that of
/// `refs/{revision}`, or the snapshot of that name.
///
/// # Errors
/// [`Error::BadFile`] naming the folder searched and the files needed.
pub(super) fn snapshot(id: &HubId, environment: Environment) -> Result<PathBuf> {
    let cache = cache_folder(environment).ok_or_else(|| no_cache(id))?;
    let miss = |looked_in: &Path, what: String| miss(id, &cache, looked_in, what, is_offline(environment));
    let repository = cache.join(format!("models--{}--{}", id.organisation, id.name));
    if !repository.is_dir() {
        return Err(miss(&repository, format!("`{id}` is neither a path nor in the local hub cache")));
    }
    let revision = id.revision.as_deref().unwrap_or(DEFAULT_REVISION);
    let snapshots = repository.join("snapshots");
    let reference = match read_regular(&repository.join("refs").join(revision), LONGEST_REFERENCE) {
        Err(Error::FileNotFound { .. }) => None,
        read => Some(read?),
    };
    if let Some(commit) = reference {
        let commit = String::from_utf8_lossy(&commit);
        let commit = commit.trim();
        let folder = snapshots.join(commit);
        if is_name(commit) && folder.is_dir() {
            return Ok(folder);
        }
        return Err(miss(&folder, format!("`{id}` points to this snapshot, which the local hub cache lacks")));
    }
    if id.revision.is_some() {
        let folder = snapshots.join(revision);
        return if folder.is_dir() {
            Ok(folder)
        } else {
            Err(miss(&folder, format!("the local hub cache has no revision `{revision}` of this model")))
        };
    }
    let mut folders = sub_folders(&snapshots);
    match (folders.pop(), folders.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(miss(&snapshots, format!("the local hub cache holds no snapshot of `{id}`"))),
        (Some(_), others) => Err(Error::bad_file_hint(
            &snapshots,
            format!("{} snapshots of `{id}`, and no `refs/{DEFAULT_REVISION}` to choose one", others + 1),
            format!("choose one: `{id}@COMMIT`"),
        )),
    }
}

fn no_cache(id: &HubId) -> Error {
    Error::argument(
        format!("the local hub cache that may hold `{id}` cannot be found: there is no home folder"),
        "set HF_HUB_CACHE to the folder of the cache",
    )
}

/// Returns `true` if the environment forbids access to the hub: `HF_HUB_OFFLINE` is 1, ON, YES or TRUE.
fn is_offline(environment: Environment) -> bool {
    let value = environment("HF_HUB_OFFLINE").and_then(|value| value.into_string().ok()).unwrap_or_default();
    ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
}

/// The error for a model that is not in the cache: how to fetch it, the files needed, and their places.
fn miss(id: &HubId, cache: &Path, looked_in: &Path, what: String, offline: bool) -> Error {
    let name = format!("{}/{}", id.organisation, id.name);
    let how = match (offline, cfg!(feature = "download")) {
        (true, _) => "HF_HUB_OFFLINE is set, so nothing is fetched".to_owned(),
        (false, true) => format!("fetch it with `downhill download {id}`"),
        (false, false) => {
            let revision = id.revision.as_ref().map_or_else(String::new, |revision| format!(" --revision {revision}"));
            format!("nothing is downloaded: fetch it with `hf download {name}{revision}`")
        }
    };
    let repository = cache.join(format!("models--{}--{}", id.organisation, id.name));
    let revision = id.revision.as_deref().unwrap_or(DEFAULT_REVISION);
    Error::bad_file_hint(
        looked_in,
        what,
        format!(
            "{how}. The files are {}; they go to {} with the commit in {}, or into any folder, to be named instead",
            files::needed(),
            repository.join("snapshots").join("COMMIT").display(),
            repository.join("refs").join(revision).display(),
        ),
    )
}

/// Returns the folder of the cache, or `None` if no variable determines it.
fn cache_folder(environment: Environment) -> Option<PathBuf> {
    let folder = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("HF_HUB_CACHE")
        .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(folder("HF_HOME")?.join("hub")))
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface").join("hub")))
        .or_else(|| {
            let home = folder("HOME").or_else(|| folder("USERPROFILE"))?;
            Some(home.join(".cache").join("huggingface").join("hub"))
        })
}

fn sub_folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> HubId {
        HubId::parse(text).unwrap()
    }

    /// A cache with one model, at the given snapshots and refs.
    fn cache(snapshots: &[&str], refs: &[(&str, &str)]) -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        let repository = cache.path().join("models--google--ddpm-cat");
        std::fs::create_dir_all(repository.join("snapshots")).unwrap();
        for commit in snapshots {
            std::fs::create_dir(repository.join("snapshots").join(commit)).unwrap();
        }
        for (name, commit) in refs {
            let file = repository.join("refs").join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, format!("{commit}\n")).unwrap();
        }
        cache
    }

    fn look_up(cache: &tempfile::TempDir, text: &str) -> Result<String> {
        let folder = snapshot(&id(text), &|name| (name == "HF_HUB_CACHE").then(|| cache.path().into()))?;
        assert!(folder.is_dir());
        Ok(folder.strip_prefix(cache.path()).unwrap().to_string_lossy().replace('\\', "/"))
    }

    #[test]
    fn ids_are_told_from_paths() {
        assert_eq!(id("google/ddpm-cifar10-32").to_string(), "google/ddpm-cifar10-32");
        assert_eq!(id("a/b@refs/pr/1").revision.as_deref(), Some("refs/pr/1"));
        for path in ["plain", "a/b/c", "./a", "../a", "/a/b", "a/", "/a", "a/b.safetensors", "a/b@", "a/b@../c", "~/a"]
        {
            assert_eq!(HubId::parse(path), None, "{path}");
        }
    }

    #[test]
    fn refs_lead_to_the_snapshot() {
        let cache = cache(&["c0ffee", "beef"], &[("main", "beef"), ("fp16", "c0ffee"), ("refs/pr/1", "c0ffee")]);
        let snapshots = "models--google--ddpm-cat/snapshots";
        assert_eq!(look_up(&cache, "google/ddpm-cat").unwrap(), format!("{snapshots}/beef"));
        assert_eq!(look_up(&cache, "google/ddpm-cat@fp16").unwrap(), format!("{snapshots}/c0ffee"));
        assert_eq!(look_up(&cache, "google/ddpm-cat@refs/pr/1").unwrap(), format!("{snapshots}/c0ffee"));
        assert_eq!(look_up(&cache, "google/ddpm-cat@c0ffee").unwrap(), format!("{snapshots}/c0ffee"));
    }

    #[test]
    fn without_refs_a_single_snapshot_is_taken_and_two_are_not() {
        let single = cache(&["beef"], &[]);
        assert_eq!(look_up(&single, "google/ddpm-cat").unwrap(), "models--google--ddpm-cat/snapshots/beef");
        let error = look_up(&cache(&["beef", "c0ffee"], &[]), "google/ddpm-cat").unwrap_err();
        assert!(error.to_string().contains("2 snapshots of `google/ddpm-cat`"), "{error}");
        assert_eq!(error.hint().as_deref(), Some("choose one: `google/ddpm-cat@COMMIT`"));
    }

    #[test]
    fn a_miss_names_the_folder_and_the_files() {
        let dangling = cache(&[], &[("main", "gone")]);
        let empty = cache(&[], &[]);
        for (cache, text, folder) in [
            (&empty, "google/other", "models--google--other"),
            (&empty, "google/ddpm-cat", "snapshots"),
            (&empty, "google/ddpm-cat@v2", "v2"),
            (&dangling, "google/ddpm-cat", "gone"),
        ] {
            let error = look_up(cache, text).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::File);
            let Error::BadFile { file, hint: Some(hint), .. } = error else { panic!("{text}") };
            assert!(file.starts_with(cache.path()) && file.ends_with(folder), "{}", file.display());
            assert!(
                hint.contains("config.json") && hint.contains("unet/diffusion_pytorch_model.safetensors"),
                "{hint}"
            );
            assert!(hint.contains("/snapshots/COMMIT") && hint.contains("/refs/"), "{hint}");
        }
    }

    #[test]
    fn offline_is_said() {
        let empty = cache(&[], &[]);
        for (value, offline) in [("1", true), ("yes", true), ("True", true), ("ON", true), ("0", false), ("", false)] {
            let environment = |name: &str| match name {
                "HF_HUB_CACHE" => Some(empty.path().into()),
                "HF_HUB_OFFLINE" => Some(value.into()),
                _ => None,
            };
            let hint = snapshot(&id("google/other"), &environment).unwrap_err().hint().unwrap();
            assert_eq!(hint.contains("HF_HUB_OFFLINE"), offline, "{value}: {hint}");
            assert_eq!(hint.contains("download"), !offline, "{value}: {hint}");
        }
    }

    #[test]
    fn a_ref_cannot_lead_out_of_the_cache() {
        let error = look_up(&cache(&["beef"], &[("main", "../../..")]), "google/ddpm-cat").unwrap_err();
        assert!(error.to_string().contains("points to this snapshot"), "{error}");
    }

    #[test]
    fn the_environment_decides_in_the_documented_order() {
        let mut set = vec![
            ("HF_HUB_CACHE", "/hub", "/hub"),
            ("HUGGINGFACE_HUB_CACHE", "/old", "/old"),
            ("HF_HOME", "/hf", "/hf/hub"),
            ("XDG_CACHE_HOME", "/xdg", "/xdg/huggingface/hub"),
            ("HOME", "/home/me", "/home/me/.cache/huggingface/hub"),
            ("USERPROFILE", "/users/me", "/users/me/.cache/huggingface/hub"),
        ];
        while !set.is_empty() {
            let environment = |name: &str| set.iter().find(|(key, ..)| *key == name).map(|(_, value, _)| value.into());
            assert_eq!(cache_folder(&environment), Some(PathBuf::from(set[0].2)));
            set.remove(0);
        }
        assert_eq!(cache_folder(&|_| None), None);
        let empty_is_unset = |name: &str| Some(if name == "HF_HOME" { "/hf".into() } else { OsString::new() });
        assert_eq!(cache_folder(&empty_is_unset), Some(PathBuf::from("/hf/hub")));
    }
}
