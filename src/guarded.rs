//! Code of others that may panic where it should return an error: a driver that fails under wgpu, a decoder at a file
//! of somebody's making.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// `true` while this thread is inside [`guarded`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of others. A panic in it becomes an error, its text.
///
/// What the code was changing may be half changed, and must not be used after an error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    let outer = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    done.map_err(|panic| text_of(panic.as_ref()))
}

/// Returns `true` inside [`guarded`], for panic hooks: the panic becomes an error.
pub(crate) fn is_guarded() -> bool {
    GUARDED.get()
}

/// Returns the text of a panic.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_others_is_an_error_and_a_guard_within_a_guard_ends_alone() {
        assert_eq!(guarded(|| 3), Ok(3));
        let outer = guarded(|| {
            assert_eq!(guarded(|| -> () { panic!("number {}", 7) }), Err("number 7".to_owned()));
            is_guarded()
        });
        assert_eq!(outer, Ok(true));
        assert!(!is_guarded());
        assert_eq!(guarded(|| -> () { std::panic::panic_any(1) }), Err("a panic without words".to_owned()));
    }
}
