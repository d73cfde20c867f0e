//! The guard around wgpu. Where a driver does what it rarely does (loses its device during a wait, refuses memory in
//! the middle of a command), wgpu panics instead of returning an error. Every call into it runs inside [`guarded`],
//! which turns the panic into a [`Failure`].

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};

use crate::error::{Error, Result};
use crate::guarded::{self, text_of};

thread_local! {
    /// The text of a panic that began in wgpu outside [`guarded`], in a destructor.
    static ESCAPED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The crates whose panics are failures of a driver.
const DRIVER_CRATES: [&str; 5] = ["wgpu", "wgpu-core", "wgpu-hal", "gpu-allocator", "ash"];

/// The spellings of refused memory in the errors and panics of wgpu.
const NO_MEMORY: [&str; 5] =
    ["not enough memory", "out of memory", "outofmemory", "out_of_host_memory", "out_of_device_memory"];

/// A failure of the device or its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The failure in one line.
    pub(super) what: String,
    /// `true` if memory was refused.
    pub(super) is_memory: bool,
}

impl Failure {
    /// A failure that wgpu describes by `text`.
    pub(super) fn new(text: &str) -> Self {
        let what = one_line(text);
        let lower = what.to_lowercase();
        if NO_MEMORY.iter().any(|spelling| lower.contains(spelling)) {
            // The same thing in five spellings, some of them of Rust and not of English.
            return Self { what: "the driver refuses memory".to_owned(), is_memory: true };
        }
        Self { what, is_memory: false }
    }

    /// The error of this failure.
    pub(super) fn into_error(self) -> Error {
        let Self { what, is_memory } = self;
        if is_memory {
            let hint = "lower `batch` or the image size, or choose an `adapter` with more memory".into();
            return Error::NoMemory { what, hint };
        }
        Error::Device { what, hint: Some("lower `batch`, or choose another `adapter`".into()) }
    }
}

/// Joins the lines of a chain of causes, as wgpu prints it.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let told = lines.filter(|line| !["", "Caused by:", "Validation Error"].contains(line));
    let told: Vec<_> = told.map(|line| line.strip_suffix(": Validation Error").unwrap_or(line)).collect();
    told.join(": ")
}

/// Runs calls into wgpu. A panic becomes a [`Failure`].
///
/// After a failure, the objects of the same device may be half changed and must not be used:
/// [`super::driver::Driver`] sees to that.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> std::result::Result<T, Failure> {
    guarded::guarded(work).map_err(|text| Failure::new(&text))
}

/// Keeps panics of wgpu and of decoders off standard error, since they become errors. Those of everything else reach
/// the hook that is installed now.
///
/// Process-wide: replaces the panic hook. The library never calls this itself; without it, the errors are the same, and
/// the panics are also printed.
pub fn silence_panics() {
    let earlier = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if guarded::is_guarded() {
            return;
        }
        if panic.location().is_some_and(is_in_driver) {
            ESCAPED.set(Some(text_of(panic.payload())));
            return;
        }
        earlier(panic);
    }));
}

/// Runs `work`, and turns a panic of wgpu in a destructor, where no call can return an error, into one. To be used with
/// [`silence_panics`], which recognises these panics; others continue.
///
/// # Errors
/// Those of `work`; [`Error::Device`] or [`Error::NoMemory`] for a panic of wgpu.
pub fn contain<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => match ESCAPED.take() {
            Some(text) => Err(Failure::new(&text).into_error()),
            None => resume_unwind(panic),
        },
    }
}

fn is_in_driver(location: &Location<'_>) -> bool {
    is_driver_source(location.file())
}

/// Returns `true` for a source file of wgpu: one of its crates, with or without a version, is a folder of the path.
fn is_driver_source(file: &str) -> bool {
    file.split(['/', '\\']).any(|folder| {
        DRIVER_CRATES.iter().any(|name| match folder.strip_prefix(name) {
            Some("") => true,
            Some(rest) => {
                rest.strip_prefix('-').is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
            }
            None => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_panic_inside_the_guard_is_a_failure_in_one_line() {
        let text = "Error in Device::poll: Validation Error\n\nCaused by:\n  Parent device is lost\n";
        let lost = guarded(|| -> () { panic!("{text}") }).unwrap_err();
        assert_eq!(lost, Failure { what: "Error in Device::poll: Parent device is lost".into(), is_memory: false });
        assert_eq!(lost.into_error().kind(), ErrorKind::Device);
        let refused = guarded(|| -> () { panic!("Unexpected error while waiting: OutOfMemory") }).unwrap_err();
        assert_eq!(refused.into_error().kind(), ErrorKind::Memory);
        assert_eq!(guarded(|| 7), Ok(7));
        assert!(!guarded::is_guarded());
    }

    #[test]
    fn panics_of_others_are_not_contained() {
        let others = catch_unwind(|| contain(|| -> Result<()> { panic!("a fault of the caller") }));
        assert_eq!(text_of(others.unwrap_err().as_ref()), "a fault of the caller");
        ESCAPED.set(Some("Device lost".into()));
        let contained = contain(|| -> Result<()> { panic!("as from a destructor of wgpu") });
        assert_eq!(contained.unwrap_err().kind(), ErrorKind::Device);
    }

    #[test]
    fn sources_of_wgpu_are_recognised() {
        for file in [
            "/home/a/.cargo/registry/src/index.crates.io-1/wgpu-core-30.0.1/src/device/queue.rs",
            r"C:\a\.cargo\registry\src\index\wgpu-30.0.1\src\backend\wgpu_core.rs",
            "vendor/gpu-allocator/src/vulkan/mod.rs",
        ] {
            assert!(is_driver_source(file), "{file}");
        }
        for file in ["src/gpu/device.rs", "/home/a/wgpu-experiments/src/lib.rs", "src/ashes/mod.rs"] {
            assert!(!is_driver_source(file), "{file}");
        }
    }
}
