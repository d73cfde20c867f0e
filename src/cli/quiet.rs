//! Messages of drivers. On a machine without a display, Mesa's device-selection layer looks for a Wayland display while
//! adapters are listed, and reports the failure on standard error, although no surface is ever requested.

/// Runs `work` with standard error closed where only a missing display would be reported: on Linux, when
/// `XDG_RUNTIME_DIR` is not an absolute path. Standard error is for the program's own messages.
#[cfg(target_os = "linux")]
pub fn without_driver_chatter<T>(work: impl FnOnce() -> T) -> T {
    let is_absolute = |folder| std::path::Path::new(&folder).is_absolute();
    if std::env::var_os("XDG_RUNTIME_DIR").is_some_and(is_absolute) {
        return work();
    }
    let _silenced = silence();
    work()
}

/// Standard error as it was. Restored when dropped, so also when a driver panics.
#[cfg(target_os = "linux")]
struct Saved(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Drop for Saved {
    fn drop(&mut self) {
        // A failure cannot be reported here: there is no standard error to report it on.
        let _ = rustix::stdio::dup2_stderr(&self.0);
    }
}

/// Points standard error at `/dev/null` and returns its former target.
#[cfg(target_os = "linux")]
fn silence() -> std::io::Result<Saved> {
    let nothing = std::fs::File::options().write(true).open("/dev/null")?;
    let saved = rustix::io::dup(std::io::stderr())?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(Saved(saved))
}

#[cfg(not(target_os = "linux"))]
pub fn without_driver_chatter<T>(work: impl FnOnce() -> T) -> T {
    work()
}
