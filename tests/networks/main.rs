//! Networks and the stages of latent models against diffusers and transformers in float64.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/definition.rs"]
mod definition;

mod autoencoder;
mod goldens;
mod guided;
mod half;
mod stable_diffusion;
mod tangent;
mod text;
mod tokenizer;
mod trajectory;
mod unet;
mod unet2d;
mod unet2d_condition;

use std::sync::LazyLock;

use downhill::kernels::Engine;
use downhill::tensor::Precision;

/// As [`common::engines`], with the kernels of networks stored in float16.
fn half_engines() -> &'static [Engine] {
    static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| common::open_engines(Precision::Float16));
    &ENGINES
}
