//! Standard input and output as files: `-` in place of a path.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use crate::data::picture::Picture;
use crate::error::{Error, Result};
use crate::formats;

/// The path that means a standard stream.
const STREAM: &str = "-";
const STDIN: &str = "stdin";
const STDOUT: &str = "stdout";
/// The largest standard input in bytes: it is copied to a file first, and may never end.
const LARGEST: u64 = 1 << 34;

/// Returns `true` for `-`.
pub fn is_stream(path: &Path) -> bool {
    path.as_os_str() == STREAM
}

/// The name of an output in messages.
pub fn output_name(path: &Path) -> String {
    if is_stream(path) { STDOUT.to_owned() } else { path.display().to_string() }
}

/// The name of an input in messages.
pub fn input_name(path: &Path) -> String {
    if is_stream(path) { STDIN.to_owned() } else { path.display().to_string() }
}

/// Checks that the results of a subcommand, which are a folder of files, do not go to standard output.
///
/// # Errors
/// [`Error::Argument`] for `-`.
pub fn expect_folder(flag: &str, folder: &Path) -> Result<()> {
    if is_stream(folder) {
        let what = format!("`{flag}` is a folder of files, which standard output cannot hold");
        return Err(Error::argument(what, "name a folder; `./-` is a folder called `-`"));
    }
    Ok(())
}

/// Reads an image file, or the bytes of standard input as if they were one.
///
/// # Errors
/// Those of [`read()`].
pub fn read_picture(path: &Path) -> Result<Picture> {
    read(path, |file| Ok(Picture::read(file)?.named(Path::new(&input_name(path)))))
}

/// Checks that an output of bytes can be written: a file as [`formats::check_writable`] does, and standard output
/// unless it is a terminal.
///
/// # Errors
/// [`Error::Argument`] for a terminal, and those of [`formats::check_writable`].
pub fn check_writable(path: &Path) -> Result<()> {
    if !is_stream(path) {
        return formats::check_writable(path);
    }
    if io::stdout().is_terminal() {
        return Err(Error::argument(
            "standard output is a terminal",
            "redirect it to a file or a pipe, or name a file",
        ));
    }
    Ok(())
}

/// Writes a file by `write`, or the bytes of that file to standard output. A reader that closes the pipe early is not
/// an error.
///
/// # Errors
/// Those of `write`, and [`Error::Io`].
pub fn write(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if !is_stream(path) {
        return write(path);
    }
    let failed = |source| Error::Io { file: STDOUT.into(), source };
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    write(file.path())?;
    let copied = std::fs::File::open(file.path()).and_then(|mut file| {
        let mut output = io::stdout().lock();
        io::copy(&mut file, &mut output)?;
        output.flush()
    });
    match copied {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        copied => copied.map_err(failed),
    }
}

/// Reads a file by `read`, or the bytes of standard input as if they were a file.
///
/// # Errors
/// Those of `read`, [`Error::Io`], and [`Error::Argument`] when standard input is a terminal.
pub fn read<T>(path: &Path, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if !is_stream(path) {
        return read(path);
    }
    if io::stdin().is_terminal() {
        return Err(Error::argument(
            "standard input is a terminal",
            "redirect it from a file or a pipe, or name a file",
        ));
    }
    let failed = |source| Error::Io { file: STDIN.into(), source };
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    let copied = io::copy(&mut io::stdin().lock().take(LARGEST + 1), &mut file).map_err(failed)?;
    if copied == 0 {
        return Err(Error::bad_file_hint(STDIN, "is empty", "the command before the pipe has written nothing"));
    }
    if copied > LARGEST {
        return Err(Error::bad_file_hint(STDIN, format!("more than {LARGEST} bytes"), "name a file"));
    }
    read(file.path()).map_err(|error| about_stdin(error, file.path()))
}

/// The error about a temporary file as one about standard input.
fn about_stdin(error: Error, temporary: &Path) -> Error {
    match error {
        Error::BadFile { file, what, hint } if file == temporary => Error::BadFile { file: STDIN.into(), what, hint },
        Error::WrongShape { file, key, found, expected } if file == temporary => {
            Error::WrongShape { file: STDIN.into(), key, found, expected }
        }
        Error::NonFinite { place, hint } => {
            Error::NonFinite { place: place.replace(&temporary.display().to_string(), STDIN), hint }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hyphen_is_a_stream_and_a_path_to_a_hyphen_is_not() {
        assert!(is_stream(Path::new("-")));
        assert!(!is_stream(Path::new("./-")));
        assert_eq!(output_name(Path::new("-")), "stdout");
        assert_eq!(output_name(Path::new("x.npy")), "x.npy");
    }

    #[test]
    fn errors_about_the_copy_name_standard_input() {
        let error = about_stdin(Error::bad_file("/tmp/x", "is not an array"), Path::new("/tmp/x"));
        assert_eq!(error.to_string(), "stdin: is not an array");
        let other = about_stdin(Error::bad_file("weights", "is empty"), Path::new("/tmp/x"));
        assert_eq!(other.to_string(), "weights: is empty");
    }
}
