//! The device: opened with every limit its adapter grants, and watched for errors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::adapter::{Adapters, Choice, Described, Kind, MATRIX_FEATURES, describe};
use super::pipeline_cache::PipelineCache;
use crate::error::{Error, Result};

/// Options for opening a device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The choice of adapter.
    pub adapter: Choice,
    /// Compiles shaders with bounds checks and bounded loops, as for untrusted code.
    pub checked: bool,
    /// Lets shaders use the adapter's matrix units, if the kernels support them.
    pub matrix: bool,
}

/// An open device, its queue, and the properties of its adapter.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) checked: bool,
    matrix: bool,
    /// Pipelines of earlier runs, if the driver does not keep them itself.
    pub(super) pipelines: Option<PipelineCache>,
    /// The adapter it was opened from.
    opener: wgpu::Adapter,
    /// The properties of its adapter.
    pub adapter: Described,
    first_error: Arc<Mutex<Option<String>>>,
    allocated: Arc<AtomicU64>,
    peak: Arc<AtomicU64>,
    /// The number of bytes passed to the queue since it was last waited for.
    pub(super) staged: AtomicU64,
}

impl Gpu {
    /// Opens the adapter that `options` select, with every limit it grants.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if none matches; [`Error::Device`] if it cannot be opened.
    pub fn open(options: &Options) -> Result<Self> {
        let adapters = Adapters::find();
        let (index, adapter) = adapters.choose(&options.adapter)?;
        let described = describe(index, adapter);
        let matrix = options.matrix && described.matrix.is_some();
        let (device, queue) = request(adapter, matrix)?;
        let is_software = described.kind == Kind::Software;
        let pipelines = if is_software { None } else { PipelineCache::open(&device, &adapter.get_info()) };
        let first_error = Arc::new(Mutex::new(None));
        keep_first_error(&device, &first_error);
        Ok(Self {
            device,
            queue,
            checked: options.checked,
            matrix,
            pipelines,
            opener: adapter.clone(),
            adapter: described,
            first_error,
            allocated: Arc::default(),
            peak: Arc::default(),
            staged: AtomicU64::new(0),
        })
    }

    /// Opens another device on the same adapter, for work that does not wait for this one's queue. Its errors are
    /// discarded.
    ///
    /// # Errors
    /// [`Error::Device`] if the adapter does not open a second one.
    pub(super) fn open_beside(&self) -> Result<(wgpu::Device, wgpu::Queue)> {
        let opened = request(&self.opener, self.matrix)?;
        opened.0.on_uncaptured_error(Arc::new(|_| ()));
        Ok(opened)
    }

    /// Returns the device memory held by storages, in bytes: now, and the largest since the device was opened.
    #[must_use]
    pub fn memory_bytes(&self) -> (u64, u64) {
        (self.allocated.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed))
    }

    /// Waits until all submitted work is done.
    ///
    /// # Errors
    /// [`Error::Device`] with the first failure on the device.
    pub fn wait(&self) -> Result<()> {
        self.poll(wgpu::PollType::wait_indefinitely())
    }

    /// Waits as `poll_type` says, and reports the first error of the device.
    pub(super) fn poll(&self, poll_type: wgpu::PollType) -> Result<()> {
        let polled = self.device.poll(poll_type);
        self.check()?;
        polled.map(|_| ()).map_err(|error| Error::Device { what: error.to_string(), hint: None })
    }

    /// Reports the first error of the device, if any.
    pub(super) fn check(&self) -> Result<()> {
        let first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        match first.as_ref() {
            None => Ok(()),
            Some(what) => Err(Error::Device {
                what: what.clone(),
                hint: Some("lower `batch`, or choose another `adapter`".into()),
            }),
        }
    }

    /// Runs `create` and converts the device's response to an error: out of memory for `tensor` of `bytes`, or another
    /// one.
    pub(super) fn scoped<T>(&self, tensor: &str, bytes: u64, create: impl FnOnce() -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = create();
        let [validation, internal] = [validation, internal].map(|scope| pollster::block_on(scope.pop()));
        if pollster::block_on(memory.pop()).is_some() {
            let hint = "lower `batch` or the image size, or choose an `adapter` with more memory".into();
            return Err(Error::OutOfMemory { tensor: tensor.to_owned(), bytes, hint });
        }
        match validation.or(internal) {
            Some(error) => Err(Error::Device { what: format!("{tensor}: {error}"), hint: None }),
            None => Ok(made),
        }
    }

    /// Returns a token that counts `bytes` as held until it is dropped.
    pub(super) fn hold(&self, bytes: u64) -> Held {
        let now = self.allocated.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
        Held { bytes, allocated: Arc::clone(&self.allocated) }
    }
}

/// Opens an adapter with every limit it grants.
fn request(adapter: &wgpu::Adapter, matrix: bool) -> Result<(wgpu::Device, wgpu::Queue)> {
    let usual = wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE;
    let wanted = if matrix { usual | MATRIX_FEATURES } else { usual };
    // SAFETY: experimental features may have bugs in wgpu that break its promises to safe callers. The one requested is
    // used by two shaders compiled into this program, and only when the user names their family.
    #[expect(unsafe_code, reason = "matrix units are behind an experimental feature; see the SAFETY note")]
    let experimental =
        if matrix { unsafe { wgpu::ExperimentalFeatures::enabled() } } else { wgpu::ExperimentalFeatures::default() };
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("downhill"),
        required_features: adapter.features() & wanted,
        required_limits: adapter.limits(),
        experimental_features: experimental,
        ..wgpu::DeviceDescriptor::default()
    };
    pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| Error::Device {
        what: format!("`{}` cannot be opened: {error}", adapter.get_info().name),
        hint: Some("choose another `adapter`; `downhill devices` lists them".into()),
    })
}

/// Device memory in use, released when dropped.
pub(super) struct Held {
    bytes: u64,
    allocated: Arc<AtomicU64>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.allocated.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Keeps the first error that the device reports outside any scope, or the reason it was lost. Later ones only follow
/// from it.
fn keep_first_error(device: &wgpu::Device, first: &Arc<Mutex<Option<String>>>) {
    let keep = |slot: &Mutex<Option<String>>, what: String| {
        slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    };
    let uncaptured = Arc::clone(first);
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| keep(&uncaptured, error.to_string())));
    let lost = Arc::clone(first);
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            keep(&lost, format!("the device was lost: {message}"));
        }
    });
}
