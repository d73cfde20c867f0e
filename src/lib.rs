//! Diffusion models as iterated projection: *denoising is projection, sampling is iterating it*.
//!
//! **downhill** runs pretrained diffusion models from diffusers folders on any GPU, or on the CPU through a software
//! Vulkan driver, with a compute engine built on wgpu. A seed gives the same image in any batch.
//!
//! ```
//! use downhill::{Engine, Model, Options};
//!
//! let engine = Engine::open(&Options::default())?;
//! let digits = Model::embedded()?;
//! let images = digits.sampling().steps(5).count(4).seed(7).run(&engine)?;
//! assert_eq!((images.len(), images[0].height, images[0].width), (4, 28, 28));
//! # Ok::<(), downhill::Error>(())
//! ```
//!
//! | to | see |
//! |---|---|
//! | open a network, a pipeline or a closed form by its name | [`Model::open`] |
//! | open the same from files in memory | [`Model::from_files`] |
//! | sample images, from noise, texts, class labels or pictures | [`Model::sampling`], [`Sampling`] |
//! | estimate the noise in an image | [`Model::denoiser`], the trait [`Denoiser`](denoise::Denoiser) |
//! | call a network in its own scale | [`NetworkModel::on`](model::NetworkModel::on) |
//! | multiply by the Jacobian of a denoiser | [`Model::jacobian`], [`denoise::jacobian`] |
//! | encode texts and images, decode latents | [`model::stages`] |
//! | choose precision and algorithms | [`CompileOptions`], [`Compiler`] |
//! | sample a denoiser of your own | [`sample::run`] |
//! | write a sampler | the trait [`Solver`](sample::walk::Solver) |
//! | find principal components and spectra | [`spectral`] |
//! | measure how far images are from data | [`quality`] |
//! | repeat an experiment of the papers | [`study`] |
//! | build on the engine itself; less stable than the rest | [`low_level`] |
//!
//! The folder `examples/` has programs for several of these, and `docs/ARCHITECTURE.md` describes the structure of the
//! crate.
//!
//! # Features
//!
//! * `cli` (default): the program `downhill`. Without it, the library does not depend on a command-line parser,
//!   progress bars or plots, and has no process-wide side effects.
//! * `download` (default): fetches models from the hub into the local cache.
//!
//! # Browsers
//!
//! Without features, the library builds for `wasm32-unknown-unknown`, on WebGPU. Nothing may wait there:
//! [`Engine::open_in_browser`] opens the device, [`Gpu::replay`](low_level::gpu::Gpu::replay) runs what reads results
//! back, [`sample::stepping`] takes the steps of a run, and [`Model::from_files`] opens models in memory. `web/` is a
//! package of this for JavaScript.

pub mod bench;
pub mod checkpoint;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod denoise;
pub mod error;
pub mod formats;
#[doc(hidden)]
pub mod gpu;
#[doc(hidden)]
pub mod graph;
mod guarded;
mod held;
mod input;
#[doc(hidden)]
pub mod kernels;
pub mod latent;
pub mod model;
pub mod moments;
pub mod nets;
pub mod noise;
pub mod paths;
pub mod quality;
pub mod report;
pub mod restore;
pub mod sample;
pub mod spectral;
pub mod study;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
pub use formats::Image;
pub use graph::{CompileOptions, Compiler};
pub use kernels::{Engine, FamilyName, Options};
pub use model::{Event, Images, Model, Sampling};
pub use sample::settings::Settings;
pub use tensor::{Precision, Tensor};

/// The engine itself: devices, kernels and graphs.
///
/// Everything above is built on these modules. They change more often than the rest of the crate.
pub mod low_level {
    #[doc(inline)]
    pub use crate::{gpu, graph, kernels};
}

/// The page on the library, so that its blocks are compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/rust.md")]
struct Guide;
