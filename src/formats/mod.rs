//! File formats: arrays (`.npy`, `.npz`), images (PNG), IDX files and JSON.
//!
//! Every file appears whole or not at all: it is written beside its destination and renamed ([`write_atomically`]).

pub(crate) mod described;
mod file;
pub(crate) mod idx;
pub mod images;
pub(crate) mod json;
pub mod npy;
pub mod npz;
pub mod png;
mod records;
mod values;

pub use file::{check_writable, write_atomically};
pub(crate) use file::{folder_of, one_spelling};
pub use images::{Image, Pixels};
pub(crate) use records::Records;
