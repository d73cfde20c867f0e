//! Compiled pipelines, kept on disk between runs where the backend exposes them (Vulkan). Some drivers keep
//! such a cache themselves, lavapipe among them; for these, nothing is kept here.

use std::fs;
use std::hash::Hasher;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::driver::Driver;
use crate::input::read_regular;
use crate::paths::{PIPELINES, cache_dir, have_same_owner, private_folder};

/// The size of the checksum that precedes the driver's data, in bytes.
const CHECKSUM: usize = 8;
/// The largest size of a file, in bytes: more than any driver's pipelines of all shaders.
const LARGEST: u64 = 1 << 30;
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
    /// there is no folder for it that is this user's alone.
    pub(super) fn open(driver: &Driver, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        Self::open_in(&cache_dir()?.join(PIPELINES), driver, adapter)
    }

    fn open_in(folder: &Path, driver: &Driver, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        if !driver.features.contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let file = folder.join(wgpu::util::pipeline_cache_key(adapter)?);
        private_folder(folder).ok()?;
        let loaded = read(&file);
        // SAFETY: the data are the result of `get_data` in an earlier run. The file and its folder belong to this user,
        // and no other user may write there, so they come from this user; the checksum before them, written by this
        // program, shows that they are complete; wgpu and the driver check by their headers that they belong to this
        // adapter and driver, and otherwise start with an empty cache.
        #[expect(unsafe_code, reason = "the only way to hand a driver what it made before; see the SAFETY note")]
        let create = |device: &wgpu::Device| unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("pipelines"),
                data: loaded.as_deref(),
                fallback: true,
            })
        };
        let cache = driver.create("pipeline cache", 0, create).ok()?;
        Some(Self { cache, file, loaded })
    }

    /// Saves the pipelines compiled since. If that fails, a later run is only slower.
    pub(super) fn save(&self, driver: &Driver) {
        let data = driver.call(|_, _| self.cache.get_data()).ok().flatten();
        let made = data.filter(|data| data.len() > EMPTY && self.loaded.as_ref() != Some(data));
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

/// Reads the data of a file, if they are complete and the file belongs to the owner of its folder.
fn read(file: &Path) -> Option<Vec<u8>> {
    let folder = fs::metadata(file.parent()?).ok()?;
    if !have_same_owner(&folder, &fs::metadata(file).ok()?) {
        return None;
    }
    parse_kept(&read_regular(file, LARGEST).ok()?).map(<[u8]>::to_vec)
}

/// Returns the driver's data in the bytes of a file, or `None` if they are not complete.
#[must_use]
pub fn parse_kept(bytes: &[u8]) -> Option<&[u8]> {
    let (sum, data) = bytes.split_at_checked(CHECKSUM)?;
    (sum == checksum(data)).then_some(data)
}

fn write(file: &Path, data: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    private_folder(folder)?;
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(&checksum(data))?;
    beside.write_all(data)?;
    beside.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Adapters, Choice};

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

    /// Only the superuser may give a file away.
    #[cfg(unix)]
    #[test]
    fn pipelines_that_another_user_left_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache");
        write(&file, &[5; 200]).unwrap();
        if std::os::unix::fs::chown(&file, Some(12345), None).is_err() {
            println!("skipped: a file can be given to another user by the superuser only");
            return;
        }
        assert_eq!(read(&file), None);
    }

    /// A device opens and computes with any content of the cache file.
    #[test]
    fn a_device_takes_its_cache_or_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let adapters = Adapters::find();
        let (_, adapter) = adapters.choose(&Choice::Best).unwrap();
        let driver = Driver::open(adapter, false, false).unwrap();
        let info = adapter.get_info();
        let Some(first) = PipelineCache::open_in(folder.path(), &driver, &info) else {
            println!("`{}` hands out no cache", info.name);
            return;
        };
        assert_eq!(first.loaded, None);
        let data = first.cache.get_data().unwrap();
        write(&first.file, &data).unwrap();
        let again = PipelineCache::open_in(folder.path(), &driver, &info).unwrap();
        assert_eq!(again.loaded.as_ref(), Some(&data));
        write(&first.file, &[7; 300]).unwrap();
        let other = PipelineCache::open_in(folder.path(), &driver, &info).unwrap();
        assert_eq!(other.loaded, Some(vec![7; 300]));
        assert_eq!(other.cache.get_data(), Some(data), "data that are not a cache of this driver are dropped");
    }
}
