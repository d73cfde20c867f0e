//! What a driver makes of shaders, kept on disk between runs, where the backend hands it out (Vulkan). Some drivers keep a
//! cache of their own, lavapipe among them; for these there is nothing to keep here.

use std::fs;
use std::hash::Hasher;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::paths::cache_dir;

/// Bytes before the driver's data: a checksum of them.
const CHECKSUM: usize = 8;
/// What a cache without pipelines may hold: Vulkan's header, and the driver's.
const EMPTY: usize = 64;

/// The driver's cache of pipelines, and the file it came from and goes to.
pub(super) struct PipelineCache {
    pub(super) cache: wgpu::PipelineCache,
    file: PathBuf,
    loaded: Option<Vec<u8>>,
}

impl PipelineCache {
    /// The cache of an adapter with what an earlier run has left; nothing where the device has none, or no place for it.
    pub(super) fn open(device: &wgpu::Device, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        Self::open_in(&cache_dir()?.join("pipelines"), device, adapter)
    }

    fn open_in(folder: &Path, device: &wgpu::Device, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let file = folder.join(wgpu::util::pipeline_cache_key(adapter)?);
        let loaded = read(&file);
        // SAFETY: the data are what `get_data` answered in an earlier run: the checksum before them, which this program writes, says
        // that they are whole, and wgpu and the driver check by their headers that they are of this adapter and driver, and
        // begin anew where they are not.
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

    /// Keeps what the driver has made since. Where that fails, a later run is only slower.
    pub(super) fn save(&self) {
        let made = self.cache.get_data().filter(|data| data.len() > EMPTY && self.loaded.as_ref() != Some(data));
        if let Some(data) = made {
            let _ = write(&self.file, &data);
        }
    }
}

fn checksum(data: &[u8]) -> [u8; CHECKSUM] {
    // Not stable between releases of Rust, which is no loss: the cache then begins anew.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(data);
    hasher.finish().to_le_bytes()
}

/// The data in a file, where they are whole.
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

    /// Whatever lies in the place of the cache, a device opens and computes with it.
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
        assert_eq!(other.cache.get_data(), Some(data), "what is no cache of this driver is dropped");
    }
}
