//! The local cache of the hub: its place, and the snapshots in it.
//!
//! The cache is where `huggingface_hub` puts it, in the first of these that is set: `HF_HUB_CACHE`, its old name
//! `HUGGINGFACE_HUB_CACHE`, `HF_HOME/hub`, `XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub`. `~` at the
//! beginning of a variable is the home folder, and `$NAME` in it is another variable.

use std::path::{Path, PathBuf};

use super::{DEFAULT_REVISION, Environment, HubId, files, refs};
use crate::error::{Error, Result};

/// Returns the folder of the snapshot of `id`.
///
/// Without a revision, it is that of `refs/main`, or the only snapshot there is. With one, it is that of
/// `refs/{revision}`, or the snapshot of that name. A snapshot that no ref leads to is not returned while a download is
/// unfinished.
///
/// # Errors
/// [`Error::BadFile`] naming the folder searched and the files needed, or the ref that does not hold a commit.
pub(in crate::checkpoint) fn snapshot(id: &HubId, environment: Environment) -> Result<PathBuf> {
    let cache = folder(environment).ok_or_else(|| no_cache(id))?;
    let miss = |looked_in: &Path, what: String| miss(id, &cache, looked_in, what, offline(environment));
    let repository = cache.join(id.folder());
    if !repository.is_dir() {
        let what = format!("neither a folder here nor in the local hub cache (`{}`)", repository.display());
        // A name is all that there is: it may be a mistyped path as well as a model of the hub.
        return Err(miss(Path::new(&id.to_string()), what));
    }
    let revision = id.revision();
    let snapshots = repository.join("snapshots");
    if let Some(commit) = refs::read(&repository.join("refs").join(revision))? {
        let folder = snapshots.join(commit);
        return if folder.is_dir() {
            Ok(folder)
        } else {
            Err(miss(&folder, format!("`{id}` points to this snapshot, which the local hub cache lacks")))
        };
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
        (Some(only), 0) if is_unfinished(&repository) => {
            Err(miss(&only, format!("the download of `{id}` is not finished")))
        }
        (Some(only), 0) => Ok(only),
        (None, _) if is_unfinished(&repository) => {
            Err(miss(&snapshots, format!("the download of `{id}` is not finished")))
        }
        (None, _) => Err(miss(&snapshots, format!("the local hub cache holds no snapshot of `{id}`"))),
        (Some(_), others) => Err(Error::bad_file_hint(
            &snapshots,
            format!("{} snapshots of `{id}`, and no `refs/{DEFAULT_REVISION}` to choose one", others + 1),
            format!("choose one: `{id}@COMMIT`"),
        )),
    }
}

/// Returns `true` if a file of the repository has been received in part.
fn is_unfinished(repository: &Path) -> bool {
    let entries = std::fs::read_dir(repository.join("blobs")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|suffix| suffix == PART))
}

/// The suffix of a blob that has been received in part.
pub(super) const PART: &str = "incomplete";

pub(super) fn no_cache(id: &HubId) -> Error {
    Error::argument(
        format!("the local hub cache that may hold `{id}` cannot be found: there is no home folder"),
        "set HF_HUB_CACHE to the folder of the cache",
    )
}

/// Returns the name of the variable that forbids access to the hub, if one does: it is 1, ON, YES or TRUE.
pub(super) fn offline(environment: Environment) -> Option<&'static str> {
    let value = |name: &str| environment(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
    let set = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| !value(name).is_empty());
    set.filter(|name| ["1", "ON", "YES", "TRUE"].contains(&value(name).to_ascii_uppercase().as_str()))
}

/// The error for a model that is not in the cache: how to fetch it, the files needed, and their places.
fn miss(id: &HubId, cache: &Path, looked_in: &Path, what: String, offline: Option<&str>) -> Error {
    let name = format!("{}/{}", id.organisation, id.name);
    let how = match (offline, cfg!(feature = "download")) {
        (Some(variable), _) => format!("{variable} is set, so nothing is fetched"),
        (None, true) => format!("fetch it with `downhill download {id}`"),
        (None, false) => {
            let revision = id.revision.as_ref().map_or_else(String::new, |revision| format!(" --revision {revision}"));
            format!(
                "nothing is downloaded: fetch it with `hf download {name}{revision}`, or build this program with the \
                 feature `download`: `cargo install --locked --features download downhill`"
            )
        }
    };
    let repository = cache.join(id.folder());
    Error::bad_file_hint(
        looked_in,
        what,
        format!(
            "{how}. The files are {}; they go to {} with the commit in {}, or into any folder, to be named instead",
            files::needed(),
            repository.join("snapshots").join("COMMIT").display(),
            repository.join("refs").join(id.revision()).display(),
        ),
    )
}

/// Returns the folder of the cache, or `None` if no variable determines it.
pub(super) fn folder(environment: Environment) -> Option<PathBuf> {
    path("HF_HUB_CACHE", environment)
        .or_else(|| path("HUGGINGFACE_HUB_CACHE", environment))
        .or_else(|| Some(path("HF_HOME", environment)?.join("hub")))
        .or_else(|| Some(path("XDG_CACHE_HOME", environment)?.join("huggingface").join("hub")))
        .or_else(|| Some(home(environment)?.join(".cache").join("huggingface").join("hub")))
}

fn home(environment: Environment) -> Option<PathBuf> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HOME").or_else(|| set("USERPROFILE"))
}

/// Returns the path in a variable, expanded. A variable that is empty is not set.
pub(super) fn path(variable: &str, environment: Environment) -> Option<PathBuf> {
    let value = environment(variable).filter(|value| !value.is_empty())?;
    let Some(text) = value.to_str() else { return Some(value.into()) };
    let text_of = |name: &str| environment(name).and_then(|value| value.into_string().ok());
    let home = || home(environment).and_then(|home| home.into_os_string().into_string().ok());
    Some(PathBuf::from(shellexpand::full_with_context_no_errors(text, home, text_of).into_owned()))
}

fn sub_folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

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
    fn a_name_that_is_nowhere_may_be_a_mistyped_folder() {
        let empty = cache(&[], &[]);
        let error = look_up(&empty, "no/such").unwrap_err();
        let place = empty.path().join("models--no--such");
        let expected = format!("no/such: neither a folder here nor in the local hub cache (`{}`)", place.display());
        assert_eq!((error.to_string(), error.kind()), (expected, crate::ErrorKind::File));
        assert!(error.hint().unwrap().contains("/snapshots/COMMIT"));
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
        assert!(error.to_string().contains("refs/main: does not name a commit"), "{error}");
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
            assert_eq!(folder(&environment), Some(PathBuf::from(set[0].2)));
            set.remove(0);
        }
        assert_eq!(folder(&|_| None), None);
        let empty_is_unset = |name: &str| Some(if name == "HF_HOME" { "/hf".into() } else { OsString::new() });
        assert_eq!(folder(&empty_is_unset), Some(PathBuf::from("/hf/hub")));
    }

    #[test]
    fn an_unfinished_download_is_not_a_model() {
        for snapshots in [&["beef"][..], &[]] {
            let cache = cache(snapshots, &[]);
            let blobs = cache.path().join("models--google--ddpm-cat/blobs");
            std::fs::create_dir(&blobs).unwrap();
            std::fs::write(blobs.join("0123.incomplete"), "half").unwrap();
            let error = look_up(&cache, "google/ddpm-cat").unwrap_err();
            assert!(error.to_string().contains("the download of `google/ddpm-cat` is not finished"), "{error}");
        }
        let cache = cache(&["beef"], &[("main", "beef")]);
        std::fs::create_dir(cache.path().join("models--google--ddpm-cat/blobs")).unwrap();
        std::fs::write(cache.path().join("models--google--ddpm-cat/blobs/0123.incomplete"), "half").unwrap();
        look_up(&cache, "google/ddpm-cat").expect("a ref is written last, so its snapshot is whole");
    }

    #[test]
    fn a_tilde_and_variables_are_expanded() {
        for (value, expected) in [
            ("~/models", "/home/me/models"),
            ("~", "/home/me"),
            ("$SCRATCH/hf", "/fast/hf"),
            ("${SCRATCH}/hf", "/fast/hf"),
            ("/a/~/b", "/a/~/b"),
            ("/a/$UNSET", "/a/$UNSET"),
        ] {
            let environment = |name: &str| match name {
                "HF_HUB_CACHE" => Some(OsString::from(value)),
                "HOME" => Some("/home/me".into()),
                "SCRATCH" => Some("/fast".into()),
                _ => None,
            };
            assert_eq!(folder(&environment), Some(PathBuf::from(expected)), "{value}");
        }
    }

    #[test]
    fn either_variable_forbids_access() {
        let set = |hub: &'static str, transformers: &'static str| {
            offline(&move |name| match name {
                "HF_HUB_OFFLINE" => Some(hub.into()),
                "TRANSFORMERS_OFFLINE" => Some(transformers.into()),
                _ => None,
            })
        };
        assert_eq!(set("1", ""), Some("HF_HUB_OFFLINE"));
        assert_eq!(set("", "true"), Some("TRANSFORMERS_OFFLINE"));
        assert_eq!((set("0", "1"), set("", "0"), set("", "")), (None, None, None), "the first that is set decides");
    }
}
