//! Downloads of models from the hub into the local cache, in the layout of `huggingface_hub`.
//!
//! The hub reports the commit of a revision and its files. Each file has an `ETag`, which names its blob: the SHA-256
//! of a file in large-file storage, or the Git hash of a file in the repository itself. A file is fetched into
//! `blobs/ETAG.incomplete`, continuing an earlier attempt, and is renamed only after its checksum has been verified.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sha1::Digest;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::files::chosen;
use super::{DEFAULT_REVISION, Environment, HubId, cache_folder, is_name, is_offline, no_cache};
use crate::error::{Error, Result};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// The number of bytes read at a time.
const PIECE: usize = 1 << 16;
/// The number of attempts per file. Each continues where the last one stopped.
const ATTEMPTS: u32 = 5;
/// The wait before the second attempt. It doubles before each further one.
const PAUSE: Duration = Duration::from_millis(300);

/// A progress event of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file of `bytes` bytes begins, of which the first `there` are already present.
    Begin { file: &'a str, bytes: u64, there: u64 },
    /// The number of further bytes received.
    Bytes(u64),
}

/// Fetches `org/name[@revision]` into the local cache and returns the folder of its snapshot. Files already present are
/// kept. `variant` prefers weights of that variant (`fp16`).
///
/// # Errors
/// [`Error::Argument`] for a name that is not a hub id, and with `HF_HUB_OFFLINE`; [`Error::BadFile`] naming the
/// address for anything the hub does not have, for an unexpected response, for a checksum that differs, and for a
/// connection that is lost repeatedly.
pub fn fetch(id: &str, variant: Option<&str>, watch: &mut dyn FnMut(Event)) -> Result<PathBuf> {
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
    watch: &mut dyn FnMut(Event),
) -> Result<PathBuf> {
    let Some(id) = HubId::parse(id) else {
        return Err(Error::argument(
            format!("`{id}` is not a model on the hub"),
            "give `org/name` or `org/name@revision`",
        ));
    };
    if is_offline(environment) {
        return Err(Error::argument(format!("`{id}` is not fetched: HF_HUB_OFFLINE is set"), "unset HF_HUB_OFFLINE"));
    }
    let cache = cache_folder(environment).ok_or_else(|| no_cache(&id))?;
    let repository = cache.join(format!("models--{}--{}", id.organisation, id.name));
    let hub = Hub::new(environment);
    let revision = id.revision.as_deref().unwrap_or(DEFAULT_REVISION);
    let (commit, files) = hub.listing(&id, revision)?;
    let wanted = chosen(&files, variant);
    if wanted.is_empty() {
        return Err(Error::bad_file_hint(
            hub.page(&id),
            "does not hold a diffusers model in safetensors",
            "check its files on the hub",
        ));
    }
    let snapshot = repository.join("snapshots").join(&commit);
    for file in &wanted {
        let place = snapshot.join(file);
        if !place.exists() {
            let blob = hub.file(&id, &commit, file, &repository.join("blobs"), watch)?;
            put(&blob, &place)?;
        }
    }
    write(&repository.join("refs").join(revision), commit.as_bytes())?;
    Ok(snapshot)
}

/// A client of the hub or of a server in its place.
struct Hub {
    endpoint: String,
    token: Option<String>,
    agent: Agent,
}

impl Hub {
    fn new(environment: Environment) -> Self {
        let text =
            |name: &str| environment(name).and_then(|value| value.into_string().ok()).filter(|text| !text.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let kept =
            text("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(Path::new(&text("HF_HOME")?).join("token")));
        let token = text("HF_TOKEN").or_else(|| Some(std::fs::read_to_string(kept?).ok()?.trim().to_owned()));
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), token, agent: Agent::new_with_config(agent) }
    }

    fn page(&self, id: &HubId) -> String {
        format!("{}/{}/{}", self.endpoint, id.organisation, id.name)
    }

    /// Returns the commit of a revision, and its files.
    fn listing(&self, id: &HubId, revision: &str) -> Result<(String, Vec<String>)> {
        let address =
            format!("{}/api/models/{}/{}/revision/{}", self.endpoint, id.organisation, id.name, escaped(revision));
        let mut response = self.ask(&address, None)?;
        let body = response.body_mut().read_to_string().map_err(|error| lost(&address, &error.to_string()))?;
        let listing: Value = serde_json::from_str(&body)
            .map_err(|error| Error::bad_file(&address, format!("the response is not JSON: {error}")))?;
        let commit = listing["sha"].as_str().filter(|commit| is_name(commit));
        let siblings = listing["siblings"].as_array();
        let (Some(commit), Some(siblings)) = (commit, siblings) else {
            return Err(Error::bad_file(&address, "the response names no commit and files"));
        };
        let names = siblings.iter().filter_map(|file| file["rfilename"].as_str());
        // No name may lead outside the snapshot.
        let sound = |name: &&str| name.split('/').all(is_name);
        Ok((commit.to_owned(), names.filter(sound).map(str::to_owned).collect()))
    }

    /// Fetches a file into `blobs` and returns the path of its blob.
    fn file(
        &self,
        id: &HubId,
        commit: &str,
        file: &str,
        blobs: &Path,
        watch: &mut dyn FnMut(Event),
    ) -> Result<PathBuf> {
        let address = format!("{}/resolve/{commit}/{file}", self.page(id));
        let about = self.about(&address)?;
        let blob = blobs.join(&about.etag);
        if blob.is_file() {
            return Ok(blob);
        }
        std::fs::create_dir_all(blobs).map_err(|error| Error::io(blobs, error))?;
        let part = blobs.join(format!("{}.incomplete", about.etag));
        let mut out = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&part)
            .map_err(|error| Error::io(&part, error))?;
        let mut there = out.seek(SeekFrom::End(0)).map_err(|error| Error::io(&part, error))?;
        if there > about.bytes {
            out.set_len(0).map_err(|error| Error::io(&part, error))?;
            there = 0;
        }
        watch(Event::Begin { file, bytes: about.bytes, there });
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            if there == about.bytes {
                break;
            }
            std::thread::sleep(PAUSE * attempt);
            last = self.go_on(&address, &part, &mut out, &mut there, watch)?;
        }
        if there != about.bytes {
            return Err(lost(&address, &last.unwrap_or_else(|| format!("{there} of {} bytes received", about.bytes))));
        }
        about.check(&address, &part)?;
        std::fs::rename(&part, &blob).map_err(|error| Error::io(&blob, error))?;
        Ok(blob)
    }

    /// Reads from byte `there` to the end, or until the connection is lost. Returns the cause of the loss, if any.
    fn go_on(
        &self,
        address: &str,
        part: &Path,
        out: &mut File,
        there: &mut u64,
        watch: &mut dyn FnMut(Event),
    ) -> Result<Option<String>> {
        let mut response = match self.ask(address, (*there > 0).then_some(*there)) {
            Ok(response) => response,
            Err(Error::BadFile { what, .. }) if what.starts_with(LOST) => return Ok(Some(what)),
            Err(other) => return Err(other),
        };
        if *there > 0 && response.status() != 206 {
            // The server starts over.
            out.set_len(0).map_err(|error| Error::io(part, error))?;
            *there = 0;
        }
        let mut reader = response.body_mut().as_reader();
        let mut piece = vec![0; PIECE];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(bytes) => {
                    out.write_all(&piece[..bytes]).map_err(|error| Error::io(part, error))?;
                    *there += bytes as u64;
                    watch(Event::Bytes(bytes as u64));
                }
                Err(error) => return Ok(Some(error.to_string())),
            }
        }
    }

    /// Asks the hub about a file, before any redirection to its storage.
    fn about(&self, address: &str) -> Result<About> {
        let request = self.agent.head(address).config().max_redirects(0).max_redirects_will_error(false).build();
        let request = self.token.iter().fold(request, |request, token| request.header("Authorization", bearer(token)));
        let response = request.call().map_err(|error| lost(address, &error.to_string()))?;
        if response.status().as_u16() >= 400 {
            return Err(refused(address, &response));
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = header("x-linked-etag")
            .or_else(|| header("etag"))
            .map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
        let bytes = header("x-linked-size").or_else(|| header("content-length")).and_then(|bytes| bytes.parse().ok());
        match (etag.filter(|tag| is_name(tag)), bytes) {
            (Some(etag), Some(bytes)) => Ok(About { etag: etag.to_owned(), bytes }),
            _ => Err(Error::bad_file(address, "the response has no ETag and length")),
        }
    }

    fn ask(&self, address: &str, from: Option<u64>) -> Result<Response<Body>> {
        let request = self.agent.get(address);
        let request = self.token.iter().fold(request, |request, token| request.header("Authorization", bearer(token)));
        let request = from.iter().fold(request, |request, byte| request.header("Range", format!("bytes={byte}-")));
        let response = request.call().map_err(|error| lost(address, &error.to_string()))?;
        if response.status().is_success() { Ok(response) } else { Err(refused(address, &response)) }
    }
}

/// The properties of a file that are known before it is fetched.
struct About {
    etag: String,
    bytes: u64,
}

impl About {
    /// Verifies the checksum of a received file, and deletes the file if it differs.
    fn check(&self, address: &str, part: &Path) -> Result<()> {
        let is_hex = self.etag.bytes().all(|digit| digit.is_ascii_hexdigit());
        let found = match self.etag.len() {
            64 if is_hex => hash(sha2::Sha256::new(), part)?,
            40 if is_hex => hash(sha1::Sha1::new_with_prefix(format!("blob {}\0", self.bytes)), part)?,
            _ => return Ok(()),
        };
        if found == self.etag.to_ascii_lowercase() {
            return Ok(());
        }
        std::fs::remove_file(part).map_err(|error| Error::io(part, error))?;
        Err(Error::bad_file_hint(
            address,
            format!("the received file has the checksum {found}, expected {}", self.etag),
            "it was damaged in transfer and deleted; try again",
        ))
    }
}

/// Returns the digest of a file in hexadecimal.
fn hash<D: Digest>(mut digest: D, path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|error| Error::io(path, error))?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(|error| Error::io(path, error))? {
            0 => {
                let digits = digest.finalize();
                return Ok(digits.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")));
            }
            bytes => digest.update(&piece[..bytes]),
        }
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Escapes a revision as one part of an address.
fn escaped(revision: &str) -> String {
    revision.replace('/', "%2F")
}

const LOST: &str = "the connection failed";

fn lost(address: &str, why: &str) -> Error {
    Error::bad_file_hint(
        address,
        format!("{LOST}: {why}"),
        "the received part is kept, and the same command resumes from there",
    )
}

fn refused(address: &str, response: &Response<Body>) -> Error {
    let status = response.status();
    let hint = match status.as_u16() {
        401 | 403 => "the model requires an account: accept its terms on its page, and set HF_TOKEN",
        404 => "there is no such model, revision or file; a private one needs HF_TOKEN",
        _ => "try again later",
    };
    Error::bad_file_hint(address, format!("the hub responds with status {status}"), hint)
}

/// Links a blob into a snapshot under its name: a relative link, or a copy where links are not available.
fn put(blob: &Path, place: &Path) -> Result<()> {
    let Some(folder) = place.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    link(blob, place).map_err(|error| Error::io(place, error))
}

#[cfg(unix)]
fn link(blob: &Path, place: &Path) -> std::io::Result<()> {
    // From snapshots/COMMIT/[FOLDER/]FILE up to the repository.
    let depth = place.components().count() - blob.components().count();
    let mut target: PathBuf = std::iter::repeat_n("..", depth + 1).collect();
    target.extend(["blobs".as_ref(), blob.file_name().unwrap_or_default()]);
    std::os::unix::fs::symlink(target, place)
}

#[cfg(not(unix))]
fn link(blob: &Path, place: &Path) -> std::io::Result<()> {
    std::fs::copy(blob, place).map(|_| ())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    }
    std::fs::write(path, bytes).map_err(|error| Error::io(path, error))
}
