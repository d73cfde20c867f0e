//! The papers' experiments, one file each: data and settings in, results as data out. What is measured is computed here;
//! files and plots are the business of the command line.

pub mod chain;
pub mod compare;
pub mod constancy;
pub mod dimension;
pub mod error_model;
pub mod gamma;
pub mod jacobian;
pub mod manifolds;
pub mod norms;
pub mod projection;
pub mod rank;
pub mod statistics;
pub mod trajectories;

/// Tells how much more of a study is done, in the units of its own count.
pub type Advance<'a> = &'a dyn Fn(u64);
