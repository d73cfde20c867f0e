//! The papers' experiments, one file each: data and settings in, results as data out. What is measured is computed here;
//! files and plots are the business of the command line.

pub mod baseline;
pub mod best;
pub mod chain;
pub mod constancy;
pub mod dimension;
pub mod error_model;
pub mod gains;
pub mod manifolds;
pub mod norms;
pub mod optimise;
pub mod overlap;
pub mod projection;
pub mod schedules;
pub mod statistics;
pub mod trajectories;

/// Tells how much more of a study is done, in the units of its own count.
pub type Advance<'a> = &'a dyn Fn(u64);
