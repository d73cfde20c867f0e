//! Work that reads results back without a thread that waits, as browsers require.
//!
//! The library computes, waits for the device, and goes on: a sampler calls its denoiser, which returns the output of
//! its network. Where nothing may wait, [`Gpu::replay`] runs such work up to the first result that is not there yet,
//! awaits this one, and runs the work again: results that are there are returned to it in their order, and what made
//! them is not submitted a second time. Arithmetic on the host is repeated, calls of a network are not.
//!
//! The work must be the same each time up to the result that it awaits, and every result must follow from what is
//! uploaded after the one before it. One step of a sampler, one call of a denoiser and the self-test are such work.

use std::cell::RefCell;

use futures_channel::oneshot;

use super::device::Gpu;
use super::readback::{Readback, failed};
use crate::error::{Error, Result};

/// The values of one read-back: those of each of its regions.
type Values = Vec<Vec<f32>>;

thread_local! {
    /// The work of this thread that is run without waiting. Others wait as ever.
    static REPLAY: RefCell<Option<Replay>> = const { RefCell::new(None) };
}

/// The results of a work so far.
#[derive(Default)]
struct Replay {
    known: Vec<Values>,
    /// The number of those that were returned since the work began.
    returned: usize,
    awaited: Option<Awaited>,
}

/// A result that is under way.
struct Awaited {
    readback: Readback,
    mapped: oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

/// The time in which read-backs of this thread do not wait. What was before comes back when it is dropped.
struct Scope {
    outer: Option<Replay>,
}

impl Scope {
    fn enter(known: Vec<Values>) -> Self {
        Self { outer: REPLAY.replace(Some(Replay { known, ..Replay::default() })) }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        REPLAY.set(self.outer.take());
    }
}

/// Returns the next result of the work under [`Gpu::replay`], if it is there already: its upload and its submission
/// can be left out.
pub fn replayed() -> Option<Values> {
    REPLAY.with_borrow_mut(|replay| {
        let replay = replay.as_mut()?;
        let values = replay.known.get(replay.returned)?.clone();
        replay.returned += 1;
        Some(values)
    })
}

impl Gpu {
    /// Runs `work` without waiting for the device within it: again from its beginning for each result that it reads.
    /// Waits in place where this is not a browser.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Device`] or [`Error::NoMemory`] if the device fails.
    pub async fn replay<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let mut known = Vec::new();
        loop {
            let scope = Scope::enter(known);
            let done = work();
            let replay = REPLAY.take().unwrap_or_default();
            drop(scope);
            let Some(awaited) = replay.awaited else {
                self.driver.check()?;
                return done;
            };
            known = replay.known;
            known.push(self.arrival(awaited).await?);
        }
    }

    /// Asks for a result of the work under [`Gpu::replay`], whose copy is submitted. Returns the error by which the
    /// work ends for now, and `None` where read-backs wait.
    pub(super) fn awaits(&self, readback: &Readback) -> Option<Error> {
        let is_on = REPLAY.with_borrow(Option::is_some);
        is_on.then(|| {
            let (sender, mapped) = oneshot::channel();
            let report = move |result| {
                // Without a receiver, nothing awaits the result any more.
                let _ = sender.send(result);
            };
            if let Err(error) = self.driver.call(|_, _| readback.staging.map_async(wgpu::MapMode::Read, .., report)) {
                return error;
            }
            let awaited = Awaited { readback: readback.clone(), mapped };
            REPLAY.with_borrow_mut(|replay| {
                if let Some(replay) = replay {
                    replay.awaited.get_or_insert(awaited);
                }
            });
            Error::Device { what: "a result is awaited".into(), hint: None }
        })
    }

    async fn arrival(&self, awaited: Awaited) -> Result<Values> {
        let Awaited { readback, mapped } = awaited;
        // In a browser, this returns at once, and the device is at work meanwhile.
        self.wait()?;
        let mapped = mapped.await;
        self.driver.check()?;
        mapped.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        self.read_mapped(&readback.staging, |view| readback.values(view))
    }
}
