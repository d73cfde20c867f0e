//! Noise of drivers: on a machine without a display, Mesa's device-selection layer looks for a Wayland display while
//! adapters are listed and complains on stderr, although a surface is never requested.

/// Runs `work` with stderr closed where a driver would only complain about a missing display: on Linux, if
/// `XDG_RUNTIME_DIR` is not an absolute path of a folder. A program's stderr should hold only its own messages.
#[cfg(target_os = "linux")]
pub(super) fn without_driver_chatter<T>(work: impl FnOnce() -> T) -> T {
    let names_a_folder = |folder| std::path::Path::new(&folder).is_absolute();
    if std::env::var_os("XDG_RUNTIME_DIR").is_some_and(names_a_folder) {
        return work();
    }
    let silenced = silence();
    let answer = work();
    if let Ok(saved) = silenced {
        // A failure cannot be reported here: there is no stderr to report it on.
        let _ = rustix::stdio::dup2_stderr(&saved);
    }
    answer
}

/// Redirects stderr to nothing and returns its former target.
#[cfg(target_os = "linux")]
fn silence() -> std::io::Result<std::os::fd::OwnedFd> {
    let nothing = std::fs::File::options().write(true).open("/dev/null")?;
    let saved = rustix::io::dup(std::io::stderr())?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(saved)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn without_driver_chatter<T>(work: impl FnOnce() -> T) -> T {
    work()
}
