//! Folders for files that may be lost.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// The folders inside that of the caches whose content is executed: compiled pipelines and shaders.
const EXECUTED: [&str; 2] = [PIPELINES, WIDE_SHADERS];
/// The folder of compiled pipelines.
pub(crate) const PIPELINES: &str = "pipelines";
/// The folder of shaders that Mesa compiled for wide vectors.
pub(crate) const WIDE_SHADERS: &str = "mesa-512";

/// Returns an environment variable. An empty one is an unset one.
#[must_use]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the folder for files that can be recreated: `DOWNHILL_CACHE_DIR`, or `downhill` in the user's cache folder.
/// `None` if there is no home folder.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    if let Some(chosen) = variable("DOWNHILL_CACHE_DIR") {
        return Some(chosen.into());
    }
    Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("downhill"))
}

/// Returns the file in a folder of the caches that keeps findings about `subject`: its name is the subject, with `-` in
/// place of all but letters, digits and dots. `None` if there is no home folder.
pub(crate) fn finding_file(folder: &str, subject: &str) -> Option<PathBuf> {
    let plain: String = subject.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    Some(cache_dir()?.join(folder).join(plain + ".json"))
}

/// Creates the folder at `path`, if it is missing, and checks that only this user writes to it: for files that a driver
/// executes.
///
/// # Errors
/// Those of the file system; `PermissionDenied` if the folder belongs to another user.
pub fn private_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has permissions to set"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let folder = fs::metadata(path)?;
    // A file of this process belongs to its user.
    if !have_same_owner(&folder, &tempfile::tempfile_in(path)?.metadata()?) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the folder belongs to another user"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if folder.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

/// Returns `true` if two files belong to one user, where files have owners.
#[must_use]
pub(crate) fn have_same_owner(a: &Metadata, b: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        a.uid() == b.uid()
    }
    #[cfg(not(unix))]
    {
        let _ = (a, b);
        true
    }
}

/// Returns the reason why the caches cannot be used, in words, if there is one.
#[must_use]
pub fn cache_trouble() -> Option<String> {
    let Some(folder) = cache_dir() else { return Some("there is no home folder for a cache".to_owned()) };
    trouble_in(&folder)
}

fn trouble_in(cache: &Path) -> Option<String> {
    let writable = fs::create_dir_all(cache).and_then(|()| tempfile::tempfile_in(cache)).map(drop);
    let executed = EXECUTED.map(|name| cache.join(name)).into_iter().filter(|folder| folder.exists());
    let folders = std::iter::once((cache.to_path_buf(), writable)).chain(executed.map(|folder| {
        let private = private_folder(&folder);
        (folder, private)
    }));
    folders.into_iter().find_map(|(folder, checked)| {
        checked.err().map(|error| format!("the cache `{}` cannot be used: {error}", folder.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(trouble_in(&folder.path().join("new/cache")), None);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let trouble = trouble_in(&file.join("cache")).unwrap();
        assert!(trouble.starts_with(&format!("the cache `{}` cannot be used: ", file.join("cache").display())));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_of_executed_files_is_of_one_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("deep").join(PIPELINES);
        let mode = || fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
        private_folder(&folder).unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        private_folder(&folder).unwrap();
        assert_eq!(mode(), 0o700);
    }

    /// Only the superuser may give a folder away.
    #[cfg(unix)]
    #[test]
    fn a_folder_of_another_user_is_refused() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join(PIPELINES);
        fs::create_dir(&folder).unwrap();
        if std::os::unix::fs::chown(&folder, Some(12345), None).is_err() {
            println!("skipped: a folder can be given to another user by the superuser only");
            return;
        }
        assert_eq!(private_folder(&folder).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let trouble = trouble_in(cache.path()).unwrap();
        assert!(trouble.ends_with("pipelines` cannot be used: the folder belongs to another user"), "{trouble}");
    }
}
