//! The papers' experiments, one file each: data and settings in, results as data out. What is measured is computed here;
//! files and plots are the business of the command line.

pub mod baseline;
pub mod best;
pub mod chain;
pub mod gains;
pub mod optimise;
pub mod overlap;
pub mod schedules;

/// Tells how much more of a study is done, in the units of its own count.
pub type Advance<'a> = &'a dyn Fn(u64);
