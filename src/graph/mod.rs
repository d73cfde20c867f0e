//! Graphs: the operations of a network with every shape known; then fused, planned and run.
//!
//! [`op::Graph`] -> [`fuse`] -> [`lower`] -> [`plan::Plan`] -> [`run::Program`] on a device, or [`host`] by the CPU
//! twins.

pub mod adjoint;
pub mod choose;
pub mod compiler;
pub mod cost;
#[doc(hidden)]
pub mod counters;
pub mod fold;
pub mod footprint;
pub mod fuse;
pub mod host;
pub mod lower;
pub mod op;
pub mod options;
pub mod plan;
pub mod reference;
pub mod run;
pub mod stack;
pub mod strips;
pub mod tangent;
pub mod tune;
pub mod weights;
pub mod work;

pub use compiler::Compiler;
pub use footprint::Footprint;
pub use options::{CompileOptions, Target};
pub use plan::{Aliasing, Plan};
pub use run::Program;

use crate::error::Result;
use crate::tensor::Tensor;

/// Returns a checkpoint tensor by key and expected shape, as float32. A matrix is requested as a kernel (out, in, 1,
/// 1), however it is stored.
pub type WeightAccess<'a> = dyn Fn(&str, &[usize]) -> Result<Tensor> + 'a;
