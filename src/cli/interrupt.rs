//! SIGINT and SIGTERM: the first one asks a run to stop and to write what it has, the second one ends the program.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};
use crate::report::Console;

/// The signals of the process. Nothing listens to them before the first call of [`listen`]: until then there is nothing
/// to write, and they end the program.
static SIGNALS: OnceLock<Interrupt> = OnceLock::new();

/// The exit code of a program that was ended by signal 0.
const ENDED_BY_SIGNAL: i32 = 128;

/// The request to stop.
#[derive(Debug, Default)]
pub struct Interrupt {
    is_requested: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

/// Listens to the signals from now on.
pub fn listen(console: Console) -> &'static Interrupt {
    SIGNALS.get_or_init(|| {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM] {
            // Actions run in their order, so the first signal finds no request yet and does not end the program.
            let registered =
                flag::register_conditional_shutdown(signal, ENDED_BY_SIGNAL + signal, interrupt.is_requested.clone())
                    .and_then(|_| {
                        flag::register_usize(signal, interrupt.signal.clone(), signal.unsigned_abs() as usize)
                    })
                    .and_then(|_| flag::register(signal, interrupt.is_requested.clone()));
            if let Err(error) = registered {
                console.warning(&format!("signal {signal} ends the run without writing anything: {error}"));
            }
        }
        interrupt
    })
}

impl Interrupt {
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
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    console.warning(&format!("interrupted: {done}"));
    console.note(&format!("to continue: {}", command(arguments, without, with)));
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
        let interrupt = Interrupt::default();
        interrupt.check().unwrap();
        interrupt.flag().store(true, Ordering::Relaxed);
        assert!(matches!(interrupt.check(), Err(Error::Cancelled)));
    }
}
