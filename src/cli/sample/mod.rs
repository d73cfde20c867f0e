//! `downhill sample`: images from noise.
//!
//! [`args`] is what was typed, [`job`] what it means for a model and whether it can be done (with [`start`] and
//! [`targets`]), [`run`] does it on a device, [`results`] writes what comes out with [`metadata`].

mod args;
mod conditions;
mod job;
mod metadata;
mod results;
mod run;
mod start;
mod targets;

pub use args::Args;
/// The shared flags.
pub type Flags = crate::cli::shared::NetworkFlags;
pub use run::run;
