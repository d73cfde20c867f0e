//! The only module that uses wgpu: adapters, the device, its memory, pipelines and recorded commands.
//!
//! To the modules above, a tensor is a range of texels in a [`Storage`], and a computation is a list of [`Call`]s.

mod adapter;
mod clock;
mod device;
mod driver;
mod guard;
mod memory;
mod pipeline;
mod pipeline_cache;
mod readback;
mod recording;
mod replay;
mod stop;
mod warm;

pub use adapter::{Adapters, Choice, Described, Kind};
pub use device::{Gpu, Options, take_closing_failure};
pub use guard::{contain, silence_panics};
pub use memory::{Region, Storage, StorageKind, row_texels};
pub use pipeline::{Binding, Pipeline, PipelineSource};
pub use pipeline_cache::parse_kept as parse_kept_pipelines;
pub use readback::Readback;
pub use recording::{Call, Recording};
pub use replay::replayed;
pub use stop::{Stoppable, stop_by};
pub use warm::driver_keeps_nothing;

/// The version of wgpu in use.
pub const WGPU_VERSION: &str = "30.0.1";

#[cfg(test)]
mod tests {
    #[test]
    fn the_release_of_wgpu_is_the_locked_one() {
        let locked = format!("name = \"wgpu\"\nversion = \"{}\"\n", super::WGPU_VERSION);
        assert!(include_str!("../../Cargo.lock").contains(&locked));
    }
}
