//! The papers' experiments, one file each: data and settings in, results as data out. What is measured is computed here;
//! files and plots are the business of the command line.
//!
//! | of linear diffusion | asks |
//! |---|---|
//! | [`chain`] | what a product of projections does, and under which coupling of noise |
//! | [`angles`] | how components turn as noise grows |
//! | [`transition`] | when a component knows its direction at all |
//! | [`energy`] | which modes a linear chain generates |
//! | [`baseline`] | what chains that keep the spectrum do, by the closed forms of [`gains`] |
//! | [`best`] | which noise schedules are best for a spectrum, by [`schedules`], [`overlap`] and [`optimise`] |
//! | [`jacobian`] | how the leading eigenvectors of a denoiser's Jacobian turn along its trajectories |
//!
//! [`nadler`] is what theory says, [`estimate`] how sure one can be of a mean, [`rank`] of an order, [`statistics`] what is said of many numbers.

pub mod angles;
pub mod baseline;
pub mod best;
pub mod chain;
pub mod compare;
pub mod constancy;
pub mod dimension;
pub mod energy;
pub mod error_model;
pub mod estimate;
pub mod gains;
pub mod gamma;
pub mod jacobian;
pub mod manifolds;
pub mod metric;
pub mod nadler;
pub mod norms;
pub mod optimise;
pub mod overlap;
pub mod projection;
pub mod rank;
pub mod schedules;
pub mod statistics;
pub mod trajectories;
pub mod transition;

/// Tells how much more of a study is done, in the units of its own count.
pub type Advance<'a> = &'a dyn Fn(u64);
