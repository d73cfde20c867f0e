//! Kernels: one file each, beside the shaders of the same name. A file holds the kernel's parameters, its grid, the
//! choice of its variant, and its CPU twin: the same computation on the host, on the same parameters and layouts.
//!
//! A kernel here is data: [`Dispatch`] names a shader variant, its parameters and its grid. It does not say which
//! tensors it reads (the plan does) and knows no device.

pub mod activation;
pub mod attention;
mod blocking;
pub mod channels;
pub mod choice;
pub mod combine;
pub mod concat;
pub mod conv2d;
pub mod elementwise;
pub mod engine;
pub mod epilogue;
pub mod fir;
pub mod gate;
pub mod group_norm;
pub mod layer_norm;
pub mod matmul;
pub mod modulate;
pub mod parameters;
pub mod patch_means;
pub mod pool;
pub mod probes;
pub mod resample;
pub mod resize;
pub mod roof_probes;
pub mod selftest;
pub mod shader;
pub mod shuffles;
pub mod softmax;
pub mod source;
pub mod spread;
pub mod tangent;
mod template;
pub mod tiling;
pub mod timestep_embedding;
pub mod transpose;
pub mod tuned;
pub mod unpatchify;
pub mod winograd;

pub use activation::Activation;
pub use engine::{Engine, FamilyName, Options};
pub use shader::{Access, Kernel, Memory, Shader, Twin};
pub use source::{Normalised, Source};

use crate::tensor::TEXEL;

/// A family of kernels for a kind of adapters, found by measurement (see `docs/lab-notes.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// For GPUs: workgroup memory and register tiles over storage buffers.
    Tile,
    /// As [`Self::Tile`], but convolutions and products with weights multiply tiles of float16 on matrix units,
    /// summed in float32; opt-in.
    Matrix {
        /// Invocations of a subgroup.
        width: u32,
        /// Rows and columns of a tile, 8 or 16.
        side: u32,
    },
    /// For software adapters: no barrier, subgroups of `width` invocations, operands in storage textures.
    Lanes {
        /// Invocations of a subgroup; a workgroup is one subgroup.
        width: u32,
    },
}

impl Family {
    /// The memory of this family's tensors.
    #[must_use]
    pub const fn memory(self) -> Memory {
        match self {
            Self::Tile | Self::Matrix { .. } => Memory::Buffer,
            Self::Lanes { .. } => Memory::Texture,
        }
    }

    /// Output texels per block of packed weights with `columns` output texels.
    #[must_use]
    pub const fn block(self, columns: usize) -> usize {
        match self {
            Self::Tile | Self::Matrix { .. } => columns,
            Self::Lanes { width } => width as usize,
        }
    }

    /// A variant of a kernel that exists once for both families.
    #[must_use]
    pub fn shader(self, kernel: &'static Kernel, constants: Vec<(&'static str, u32)>) -> Shader {
        Shader { kernel, memory: self.memory(), constants, halves: Vec::new() }
    }
}

/// One dispatch of one kernel, without its operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The variant to run.
    pub shader: Shader,
    /// The words of the kernel's `Params`.
    pub params: Vec<u32>,
    /// Workgroups along x, y, z.
    pub grid: [u32; 3],
}

impl Dispatch {
    /// The word of a parameter of the kernel; `None` if it has no parameter of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<u32> {
        self.params.get(parameters::place(self.shader.kernel.params, name)?).copied()
    }
}

/// Invocations of a workgroup of the kernels that work texel by texel.
pub const FLAT_WORKGROUP: u32 = 64;

/// Workgroups along x of a flat grid: further workgroups continue along y.
const FLAT_ROW: u32 = 32768;

/// The grid of a kernel with one invocation per texel, in workgroups of [`FLAT_WORKGROUP`]; the shader finds its
/// index as `id.y * 32768 * 64 + id.x`.
#[must_use]
pub fn flat_grid(invocations: usize) -> [u32; 3] {
    let groups = invocations.div_ceil(FLAT_WORKGROUP as usize) as u32;
    [groups.min(FLAT_ROW), groups.div_ceil(FLAT_ROW), 1]
}

/// Every shader variant that any dispatch of this family can choose, for validation.
#[must_use]
pub fn all_variants(family: Family) -> Vec<Shader> {
    [
        conv2d::Conv2d::variants,
        matmul::MatMul::variants,
        winograd::WinogradInput::variants,
        winograd::WinogradOutput::variants,
        winograd::WinogradProducts::variants,
        winograd::WinogradRows::variants,
        group_norm::Moments::variants,
        group_norm::GroupNormFold::variants,
        group_norm::GroupNormFactors::variants,
        group_norm::ScaleShift::variants,
        layer_norm::LayerNorm::variants,
        softmax::Softmax::variants,
        attention::Attention::variants,
        elementwise::Activate::variants,
        elementwise::Add::variants,
        gate::Gate::variants,
        modulate::Modulate::variants,
        unpatchify::Unpatchify::variants,
        patch_means::PatchMeans::variants,
        concat::Concat::variants,
        channels::Channels::variants,
        spread::Spread::variants,
        spread::NearestSums::variants,
        resample::UpsampleNearest::variants,
        resample::AveragePool::variants,
        pool::Pool::variants,
        resize::Resize::variants,
        fir::Fir::variants,
        timestep_embedding::TimestepEmbedding::variants,
        combine::Combine::variants,
        transpose::Transpose::variants,
        tangent::ActivateTangent::variants,
        tangent::GateTangent::variants,
        tangent::GateAdjoint::variants,
        tangent::MomentsTangent::variants,
        tangent::GroupNormTangent::variants,
        tangent::ScaleShiftTangent::variants,
        tangent::LayerNormTangent::variants,
        tangent::SoftmaxTangent::variants,
        selftest::variants,
        probes::Chain::variants,
        probes::Copy::variants,
        probes::Shuffles::variants,
        roof_probes::HalfChain::variants,
        roof_probes::DotChain::variants,
        roof_probes::Reads::variants,
        roof_probes::TileChain::variants,
    ]
    .into_iter()
    .flat_map(|variants: fn(Family) -> Vec<Shader>| variants(family))
    .collect()
}

/// The words of a parameter block.
fn words<P: bytemuck::NoUninit>(params: &P) -> Vec<u32> {
    bytemuck::cast_slice(std::slice::from_ref(params)).to_vec()
}

/// A parameter block from its words.
fn params<P: bytemuck::AnyBitPattern>(words: &[u32]) -> P {
    *bytemuck::from_bytes(bytemuck::cast_slice(words))
}

/// The nearest number of float16.
fn to_float16(value: f32) -> f32 {
    half::f16::from_f32(value).to_f32()
}

/// Component `lane` of texel `index`.
fn component(texels: &[f32], index: usize, lane: usize) -> f32 {
    texels[index * TEXEL + lane]
}
