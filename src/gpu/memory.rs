//! Device memory: arrays of texels in storage buffers or storage textures, with bounded uploads.

use std::sync::atomic::Ordering;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::device::{Gpu, Held};
use crate::error::{Error, Result};
use crate::tensor::{Precision, TEXEL};

/// The number of bytes passed to the queue before it is waited for, so that staging memory stays small.
const UPLOAD_BATCH_BYTES: usize = 64 << 20;

/// Columns of a texture beyond its texels, a line of the processor's cache that nothing reads.
///
/// Rows of a matrix that lie a power of two apart share few sets of the cache. With it they do so only within a row of
/// the texture.
const SPARE_COLUMNS: u32 = 4;

/// The storage of an array of texels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageKind {
    /// A storage buffer.
    Buffer {
        /// The storage of its numbers.
        precision: Precision,
    },
    /// An `rgba32float` or `rgba16float` texture with rows of `width` texels, one row after the other.
    Texture {
        /// The number of texels per row.
        width: u32,
        /// The storage of its numbers.
        precision: Precision,
    },
}

impl StorageKind {
    /// The storage of its numbers.
    #[must_use]
    pub const fn precision(self) -> Precision {
        match self {
            Self::Buffer { precision } | Self::Texture { precision, .. } => precision,
        }
    }

    /// Returns the number of bytes that an array of `texels` takes, of whole rows of a texture.
    #[must_use]
    pub const fn bytes(self, texels: usize) -> u64 {
        let spare = match self {
            Self::Buffer { .. } => 0,
            Self::Texture { width, .. } => texels / width as usize * SPARE_COLUMNS as usize,
        };
        (texels + spare) as u64 * self.precision().texel_bytes()
    }
}

/// Returns the sides of a texture with `rows` of `width` texels.
pub(super) const fn texture_extent(width: u32, rows: u32) -> wgpu::Extent3d {
    extent(width + SPARE_COLUMNS, rows)
}

/// Returns the number of texels that an array of `texels` occupies: whole rows of a texture.
///
/// The number of rows is never a power of two. lavapipe compiles a shader again for each combination of bound textures
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

#[derive(Clone)]
pub(super) enum Backing {
    Buffer(wgpu::Buffer),
    Texture { texture: wgpu::Texture, view: wgpu::TextureView, width: u32 },
}

/// An array of texels on the device.
pub struct Storage {
    pub(super) backing: Backing,
    pub(super) precision: Precision,
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
    /// The number of texels.
    pub texels: usize,
}

impl Storage {
    /// The number of texels it holds.
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
    /// Returns the largest number of texels in one storage of this kind, and the name of the limit.
    #[must_use]
    pub fn max_texels(&self, kind: StorageKind) -> (usize, &'static str) {
        let limits = &self.driver.limits;
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

    /// Allocates an array of `texels`. Messages name it `tensor`.
    ///
    /// # Errors
    /// [`Error::OverLimit`] or [`Error::OutOfMemory`].
    pub fn allocate(&self, kind: StorageKind, texels: usize, tensor: &str) -> Result<Storage> {
        let texels = row_texels(kind, texels.max(1));
        let precision = kind.precision();
        let bytes = kind.bytes(texels);
        let (limit, limit_name) = self.max_texels(kind);
        if texels > limit {
            let hint = "lower `batch` or the image size, or choose another `adapter`".into();
            let limit = kind.bytes(limit);
            return Err(Error::OverLimit { tensor: tensor.to_owned(), bytes, limit_name, limit, hint });
        }
        let backing = self.driver.create(tensor, bytes, |device| match kind {
            StorageKind::Buffer { .. } => Backing::Buffer(device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(tensor),
                size: bytes,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })),
            StorageKind::Texture { width, .. } => {
                let texture = device.create_texture(&wgpu::TextureDescriptor {
                    label: Some(tensor),
                    size: texture_extent(width, (texels / width as usize) as u32),
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

    /// Copies `values` (whole texels) to `storage` from texel `first` on, in bounded batches. A storage of float16
    /// rounds them to nearest, ties to even.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn upload(&self, storage: &Storage, first: usize, values: &[f32]) -> Result<()> {
        let mut at = first;
        for batch in values.chunks(UPLOAD_BATCH_BYTES / size_of::<f32>()) {
            self.upload_batch(storage, at, batch)?;
            at += batch.len() / TEXEL;
            let bytes = (batch.len() / TEXEL) as u64 * storage.precision.texel_bytes();
            if self.staged.fetch_add(bytes, Ordering::Relaxed) + bytes >= UPLOAD_BATCH_BYTES as u64 {
                self.staged.store(0, Ordering::Relaxed);
                self.driver.call(|_, queue| queue.submit([]))?;
                self.wait()?;
            }
        }
        self.driver.check()
    }

    fn upload_batch(&self, storage: &Storage, first: usize, values: &[f32]) -> Result<()> {
        match storage.precision {
            Precision::Float32 => self.write(storage, first, bytemuck::cast_slice(values)),
            Precision::Float16 => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                self.write(storage, first, bytemuck::cast_slice(&halves))
            }
        }
    }

    /// Copies texels, in their stored form, to `storage` from texel `first` on.
    fn write(&self, storage: &Storage, first: usize, bytes: &[u8]) -> Result<()> {
        let texel_bytes = storage.precision.texel_bytes();
        self.driver.call(|_, queue| match &storage.backing {
            Backing::Buffer(buffer) => queue.write_buffer(buffer, first as u64 * texel_bytes, bytes),
            Backing::Texture { texture, width, .. } => write_texture(queue, texture, *width, texel_bytes, first, bytes),
        })
    }

    /// Copies all of `from` to `to`, of the same kind and size, `times` times, with the copy engine alone. Returns once
    /// submitted.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn copy(&self, from: &Storage, to: &Storage, times: usize) -> Result<()> {
        let submitted = match (&from.backing, &to.backing) {
            (Backing::Buffer(from), Backing::Buffer(to)) => self.driver.submit(|encoder| {
                (0..times).for_each(|_| encoder.copy_buffer_to_buffer(from, 0, to, 0, None));
            }),
            (Backing::Texture { texture: from, .. }, Backing::Texture { texture: to, .. }) => {
                self.driver.submit(|encoder| {
                    let (source, target) = (from.as_image_copy(), to.as_image_copy());
                    (0..times).for_each(|_| encoder.copy_texture_to_texture(source, target, from.size()));
                })
            }
            _ => return Err(Error::Device { what: "a copy between two kinds of storage".into(), hint: None }),
        };
        submitted.map(drop)
    }
}

/// Copies texels to a texture with rows of `width` texels, from texel `first` on: the end of a row, whole rows, and the
/// beginning of a row.
fn write_texture(
    queue: &wgpu::Queue,
    texture: &wgpu::Texture,
    width: u32,
    texel_bytes: u64,
    first: usize,
    bytes: &[u8],
) {
    let width = width as usize;
    let (mut at, mut rest) = (first, bytes);
    while !rest.is_empty() {
        let (x, y) = (at % width, at / width);
        let texels = rest.len() / texel_bytes as usize;
        let (columns, rows) =
            if x == 0 && texels >= width { (width, texels / width) } else { (texels.min(width - x), 1) };
        let (now, later) = rest.split_at(columns * rows * texel_bytes as usize);
        queue.write_texture(
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

/// Returns the format of a texture of texels.
pub(super) const fn texture_format(precision: Precision) -> wgpu::TextureFormat {
    match precision {
        Precision::Float32 => wgpu::TextureFormat::Rgba32Float,
        Precision::Float16 => wgpu::TextureFormat::Rgba16Float,
    }
}

pub(super) const fn extent(width: u32, height: u32) -> wgpu::Extent3d {
    wgpu::Extent3d { width, height, depth_or_array_layers: 1 }
}
