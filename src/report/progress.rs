//! The progress bar and the spinner: on a terminal only, gone when the work is done.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::console::Verbosity;
use super::printable::printable_line;

/// Redraws a second.
const HERTZ: u8 = 10;
const BYTES_TEMPLATE: &str =
    "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} [{elapsed} < {eta}, {binary_bytes_per_sec}]";
/// The columns of a terminal from which there is room for times and speeds beside a bar.
const ROOMY: usize = 60;
const NARROW_TEMPLATE: &str = "{msg} {wide_bar} {percent}%";
/// A bar whose words hold the numbers.
const WORDED_TEMPLATE: &str = "{msg} {wide_bar} [{elapsed} < {eta}, {speed}]";
const SPINNER_TEMPLATE: &str = "{spinner} {msg} [{elapsed}]";
const TEMPLATE: &str = "{msg} {wide_bar} {pos}/{len} [{elapsed} < {eta}, {speed}]";

/// A bar over a known number of iterations, on standard error. It is hidden when that is not a terminal and when the
/// program is quiet, and it takes itself away when dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `total` iterations, titled `title`.
    #[must_use]
    pub fn new(title: &str, total: u64, verbosity: Verbosity) -> Self {
        Self::on(Self::target(verbosity), title, total)
    }

    /// As [`Progress::new`], of `total` bytes.
    #[must_use]
    pub fn bytes(title: &str, total: u64, verbosity: Verbosity) -> Self {
        Self::with(Self::target(verbosity), BYTES_TEMPLATE, title, total)
    }

    /// As [`Progress::new`], without the numbers of iterations: `words` say what is done, and [`Progress::say`] changes
    /// them.
    #[must_use]
    pub fn worded(words: &str, total: u64, verbosity: Verbosity) -> Self {
        Self::with(Self::target(verbosity), WORDED_TEMPLATE, words, total)
    }

    fn target(verbosity: Verbosity) -> ProgressDrawTarget {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let shown = verbosity > Verbosity::Quiet && std::io::stderr().is_terminal() && !dumb;
        if shown { ProgressDrawTarget::stderr_with_hz(HERTZ) } else { ProgressDrawTarget::hidden() }
    }

    fn on(target: ProgressDrawTarget, title: &str, total: u64) -> Self {
        Self::with(target, TEMPLATE, title, total)
    }

    fn with(target: ProgressDrawTarget, template: &str, title: &str, total: u64) -> Self {
        let columns = terminal_size::terminal_size_of(std::io::stderr()).map(|(width, _)| usize::from(width.0));
        let template = if columns.is_some_and(|columns| columns < ROOMY) { NARROW_TEMPLATE } else { template };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let speed = |state: &ProgressState, text: &mut dyn Write| {
            // A text that cannot be drawn is left out.
            let _ = text.write_str(&speed_text(state.per_sec()));
        };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style.with_key("speed", speed));
        bar.set_message(printable_line(title).into_owned());
        Self { bar }
    }

    /// Says that `iterations` more are done.
    pub fn advance(&self, iterations: u64) {
        self.bar.inc(iterations);
    }

    /// Changes the words of the bar.
    pub fn say(&self, words: &str) {
        self.bar.set_message(printable_line(words).into_owned());
    }

    /// Iterations done.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.bar.position()
    }

    /// Runs `print`, which writes to the terminal, with the bar out of the way.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Words and a turning sign beside work of unknown length, on standard error. It is hidden when that is not a terminal
/// and when the program is quiet, and it takes itself away when dropped.
#[derive(Debug)]
pub struct Spinner {
    bar: ProgressBar,
}

impl Spinner {
    /// A spinner beside `words`.
    #[must_use]
    pub fn new(words: &str, verbosity: Verbosity) -> Self {
        Self::on(Progress::target(verbosity), words)
    }

    fn on(target: ProgressDrawTarget, words: &str) -> Self {
        let style = ProgressStyle::with_template(SPINNER_TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        bar.set_message(printable_line(words).into_owned());
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_secs(1) / u32::from(HERTZ));
        }
        Self { bar }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Iterations a second, or seconds an iteration where they are slow.
fn speed_text(per_second: f64) -> String {
    if !per_second.is_normal() {
        "- it/s".to_string()
    } else if per_second >= 1.0 {
        format!("{per_second:.2} it/s")
    } else {
        format!("{:.2} s/it", per_second.recip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[test]
    fn speed_is_readable_at_both_ends() {
        assert_eq!(speed_text(12.345), "12.35 it/s");
        assert_eq!(speed_text(0.25), "4.00 s/it");
        assert_eq!(speed_text(0.0), "- it/s");
        assert_eq!(speed_text(f64::NAN), "- it/s");
        assert_eq!(speed_text(f64::INFINITY), "- it/s");
    }

    /// A terminal that remembers what was written to it.
    #[derive(Clone, Debug, Default)]
    struct Recorder(Arc<Mutex<String>>);

    impl TermLike for Recorder {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_bar_shows_position_and_speed_and_clears_itself() {
        let terminal = Recorder::default();
        let bar = Progress::on(ProgressDrawTarget::term_like(Box::new(terminal.clone())), "sampling", 20);
        bar.advance(3);
        bar.bar.force_draw();
        let drawn = terminal.0.lock().unwrap().clone();
        assert!(drawn.contains("sampling ") && drawn.contains(" 3/20 [") && drawn.contains("it"), "{drawn}");
        assert_eq!(bar.suspend(|| terminal.0.lock().unwrap().trim().to_string()), "", "out of the way");
        assert_eq!(bar.position(), 3);
        drop(bar);
        assert_eq!(terminal.0.lock().unwrap().trim(), "");
    }

    #[test]
    fn words_take_the_place_of_numbers() {
        let terminal = Recorder::default();
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let bar = Progress::with(target, WORDED_TEMPLATE, "images 0/4", 20);
        bar.say("images 2/4, step 3/10\u{1b}");
        bar.bar.force_draw();
        let drawn = terminal.0.lock().unwrap().clone();
        assert!(drawn.contains("images 2/4, step 3/10\\u{1b} ") && !drawn.contains("/20"), "{drawn}");
    }

    #[test]
    fn a_spinner_says_its_words_and_clears_itself() {
        let terminal = Recorder::default();
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let spinner = Spinner::on(target, "compiling 3 pipelines");
        spinner.bar.force_draw();
        assert!(terminal.0.lock().unwrap().contains("compiling 3 pipelines ["));
        drop(spinner);
        assert_eq!(terminal.0.lock().unwrap().trim(), "");
        assert!(Spinner::new("compiling", Verbosity::Quiet).bar.is_hidden());
    }

    #[test]
    fn a_quiet_bar_is_hidden() {
        let bar = Progress::new("sampling", 2, Verbosity::Quiet);
        bar.advance(1);
        assert!(bar.bar.is_hidden());
        assert_eq!(bar.position(), 1);
    }
}
