//! Device memory: arrays of texels in storage buffers or storage textures, with bounded uploads.

use std::sync::atomic::Ordering;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::device::{Gpu, Held};
use crate::error::{Error, Result};
use crate::tensor::{Precision, TEXEL};

/// Bytes handed to the queue before it is made to catch up, so that staging memory stays small.
const UPLOAD_BATCH_BYTES: usize = 64 << 20;

/// What an array of texels is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageKind {
    /// A storage buffer.
    Buffer {
        /// How its numbers are stored.
        precision: Precision,
    },
    /// An `rgba32float` or `rgba16float` texture whose rows hold `width` texels, one row after the other.
    Texture {
        /// Texels in a row.
        width: u32,
        /// How its numbers are stored.
        precision: Precision,
    },
}

impl StorageKind {
    /// How its numbers are stored.
    #[must_use]
    pub const fn precision(self) -> Precision {
        match self {
            Self::Buffer { precision } | Self::Texture { precision, .. } => precision,
        }
    }
}

/// Texels that an array of `texels` really takes: whole rows of a texture.
///
/// The number of rows is never a power of two: lavapipe compiles a shader anew for each combination of bound textures
/// whose sides are, or are not, powers of two, and a network would meet dozens of combinations.
#[must_use]
pub fn row_texels(kind: StorageKind, texels: usize) -> usize {
    match kind {
        StorageKind::Buffer { .. } => texels,
        StorageKind::Texture { width, .. } => {
            let mut rows = texels.div_ceil(width as usize);
            while rows.is_power_of_two() {
                rows += 1;
            }
            rows * width as usize
        }
    }
}

enum Backing {
    Buffer(wgpu::Buffer),
    Texture { texture: wgpu::Texture, view: wgpu::TextureView, width: u32 },
}

/// An array of texels on the device.
pub struct Storage {
    backing: Backing,
    precision: Precision,
    texels: usize,
    _held: Held,
}

/// A range of texels in a storage.
#[derive(Clone, Copy)]
pub struct Region<'a> {
    /// The storage.
    pub storage: &'a Storage,
    /// The first texel.
    pub first: usize,
    /// How many.
    pub texels: usize,
}

impl Storage {
    /// Texels it holds.
    #[must_use]
    pub fn texels(&self) -> usize {
        self.texels
    }

    pub(super) fn resource(&self) -> wgpu::BindingResource<'_> {
        match &self.backing {
            Backing::Buffer(buffer) => buffer.as_entire_binding(),
            Backing::Texture { view, .. } => wgpu::BindingResource::TextureView(view),
        }
    }
}

impl Gpu {
    /// The most texels that one storage of this kind can hold, and the name of the limit.
    #[must_use]
    pub fn max_texels(&self, kind: StorageKind) -> (usize, &'static str) {
        let limits = self.device.limits();
        match kind {
            StorageKind::Buffer { precision } => {
                let bytes = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
                ((bytes / precision.texel_bytes()) as usize, "largest storage binding")
            }
            StorageKind::Texture { width, .. } => {
                (width as usize * limits.max_texture_dimension_2d as usize, "largest texture")
            }
        }
    }

    /// Makes an array of `texels`; `tensor` names it in messages.
    ///
    /// # Errors
    /// [`Error::OverLimit`] or [`Error::OutOfMemory`].
    pub fn allocate(&self, kind: StorageKind, texels: usize, tensor: &str) -> Result<Storage> {
        let texels = row_texels(kind, texels.max(1));
        let precision = kind.precision();
        let bytes = texels as u64 * precision.texel_bytes();
        let (limit, limit_name) = self.max_texels(kind);
        if texels > limit {
            let hint = "lower `--batch` or the image size, or choose another adapter".into();
            let limit = limit as u64 * precision.texel_bytes();
            return Err(Error::OverLimit { tensor: tensor.to_owned(), bytes, limit_name, limit, hint });
        }
        let backing = self.scoped(tensor, bytes, || match kind {
            StorageKind::Buffer { .. } => Backing::Buffer(self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(tensor),
                size: bytes,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })),
            StorageKind::Texture { width, .. } => {
                let texture = self.device.create_texture(&wgpu::TextureDescriptor {
                    label: Some(tensor),
                    size: extent(width, (texels / width as usize) as u32),
                    mip_level_count: 1,
                    sample_count: 1,
                    dimension: wgpu::TextureDimension::D2,
                    format: texture_format(precision),
                    usage: wgpu::TextureUsages::STORAGE_BINDING
                        | wgpu::TextureUsages::COPY_SRC
                        | wgpu::TextureUsages::COPY_DST,
                    view_formats: &[],
                });
                let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
                Backing::Texture { texture, view, width }
            }
        })?;
        Ok(Storage { backing, precision, texels, _held: self.hold(bytes) })
    }

    /// Copies `values` (whole texels) to `storage` from texel `first` on, in bounded batches; where it stores float16, each is
    /// rounded to the nearest, ties to even.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn upload(&self, storage: &Storage, first: usize, values: &[f32]) -> Result<()> {
        let mut at = first;
        for batch in values.chunks(UPLOAD_BATCH_BYTES / size_of::<f32>()) {
            self.upload_batch(storage, at, batch);
            at += batch.len() / TEXEL;
            let bytes = (batch.len() / TEXEL) as u64 * storage.precision.texel_bytes();
            if self.staged.fetch_add(bytes, Ordering::Relaxed) + bytes >= UPLOAD_BATCH_BYTES as u64 {
                self.staged.store(0, Ordering::Relaxed);
                self.queue.submit([]);
                self.wait()?;
            }
        }
        self.check()
    }

    fn upload_batch(&self, storage: &Storage, first: usize, values: &[f32]) {
        match storage.precision {
            Precision::Float32 => self.write(storage, first, bytemuck::cast_slice(values)),
            Precision::Float16 => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                self.write(storage, first, bytemuck::cast_slice(&halves));
            }
        }
    }

    /// Copies texels, as they are stored, to `storage` from texel `first` on.
    fn write(&self, storage: &Storage, first: usize, bytes: &[u8]) {
        let texel_bytes = storage.precision.texel_bytes();
        let Backing::Texture { texture, width, .. } = &storage.backing else {
            if let Backing::Buffer(buffer) = &storage.backing {
                self.queue.write_buffer(buffer, first as u64 * texel_bytes, bytes);
            }
            return;
        };
        // A range of a texture is the end of a row, whole rows, and the beginning of a row.
        let width = *width as usize;
        let (mut at, mut rest) = (first, bytes);
        while !rest.is_empty() {
            let (x, y) = (at % width, at / width);
            let texels = rest.len() / texel_bytes as usize;
            let (columns, rows) =
                if x == 0 && texels >= width { (width, texels / width) } else { (texels.min(width - x), 1) };
            let (now, later) = rest.split_at(columns * rows * texel_bytes as usize);
            self.queue.write_texture(
                wgpu::TexelCopyTextureInfo {
                    texture,
                    mip_level: 0,
                    origin: wgpu::Origin3d { x: x as u32, y: y as u32, z: 0 },
                    aspect: wgpu::TextureAspect::All,
                },
                now,
                wgpu::TexelCopyBufferLayout {
                    offset: 0,
                    bytes_per_row: Some((columns as u64 * texel_bytes) as u32),
                    rows_per_image: None,
                },
                extent(columns as u32, rows as u32),
            );
            at += columns * rows;
            rest = later;
        }
    }

    /// Copies all of `from` to `to`, of the same kind and size, `times` over by the encoder alone; returns when submitted.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn copy(&self, from: &Storage, to: &Storage, times: usize) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for _ in 0..times {
            match (&from.backing, &to.backing) {
                (Backing::Buffer(from), Backing::Buffer(to)) => encoder.copy_buffer_to_buffer(from, 0, to, 0, None),
                (Backing::Texture { texture: from, .. }, Backing::Texture { texture: to, .. }) => {
                    encoder.copy_texture_to_texture(from.as_image_copy(), to.as_image_copy(), from.size());
                }
                _ => return Err(Error::Device { what: "a copy between two kinds of storage".into(), hint: None }),
            }
        }
        self.queue.submit([encoder.finish()]);
        self.check()
    }

    /// Reads regions back, each as its texels' floats; waits for everything submitted before.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] for the staging buffer, [`Error::Device`] when the device fails.
    pub fn download(&self, regions: &[Region<'_>]) -> Result<Vec<Vec<f32>>> {
        let spans: Vec<Span> = regions.iter().map(Span::of).collect();
        let bytes = spans.iter().map(|span| span.bytes).sum::<u64>().max(Precision::Float32.texel_bytes());
        let staging = self.scoped("read-back", bytes, || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read-back"),
                size: bytes,
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            })
        })?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut offset = 0;
        for (region, span) in regions.iter().zip(&spans) {
            span.copy(&mut encoder, region, &staging, offset);
            offset += span.bytes;
        }
        self.queue.submit([encoder.finish()]);
        self.mapped(&staging, |view| {
            let mut offset = 0;
            regions
                .iter()
                .zip(&spans)
                .map(|(region, span)| {
                    let start = (offset + span.skip) as usize;
                    offset += span.bytes;
                    let precision = region.storage.precision;
                    floats(&view[start..start + region.texels * precision.texel_bytes() as usize], precision)
                })
                .collect()
        })
    }

    /// Waits for the device and looks at a buffer that the host may read.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(super) fn mapped<T>(&self, staging: &wgpu::Buffer, look: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |mapped| {
            let _ = sender.send(mapped);
        });
        self.wait()?;
        let failed = |what: String| Error::Device { what: format!("read-back: {what}"), hint: None };
        let mapped = receiver.recv().map_err(|error| failed(error.to_string()))?;
        mapped.map_err(|error| failed(error.to_string()))?;
        let view = staging.get_mapped_range(..).map_err(|error| failed(error.to_string()))?;
        Ok(look(&view))
    }
}

/// What has to be copied to get at a region: of a texture, whole rows.
struct Span {
    first_row: u32,
    rows: u32,
    bytes: u64,
    skip: u64,
}

impl Span {
    fn of(region: &Region<'_>) -> Self {
        let texel_bytes = region.storage.precision.texel_bytes();
        match &region.storage.backing {
            Backing::Buffer(_) => Self { first_row: 0, rows: 0, bytes: region.texels as u64 * texel_bytes, skip: 0 },
            Backing::Texture { width, .. } => {
                let width = *width as usize;
                let first_row = region.first / width;
                let rows = (region.first + region.texels).div_ceil(width) - first_row;
                Self {
                    first_row: first_row as u32,
                    rows: rows as u32,
                    bytes: (rows * width) as u64 * texel_bytes,
                    skip: (region.first - first_row * width) as u64 * texel_bytes,
                }
            }
        }
    }

    fn copy(&self, encoder: &mut wgpu::CommandEncoder, region: &Region<'_>, staging: &wgpu::Buffer, offset: u64) {
        let texel_bytes = region.storage.precision.texel_bytes();
        match &region.storage.backing {
            Backing::Buffer(buffer) => {
                let first = region.first as u64 * texel_bytes;
                encoder.copy_buffer_to_buffer(buffer, first, staging, offset, self.bytes);
            }
            Backing::Texture { texture, width, .. } => encoder.copy_texture_to_buffer(
                wgpu::TexelCopyTextureInfo {
                    texture,
                    mip_level: 0,
                    origin: wgpu::Origin3d { x: 0, y: self.first_row, z: 0 },
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

/// The format of a texture of texels.
pub(super) const fn texture_format(precision: Precision) -> wgpu::TextureFormat {
    match precision {
        Precision::Float32 => wgpu::TextureFormat::Rgba32Float,
        Precision::Float16 => wgpu::TextureFormat::Rgba16Float,
    }
}

/// Numbers from how the device stores them.
fn floats(bytes: &[u8], precision: Precision) -> Vec<f32> {
    match precision {
        Precision::Float32 => bytemuck::pod_collect_to_vec(bytes),
        Precision::Float16 => bytemuck::pod_collect_to_vec::<u8, f16>(bytes).to_f32_vec(),
    }
}

fn extent(width: u32, height: u32) -> wgpu::Extent3d {
    wgpu::Extent3d { width, height, depth_or_array_layers: 1 }
}
