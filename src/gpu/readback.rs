//! Read-back of values to the host, through a staging buffer that it may map.

#[cfg(not(target_family = "wasm"))]
use std::time::Duration;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::device::Gpu;
use super::memory::{Backing, Region, extent};
use super::replay::replayed;
use crate::error::{Error, Result};
use crate::tensor::Precision;

/// The longest time between the end of the device's work and the news that a buffer is mapped.
#[cfg(not(target_family = "wasm"))]
const MAPPING: Duration = Duration::from_secs(60);

/// Regions that are read back repeatedly.
#[derive(Clone)]
pub struct Readback {
    pub(super) staging: wgpu::Buffer,
    spans: Vec<Span>,
}

impl Readback {
    /// Adds the copies to the staging buffer to a submission.
    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut offset = 0;
        for span in &self.spans {
            span.copy(encoder, &self.staging, offset);
            offset += span.bytes;
        }
    }

    /// The values of each region, from the content of the staging buffer.
    pub(super) fn values(&self, view: &[u8]) -> Vec<Vec<f32>> {
        let mut offset = 0;
        let values = self.spans.iter().map(|span| {
            let start = (offset + span.skip) as usize;
            offset += span.bytes;
            floats(&view[start..start + span.texels * span.precision.texel_bytes() as usize], span.precision)
        });
        values.collect()
    }
}

impl Gpu {
    /// Prepares the read-back of `regions`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] for the staging buffer.
    pub fn readback(&self, regions: &[Region<'_>]) -> Result<Readback> {
        let spans: Vec<Span> = regions.iter().map(Span::of).collect();
        let bytes = spans.iter().map(|span| span.bytes).sum::<u64>().max(Precision::Float32.texel_bytes());
        let staging = self.driver.create("read-back", bytes, |device| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read-back"),
                size: bytes,
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            })
        })?;
        Ok(Readback { staging, spans })
    }

    /// Reads regions back once, each as the floats of its texels. Waits for all work submitted before.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] for the staging buffer, [`Error::Device`] if the device fails.
    pub fn download(&self, regions: &[Region<'_>]) -> Result<Vec<Vec<f32>>> {
        self.fetch(&self.readback(regions)?)
    }

    /// Reads the current content of the regions, each as the floats of its texels. Waits for all work submitted before.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn fetch(&self, readback: &Readback) -> Result<Vec<Vec<f32>>> {
        if let Some(values) = replayed() {
            return Ok(values);
        }
        self.driver.submit(|encoder| readback.encode(encoder))?;
        self.staged_values(readback)
    }

    /// Waits for the copies of a submission and reads their values.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(super) fn staged_values(&self, readback: &Readback) -> Result<Vec<Vec<f32>>> {
        match self.awaits(readback) {
            Some(awaited) => Err(awaited),
            None => self.mapped(&readback.staging, |view| readback.values(view)),
        }
    }

    /// Waits for the device and reads a buffer that the host may map.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(super) fn mapped<T>(&self, staging: &wgpu::Buffer, look: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let report = move |mapped| {
            // Without a receiver, the wait below has failed and been reported.
            let _ = sender.send(mapped);
        };
        self.driver.call(|_, _| staging.map_async(wgpu::MapMode::Read, .., report))?;
        self.wait()?;
        // Another thread that waits for the device may be the one that passes the result on. Browsers have none.
        #[cfg(not(target_family = "wasm"))]
        let mapped = receiver.recv_timeout(MAPPING);
        #[cfg(target_family = "wasm")]
        let mapped = receiver.try_recv();
        mapped.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        self.read_mapped(staging, look)
    }

    /// Reads a buffer that is mapped, and unmaps it.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(super) fn read_mapped<T>(&self, staging: &wgpu::Buffer, look: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.driver.call(|_, _| {
            let seen = staging.get_mapped_range(..).map(|view| look(&view));
            staging.unmap();
            seen.map_err(|error| failed(error.to_string()))
        })?
    }
}

/// The error of a read-back.
pub(super) fn failed(what: String) -> Error {
    Error::Device { what: format!("read-back: {what}"), hint: None }
}

/// The range to copy for a region: whole rows of a texture.
#[derive(Clone)]
struct Span {
    backing: Backing,
    precision: Precision,
    /// The first texel of a buffer, or the first row of a texture.
    first: usize,
    /// The number of rows of a texture.
    rows: u32,
    bytes: u64,
    /// The number of bytes before the region's first.
    skip: u64,
    /// The number of texels of the region.
    texels: usize,
}

impl Span {
    fn of(region: &Region<'_>) -> Self {
        let backing = region.storage.backing.clone();
        let (texels, precision) = (region.texels, region.storage.precision);
        let texel_bytes = precision.texel_bytes();
        match &backing {
            Backing::Buffer(_) => {
                let bytes = texels as u64 * texel_bytes;
                Self { backing, precision, first: region.first, rows: 0, bytes, skip: 0, texels }
            }
            Backing::Texture { width, .. } => {
                let width = *width as usize;
                let first = region.first / width;
                let rows = (region.first + texels).div_ceil(width) - first;
                let skip = (region.first - first * width) as u64 * texel_bytes;
                let bytes = (rows * width) as u64 * texel_bytes;
                Self { backing, precision, first, rows: rows as u32, bytes, skip, texels }
            }
        }
    }

    fn copy(&self, encoder: &mut wgpu::CommandEncoder, staging: &wgpu::Buffer, offset: u64) {
        let texel_bytes = self.precision.texel_bytes();
        match &self.backing {
            Backing::Buffer(buffer) => {
                let first = self.first as u64 * texel_bytes;
                encoder.copy_buffer_to_buffer(buffer, first, staging, offset, self.bytes);
            }
            Backing::Texture { texture, width, .. } => encoder.copy_texture_to_buffer(
                wgpu::TexelCopyTextureInfo {
                    texture,
                    mip_level: 0,
                    origin: wgpu::Origin3d { x: 0, y: self.first as u32, z: 0 },
                    aspect: wgpu::TextureAspect::All,
                },
                wgpu::TexelCopyBufferInfo {
                    buffer: staging,
                    layout: wgpu::TexelCopyBufferLayout {
                        offset,
                        bytes_per_row: Some(*width * texel_bytes as u32),
                        rows_per_image: None,
                    },
                },
                extent(*width, self.rows),
            ),
        }
    }
}

/// Converts numbers from their stored form.
fn floats(bytes: &[u8], precision: Precision) -> Vec<f32> {
    match precision {
        Precision::Float32 => bytemuck::pod_collect_to_vec(bytes),
        Precision::Float16 => bytemuck::pod_collect_to_vec::<u8, f16>(bytes).to_f32_vec(),
    }
}
