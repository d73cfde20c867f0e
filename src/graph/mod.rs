//! Graphs: the operations of a network with every shape known; then fused, planned and run.

pub mod cost;
pub mod op;
pub mod reference;

use crate::error::Result;
use crate::tensor::Tensor;

/// Answers a checkpoint tensor by key and expected shape, as float32. A matrix is asked for as a kernel
/// (out, in, 1, 1), however it is stored.
pub type WeightAccess<'a> = dyn Fn(&str, &[usize]) -> Result<Tensor> + 'a;
