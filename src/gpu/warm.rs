//! Early compilation, by an empty dispatch, of shaders that the driver would compile when they first run.
//!
//! lavapipe passes a shader to LLVM at its first dispatch, in the thread that submits it, one after the other. With an
//! empty disk cache that takes seconds in which the other cores are idle. Other devices on the same adapter therefore
//! take a share of the shaders, and the results are in the driver's cache when the first device needs them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::adapter::Kind;
use super::device::Gpu;
use super::driver::Driver;
use super::memory::{texture_extent, texture_format};
use super::pipeline::{Binding, Pipeline, PipelineSource, compile, cores};
use crate::error::{Error, Result};
use crate::tensor::Precision;

/// Longer than loading the largest shader from the driver's cache while other pipelines are made, and much shorter than
/// compiling it.
const LOADING: Duration = Duration::from_millis(100);

/// The time that the driver needs to write its cache. It writes in threads of the lowest priority, which wait for idle
/// cores.
const WRITING: Duration = Duration::from_millis(40);

/// The largest number of devices that compile beside the first.
const MOST_HELPERS: usize = 7;

/// The largest parameter block of any kernel, in bytes.
const PARAMETER_BYTES: u64 = 4096;

/// The texels of a row, and the rows, of a texture that drivers treat like a network's (see [`super::row_texels`]).
const TEXTURE: [u32; 2] = [4096, 3];

/// The source of a shader, and its pipeline once it is made.
type Shader<'s> = (&'s PipelineSource, &'s OnceLock<Result<Pipeline>>);

impl Gpu {
    /// Makes the driver compile the shaders that it would compile at their first dispatch, in the order of `shaders`,
    /// as soon as their pipelines are made by other threads. Ends early at one that could not be made.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub(super) fn warm_up(&self, shaders: &[Shader]) -> Result<()> {
        if self.adapter.kind != Kind::Software || shaders.is_empty() {
            return Ok(());
        }
        let lane = Lane::new(&self.driver)?;
        // The helpers measure how long this device loads the first, not how long it is made.
        let _ = shaders[0].1.wait();
        let next = &AtomicUsize::new(1);
        let most = if driver_keeps_nothing() { 0 } else { MOST_HELPERS };
        let helpers = (cores() - 1).min(most).min(shaders.len() - 1);
        let by_helpers: Vec<usize> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..helpers)
                .map(|_| {
                    let (loaded, waits) = channel::<()>();
                    let helper = scope.spawn(move || match waits.recv_timeout(LOADING) {
                        Err(RecvTimeoutError::Timeout) => self.compile_beside(shaders, next),
                        _ => Vec::new(),
                    });
                    (loaded, helper)
                })
                .collect();
            // When this device fails, the helpers have nothing left to do.
            let stop = || next.store(shaders.len(), Ordering::Relaxed);
            let compile = |(source, made): Shader| {
                if let Ok(pipeline) = made.wait() {
                    return lane.compile((source, pipeline)).inspect_err(|_| stop());
                }
                // The caller reports it.
                stop();
                Ok(())
            };
            compile(shaders[0])?;
            let helpers: Vec<_> = running
                .into_iter()
                .map(|(loaded, helper)| {
                    // A helper that has stopped waiting has already started, and needs no message.
                    let _ = loaded.send(());
                    helper
                })
                .collect();
            while let Some(shader) = shaders.get(next.fetch_add(1, Ordering::Relaxed)) {
                compile(*shader)?;
            }
            Ok::<_, Error>(helpers.into_iter().flat_map(|helper| helper.join().unwrap_or_default()).collect())
        })?;
        if !by_helpers.is_empty() {
            std::thread::sleep(WRITING);
        }
        by_helpers.into_iter().try_for_each(|at| match (shaders[at].0, shaders[at].1.wait()) {
            (source, Ok(pipeline)) => lane.compile((source, pipeline)),
            (_, Err(_)) => Ok(()),
        })
    }

    /// Compiles shaders on another device until none is left, and returns their indices. If that fails, the run is only
    /// slower.
    fn compile_beside(&self, shaders: &[Shader], next: &AtomicUsize) -> Vec<usize> {
        let Ok(driver) = self.open_beside() else { return Vec::new() };
        let Ok(lane) = Lane::new(&driver) else { return Vec::new() };
        let mut taken = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((source, _)) = shaders.get(at) else { return taken };
            taken.push(at);
            let compiled = compile(&driver, self.checked, None, source);
            if compiled.and_then(|pipeline| lane.compile((source, &pipeline))).is_err() {
                return taken;
            }
        }
    }
}

/// Returns `true` if Mesa is told not to keep a disk cache, so that a device cannot use what another one compiled.
#[must_use]
pub fn driver_keeps_nothing() -> bool {
    ["MESA_SHADER_CACHE_DISABLE", "MESA_GLSL_CACHE_DISABLE"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .any(|value| ["1", "t", "true", "y", "yes"].contains(&value.to_lowercase().as_str()))
}

/// A device that compiles one shader after the other, with a resource for each kind of binding.
struct Lane<'d> {
    driver: &'d Driver,
    parameters: wgpu::Buffer,
    buffers: [wgpu::Buffer; 2],
    /// Textures to read, to read in float16, and to write.
    textures: [wgpu::TextureView; 3],
}

impl<'d> Lane<'d> {
    fn new(driver: &'d Driver) -> Result<Self> {
        driver.create("empty dispatch", 0, |device| Self::on(driver, device))
    }

    fn on(driver: &'d Driver, device: &wgpu::Device) -> Self {
        let buffer = |usage| {
            let size = PARAMETER_BYTES;
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let texture = |precision| {
            let [width, rows] = TEXTURE;
            let texture = device.create_texture(&wgpu::TextureDescriptor {
                label: None,
                size: texture_extent(width, rows),
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: texture_format(precision),
                // Without the second usage, wgpu clears it in a render pass: llvmpipe then takes every later timestamp
                // in its rasteriser, at an arbitrary time.
                usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            });
            texture.create_view(&wgpu::TextureViewDescriptor::default())
        };
        let parameters = buffer(wgpu::BufferUsages::UNIFORM);
        let buffers = [(); 2].map(|()| buffer(wgpu::BufferUsages::STORAGE));
        let textures = [Precision::Float32, Precision::Float16, Precision::Float32].map(texture);
        Self { driver, parameters, buffers, textures }
    }

    /// Submits a dispatch of zero workgroups, and waits for it.
    fn compile(&self, (source, pipeline): (&PipelineSource, &Pipeline)) -> Result<()> {
        let operands = source.bindings.iter().map(|binding| match binding {
            Binding::ReadBuffer => self.buffers[0].as_entire_binding(),
            Binding::WriteBuffer => self.buffers[1].as_entire_binding(),
            Binding::ReadTexture(Precision::Float32) => wgpu::BindingResource::TextureView(&self.textures[0]),
            Binding::ReadTexture(Precision::Float16) => wgpu::BindingResource::TextureView(&self.textures[1]),
            Binding::WriteTexture => wgpu::BindingResource::TextureView(&self.textures[2]),
        });
        let entries: Vec<_> = std::iter::once(self.parameters.as_entire_binding())
            .chain(operands)
            .enumerate()
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding: binding as u32, resource })
            .collect();
        let group = self.driver.create(&source.label, 0, |device| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&source.label),
                layout: &pipeline.layout,
                entries: &entries,
            })
        })?;
        self.driver.submit(|encoder| {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline.compiled);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(0, 0, 0);
        })?;
        self.driver.poll(wgpu::PollType::wait_indefinitely())
    }
}
