//! Solvers and parts of solvers that several samplers share.

pub mod analytic;
pub mod descent;
pub mod history;
pub mod metric;
