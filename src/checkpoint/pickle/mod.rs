//! Weights in files of `PyTorch` (`.pt`, `.pth`, `.ckpt`, `.bin`), read without executing anything.
//!
//! A pickle is a program for a small stack machine, which may call any function of any Python module. Here the machine
//! ([`machine`]) builds plain containers, numbers, texts and descriptions of tensors; [`allowed`] lists the few
//! functions that describe tensors, and every other name is refused with the opcode that asks for it. No Python runs,
//! and no file is opened but the one that was named.
//!
//! There are two containers: a zip archive with `data.pkl` and one stored entry per storage ([`archive`]), and the
//! older file in which the storages follow several pickles ([`legacy`]). Sources: `CPython`, `Lib/pickletools.py`;
//! `PyTorch`, `torch/serialization.py` and `torch/_utils.py`.
//!
//! Memory is bounded by the pickle, which is read a part at a time up to a limit; the numbers of the tensors stay in
//! the file until they are requested.

mod allowed;
mod archive;
mod input;
mod legacy;
mod machine;
mod opcodes;
mod state_dict;
#[cfg(test)]
mod tests;
mod values;

use std::path::Path;

use super::header::Stored;
use super::order::Order;
use super::source::Source;
use crate::error::{Error, Result, excerpt};
use crate::input::Budget;
use crate::tensor::element_count;
use values::{Contents, TensorView};

/// The suffixes of files with pickles.
const SUFFIXES: [&str; 5] = ["bin", "ckpt", "pt", "pth", "pkl"];
/// The bytes that suffice to tell the containers apart.
const HEAD: u64 = 512;

const SAVE_AGAIN: &str = "the file is damaged or incomplete; download or save it again";

/// The container of a pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// A zip archive.
    Zip,
    /// Pickles and storages, one after the other.
    Legacy,
}

/// The tensors of a file, and the place of the state dict among its contents, where there is something to say.
#[derive(Debug)]
pub(super) struct Tensors {
    pub(super) stored: Vec<Stored>,
    pub(super) taken: Option<String>,
}

/// Returns `true` if the suffix of `file` is one of files with pickles.
pub(super) fn has_suffix(file: &Path) -> bool {
    file.extension().is_some_and(|suffix| SUFFIXES.iter().any(|pickle| suffix.eq_ignore_ascii_case(pickle)))
}

/// The container of a pickle in `source` by its first bytes, and where these say nothing by the suffix of `file`;
/// `None` for anything else.
///
/// # Errors
/// [`Error::BadFile`] for a tar archive, as `PyTorch` wrote before 0.1.2; those of reading.
pub(super) fn container(file: &Path, source: &Source) -> Result<Option<Container>> {
    let head = source.read(file, 0, source.length().min(HEAD) as usize)?;
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Some(Container::Zip));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Err(Error::bad_file_hint(
            file,
            "a tar archive, as `PyTorch` wrote before 0.1.2, which is not supported",
            "load it with `torch.load` and save its state dict again",
        ));
    }
    // A safetensors file begins with the length of its header, which may have the bytes of a pickle, and the header.
    let is_safetensors = head.get(4..9) == Some(b"\0\0\0\0{");
    let is_named = matches!(*head, [0x80, 0..=5, third, ..] if third != 0);
    let is_other = head.is_empty() || head.starts_with(b"version https://git-lfs");
    let is_pickle = !is_safetensors && !is_other && (is_named || has_suffix(file));
    Ok(is_pickle.then_some(Container::Legacy))
}

/// Reads the description of every tensor in `source`.
///
/// # Errors
/// [`Error::BadFile`] that names the opcode, the function or the tensor at fault.
pub(super) fn read(file: &Path, source: &Source, container: Container) -> Result<Tensors> {
    let Contents { heap, root, storages, big_endian } = match container {
        Container::Zip => archive::read(file, source)?,
        Container::Legacy => legacy::read(file, source)?,
    };
    let chosen = state_dict::choose(file, &heap, root)?;
    let mut stored = Vec::with_capacity(chosen.tensors.len());
    for (name, view) in chosen.tensors {
        let place = storages.get(view.storage).ok_or_else(|| Error::bad_file(file, "a tensor without a storage"))?;
        stored.push(describe(file, source, name, view, (place.offset, big_endian))?);
    }
    Ok(Tensors { stored, taken: chosen.taken })
}

/// The place of a tensor in the file. Its view was checked against its storage when it was made.
fn describe(
    file: &Path,
    source: &Source,
    name: String,
    tensor: &TensorView,
    (storage, big_endian): (u64, bool),
) -> Result<Stored> {
    let size = tensor.size();
    let impossible = || {
        let what = format!("tensor `{}`: shape {:?} of {} is impossible", excerpt(&name), tensor.shape, tensor.dtype);
        Error::bad_file_hint(file, what, SAVE_AGAIN)
    };
    let bytes = element_count(&tensor.shape).and_then(|count| count.checked_mul(size)).ok_or_else(impossible)?;
    // Steps of 0 repeat elements: a few bytes may claim to be a tensor of any size.
    if bytes as u64 > (Budget { stored: source.length() }).most() {
        return Err(impossible());
    }
    let start = (tensor.offset as u64).checked_mul(size as u64);
    let offset = start.and_then(|start| start.checked_add(storage)).ok_or_else(impossible)?;
    let steps = (bytes > 0 && !tensor.is_dense()).then(|| tensor.steps.clone());
    let order = (steps.is_some() || big_endian).then_some(Order { steps, big_endian });
    Ok(Stored { name, dtype: tensor.dtype, shape: tensor.shape.clone(), offset, bytes, order })
}
