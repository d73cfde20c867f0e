//! `downhill sample`: images from noise.
//!
//! [`args`] are the flags, [`job`] their meaning for a model (with [`start`] and [`targets`]), checked without a
//! device; [`run`] samples on a device and writes the files.

mod args;
mod conditions;
mod inpaint;
mod job;
mod prompts;
mod run;
mod shards;
mod start;
mod targets;

pub use args::{Args, Choice};
pub use conditions::Memory;
pub use job::Job;
pub use prompts::read as prompts;
/// The shared flags.
pub type Flags = crate::cli::shared::NetworkFlags;
pub use run::run;
