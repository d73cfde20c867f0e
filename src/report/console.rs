//! Messages on the terminal. Data goes to files and standard output, messages to standard error.

use std::io::{self, IsTerminal, Write};

use super::printable::{printable, printable_line};
use crate::error::{Error, Result};

/// The amount of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Errors, warnings, notes and the progress bar.
    #[default]
    Normal,
    /// Details too.
    Verbose,
}

/// The voice of the program: `error:`, `hint:`, `warning:` and plain notes on standard error, coloured on a terminal
/// unless `NO_COLOR` is set. What cannot be said, for want of anyone listening, is dropped.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// The amount of messages.
    pub verbosity: Verbosity,
    colour: bool,
}

/// ANSI codes of the labels: bold, with red, yellow and cyan.
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const CYAN: &str = "\x1b[1;36m";
const PLAIN: &str = "\x1b[0m";

impl Console {
    /// A console on standard error.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        let no_colour = std::env::var_os("NO_COLOR");
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = dumb || no_colour.is_some_and(|value| !value.is_empty());
        Self { verbosity, colour: io::stderr().is_terminal() && !plain }
    }

    /// Prints an error and its hint, even when quiet.
    pub fn error(self, message: &str, hint: Option<&str>) {
        say(&self.error_text(message, hint));
    }

    /// Prints a warning, unless quiet.
    pub fn warning(self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            say(&self.labelled("warning", YELLOW, text));
        }
    }

    /// Prints a note, unless quiet.
    pub fn note(self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            say(&printable_line(text));
        }
    }

    /// Prints lines of text as they are but for control characters, unless quiet. Each ends in a line end.
    pub fn lines(self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            say(printable(text).trim_end_matches('\n'));
        }
    }

    /// Prints a detail, if verbose.
    pub fn detail(self, text: &str) {
        if self.verbosity >= Verbosity::Verbose {
            say(&printable_line(text));
        }
    }

    fn error_text(self, message: &str, hint: Option<&str>) -> String {
        let mut text = self.labelled("error", RED, message);
        if let Some(hint) = hint {
            text.push('\n');
            text.push_str(&self.labelled("hint", CYAN, hint));
        }
        text
    }

    fn labelled(self, label: &str, colour: &str, text: &str) -> String {
        let text = printable_line(text);
        if self.colour { format!("{colour}{label}:{PLAIN} {text}") } else { format!("{label}: {text}") }
    }
}

fn say(text: &str) {
    // Standard error is closed: there is no place left for a message.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints text to standard error as it is but for control characters, also when quiet.
pub fn print_stderr(text: &str) {
    // As in `say`.
    let _ = write!(io::stderr(), "{}", printable(text));
}

/// Prints text to standard output, without adding a line end. Control characters are printed by their number. A reader
/// that has closed the pipe (`| head`) is not an error.
///
/// # Errors
/// [`Error::Io`] on `stdout` for anything else, such as a full disk.
pub fn print_stdout(text: &str) -> Result<()> {
    print_to(io::stdout().lock(), &printable(text))
}

/// The number of columns of the terminal that standard output is; `None` if it is not one.
#[must_use]
pub fn stdout_width() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into())
}

fn print_to(mut writer: impl Write, text: &str) -> Result<()> {
    match writer.write_all(text.as_bytes()).and_then(|()| writer.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Io { file: "stdout".into(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn errors_come_with_their_hint_and_colour_only_where_wanted() {
        let (message, hint) = ("no such sampler `x`", Some("use `ge`"));
        let mut console = Console { verbosity: Verbosity::Quiet, colour: false };
        assert_eq!(console.error_text(message, hint), "error: no such sampler `x`\nhint: use `ge`");
        assert_eq!(console.error_text("a.npy: is empty", None), "error: a.npy: is empty");
        console.colour = true;
        let expected = "\x1b[1;31merror:\x1b[0m no such sampler `x`\n\x1b[1;36mhint:\x1b[0m use `ge`";
        assert_eq!(console.error_text(message, hint), expected);
    }

    #[test]
    fn text_of_others_cannot_look_like_a_message_or_steer_a_terminal() {
        let console = Console { verbosity: Verbosity::Quiet, colour: false };
        let text = console.error_text("`x\nhint: y\u{1b}[2J` is unknown", Some("use\u{202e} z"));
        assert_eq!(text, "error: `x\\u{a}hint: y\\u{1b}[2J` is unknown\nhint: use\\u{202e} z");
    }

    #[test]
    fn a_broken_pipe_is_quiet_and_a_full_disk_is_not() {
        assert!(print_to(Failing(io::ErrorKind::BrokenPipe), "text").is_ok());
        let error = print_to(Failing(io::ErrorKind::StorageFull), "text").unwrap_err();
        assert!(error.to_string().starts_with("stdout: "), "{error}");
        let mut written = Vec::new();
        print_to(&mut written, "text\n").unwrap();
        assert_eq!(written, b"text\n");
    }

    #[test]
    fn verbosity_is_ordered() {
        assert!(Verbosity::Quiet < Verbosity::Normal && Verbosity::Normal < Verbosity::Verbose);
        assert_eq!(Verbosity::default(), Verbosity::Normal);
    }
}
