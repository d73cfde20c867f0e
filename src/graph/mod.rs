//! Graphs: the operations of a network with every shape known; then fused, planned and run.

pub mod op;
