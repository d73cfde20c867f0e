//! **downhill**: a hand-rolled wgpu compute engine for diffusion models seen as what they are: *denoising is projection,
//! sampling is iterating it*.
//!
//! The rooms, from the ground up; each uses only rooms below it (see `docs/ARCHITECTURE.md`):
//! [`error`], [`tensor`], [`noise`] - then [`gpu`], [`formats`], [`checkpoint`], [`report`] - [`kernels`], [`data`] - [`graph`], [`spectral`] -
//! [`nets`] - [`denoise`], [`latent`], [`quality`] - [`sample`] - [`study`], [`mod@bench`] - [`cli`].

pub mod bench;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod denoise;
pub mod error;
pub mod formats;
pub mod gpu;
pub mod graph;
pub mod kernels;
pub mod latent;
pub mod nets;
pub mod noise;
pub mod paths;
pub mod quality;
pub mod report;
pub mod sample;
pub mod spectral;
pub mod study;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
