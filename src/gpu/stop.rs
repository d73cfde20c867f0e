//! A request to stop, heeded between the submissions of one computation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::device::Gpu;
use crate::error::{Error, Result};

/// The flag that stops computations once it is set, if there is one.
#[derive(Default)]
pub(super) struct Stop(Mutex<Option<Arc<AtomicBool>>>);

impl Stop {
    /// Returns an error once the flag is set.
    ///
    /// # Errors
    /// [`Error::Cancelled`]
    pub(super) fn check(&self) -> Result<()> {
        let flag = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flag.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn replace(&self, flag: Option<Arc<AtomicBool>>) -> Option<Arc<AtomicBool>> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), flag)
    }
}

/// The time in which a flag stops computations. Its end is when this is dropped.
#[must_use]
pub struct Stoppable<'g> {
    gpu: &'g Gpu,
    before: Option<Arc<AtomicBool>>,
}

impl Drop for Stoppable<'_> {
    fn drop(&mut self) {
        self.gpu.stop.replace(self.before.take());
    }
}

impl Gpu {
    /// Ends computations with [`Error::Cancelled`] before their next submission once `flag` is set, as long as the
    /// result of this function lives. One call of a large network is many submissions.
    pub fn stop_by(&self, flag: Option<Arc<AtomicBool>>) -> Stoppable<'_> {
        Stoppable { gpu: self, before: self.stop.replace(flag) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Options, Recording};

    #[test]
    fn a_flag_stops_submissions_as_long_as_it_is_heeded() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let nothing = Recording { steps: Vec::new() };
        let flag = Arc::new(AtomicBool::new(false));
        let outer = gpu.stop_by(Some(Arc::clone(&flag)));
        gpu.submit(&nothing).unwrap();
        flag.store(true, Ordering::Relaxed);
        assert!(matches!(gpu.submit(&nothing), Err(Error::Cancelled)));
        // What is done for the images that there are already is not stopped.
        let inner = gpu.stop_by(None);
        gpu.submit(&nothing).unwrap();
        drop(inner);
        assert!(matches!(gpu.submit(&nothing), Err(Error::Cancelled)));
        drop(outer);
        gpu.submit(&nothing).unwrap();
    }
}
