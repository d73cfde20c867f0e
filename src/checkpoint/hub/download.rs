//! Downloads of models from the hub into the local cache, in the layout of `huggingface_hub`.
//!
//! The hub reports the commit of a revision and its files. Each file has an `ETag`, which names its blob: the SHA-256
//! of a file in large-file storage, or the Git hash of a file in the repository itself. All files are fetched and
//! verified first; only then does the snapshot link to them, and only then does the ref lead to the snapshot. So a
//! snapshot that a ref leads to is whole.

use std::path::{Path, PathBuf};

use super::about::is_named_by_content;
use super::answers::Listing;
use super::blobs::{Blobs, Wanted, Watch, put};
use super::cache::{folder, no_cache, offline};
use super::client::Client;
use super::files::{chosen, single_files};
use super::{Environment, HubId, refs};
use crate::error::{Error, Result};

/// A progress event of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A file of `bytes` bytes begins, of which the first `there` are already present.
    Begin { file: &'a str, bytes: u64, there: u64 },
    /// The number of further bytes received.
    Bytes(u64),
    /// A request failed, for a reason that may pass, and is repeated. `place` is a file, or the address of the request.
    Again { place: &'a str, attempt: u32, why: &'a str },
    /// Another process is fetching the file.
    Waiting { file: &'a str },
    /// The file, or a part of it, is in the cache with another content than it should have. It is fetched again.
    Damaged { file: &'a str },
    /// The hub states no checksum of the file: its length is all that is verified.
    Unverified { file: &'a str },
}

/// Fetches `org/name[@revision]` into the local cache and returns the folder of its snapshot. Files already present are
/// verified and kept. `variant` prefers weights of that variant (`fp16`). `watch` sees every event, and its error stops
/// the download.
///
/// A download that is interrupted, by whatever means, is resumed by the next one. Several processes may fetch the same
/// model at once: one fetches a file, and the others wait for it.
///
/// # Errors
/// [`Error::Argument`] for a name that is not a hub id, and with `HF_HUB_OFFLINE`; [`Error::BadFile`] naming the
/// address for anything the hub does not have, for an unexpected response, for a checksum that differs, and for a
/// connection that is lost repeatedly; [`Error::BadFile`] or [`Error::Io`] naming the file of the cache that cannot be
/// written; the error of `watch`.
pub fn fetch(id: &str, variant: Option<&str>, watch: &mut dyn FnMut(Event) -> Result<()>) -> Result<PathBuf> {
    fetch_in(id, variant, &|name| std::env::var_os(name), watch)
}

/// As [`fetch`], with the environment variables of the hub read from `environment`.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_in(
    id: &str,
    variant: Option<&str>,
    environment: Environment,
    watch: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<PathBuf> {
    let Some(id) = HubId::parse(id) else {
        return Err(Error::argument(
            format!("`{id}` is not a model on the hub"),
            "give `org/name` or `org/name@revision`",
        ));
    };
    if let Some(variable) = offline(environment) {
        return Err(Error::argument(format!("`{id}` is not fetched: {variable} is set"), format!("unset {variable}")));
    }
    let cache = folder(environment).ok_or_else(|| no_cache(&id))?;
    let repository = cache.join(id.folder());
    let client = Client::new(environment)?;
    let Listing { commit, files } = client.listing(&id, &mut again(&client.page(&id), watch))?;
    let mut names = chosen(&files, variant);
    if names.is_empty() {
        names = match &single_files(&files)[..] {
            [only] => vec![only.clone()],
            [] => {
                return Err(Error::bad_file_hint(
                    client.page(&id),
                    "does not hold a diffusers model in safetensors",
                    "check its files on the hub",
                ));
            }
            several => {
                let quoted: Vec<String> = several.iter().map(|file| format!("`{file}`")).collect();
                return Err(Error::bad_file_hint(
                    client.page(&id),
                    format!("not a diffusers model, but several single files: {}", quoted.join(", ")),
                    format!("fetch one of them with `hf download {id} FILE`, and name it by its path"),
                ));
            }
        };
    }
    let snapshot = repository.join("snapshots").join(&commit);
    let mut wanted = Vec::new();
    for file in &names {
        let place = snapshot.join(file);
        if !is_verified(&place)? {
            let address = format!("{}/resolve/{commit}/{file}", client.page(&id));
            let about = client.about(&address, &mut again(file, watch))?;
            if !is_copy(&place, &about)? {
                wanted.push(Wanted { file, address, blob: about.blob(&commit, file), about });
            }
        }
    }
    let blobs = Blobs::of(&cache, &id.folder());
    blobs.check_space(&wanted)?;
    let obtained = wanted.iter().map(|wanted| blobs.obtain(&client, wanted, watch)).collect::<Result<Vec<_>>>()?;
    for (wanted, blob) in wanted.iter().zip(obtained) {
        put(&blob, &snapshot.join(wanted.file))?;
    }
    if id.revision() != commit {
        refs::write(&repository, id.revision(), &commit)?;
    }
    Ok(snapshot)
}

/// Returns `true` if a file of a snapshot is a link to a blob whose content has the hash that names it.
fn is_verified(place: &Path) -> Result<bool> {
    let Ok(blob) = std::fs::read_link(place) else { return Ok(false) };
    let name = blob.file_name().and_then(std::ffi::OsStr::to_str);
    name.map_or(Ok(false), |name| is_named_by_content(place, name))
}

/// Returns `true` if a file of a snapshot is not a link, as where links are not available, and has the content that the
/// hub states.
fn is_copy(place: &Path, about: &super::about::About) -> Result<bool> {
    let is_file = std::fs::symlink_metadata(place).is_ok_and(|found| found.is_file());
    Ok(is_file && about.is(place)?)
}

/// Tells `watch` of further attempts at a request about `place`.
fn again<'a>(place: &'a str, watch: Watch<'a>) -> impl FnMut(u32, &str) -> Result<()> + 'a {
    move |attempt, why| watch(Event::Again { place, attempt, why })
}
