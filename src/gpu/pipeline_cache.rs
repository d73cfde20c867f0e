//! Compiled pipelines, kept on disk between runs where the backend exposes them (Vulkan). Some drivers keep
//! such a cache themselves, lavapipe among them; for these, nothing is kept here.

use std::fs;
use std::hash::Hasher;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::paths::cache_dir;

/// The size of the checksum that precedes the driver's data, in bytes.
const CHECKSUM: usize = 8;
/// The largest size of a cache without pipelines: Vulkan's header and the driver's.
const EMPTY: usize = 64;

/// The driver's pipeline cache, and the file that it is read from and written to.
pub(super) struct PipelineCache {
    pub(super) cache: wgpu::PipelineCache,
    file: PathBuf,
    loaded: Option<Vec<u8>>,
}

impl PipelineCache {
    /// Opens the cache of an adapter with the data of an earlier run, or returns `None` if the device has no cache or
    /// there is no folder for it.
    pub(super) fn open(device: &wgpu::Device, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        Self::open_in(&cache_dir()?.join("pipelines"), device, adapter)
    }

    fn open_in(folder: &Path, device: &wgpu::Device, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let file = folder.join(wgpu::util::pipeline_cache_key(adapter)?);
        let loaded = read(&file);
        // SAFETY: the data are the result of `get_data` in an earlier run. The checksum before them, written by this
        // program, shows that they are complete; wgpu and the driver check by their headers that they belong to this
        // adapter and driver, and otherwise start with an empty cache.
        #[expect(unsafe_code, reason = "the only way to hand a driver what it made before; see the SAFETY note")]
        let cache = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("pipelines"),
                data: loaded.as_deref(),
                fallback: true,
            })
        };
        Some(Self { cache, file, loaded })
    }

    /// Saves the pipelines compiled since. If that fails, a later run is only slower.
    pub(super) fn save(&self) {
        let made = self.cache.get_data().filter(|data| data.len() > EMPTY && self.loaded.as_ref() != Some(data));
        if let Some(data) = made {
            let _ = write(&self.file, &data);
        }
    }
}

fn checksum(data: &[u8]) -> [u8; CHECKSUM] {
    // Not stable between releases of Rust, which does no harm: the cache then starts empty.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(data);
    hasher.finish().to_le_bytes()
}

/// Reads the data of a file, if they are complete.
fn read(file: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(file).ok()?;
    let (sum, data) = bytes.split_at_checked(CHECKSUM)?;
    (sum == checksum(data)).then(|| data.to_vec())
}

fn write(file: &Path, data: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(&checksum(data))?;
    beside.write_all(data)?;
    beside.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_changed_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/cache");
        assert_eq!(read(&file), None);
        let data: Vec<u8> = (0..200).collect();
        write(&file, &data).unwrap();
        assert_eq!(read(&file), Some(data));
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..100]).unwrap();
        assert_eq!(read(&file), None);
        fs::write(&file, [&whole[..50], &[99], &whole[51..]].concat()).unwrap();
        assert_eq!(read(&file), None);
        fs::write(&file, [1, 2, 3]).unwrap();
        assert_eq!(read(&file), None);
    }

    /// A device opens and computes with any content of the cache file.
    #[test]
    fn a_device_takes_its_cache_or_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions::default();
        let adapter = pollster::block_on(instance.request_adapter(&options)).unwrap();
        let descriptor = wgpu::DeviceDescriptor {
            required_features: adapter.features() & wgpu::Features::PIPELINE_CACHE,
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, _) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        let info = adapter.get_info();
        let Some(first) = PipelineCache::open_in(folder.path(), &device, &info) else {
            println!("`{}` hands out no cache", info.name);
            return;
        };
        assert_eq!(first.loaded, None);
        let data = first.cache.get_data().unwrap();
        write(&first.file, &data).unwrap();
        let again = PipelineCache::open_in(folder.path(), &device, &info).unwrap();
        assert_eq!(again.loaded.as_ref(), Some(&data));
        write(&first.file, &[7; 300]).unwrap();
        let other = PipelineCache::open_in(folder.path(), &device, &info).unwrap();
        assert_eq!(other.loaded, Some(vec![7; 300]));
        assert_eq!(other.cache.get_data(), Some(data), "data that are not a cache of this driver are dropped");
    }
}
