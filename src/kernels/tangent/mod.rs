//! Tangents: what a small change of an operation's input changes in its result, exactly (forward-mode differentiation).
//!
//! Linear operations are their own tangents and need nothing here. The others read the value beside its tangent. Tangents come as
//! `repeats` images for each image of the value, one after the other: the value is computed once for a block of directions.

mod activation;
mod group_norm;
mod softmax;

pub use activation::ActivateTangent;
pub use group_norm::{GroupNormTangent, MomentsTangent, ScaleShiftTangent};
pub use softmax::SoftmaxTangent;

/// The twin of `primal_index` in `shaders/shared/primal.wgsl`, for values instead of texels: where the value is that the tangent
/// at `index` belongs to.
fn primal_index(index: usize, image_len: usize, repeats: usize) -> usize {
    index / image_len / repeats * image_len + index % image_len
}
