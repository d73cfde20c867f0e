//! The one place where a device and its queue are called: under the guard, and not after they have failed.

use std::sync::{Arc, Mutex, PoisonError};

use super::adapter::MATRIX_FEATURES;
use super::guard::{Failure, guarded};
use crate::error::{Error, Result};

/// An open device and its queue.
pub(super) struct Driver {
    /// `None` once closed.
    opened: Option<(wgpu::Device, wgpu::Queue)>,
    /// The limits that the device was opened with.
    pub(super) limits: wgpu::Limits,
    /// The features that the device was opened with.
    pub(super) features: wgpu::Features,
    /// The first failure. Later ones only follow from it.
    first: Arc<Mutex<Option<Failure>>>,
}

impl Driver {
    /// Opens an adapter with every limit it grants, with matrix units and with arithmetic in float16 where asked for
    /// and offered.
    ///
    /// # Errors
    /// [`Error::NoMemory`] or [`Error::Device`].
    pub(super) fn open(adapter: &wgpu::Adapter, matrix: bool, float16: bool) -> Result<Self> {
        let descriptor = descriptor(adapter, matrix, float16);
        let opened = guarded(|| pollster::block_on(adapter.request_device(&descriptor)))
            .map_err(half_opened)
            .and_then(|opened| opened.map_err(|error| Failure::new(&error.to_string())));
        Self::of(adapter, opened)
    }

    /// As [`Driver::open`], without waiting.
    ///
    /// # Errors
    /// As [`Driver::open`].
    pub(super) async fn open_in_browser(adapter: &wgpu::Adapter, matrix: bool, float16: bool) -> Result<Self> {
        let opened = adapter.request_device(&descriptor(adapter, matrix, float16)).await;
        Self::of(adapter, opened.map_err(|error| Failure::new(&error.to_string())))
    }

    fn of(adapter: &wgpu::Adapter, opened: std::result::Result<(wgpu::Device, wgpu::Queue), Failure>) -> Result<Self> {
        let (device, queue) = opened.map_err(|failure| cannot_be_opened(&adapter.get_info().name, failure))?;
        let first = Arc::new(Mutex::new(None));
        keep_first_failure(&device, &first);
        let (limits, features) = (device.limits(), device.features());
        Ok(Self { opened: Some((device, queue)), limits, features, first })
    }

    /// Calls the device and its queue.
    ///
    /// # Errors
    /// The first failure of this device, whether it is an earlier one, a panic of wgpu in `work`, or reported by the
    /// device meanwhile.
    pub(super) fn call<T>(&self, work: impl FnOnce(&wgpu::Device, &wgpu::Queue) -> T) -> Result<T> {
        self.attempt(work).map_err(Failure::into_error)
    }

    fn attempt<T>(&self, work: impl FnOnce(&wgpu::Device, &wgpu::Queue) -> T) -> std::result::Result<T, Failure> {
        self.healthy()?;
        let Some((device, queue)) = &self.opened else {
            return Err(Failure { what: "the device is closed".into(), is_memory: false });
        };
        let done = guarded(|| work(device, queue));
        if let Err(failure) = &done {
            keep(&self.first, failure.clone());
        }
        // What the device reports outside of errors (its loss, above all) arrives by its callbacks.
        match self.healthy() {
            Ok(()) => done,
            Err(failure) => {
                // Destructors are calls too.
                let _ = guarded(|| drop(done));
                Err(failure)
            }
        }
    }

    /// Calls the device to create something for `tensor` of `bytes` (0 if unknown).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] for refused memory, after which the device may still be used; else as [`Self::call`].
    pub(super) fn create<T>(&self, tensor: &str, bytes: u64, create: impl FnOnce(&wgpu::Device) -> T) -> Result<T> {
        let created = self.attempt(|device, _| {
            // In a browser, errors arrive later: the device keeps the first of them.
            if cfg!(target_family = "wasm") {
                return Ok(create(device));
            }
            let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
            let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
            let made = create(device);
            let [validation, internal, memory] =
                [validation, internal, memory].map(|scope| pollster::block_on(scope.pop()));
            match (memory, validation.or(internal)) {
                (Some(error), _) => Err(Failure { is_memory: true, ..Failure::new(&error.to_string()) }),
                (None, Some(error)) => Err(Failure { what: error.to_string(), is_memory: false }),
                (None, None) => Ok(made),
            }
        });
        match created {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(failure)) | Err(failure) => Err(refusal(tensor, bytes, failure)),
        }
    }

    /// Waits as `poll_type` says.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) fn poll(&self, poll_type: wgpu::PollType) -> Result<()> {
        let polled = self.call(|device, _| device.poll(poll_type))?;
        polled.map(drop).map_err(|error| Error::Device { what: error.to_string(), hint: None })
    }

    /// Submits the commands that `encode` records.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) fn submit(&self, encode: impl FnOnce(&mut wgpu::CommandEncoder)) -> Result<wgpu::SubmissionIndex> {
        self.call(|device, queue| {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encode(&mut encoder);
            queue.submit([encoder.finish()])
        })
    }

    /// Returns the first failure, if there is one.
    fn healthy(&self) -> std::result::Result<(), Failure> {
        match self.first.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            None => Ok(()),
            Some(failure) => Err(failure.clone()),
        }
    }

    /// Reports the first failure, if there is one.
    ///
    /// # Errors
    /// That failure.
    pub(super) fn check(&self) -> Result<()> {
        self.healthy().map_err(Failure::into_error)
    }

    /// Closes the device, which waits for its work, and returns the failure of doing so.
    ///
    /// A device that has failed before is left to the end of the process instead: destructors of wgpu do not expect
    /// objects that are half changed (`wgpu-hal` 30 destroys a semaphore twice if the second one of a queue could not
    /// be created), and waiting for a lost device may not end.
    pub(super) fn close(&mut self) -> Option<Failure> {
        let opened = self.opened.take()?;
        if self.healthy().is_err() {
            std::mem::forget(opened);
            return None;
        }
        guarded(|| drop(opened)).and_then(|()| self.healthy()).err()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Nothing depends on a device that is closed only here: one that compiles beside another, or did not open.
        let _ = self.close();
    }
}

/// The device to open on an adapter.
fn descriptor(adapter: &wgpu::Adapter, matrix: bool, float16: bool) -> wgpu::DeviceDescriptor<'static> {
    let usual = wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE;
    let usual = if float16 { usual | wgpu::Features::SHADER_F16 } else { usual };
    let wanted = if matrix { usual | MATRIX_FEATURES } else { usual };
    // SAFETY: experimental features may have bugs in wgpu that break its promises to safe callers. The one
    // requested is used by three shaders compiled into this program, and only when the user names their family, or
    // for a roof of matrix units.
    #[expect(unsafe_code, reason = "matrix units are behind an experimental feature; see the SAFETY note")]
    let experimental =
        if matrix { unsafe { wgpu::ExperimentalFeatures::enabled() } } else { wgpu::ExperimentalFeatures::default() };
    wgpu::DeviceDescriptor {
        label: Some("downhill"),
        required_features: adapter.features() & wanted,
        required_limits: adapter.limits(),
        experimental_features: experimental,
        ..wgpu::DeviceDescriptor::default()
    }
}

/// The error of a device that refuses to create something.
fn refusal(tensor: &str, bytes: u64, failure: Failure) -> Error {
    match (failure.is_memory, bytes) {
        (true, 0) => Failure { what: format!("{tensor}: {}", failure.what), is_memory: true }.into_error(),
        (true, _) => {
            let hint = "lower `batch` or the image size, or choose an `adapter` with more memory".into();
            Error::OutOfMemory { tensor: tensor.to_owned(), bytes, hint }
        }
        (false, _) => Error::Device { what: format!("{tensor}: {}", failure.what), hint: None },
    }
}

/// Names the cause where wgpu drops a device before it is complete, and panics over the remains. That happens if one of
/// wgpu's buffers is refused, for which Vulkan has no other reason than memory.
fn half_opened(failure: Failure) -> Failure {
    if failure.what.starts_with("buckets are not empty") {
        return Failure { what: "memory for wgpu's own buffers is refused".to_owned(), is_memory: true };
    }
    failure
}

fn cannot_be_opened(adapter: &str, failure: Failure) -> Error {
    let what = format!("`{adapter}` cannot be opened: {}", failure.what);
    let hint = "choose another `adapter`; `downhill devices` lists them";
    if failure.is_memory {
        return Error::NoMemory { what, hint: format!("end other programs or lift their limits, or {hint}") };
    }
    Error::Device { what, hint: Some(hint.into()) }
}

fn keep(first: &Mutex<Option<Failure>>, failure: Failure) {
    first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
}

/// Keeps the first error that the device reports outside any scope, or the reason it was lost.
fn keep_first_failure(device: &wgpu::Device, first: &Arc<Mutex<Option<Failure>>>) {
    let uncaptured = Arc::clone(first);
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        let is_memory = matches!(error, wgpu::Error::OutOfMemory { .. });
        let failure = Failure::new(&error.to_string());
        keep(&uncaptured, Failure { is_memory: is_memory || failure.is_memory, ..failure });
    }));
    let lost = Arc::clone(first);
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            keep(&lost, Failure::new(&format!("the device was lost: {message}")));
        }
    });
}
