//! Networks and the stages of latent models against diffusers and transformers in float64.

#[path = "../common/adm.rs"]
mod adm_files;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/definition.rs"]
mod definition;
#[path = "../common/single_file.rs"]
mod single_file;

mod adjoint;
mod adm;
mod adm_classifier;
mod adm_guided;
mod autoencoder;
mod dit;
mod drawn;
mod foreign;
mod goldens;
mod guidance;
mod guided;
mod half;
mod in_browsers;
mod inpaint;
mod lora;
mod model;
mod prompts;
mod single_files;
mod stable_diffusion;
mod stable_diffusion_xl;
mod tangent;
mod text;
mod tiny;
mod tokenizer;
mod trajectory;
mod unet;
mod unet2d;
mod unet2d_condition;

use downhill::graph::{CompileOptions, Compiler};
use downhill::kernels::Engine;
use downhill::kernels::choice::Algorithm;
use downhill::tensor::Precision;

/// Compilers for both families with default options.
fn compilers() -> Vec<Compiler<'static>> {
    common::engines().iter().map(Compiler::from).collect()
}

/// Compilers for both families with the kernels of networks in float16.
fn half_compilers() -> Vec<Compiler<'static>> {
    let options = CompileOptions { weights: Precision::Float16, ..CompileOptions::default() };
    common::engines().iter().map(|engine| Compiler::new(engine, options)).collect()
}

/// Compilers for each family and each algorithm that it has kernels for, forced on every layer; maps are folded
/// wherever they can be.
fn forced_compilers() -> Vec<Compiler<'static>> {
    let of_family = |engine: &'static Engine| {
        let forced = |algorithm| CompileOptions { fold_always: true, ..CompileOptions::forced(algorithm) };
        Algorithm::of_family(engine.family).into_iter().map(move |one| Compiler::new(engine, forced(one)))
    };
    common::engines().iter().flat_map(of_family).collect()
}

/// The kernels and algorithms of a compiler, for messages.
fn by(compiler: Compiler) -> String {
    format!("{:?}, {}", compiler.engine.family, compiler.options.origin(&compiler.target()))
}
