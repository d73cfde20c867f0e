//! Files of others: read only if they are regular, and only within bounds. Memory for their content is requested before
//! it is used, so that a file that asks for too much is an error that names it.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// The memory that the content of every file may take while it is decoded, whatever the length of the file.
const FREE: u64 = 224 << 20;
/// The bytes of memory per byte of a compressed file, beyond [`FREE`]. A photograph in float32 takes about 100.
const PER_BYTE: u64 = 256;

/// The bytes of a file that are read at a time.
const PIECE: usize = 1 << 16;

/// Opens a regular file and returns it with its length in bytes.
///
/// Anything else is refused without being opened: a pipe waits for a writer, and a device may never end.
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`], and [`Error::BadFile`] for a folder, a pipe, a socket or a device.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    let failed = |error| Error::io(path, error);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    expect_regular(path, &metadata)?;
    let file = File::open(path).map_err(failed)?;
    // What lies under a name may change in between.
    let metadata = file.metadata().map_err(failed)?;
    expect_regular(path, &metadata)?;
    Ok((file, metadata.len()))
}

/// Reads a whole regular file of at most `most` bytes.
///
/// # Errors
/// Those of [`open_regular`]; [`Error::BadFile`] for a longer file; [`Error::OutOfMemory`].
pub(crate) fn read_regular(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, length) = open_regular(path)?;
    if length > most {
        return Err(too_long(path, &format!("{length} bytes"), most));
    }
    let mut bytes = room(path, length as usize)?;
    // Some files of the operating system are longer than their length says.
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| Error::io(path, error))?;
    if read as u64 > most {
        return Err(too_long(path, "more bytes", most));
    }
    Ok(bytes)
}

/// Returns the SHA-256 of the content of a file, in hexadecimal.
///
/// # Errors
/// Those of [`open_regular`]; [`Error::Io`].
pub(crate) fn sha256(path: &Path) -> Result<String> {
    use sha2::Digest;
    let (mut file, _) = open_regular(path)?;
    let (mut digest, mut piece) = (sha2::Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece).map_err(|error| Error::io(path, error))? {
            0 => break,
            bytes => digest.update(&piece[..bytes]),
        }
    }
    Ok(hexadecimal(&digest.finalize()))
}

/// Returns the SHA-256 of bytes, in hexadecimal.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    use sha2::Digest;
    hexadecimal(&sha2::Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Returns an empty vector with room for `count` values of the content of `file`.
///
/// # Errors
/// [`Error::OutOfMemory`] naming `file`.
pub(crate) fn room<T>(file: &Path, count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| Error::OutOfMemory {
        tensor: file.display().to_string(),
        bytes: (count as u64).saturating_mul(size_of::<T>() as u64),
        hint: "use a smaller file, or a machine with more memory".to_owned(),
    })?;
    Ok(values)
}

/// Checks that `bytes` of memory can be had for the content of `file`.
///
/// # Errors
/// [`Error::OutOfMemory`] naming `file`.
pub(crate) fn ask(file: &Path, bytes: u64) -> Result<()> {
    room::<u8>(file, usize::try_from(bytes).unwrap_or(usize::MAX)).map(drop)
}

/// A bound on the memory for the content of compressed files, by their length: a file of a few bytes may claim to hold
/// gigabytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The length of the compressed files in bytes.
    pub stored: u64,
}

impl Budget {
    /// The largest size in bytes of what the files may hold.
    pub fn most(self) -> u64 {
        self.stored.saturating_mul(PER_BYTE).saturating_add(FREE)
    }

    /// Checks that the content may take `bytes` while it is decoded, before it is, and that they can be had.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming `file`, [`Error::OutOfMemory`].
    pub fn ask(self, file: &Path, bytes: u64) -> Result<()> {
        if bytes <= self.most() {
            return ask(file, bytes);
        }
        let what = format!(
            "its content would take {bytes} bytes of memory, out of {} bytes in the file: more than {PER_BYTE} times \
             as many",
            self.stored
        );
        let hint = "the file is damaged or hostile; if it is sound, store it uncompressed, or less of it";
        Err(Error::bad_file_hint(file, what, hint))
    }
}

pub(crate) fn too_long(path: &Path, found: &str, most: u64) -> Error {
    let what = format!("the file has {found}, over the limit of {most} for its kind");
    Error::bad_file_hint(path, what, "this is not the file that belongs here, or a damaged one")
}

fn expect_regular(path: &Path, metadata: &Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = format!("{}, not a regular file", kind(metadata));
    Err(Error::bad_file_hint(path, what, "name a regular file, or copy the content into one first"))
}

/// Returns the name of what is not a regular file.
fn kind(metadata: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if metadata.is_dir() { "a folder" } else { "something else" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(matches!(read_regular(&path, 4), Err(Error::FileNotFound { .. })));
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_regular(&path, 4).unwrap(), b"four");
        let digest = "04efaf080f5a3e74e1c29d1ca6a48569382cbbcd324e8d59d2b83ef21c039f00";
        assert_eq!(sha256(&path).unwrap(), digest);
        assert_eq!(sha256_of(b"four"), digest);
        let error = read_regular(&path, 3).unwrap_err();
        assert!(error.to_string().ends_with("x: the file has 4 bytes, over the limit of 3 for its kind"), "{error}");
        let error = read_regular(folder.path(), 4).unwrap_err();
        assert!(error.to_string().ends_with("a folder, not a regular file"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_refused_and_files_without_a_length_are_bounded() {
        let error = read_regular(Path::new("/dev/zero"), u64::MAX).unwrap_err();
        assert_eq!(error.to_string(), "/dev/zero: a device, not a regular file");
        // The length of this file is said to be 0.
        assert!(read_regular(Path::new("/proc/self/status"), 1 << 20).unwrap().len() > 100);
        let error = read_regular(Path::new("/proc/self/status"), 100).unwrap_err();
        assert!(error.to_string().contains("more bytes, over the limit of 100"), "{error}");
    }

    #[test]
    fn memory_is_refused_by_name() {
        let error = room::<f32>(Path::new("x.npy"), usize::MAX / 8).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Memory);
        assert!(error.to_string().contains("`x.npy`"), "{error}");
        let budget = Budget { stored: 1000 };
        budget.ask(Path::new("x.gz"), FREE + 256_000).unwrap();
        let error = budget.ask(Path::new("x.gz"), FREE + 256_001).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::File);
        assert!(error.to_string().starts_with("x.gz: its content would take"), "{error}");
    }
}
