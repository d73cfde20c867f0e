//! Atomic writing: a reader never sees a partial file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes `path` through `write`, creating its folders. The bytes go to a temporary file in the same folder, which is
/// renamed to `path` when it is complete and on the disk. On failure nothing is left behind, and an existing file is
/// unchanged.
///
/// A symbolic link is followed, also to a file that does not exist yet. A device or a pipe (`/dev/stdout`) is written
/// to directly.
///
/// # Errors
/// [`Error::Argument`] if `path` is a folder or has a file as its parent, [`Error::Io`] if writing fails.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    refuse_impossible(path)?;
    if is_special(path) {
        let mut device = File::options().write(true).open(path).map_err(|error| failed(path, error))?;
        return fill(&mut device, write).map_err(|error| failed(path, error));
    }
    let target = behind_links(path).map_err(|error| failed(path, error))?;
    let folder = folder_of(&target);
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut temporary = temporary_in(folder).map_err(|error| failed(path, error))?;
    fill(temporary.as_file_mut(), write).map_err(|error| failed(path, error))?;
    // Without this, a power cut may leave an empty file under the final name.
    temporary.as_file().sync_all().map_err(|error| failed(path, error))?;
    temporary.persist(&target).map_err(|error| failed(path, error.error))?;
    sync_folder(folder).map_err(|error| failed(path, error))
}

/// Checks that [`write_atomically`] can write `path`, before hours are spent on its content. Leaves nothing behind: of
/// folders that do not exist yet, the nearest existing ancestor is tried.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    refuse_impossible(path)?;
    if is_special(path) {
        return Ok(());
    }
    let target = behind_links(path).map_err(|error| failed(path, error))?;
    let folder = nearest_existing(folder_of(&target));
    check_names(folder, &target).map_err(|error| failed(path, error))?;
    temporary_in(folder).map(drop).map_err(|error| failed(path, error))
}

/// Checks that the file system takes every name of `target` below `folder`, the nearest existing one.
fn check_names(folder: &Path, target: &Path) -> io::Result<()> {
    let missing = target.strip_prefix(folder).unwrap_or(target);
    // A lookup stops at the first folder that does not exist, so each name is looked up by itself.
    for place in missing.iter().map(|name| folder.join(name)).chain([target.to_path_buf()]) {
        match fs::symlink_metadata(place) {
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the path of the file that `path` leads to, through symbolic links; the file may not exist yet.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(link) => behind_links(&folder_of(path).join(link)),
            Err(_) => Ok(path.to_path_buf()),
        },
        other => other,
    }
}

/// Returns the path of the file that `path` leads to in one spelling, to tell whether two paths are one file. The file
/// and its folders may not exist yet. `None` for a device or a pipe, which takes any number of outputs.
pub(crate) fn one_spelling(path: &Path) -> Option<PathBuf> {
    if is_special(path) {
        return None;
    }
    let target = behind_links(path).and_then(std::path::absolute).unwrap_or_else(|_| path.to_path_buf());
    let folder = nearest_existing(folder_of(&target));
    match (fs::canonicalize(folder), target.strip_prefix(folder)) {
        (Ok(real), Ok(missing)) => Some(real.join(missing)),
        _ => Some(target),
    }
}

/// Makes the names in a folder last through a power cut, where the system can.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // A folder that may be written but not read, and file systems whose folders have no such call.
        Err(error) if [io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidInput].contains(&error.kind()) => Ok(()),
        other => other,
    }
}

/// Refuses a path that names a folder or has a file as its parent.
fn refuse_impossible(path: &Path) -> Result<()> {
    if path.is_dir() || path.file_name().is_none() {
        let hint = if path.extension().is_some() {
            "remove or rename this folder, or name another file".to_owned()
        } else {
            format!("name a file, such as `{}`", path.join("out.png").display())
        };
        return Err(Error::argument(format!("`{}` is a folder, not a file", path.display()), hint));
    }
    let folder = nearest_existing(folder_of(path));
    if !folder.is_dir() {
        let what = format!("`{}` is a file, so `{}` cannot be written", folder.display(), path.display());
        return Err(Error::argument(what, "choose another folder"));
    }
    Ok(())
}

/// Returns `true` for a path that exists but cannot be replaced by a renamed file: a device or a pipe.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn nearest_existing(folder: &Path) -> &Path {
    folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."))
}

/// Creates a temporary file with the permissions of an ordinary new file (the crate's own default is private).
fn temporary_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(".downhill-").suffix(".part").make_in(folder, |path| File::create_new(path))
}

fn fill(file: &mut File, write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(file);
    write(&mut writer)?;
    writer.flush()
}

/// The error of writing `path`. It is never "does not exist", which is reserved for inputs.
fn failed(path: &Path, source: io::Error) -> Error {
    Error::Io { file: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn folders_are_created_and_files_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/x.txt");
        check_writable(&path).unwrap();
        assert!(entries(folder.path()).is_empty(), "checking leaves nothing behind");
        for text in ["one", "two"] {
            write_atomically(&path, |writer| writer.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        check_writable(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two", "checking changes nothing");
        assert_eq!(entries(path.parent().unwrap()), ["x.txt"]);
    }

    #[test]
    fn spellings_of_one_path_are_told_to_be_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        let spelled = |path: &str| one_spelling(&folder.path().join(path)).unwrap();
        for other in ["./x.npy", "a/../x.npy", "a/.././x.npy"] {
            assert_eq!(spelled(other), spelled("x.npy"), "{other}");
        }
        assert_ne!(spelled("a/x.npy"), spelled("x.npy"));
        assert_eq!(spelled("a/new/x.npy"), spelled("a/new/./x.npy"), "in a folder that does not exist yet");
        assert_eq!(one_spelling(Path::new("x.npy")), one_spelling(Path::new("./x.npy")));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("a"), folder.path().join("b")).unwrap();
            std::os::unix::fs::symlink("a/x.npy", folder.path().join("c.npy")).unwrap();
            assert_eq!(spelled("b/x.npy"), spelled("a/x.npy"));
            assert_eq!(spelled("c.npy"), spelled("a/x.npy"));
            assert_eq!(one_spelling(Path::new("/dev/null")), None);
        }
    }

    #[test]
    fn a_failed_write_leaves_the_older_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |writer| {
            writer.write_all(&vec![b'n'; 1 << 20])?;
            Err(io::Error::other("the cable was pulled"))
        })
        .unwrap_err();
        assert_eq!(error.to_string(), format!("{}: the cable was pulled", path.display()));
        assert_eq!(error.kind(), crate::ErrorKind::File);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(entries(folder.path()), ["x.txt"]);
    }

    #[test]
    fn folders_and_paths_through_files_are_usage_errors() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        for path in [folder.path().to_path_buf(), folder.path().join("file/x.png"), folder.path().join("file/y/x.png")]
        {
            for error in [check_writable(&path).unwrap_err(), write_atomically(&path, |_| Ok(())).unwrap_err()] {
                assert_eq!(error.kind(), crate::ErrorKind::Argument, "{error}");
                assert!(error.hint().is_some());
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_unwritable_place_is_found_out_early_and_named_plainly() {
        // The /proc folder refuses new files to everyone, including root.
        let path = Path::new("/proc/x.png");
        let error = check_writable(path).unwrap_err();
        assert!(matches!(&error, Error::Io { file, .. } if file == path), "{error}");
        assert!(!error.to_string().contains(".part"), "{error}");
        assert!(write_atomically(path, |_| Ok(())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_written_to_and_links_followed() {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        write_atomically("/dev/null", |writer| writer.write_all(b"gone")).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device(), "the device is still one");

        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_atomically(&link, |writer| writer.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");

        let plain = folder.path().join("plain");
        File::create(&plain).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().mode(), fs::metadata(&plain).unwrap().mode(), "ordinary permissions");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_file_that_does_not_exist_yet_is_followed() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let (target, near, far) = (folder.path().join("target"), folder.path().join("near"), folder.path().join("far"));
        symlink("target", &near).unwrap();
        symlink(&near, &far).unwrap();
        check_writable(&far).unwrap();
        assert!(!target.exists(), "checking leaves nothing behind");
        write_atomically(&far, |writer| writer.write_all(b"new")).unwrap();
        assert!([&near, &far].iter().all(|link| fs::symlink_metadata(link).unwrap().is_symlink()));
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_is_an_error_and_stays() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        symlink(&other, &one).unwrap();
        symlink(&one, &other).unwrap();
        for error in [check_writable(&one).unwrap_err(), write_atomically(&one, |_| Ok(())).unwrap_err()] {
            assert!(matches!(&error, Error::Io { file, .. } if *file == one), "{error}");
        }
        assert_eq!(entries(folder.path()), ["one", "other"]);
        assert!(fs::symlink_metadata(&one).unwrap().is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_too_long_is_found_out_early() {
        let folder = tempfile::tempdir().unwrap();
        let long = "a".repeat(300);
        for path in [format!("{long}.png"), format!("new/{long}.png"), format!("{long}/x.png"), "a/".repeat(3000) + "x"]
        {
            let path = folder.path().join(path);
            let error = check_writable(&path).unwrap_err();
            assert!(matches!(&error, Error::Io { file, .. } if *file == path), "{error}");
        }
        assert!(entries(folder.path()).is_empty());
    }
}
