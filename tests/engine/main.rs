//! Kernels, shaders, graphs and plans, against twins, definitions and themselves.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/definition.rs"]
mod definition;

mod attention;
mod check;
mod extending;
mod kernels;
mod kernels_adjoint;
mod kernels_half;
mod kernels_matrix;
mod kernels_norm;
mod kernels_patches;
mod kernels_pointwise;
mod kernels_probes;
mod kernels_roofs;
mod kernels_source;
mod kernels_tangent;
mod kernels_transpose;
mod kernels_winograd;
mod plan;
mod reference;
mod shaders;
mod tiles;
mod tune;
