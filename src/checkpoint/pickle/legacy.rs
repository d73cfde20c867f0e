//! Files of `PyTorch` before 1.6: a pickled magic number, the version of the format, facts about the machine, the
//! object, and the keys of its storages; then each storage, behind the number of its elements.

use std::collections::HashMap;
use std::path::Path;

use super::SAVE_AGAIN;
use super::input::Input;
use super::machine::Machine;
use super::values::{Contents, Extent, Heap, Id, StorageName, Value};
use crate::checkpoint::source::Source;
use crate::error::{Error, Result, excerpt};

/// `0x1950a86a20f9469cfc6c`, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;
/// The bytes of the number of elements in front of a storage.
const COUNT_BYTES: u64 = 8;

/// Reads the contents of a file.
///
/// # Errors
/// [`Error::BadFile`].
pub(super) fn read(file: &Path, source: &Source) -> Result<Contents> {
    let mut input = Input::new(file, source, 0, source.length());
    let (heap, magic) = simple(&mut input)?;
    if !matches!(heap.get(magic), Value::Long(bytes) if bytes[..] == MAGIC) {
        let what = "a Python pickle that `torch.save` did not write";
        return Err(Error::bad_file_hint(file, what, "save the tensors with `torch.save`, or as safetensors"));
    }
    let (heap, version) = simple(&mut input)?;
    if !matches!(heap.get(version), Value::Int(VERSION)) {
        return Err(Error::bad_file(file, format!("not version {VERSION} of the format of `PyTorch`")));
    }
    let (heap, system) = simple(&mut input)?;
    let big_endian = is_big_endian(&heap, system);

    let mut machine = Machine::new(&mut input);
    let root = machine.run()?;
    let (heap, names) = (machine.heap, machine.storages);
    let (keys, listed) = simple(&mut input)?;
    let extents = extents(file, source, (&keys, listed), &names, (input.place(), big_endian))?;
    let mut storages = Vec::with_capacity(names.len());
    for name in &names {
        let reach = name.first.checked_add(name.count).and_then(|count| count.checked_mul(name.size()));
        match (extents.get(name.key.as_str()), reach) {
            (Some(extent), Some(reach)) if reach as u64 <= extent.bytes => storages.push(*extent),
            (Some(extent), _) => {
                let key = excerpt(&name.key);
                let what = format!("storage `{key}` has {} bytes, fewer than its pickle says", extent.bytes);
                return Err(Error::bad_file_hint(file, what, SAVE_AGAIN));
            }
            (None, _) => {
                let what = format!("its pickle names storage `{}`, which does not follow", excerpt(&name.key));
                return Err(Error::bad_file_hint(file, what, SAVE_AGAIN));
            }
        }
    }
    Ok(Contents { heap, root, storages, big_endian })
}

/// Runs a pickle that names no storages.
fn simple(input: &mut Input) -> Result<(Heap, Id)> {
    let mut machine = Machine::new(input);
    let root = machine.run()?;
    Ok((machine.heap, root))
}

fn is_big_endian(heap: &Heap, system: Id) -> bool {
    let entries = heap.entries(system).unwrap_or_default();
    let found = entries.iter().find(|(key, _)| heap.text(*key) == Some("little_endian"));
    found.is_some_and(|(_, value)| matches!(heap.get(*value), Value::Bool(false)))
}

/// The places of the storages from byte `start` on, in the order of their keys.
fn extents(
    file: &Path,
    source: &Source,
    (heap, listed): (&Heap, Id),
    names: &[StorageName],
    (start, big_endian): (u64, bool),
) -> Result<HashMap<String, Extent>> {
    let sizes: HashMap<&str, usize> = names.iter().map(|name| (name.key.as_str(), name.size())).collect();
    let keys = heap
        .items(listed)
        .ok_or_else(|| Error::bad_file_hint(file, "the keys of its storages are not a list", SAVE_AGAIN))?;
    let (mut at, length) = (start, source.length());
    let mut found = HashMap::new();
    for key in keys {
        let key = match heap.get(*key) {
            Value::Text(key) => key.clone(),
            Value::Int(key) => key.to_string(),
            _ => return Err(Error::bad_file_hint(file, "the key of a storage is not a text", SAVE_AGAIN)),
        };
        let short = || {
            let what = format!("the file ends within storage `{}`", excerpt(&key));
            Error::bad_file_hint(file, what, SAVE_AGAIN)
        };
        let Some(size) = sizes.get(key.as_str()) else {
            let what = format!("storage `{}` belongs to no tensor", excerpt(&key));
            return Err(Error::bad_file_hint(file, what, SAVE_AGAIN));
        };
        let data = at.checked_add(COUNT_BYTES).filter(|data| *data <= length).ok_or_else(short)?;
        let mut count = [0; COUNT_BYTES as usize];
        count.copy_from_slice(&source.read(file, at, COUNT_BYTES as usize)?);
        let count = if big_endian { u64::from_be_bytes(count) } else { u64::from_le_bytes(count) };
        let bytes = count.checked_mul(*size as u64).ok_or_else(short)?;
        at = data.checked_add(bytes).filter(|end| *end <= length).ok_or_else(short)?;
        found.insert(key, Extent { offset: data, bytes });
    }
    Ok(found)
}
