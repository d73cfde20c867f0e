//! The properties of a file that the hub states before it is fetched, and the checks that follow from them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha1::Digest;

use crate::error::{Error, Result};

/// The number of bytes read at a time.
pub(super) const PIECE: usize = 1 << 16;

/// The properties of a file that are known before it is fetched.
#[derive(Debug)]
pub struct About {
    /// The tag of the content.
    pub etag: String,
    /// The length in bytes.
    pub bytes: u64,
}

impl About {
    /// Returns the name of the file's blob. If the tag is a hash of the content, it is the name, and files of equal
    /// content share a blob. Any other tag says nothing about the content, so such a blob is named by the commit and
    /// the file too, and is never shared.
    #[must_use]
    pub fn blob(&self, commit: &str, file: &str) -> String {
        if is_hash(&self.etag) {
            return self.etag.to_ascii_lowercase();
        }
        let mut digest = sha2::Sha256::new();
        for part in [commit, file, &self.etag] {
            digest.update(part.as_bytes());
            digest.update(b"\n");
        }
        format!("unverified-{}", hex(&digest.finalize()))
    }

    /// Returns `true` if the tag is a hash of the content.
    pub(super) fn is_verifiable(&self) -> bool {
        is_hash(&self.etag)
    }

    /// Returns `true` if `path` is a file of this length, whose content has this hash.
    pub(super) fn is(&self, path: &Path) -> Result<bool> {
        let of_length = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == self.bytes);
        Ok(of_length && self.checksum(path)?.is_none_or(|found| found == self.etag.to_ascii_lowercase()))
    }

    /// Computes the hash of a file, of the kind that the tag is. Returns `None` if the tag is not a hash.
    pub(super) fn checksum(&self, path: &Path) -> Result<Option<String>> {
        match kind(&self.etag) {
            Some(Kind::Sha256) => hash(sha2::Sha256::new(), path).map(Some),
            Some(Kind::Git) => hash(sha1::Sha1::new_with_prefix(format!("blob {}\0", self.bytes)), path).map(Some),
            None => Ok(None),
        }
    }
}

/// Returns `true` if `path` is a file whose content has the hash `name`. `false` for a name that is not a hash.
pub(super) fn is_named_by_content(path: &Path, name: &str) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() && is_hash(name) => About { etag: name.to_owned(), bytes: found.len() }.is(path),
        _ => Ok(false),
    }
}

/// The kinds of hashes.
enum Kind {
    /// Of a file in large-file storage.
    Sha256,
    /// Of a file in the Git repository: SHA-1 of its length and content.
    Git,
}

fn kind(tag: &str) -> Option<Kind> {
    let is_hex = tag.bytes().all(|digit| digit.is_ascii_hexdigit());
    match tag.len() {
        64 if is_hex => Some(Kind::Sha256),
        40 if is_hex => Some(Kind::Git),
        _ => None,
    }
}

fn is_hash(tag: &str) -> bool {
    kind(tag).is_some()
}

/// Returns the digest of a file in hexadecimal.
fn hash<D: Digest>(mut digest: D, path: &Path) -> Result<String> {
    let io = |source| Error::Io { file: path.to_path_buf(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(io)? {
            0 => return Ok(hex(&digest.finalize())),
            bytes => digest.update(&piece[..bytes]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";
    const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    #[test]
    fn the_hashes_of_git_and_of_large_files_are_verified() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hello");
        std::fs::write(&file, "hello\n").unwrap();
        let about = |etag: &str, bytes| About { etag: etag.to_owned(), bytes };
        for tag in [GIT, SHA256, &GIT.to_ascii_uppercase()] {
            assert!(about(tag, 6).is(&file).unwrap(), "{tag}");
            assert!(!about(tag, 7).is(&file).unwrap(), "{tag}");
            let other = tag.replace('c', "d").replace('5', "6");
            assert!(!about(&other, 6).is(&file).unwrap(), "{other}");
            assert_eq!(about(tag, 6).blob("c", "f"), tag.to_ascii_lowercase());
        }
        assert!(is_named_by_content(&file, GIT).unwrap() && is_named_by_content(&file, SHA256).unwrap());
        assert!(!is_named_by_content(&file, "hello").unwrap());
        assert!(!is_named_by_content(folder.path(), GIT).unwrap());
    }

    #[test]
    fn tags_that_are_not_hashes_name_a_blob_for_each_file() {
        let about = About { etag: "weird".to_owned(), bytes: 6 };
        assert!(!about.is_verifiable());
        let names = [("c1", "a"), ("c1", "b"), ("c2", "a")].map(|(commit, file)| about.blob(commit, file));
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
        assert_eq!(about.blob("c1", "a"), names[0]);
        assert!(names.iter().all(|name| !is_hash(name)), "not taken for the hash of a content");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("six");
        std::fs::write(&file, "123456").unwrap();
        assert!(about.is(&file).unwrap(), "the length is all there is to compare");
        std::fs::write(&file, "1234567").unwrap();
        assert!(!about.is(&file).unwrap());
    }
}
