//! Graphs: the operations of a network with every shape known; then fused, planned and run.
//!
//! [`op::Graph`] -> [`fuse`] -> [`lower`] -> [`plan::Plan`] -> [`run::Program`] on a device, or [`host`] by the CPU twins.

pub mod choose;
pub mod cost;
pub mod fold;
pub mod fuse;
pub mod host;
pub mod lower;
pub mod op;
pub mod plan;
pub mod reference;
pub mod run;
pub mod stack;
pub mod strips;
pub mod tangent;
pub mod tune;
pub mod weights;

pub use plan::{Aliasing, Plan};
pub use run::Program;

use crate::error::Result;
use crate::tensor::Tensor;

/// Answers a checkpoint tensor by key and expected shape, as float32. A matrix is asked for as a kernel
/// (out, in, 1, 1), however it is stored.
pub type WeightAccess<'a> = dyn Fn(&str, &[usize]) -> Result<Tensor> + 'a;
