//! Drivers that talk: on a machine without a display, Mesa's device-selection layer looks for a Wayland display while
//! adapters are listed and complains on stderr, although no surface is ever asked for.

/// Runs `work` with stderr closed where only a missing display would be complained about: on Linux, when
/// `XDG_RUNTIME_DIR` does not name a folder by a full path. A program's stderr should hold its own words.
#[cfg(target_os = "linux")]
pub(super) fn without_driver_chatter<T>(work: impl FnOnce() -> T) -> T {
    let names_a_folder = |folder| std::path::Path::new(&folder).is_absolute();
    if std::env::var_os("XDG_RUNTIME_DIR").is_some_and(names_a_folder) {
        return work();
    }
    let silenced = silence();
    let answer = work();
    if let Ok(saved) = silenced {
        // Nothing can be said about a failure here: there is no stderr to say it on.
        let _ = rustix::stdio::dup2_stderr(&saved);
    }
    answer
}

/// Points stderr at nothing and answers where it pointed before.
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
