//! Solvers and parts of solvers that several samplers share.

pub mod descent;
pub mod history;
pub mod metric;
