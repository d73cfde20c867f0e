//! Models of the Hugging Face hub: the local cache, read offline, and with the feature `download` what fills it.
//!
//! `models--{org}--{name}/refs/{revision}` holds a commit, `snapshots/{commit}/` the files (links into `blobs/`).
//! `docs/DOWNLOADS.md` describes the layout and the rules.

#[cfg(feature = "download")]
mod about;
#[cfg(feature = "download")]
mod answers;
#[cfg(feature = "download")]
mod blobs;
mod cache;
#[cfg(feature = "download")]
mod client;
#[cfg(feature = "download")]
mod download;
mod files;
mod refs;

#[cfg(feature = "download")]
pub use about::About;
#[cfg(feature = "download")]
pub use answers::{Listing, Stated};
pub(super) use cache::snapshot;
#[cfg(feature = "download")]
pub use download::{Event, fetch, fetch_in};

use std::ffi::OsString;
use std::path::Path;

/// A lookup of environment variables: those of the process, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

const DEFAULT_REVISION: &str = "main";

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

    /// Returns the branch, tag or commit: the one given, or else the default branch.
    fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// Returns the name of the repository's folder in the cache.
    fn folder(&self) -> String {
        format!("models--{}--{}", self.organisation, self.name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        let id = |text: &str| HubId::parse(text).unwrap();
        assert_eq!(id("google/ddpm-cifar10-32").to_string(), "google/ddpm-cifar10-32");
        assert_eq!(id("a/b@refs/pr/1").revision.as_deref(), Some("refs/pr/1"));
        for path in [
            "plain",
            "a/b/c",
            "./a",
            "../a",
            "/a/b",
            "a/",
            "/a",
            "a/b.safetensors",
            "a/b@",
            "a/b@../c",
            "~/a",
            "a/b@v\n",
        ] {
            assert_eq!(HubId::parse(path), None, "{path}");
        }
    }
}
