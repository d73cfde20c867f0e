//! A request to stop, heeded between the submissions of one computation.
//!
//! It belongs to the thread that computes: another one on the same device goes on.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

thread_local! {
    /// The flag that stops the computations of this thread once it is set, if there is one.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Returns an error once the flag of this thread is set.
///
/// # Errors
/// [`Error::Cancelled`]
pub(super) fn check_stop() -> Result<()> {
    let is_set = STOP.with_borrow(|flag| flag.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)));
    if is_set { Err(Error::Cancelled) } else { Ok(()) }
}

/// The time in which a flag stops the computations of a thread. Its end is when this is dropped.
#[must_use]
#[derive(Debug)]
pub struct Stoppable {
    before: Option<Arc<AtomicBool>>,
    /// It stays with its thread.
    of_thread: PhantomData<*const ()>,
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        STOP.set(self.before.take());
    }
}

/// Ends computations of this thread with [`Error::Cancelled`] before their next submission once `flag` is set, as long
/// as the result of this function lives. One call of a large network is many submissions.
pub fn stop_by(flag: Option<Arc<AtomicBool>>) -> Stoppable {
    Stoppable { before: STOP.replace(flag), of_thread: PhantomData }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options, Recording};

    #[test]
    fn a_flag_stops_submissions_of_its_thread_as_long_as_it_is_heeded() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let nothing = Recording { steps: Vec::new() };
        let flag = Arc::new(AtomicBool::new(false));
        let outer = stop_by(Some(Arc::clone(&flag)));
        gpu.submit(&nothing).unwrap();
        flag.store(true, Ordering::Relaxed);
        assert!(matches!(gpu.submit(&nothing), Err(Error::Cancelled)));
        std::thread::scope(|scope| scope.spawn(|| gpu.submit(&nothing).unwrap()).join().unwrap());
        // What is done for the images that there are already is not stopped.
        let inner = stop_by(None);
        gpu.submit(&nothing).unwrap();
        drop(inner);
        assert!(matches!(gpu.submit(&nothing), Err(Error::Cancelled)));
        drop(outer);
        gpu.submit(&nothing).unwrap();
    }
}
