//! Model files: safetensors, checkpoints of `PyTorch`, diffusers folders, single files in the layouts of other code
//! bases, the hub cache, the mapping of names, and the embedded model.
//!
//! [`ModelFiles::open`] turns a name into a [`ConfigFile`] for the network, one for the scheduler if there is one, and
//! [`Weights`] under diffusers' own names. Weights are never read as a whole: the headers are checked when a file is
//! opened, and each tensor is read and converted to float32 when it is requested.

mod classifier;
mod component;
mod config;
mod container;
mod convert;
mod digest;
mod entry;
mod folder;
mod header;
mod hub;
mod keys;
mod layouts;
mod learned;
mod locate;
mod lora;
mod nearest;
mod order;
mod pickle;
mod pipeline;
mod source;
mod take;
mod weights;

pub use classifier::digits_classifier;
pub(crate) use classifier::digits_classifier_sha256;
pub use component::transformers_folder;
pub use config::ConfigFile;
pub(crate) use container::known_format;
pub use folder::ModelFiles;
#[cfg(feature = "download")]
pub use hub::{About, Event, Listing, Stated, fetch, fetch_in};
pub use layouts::{ClassifierFile, Origin};
pub use learned::Learned;
pub use locate::{MODEL_FORMS, refuse_address};
pub use lora::{Dialect, Lora, Merged, Part, Summary};
pub use pipeline::{Component, Pipeline, TokenizerFiles};
pub use safetensors::Dtype;
pub use weights::Weights;
