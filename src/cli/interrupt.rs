//! SIGINT and SIGTERM. A run with something to write stops at the first one, writes what it has, and ends at once at
//! the second one. Everything else ends at once.
//!
//! One request may be two signals: `timeout` and schedulers send theirs to a program and to its group. What comes with
//! the first is the first.

#[cfg(unix)]
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};
use crate::report::Console;

/// The signals of the process.
static SIGNALS: OnceLock<Interrupt> = OnceLock::new();

/// The exit code of a program that was ended by signal 0.
const ENDED_BY_SIGNAL: i32 = 128;

/// The time in which signals are one request.
#[cfg(unix)]
const ONE_REQUEST: std::time::Duration = std::time::Duration::from_millis(300);

/// The request to stop.
#[derive(Debug)]
pub struct Interrupt {
    /// `true` once a signal has asked to stop, and before a run listens.
    is_requested: Arc<AtomicBool>,
    /// `true` if the next signal ends the program: a while after the request, and before a run listens.
    ends: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
    is_heard: AtomicBool,
}

/// Gives every signal an exit code. To be called once, before the work.
pub fn register(console: Console) {
    SIGNALS.get_or_init(|| {
        let interrupt = Interrupt::new();
        for signal in [SIGINT, SIGTERM] {
            if let Err(error) = interrupt.register(signal) {
                console.warning(&format!("signal {signal} ends the run without writing anything: {error}"));
            }
        }
        interrupt
    });
}

/// Begins to listen: from now on, the first signal asks to stop.
pub fn listen() -> &'static Interrupt {
    let interrupt = SIGNALS.get_or_init(Interrupt::new);
    if !interrupt.is_heard.swap(true, Ordering::Relaxed) {
        interrupt.is_requested.store(false, Ordering::Relaxed);
        interrupt.ends.store(false, Ordering::Relaxed);
    }
    interrupt
}

impl Interrupt {
    fn new() -> Self {
        let set = || Arc::new(AtomicBool::new(true));
        Self { is_requested: set(), ends: set(), signal: Arc::default(), is_heard: AtomicBool::new(false) }
    }

    /// Actions run in their order: the first signal that is listened to finds nothing that ends the program yet.
    fn register(&self, signal: i32) -> std::io::Result<()> {
        flag::register_conditional_shutdown(signal, ENDED_BY_SIGNAL + signal, self.ends.clone())?;
        flag::register_usize(signal, self.signal.clone(), signal.unsigned_abs() as usize)?;
        flag::register(signal, self.is_requested.clone())?;
        self.end_later(signal)
    }

    /// Lets a signal end the program once the request by this one is over, as a thread finds that waits for it.
    #[cfg(unix)]
    fn end_later(&self, signal: i32) -> std::io::Result<()> {
        let (mut told, tells) = std::os::unix::net::UnixStream::pair()?;
        signal_hook::low_level::pipe::register(signal, tells)?;
        let ends = self.ends.clone();
        let wait = move || {
            if told.read_exact(&mut [0]).is_ok() {
                std::thread::sleep(ONE_REQUEST);
                ends.store(true, Ordering::Relaxed);
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
    }

    /// Lets the next signal end the program.
    #[cfg(not(unix))]
    fn end_later(&self, signal: i32) -> std::io::Result<()> {
        flag::register(signal, self.ends.clone()).map(drop)
    }

    /// The flag that stops a run once it is set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.is_requested.clone()
    }

    /// Returns an error once a signal has asked to stop.
    ///
    /// # Errors
    /// [`Error::Cancelled`]
    pub fn check(&self) -> Result<()> {
        if self.is_requested.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// The exit code of a run that was stopped: 130 for SIGINT, 143 for SIGTERM.
pub fn exit_code() -> u8 {
    let signal = SIGNALS.get().map_or(0, |interrupt| interrupt.signal.load(Ordering::Relaxed));
    let signal = if signal == 0 { SIGINT } else { i32::try_from(signal).unwrap_or(SIGINT) };
    u8::try_from(ENDED_BY_SIGNAL + signal).unwrap_or(u8::MAX)
}

/// Says that a run was stopped, what it has done, and the command that continues it: that of this run, without the
/// flags `without` and with the flags `with`.
pub fn say(console: Console, done: &str, without: &[&str], with: &[&str]) {
    say_done(console, done);
    console.note(&format!("to continue: {}", command(arguments(), without, with)));
}

/// Says that a run was stopped, what it has done, and the command that begins it again, since it cannot be continued.
pub fn say_again(console: Console, done: &str) {
    say_done(console, done);
    console.note(&format!("to begin again: {}", command(arguments(), &[], &[])));
}

/// The arguments of this run.
fn arguments() -> impl Iterator<Item = String> {
    std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned())
}

/// Says that a run was stopped, and what it has done.
pub fn say_done(console: Console, done: &str) {
    console.warning(&format!("interrupted: {done}"));
}

/// A command for a shell.
fn command(arguments: impl Iterator<Item = String>, without: &[&str], with: &[&str]) -> String {
    let mut words = vec![env!("CARGO_PKG_NAME").to_owned()];
    words.extend(arguments.filter(|word| !without.contains(&word.as_str())));
    for flag in with {
        if !words.iter().any(|word| word == flag) {
            words.push((*flag).to_owned());
        }
    }
    // An argument cannot hold the one byte that a shell cannot quote.
    let quoted = words.iter().map(|word| shlex::try_quote(word).unwrap_or_default());
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_continue_is_quoted_for_a_shell() {
        let again = |arguments: &[&str], with: &[&str]| {
            command(arguments.iter().map(|argument| (*argument).to_owned()), &["--again"], with)
        };
        assert_eq!(
            again(&["sample", "-o", "a b/%05d.png"], &["--resume"]),
            "downhill sample -o 'a b/%05d.png' --resume"
        );
        assert_eq!(again(&["sample", "--resume"], &["--resume"]), "downhill sample --resume");
        assert_eq!(again(&["tune", "--again", "it's"], &[]), "downhill tune \"it's\"");
    }

    #[test]
    fn a_run_stops_once_it_is_asked_to() {
        let interrupt = listen();
        interrupt.check().unwrap();
        interrupt.flag().store(true, Ordering::Relaxed);
        assert!(matches!(listen().check(), Err(Error::Cancelled)));
        assert_eq!(exit_code(), 130);
    }
}
