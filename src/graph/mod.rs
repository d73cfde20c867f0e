//! Graphs: the operations of a network with every shape known; then fused, planned and run.
//!
//! [`op::Graph`] -> [`fuse`] -> [`lower`] -> [`plan::Plan`] -> [`run::Program`] on a device, or [`host`] by the CPU twins.

pub mod fuse;
pub mod host;
pub mod lower;
pub mod op;
pub mod plan;
pub mod run;
pub mod weights;

pub use plan::{Aliasing, Plan};
pub use run::Program;
pub use weights::Fetch;
