//! Files of `refs/`: each names the commit that a branch or tag had when it was fetched.

use std::path::Path;

use super::is_name;
use crate::error::{Error, Result};
use crate::input::read_regular;

/// The largest size of such a file in bytes. A commit has 40 digits.
const LARGEST: u64 = 1024;
/// The number of characters of a wrong content that an error quotes.
const QUOTED: usize = 80;

/// Reads the commit in `file`. Space around it is dropped: a file made by hand ends with a line break. Returns `None`
/// if there is no such file.
///
/// # Errors
/// [`Error::BadFile`] if the file holds anything but a commit, [`Error::Io`] if it cannot be read.
pub(super) fn read(file: &Path) -> Result<Option<String>> {
    if file.is_dir() {
        // A folder of refs: `refs/pr` of `refs/pr/1`.
        return Ok(None);
    }
    let content = match read_regular(file, LARGEST) {
        Err(Error::FileNotFound { .. }) => return Ok(None),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        read => read?,
    };
    let text = String::from_utf8_lossy(&content);
    match text.trim() {
        "" => Err(wrong(file, "it is empty")),
        commit if is_name(commit) => Ok(Some(commit.to_owned())),
        other => {
            let cut: String = other.chars().take(QUOTED).collect();
            Err(wrong(file, &format!("it holds {cut:?}")))
        }
    }
}

fn wrong(file: &Path, why: &str) -> Error {
    Error::bad_file_hint(file, format!("does not name a commit: {why}"), "delete it and fetch the model again")
}

/// Writes `commit` to the ref of a revision, as a whole or not at all, unless the ref holds it already.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
#[cfg(feature = "download")]
pub(super) fn write(repository: &Path, revision: &str, commit: &str) -> Result<()> {
    use std::io::Write;

    use super::blobs::beside;

    let file = &repository.join("refs").join(revision);
    if matches!(read(file), Ok(Some(present)) if present == commit) {
        return Ok(());
    }
    let io = |source| Error::Io { file: file.clone(), source };
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut temporary = beside(repository, |path| std::fs::File::create_new(path)).map_err(io)?;
    temporary.write_all(commit.as_bytes()).and_then(|()| temporary.as_file().sync_all()).map_err(io)?;
    temporary.persist(file).map_err(|error| io(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: &[u8]) -> Result<Option<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("main");
        std::fs::write(&file, bytes).unwrap();
        read(&file)
    }

    #[test]
    fn space_around_a_commit_is_dropped() {
        for text in ["c0ffee", "c0ffee\n", "c0ffee\r\n", " c0ffee\n\n"] {
            assert_eq!(content(text.as_bytes()).unwrap().as_deref(), Some("c0ffee"), "{text:?}");
        }
    }

    #[test]
    fn a_ref_without_a_commit_is_named_and_never_printed_whole() {
        let long = "no commit ".repeat(60);
        for (text, why) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            ("../../..", "it holds \"../../..\""),
            ("\x1b]0;title\x07", "\\u{1b}"),
            ("two\nlines", "it holds \"two\\nlines\""),
            (&long, "it holds \"no commit"),
        ] {
            let error = content(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::File);
            let message = error.to_string();
            assert!(message.contains("main: does not name a commit") && message.contains(why), "{message}");
            assert!(message.len() < 300, "{} bytes", message.len());
            assert!(error.hint().is_some());
        }
        let error = content(&vec![b'0'; 10 << 20]).unwrap_err();
        assert!(error.to_string().contains("main: the file has 10485760 bytes"), "{error}");
    }

    #[test]
    fn an_absent_ref_is_none_and_a_device_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("main")).unwrap(), None);
        std::fs::write(folder.path().join("main"), "c0ffee").unwrap();
        assert_eq!(read(&folder.path().join("main/deeper")).unwrap(), None);
        assert_eq!(read(folder.path()).unwrap(), None, "a folder of refs is not a ref");
        #[cfg(unix)]
        {
            let link = folder.path().join("endless");
            std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
            assert!(read(&link).unwrap_err().to_string().contains("not a regular file"));
        }
    }
}
