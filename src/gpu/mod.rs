//! The only room that knows wgpu: adapters, the device, its memory, pipelines, recorded commands.
//!
//! Above it, a tensor is a range of texels in a [`Storage`], a computation a list of [`Call`]s.

mod adapter;
mod device;
mod memory;
mod pipeline;
mod quiet;
mod recording;

pub use adapter::{Adapters, Choice, Described, Kind};
pub use device::{Gpu, Options};
pub use memory::{Region, Storage, StorageKind, row_texels};
pub use pipeline::{Binding, Pipeline, PipelineSource};
pub use recording::{Call, Recording};
