//! Tangents: the exact derivative of an operator's result along a direction of its input (forward-mode
//! differentiation).
//!
//! Linear operators are their own tangents. The others read the value beside its tangent. Tangents come as `repeats`
//! images for each image of the value, one after the other: the value is computed once for a block of directions.

mod activation;
mod gate;
mod group_norm;
mod layer_norm;
mod softmax;

pub use activation::ActivateTangent;
pub use gate::{GateAdjoint, GateTangent};
pub use group_norm::{GroupNormTangent, MomentsTangent, ScaleShiftTangent};
pub use layer_norm::LayerNormTangent;
pub use softmax::SoftmaxTangent;

/// The twin of `primal_index` in `shaders/shared/primal.wgsl`, for values instead of texels: the index of the value
/// that the tangent at `index` belongs to.
fn primal_index(index: usize, image_len: usize, repeats: usize) -> usize {
    index / image_len / repeats * image_len + index % image_len
}
