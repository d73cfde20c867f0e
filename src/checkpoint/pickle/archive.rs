//! Zip archives of `PyTorch`: `NAME/data.pkl`, an entry `NAME/data/KEY` for each storage, and `NAME/byteorder`. All
//! entries are stored without compression, so that a storage is a range of the file.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::SAVE_AGAIN;
use super::input::Input;
use super::machine::Machine;
use super::values::{Contents, Extent};
use crate::checkpoint::source::Source;
use crate::error::{Error, Result, excerpt};

const PICKLE: &str = "data.pkl";

/// Reads the contents of an archive.
///
/// # Errors
/// [`Error::BadFile`].
pub(super) fn read(file: &Path, source: &Source) -> Result<Contents> {
    let entries = entries(file, source)?;
    let pickle = entries.keys().filter(|name| name.as_str() == PICKLE || name.ends_with("/data.pkl"));
    let Some(pickle) = pickle.min_by_key(|name| name.len()) else {
        let hint = "a file that `torch.save` wrote has one; of a model that `torch.jit` saved, save the state dict";
        return Err(Error::bad_file_hint(file, format!("a zip archive without `{PICKLE}`"), hint));
    };
    let folder = pickle.strip_suffix(PICKLE).unwrap_or_default();
    if entries.contains_key(&format!("{folder}constants.pkl")) {
        let what = "a model that `torch.jit` saved, with its code, which is not supported";
        return Err(Error::bad_file_hint(file, what, "save its state dict with `torch.save`, or as safetensors"));
    }
    let big_endian = match entries.get(&format!("{folder}byteorder")) {
        None => false,
        Some(extent) => match &*source.read(file, extent.offset, extent.bytes.min(8) as usize)? {
            b"little" => false,
            b"big" => true,
            other => {
                let what = format!("its `byteorder` is `{}`", excerpt(&String::from_utf8_lossy(other)));
                return Err(Error::bad_file_hint(file, what, "known are `little` and `big`"));
            }
        },
    };
    let extent = entries[pickle];
    let mut input = Input::new(file, source, extent.offset, extent.offset + extent.bytes);
    let mut machine = Machine::new(&mut input);
    let root = machine.run()?;
    let (heap, names) = (machine.heap, machine.storages);
    let mut storages = Vec::with_capacity(names.len());
    for name in names {
        let Some(extent) = entries.get(&format!("{folder}data/{}", name.key)) else {
            let what = format!("its pickle names storage `{}`, which is not in the archive", excerpt(&name.key));
            return Err(Error::bad_file_hint(file, what, SAVE_AGAIN));
        };
        // A view of a storage reaches from its first element.
        let reach = name.first.checked_add(name.count).and_then(|count| count.checked_mul(name.size()));
        if reach.is_none_or(|reach| reach as u64 > extent.bytes) {
            let what = format!("storage `{}` has {} bytes, fewer than its pickle says", name.key, extent.bytes);
            return Err(Error::bad_file_hint(file, what, SAVE_AGAIN));
        }
        storages.push(*extent);
    }
    Ok(Contents { heap, root, storages, big_endian })
}

/// The entries of an archive and their ranges of the file.
fn entries(file: &Path, source: &Source) -> Result<HashMap<String, Extent>> {
    let damaged = |error: &dyn std::fmt::Display| {
        Error::bad_file_hint(file, format!("not a readable zip archive ({error})"), SAVE_AGAIN)
    };
    let reader = Reader { file, source, at: 0 };
    let mut archive = ZipArchive::new(reader).map_err(|error| damaged(&error))?;
    let mut entries = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| damaged(&error))?;
        let name = entry.name().map_err(|error| damaged(&error))?.into_owned();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            let what = format!("entry `{}` of the archive is compressed or encrypted", excerpt(&name));
            return Err(Error::bad_file_hint(
                file,
                what,
                "`torch.save` stores every entry: unpack it and save it again",
            ));
        }
        let extent = entry.data_start().map(|offset| Extent { offset, bytes: entry.size() });
        let fits = |extent: &Extent| extent.offset.checked_add(extent.bytes).is_some_and(|end| end <= source.length());
        let Some(extent) = extent.filter(fits) else {
            return Err(damaged(&format!("entry `{}` reaches beyond its end", excerpt(&name))));
        };
        entries.insert(name, extent);
    }
    Ok(entries)
}

/// A source as a file that is read from any place.
struct Reader<'a> {
    file: &'a Path,
    source: &'a Source,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.source.length().saturating_sub(self.at);
        let count = (buffer.len() as u64).min(left) as usize;
        let bytes = self.source.read(self.file, self.at, count).map_err(io::Error::other)?;
        buffer[..count].copy_from_slice(&bytes);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(step) => self.source.length().checked_add_signed(step),
            SeekFrom::Current(step) => self.at.checked_add_signed(step),
        };
        self.at = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
