//! The device that computations run on, with its memory counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::adapter::{Adapters, Choice, Described, Kind, describe};
use super::driver::Driver;
use super::pipeline_cache::PipelineCache;
use crate::error::{Error, Result};

/// The failure of a device that was being closed, where no call is left to return it.
static CLOSING: Mutex<Option<Error>> = Mutex::new(None);

/// Returns the first failure of a device of this process that was being closed, once. All results were there by then.
pub fn take_closing_failure() -> Option<Error> {
    CLOSING.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The largest number of storage buffers of a kernel, within the 8 that every WebGPU device offers.
const KERNEL_BUFFERS: u32 = 8;

/// Options for opening a device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The choice of adapter.
    pub adapter: Choice,
    /// Compiles shaders with bounds checks and bounded loops, as for untrusted code.
    pub checked: bool,
    /// Lets shaders use the adapter's matrix units, if the kernels support them.
    pub matrix: bool,
    /// Lets shaders use the adapter's arithmetic in float16.
    pub float16: bool,
}

/// An open device, its queue, and the properties of its adapter.
pub struct Gpu {
    pub(super) driver: Driver,
    pub(super) checked: bool,
    matrix: bool,
    float16: bool,
    /// Pipelines of earlier runs, if the driver does not keep them itself.
    pub(super) pipelines: Option<PipelineCache>,
    /// The adapter it was opened from.
    opener: wgpu::Adapter,
    /// The properties of its adapter.
    pub adapter: Described,
    allocated: Arc<AtomicU64>,
    peak: Arc<AtomicU64>,
    /// The number of bytes passed to the queue since it was last waited for.
    pub(super) staged: AtomicU64,
}

impl Gpu {
    /// Opens the adapter that `options` select, with every limit it grants.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if none matches; [`Error::NoMemory`] or [`Error::Device`] if it cannot be opened.
    pub fn open(options: &Options) -> Result<Self> {
        let adapters = Adapters::find();
        let (index, adapter) = adapters.choose(&options.adapter)?;
        Self::open_adapter(adapter, describe(index, adapter), options)
    }

    /// Opens the adapter of the browser, without waiting; outside of one, as [`Gpu::open`].
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub async fn open_in_browser(options: &Options) -> Result<Self> {
        let adapters = Adapters::find_in_browser().await;
        let (index, adapter) = adapters.choose(&options.adapter)?;
        let described = describe(index, adapter);
        let matrix = options.matrix && described.matrix.is_some();
        let driver = Driver::open_in_browser(adapter, matrix, options.float16).await?;
        Ok(Self::of(driver, adapter, described, options))
    }

    /// Opens another device on the same adapter, with arithmetic in float16 and matrix units where it has them.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_float16(&self) -> Result<Self> {
        let options = Options { checked: self.checked, matrix: true, float16: true, ..Options::default() };
        Self::open_adapter(&self.opener, self.adapter.clone(), &options)
    }

    fn open_adapter(adapter: &wgpu::Adapter, described: Described, options: &Options) -> Result<Self> {
        let matrix = options.matrix && described.matrix.is_some();
        let driver = Driver::open(adapter, matrix, options.float16)?;
        Ok(Self::of(driver, adapter, described, options))
    }

    fn of(driver: Driver, adapter: &wgpu::Adapter, described: Described, options: &Options) -> Self {
        let matrix = options.matrix && described.matrix.is_some();
        // A device of float16 stands beside another one, whose file it would overwrite.
        let keeps_none = described.kind == Kind::Software || options.float16;
        let pipelines = if keeps_none { None } else { PipelineCache::open(&driver, &adapter.get_info()) };
        Self {
            driver,
            checked: options.checked,
            matrix,
            float16: options.float16,
            pipelines,
            opener: adapter.clone(),
            adapter: described,
            allocated: Arc::default(),
            peak: Arc::default(),
            staged: AtomicU64::new(0),
        }
    }

    /// Opens another device on the same adapter, for work that does not wait for this one's queue. Its errors are
    /// separate from those of this one.
    ///
    /// # Errors
    /// [`Error::NoMemory`] or [`Error::Device`] if the adapter does not open a second one.
    pub(super) fn open_beside(&self) -> Result<Driver> {
        Driver::open(&self.opener, self.matrix, self.float16)
    }

    /// Returns the device memory held by storages, in bytes: now, and the largest since the device was opened.
    #[must_use]
    pub fn memory_bytes(&self) -> (u64, u64) {
        (self.allocated.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed))
    }

    /// Refuses a device below the default limits of WebGPU, within which the kernels of the family `tile` keep.
    ///
    /// # Errors
    /// [`Error::Device`] naming the limit.
    pub fn expect_default_limits(&self) -> Result<()> {
        let (has, needs) = (&self.driver.limits, wgpu::Limits::defaults());
        let limits = [
            ("storage buffers per stage", has.max_storage_buffers_per_shader_stage, KERNEL_BUFFERS),
            (
                "bytes of workgroup memory",
                has.max_compute_workgroup_storage_size,
                needs.max_compute_workgroup_storage_size,
            ),
            (
                "invocations per workgroup",
                has.max_compute_invocations_per_workgroup,
                needs.max_compute_invocations_per_workgroup,
            ),
        ];
        limits.into_iter().try_for_each(|(name, has, needs)| {
            if has >= needs {
                return Ok(());
            }
            let what = format!("`{}` offers {has} {name}, and the kernels need {needs}", self.adapter.name);
            Err(Error::Device { what, hint: Some("choose an adapter with the default limits of WebGPU".into()) })
        })
    }

    /// Waits until all submitted work is done.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::NoMemory`] with the first failure on the device.
    pub fn wait(&self) -> Result<()> {
        self.driver.poll(wgpu::PollType::wait_indefinitely())
    }

    /// Returns a token that counts `bytes` as held until it is dropped.
    pub(super) fn hold(&self, bytes: u64) -> Held {
        let now = self.allocated.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
        Held { bytes, allocated: Arc::clone(&self.allocated) }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if let Some(mut failure) = self.driver.close() {
            failure.what = format!("while it was closed, after its work: {}", failure.what);
            CLOSING.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure.into_error());
        }
    }
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
