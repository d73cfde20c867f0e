//! Sampling: schedules of noise levels, and the loop that iterates a denoiser down them.
//!
//! [`settings::Settings`] is what was asked for; with a model's [`scheduler_config::SchedulerConfig`] it resolves to a
//! [`schedule::Schedule`] and a [`samplers::Method`], which [`samplers::sample`] runs; [`on_sigmas`] does so for denoisers
//! without timesteps; [`run`] samples many images, a batch at a time. [`solvers`] has a file for each
//! family of steps, [`catalogue`] the names, [`admissible`] what can be said of a schedule before any of it runs.

pub mod admissible;
pub mod catalogue;
mod fields;
mod grids;
pub mod on_sigmas;
pub mod run;
pub mod samplers;
pub mod schedule;
pub mod scheduler_config;
pub mod settings;
mod sigma_grids;
pub mod solver_config;
pub mod solvers;
