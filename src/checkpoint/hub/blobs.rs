//! Files on their way into the cache: received in part, verified, and given their names.
//!
//! A blob is received in `blobs/NAME.incomplete`, under a lock that `huggingface_hub` takes too, and is renamed only
//! after its length and checksum have been verified. Whatever interrupts this, the part that was received stays.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::about::{About, PIECE};
use super::cache::PART;
use super::client::{Client, Failure, lost};
use super::download::Event;
use crate::error::{Error, Result};

/// The wait between two looks at a lock that another process holds.
const LOCKED: Duration = Duration::from_millis(100);

/// A file of a model that is to be fetched.
pub(super) struct Wanted<'a> {
    /// Its path in the repository.
    pub(super) file: &'a str,
    /// Its address.
    pub(super) address: String,
    /// The name of its blob.
    pub(super) blob: String,
    /// The properties that the hub states.
    pub(super) about: About,
}

/// The blobs of one repository in the cache.
pub(super) struct Blobs {
    folder: PathBuf,
    locks: PathBuf,
}

/// A function that sees every event of a download. An error stops it.
pub(super) type Watch<'a> = &'a mut dyn FnMut(Event) -> Result<()>;

impl Blobs {
    /// Returns the blobs of the repository whose folder in `cache` is named `repository`.
    pub(super) fn of(cache: &Path, repository: &str) -> Self {
        // The places of `huggingface_hub`, so that either program waits for the other.
        Self { folder: cache.join(repository).join("blobs"), locks: cache.join(".locks").join(repository) }
    }

    /// Checks that the disk has room for what is missing of the files.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming the folder, what is needed and what is free.
    pub(super) fn check_space(&self, wanted: &[Wanted]) -> Result<()> {
        let length =
            |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
        let missing = wanted.iter().map(|wanted| {
            let bytes = wanted.about.bytes;
            let there = length(&self.folder.join(&wanted.blob)).filter(|there| *there == bytes);
            bytes - there.or_else(|| length(&self.part(&wanted.blob))).unwrap_or(0).min(bytes)
        });
        let needed = missing.fold(0u64, u64::saturating_add);
        match free_space(&self.folder) {
            Some(free) if free < needed => Err(Error::bad_file_hint(
                &self.folder,
                format!("needs {needed} bytes, and its disk has {free} free"),
                "free the space, or set HF_HUB_CACHE to a folder on another disk",
            )),
            _ => Ok(()),
        }
    }

    /// Makes the blob of a file be there, whole and verified, and returns its path.
    pub(super) fn obtain(&self, client: &Client, wanted: &Wanted, watch: Watch) -> Result<PathBuf> {
        let Wanted { file, address, blob: name, about } = wanted;
        let blob = self.folder.join(name);
        if about.is(&blob)? {
            return Ok(blob);
        }
        std::fs::create_dir_all(&self.folder).map_err(|error| io(&self.folder, error))?;
        let _lock = self.lock(name, file, watch)?;
        // Another process may have fetched it in the meantime.
        if about.is(&blob)? {
            return Ok(blob);
        }
        if blob.exists() {
            watch(Event::Damaged { file })?;
        }
        if !about.is_verifiable() {
            watch(Event::Unverified { file })?;
        }
        let part = self.part(name);
        let mut out = Part::open(&part, about.bytes)?;
        let mut resumed = out.there > 0;
        loop {
            out.receive(client, wanted, watch)?;
            let found = about.checksum(&part)?;
            match found {
                Some(found) if found != about.etag.to_ascii_lowercase() => {
                    out.clear()?;
                    if !resumed {
                        std::fs::remove_file(&part).map_err(|error| io(&part, error))?;
                        return Err(Error::bad_file_hint(
                            address,
                            format!("the received file has the checksum {found}, expected {}", about.etag),
                            "it was damaged in transfer and deleted; try again",
                        ));
                    }
                    // The fault may lie in what an earlier attempt left.
                    resumed = false;
                    watch(Event::Damaged { file })?;
                }
                _ => break,
            }
        }
        out.file.sync_all().map_err(|error| io(&part, error))?;
        match std::fs::rename(&part, &blob) {
            // Where locks have no effect, another process may have been first.
            Err(_) if about.is(&blob)? => Ok(blob),
            renamed => renamed.map(|()| blob.clone()).map_err(|error| io(&blob, error)),
        }
    }

    fn part(&self, blob: &str) -> PathBuf {
        self.folder.join(format!("{blob}.{PART}"))
    }

    /// Waits until no other process fetches the blob. Returns `None` where the file system has no locks: then two
    /// processes write the same bytes to the same places, and the checksum decides.
    fn lock(&self, blob: &str, file: &str, watch: Watch) -> Result<Option<File>> {
        std::fs::create_dir_all(&self.locks).map_err(|error| io(&self.locks, error))?;
        let path = self.locks.join(format!("{blob}.lock"));
        let lock =
            File::options().create(true).write(true).truncate(false).open(&path).map_err(|error| io(&path, error))?;
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(lock)),
                Err(TryLockError::WouldBlock) => {
                    watch(if told { Event::Bytes(0) } else { Event::Waiting { file } })?;
                    told = true;
                    std::thread::sleep(LOCKED);
                }
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(io(&path, error)),
            }
        }
    }
}

/// A file that is being received.
struct Part<'a> {
    path: &'a Path,
    file: File,
    /// The number of bytes received.
    there: u64,
}

impl<'a> Part<'a> {
    /// Opens what an earlier attempt left of a file of `bytes` bytes, or a new file.
    fn open(path: &'a Path, bytes: u64) -> Result<Self> {
        // A link or a pipe in its place would lead the content elsewhere.
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            std::fs::remove_file(path).map_err(|error| io(path, error))?;
        }
        let options = File::options().create(true).read(true).write(true).truncate(false).open(path);
        let file = options.map_err(|error| io(path, error))?;
        let there = file.metadata().map_err(|error| io(path, error))?.len();
        let mut part = Self { path, file, there };
        if there > bytes {
            part.clear()?;
        }
        Ok(part)
    }

    fn clear(&mut self) -> Result<()> {
        self.there = 0;
        self.file.set_len(0).map_err(|error| io(self.path, error))
    }

    /// Receives what is missing, in as many attempts as make sense.
    fn receive(&mut self, client: &Client, wanted: &Wanted, watch: Watch) -> Result<()> {
        let Wanted { file, address, about, .. } = wanted;
        watch(Event::Begin { file, bytes: about.bytes, there: self.there })?;
        let (mut attempts, mut furthest) = (client.attempts(), self.there);
        while self.there < about.bytes {
            let why = match self.go_on(client, address, about.bytes, watch) {
                Ok(()) => format!("{} of {} bytes received", self.there, about.bytes),
                Err(Failure::Passing(why)) => why,
                Err(Failure::Final(error)) => return Err(error),
            };
            if self.there == about.bytes {
                break;
            }
            if self.there >= furthest + PIECE as u64 {
                furthest = self.there;
                attempts.reset();
            }
            match attempts.next() {
                Some(attempt) => watch(Event::Again { place: file, attempt, why: &why })?,
                None => return Err(lost(address, &why)),
            }
        }
        Ok(())
    }

    /// Reads from byte `there` to the end, or until the connection is lost. A response that is longer than the file is
    /// cut there.
    fn go_on(&mut self, client: &Client, address: &str, bytes: u64, watch: Watch) -> std::result::Result<(), Failure> {
        let mut response = match client.get(address, (self.there > 0).then_some(self.there), None) {
            Err(Failure::Final(_)) if self.there > 0 => {
                // The server cannot send a part of the file, or not from here.
                self.clear()?;
                client.get(address, None, None)?
            }
            other => other?,
        };
        let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
        let is_rest =
            response.status() == 206 && range.is_none_or(|range| range.starts_with(&format!("bytes {}-", self.there)));
        if self.there > 0 && !is_rest {
            if response.status() == 206 {
                return Err(Failure::Passing("the server sent another part of the file".to_owned()));
            }
            // The server starts over.
            self.clear()?;
        }
        self.file.seek(SeekFrom::Start(self.there)).map_err(|error| io(self.path, error))?;
        let mut reader = response.body_mut().as_reader().take(bytes - self.there);
        let mut piece = vec![0; PIECE];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.file.write_all(&piece[..count]).map_err(|error| self.full(error, bytes))?;
                    self.there += count as u64;
                    watch(Event::Bytes(count as u64))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Passing(error.to_string())),
            }
        }
    }

    /// The error of writing the part.
    fn full(&self, error: std::io::Error, bytes: u64) -> Error {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Error::bad_file_hint(
                self.path,
                format!("{error} after {} of {bytes} bytes", self.there),
                "free the space, or set HF_HUB_CACHE to a folder on another disk; the received part is kept, and the \
                 same command resumes from there",
            ),
            _ => io(self.path, error),
        }
    }
}

/// Links a blob into a snapshot under the name of its file, replacing what is there: a relative link, or a copy where
/// links are not available.
pub(super) fn put(blob: &Path, place: &Path) -> Result<()> {
    let Some(folder) = place.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| io(folder, error))?;
    let repository = blob.ancestors().nth(2).unwrap_or(folder);
    let made = beside(repository, |path| link(blob, place, path));
    // A rename, so that readers of the snapshot find the file at any time.
    made.and_then(|link| link.into_temp_path().persist(place).map_err(|error| error.error))
        .map_err(|error| io(place, error))
}

/// Makes a file or a link in the folder of a repository, which is to be renamed to its place: every file in `refs` is
/// taken for a ref, and every file in `snapshots` for one of the model, also if this process is killed before it
/// renames them.
pub(super) fn beside<T>(
    repository: &Path,
    make: impl FnMut(&Path) -> std::io::Result<T>,
) -> std::io::Result<tempfile::NamedTempFile<T>> {
    tempfile::Builder::new().prefix(".downhill-").suffix(".part").make_in(repository, make)
}

/// Makes `path`, which is to be renamed to `place`, lead to `blob`.
#[cfg(unix)]
fn link(blob: &Path, place: &Path, path: &Path) -> std::io::Result<()> {
    // From snapshots/COMMIT/[FOLDER/]FILE up to the repository.
    let depth = place.components().count() - blob.components().count();
    let mut target: PathBuf = std::iter::repeat_n("..", depth + 1).collect();
    target.extend(["blobs".as_ref(), blob.file_name().unwrap_or_default()]);
    std::os::unix::fs::symlink(target, path)
}

#[cfg(not(unix))]
fn link(blob: &Path, _: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::copy(blob, path).map(|_| ())
}

/// Returns the free bytes of the disk that holds `folder`, or would hold it. `None` if the system does not say.
#[cfg(unix)]
fn free_space(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(there).ok()?;
    // Some network file systems have no numbers, and say zero.
    (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

/// The error of a file of the cache. It is never "does not exist", which is reserved for inputs.
fn io(file: &Path, source: std::io::Error) -> Error {
    Error::Io { file: file.to_path_buf(), source }
}
