//! Sampling: schedules of noise levels, and the loop that iterates a denoiser down them.
//!
//! [`settings::Settings`] is what was asked for; with a model's [`scheduler_config::SchedulerConfig`] it resolves to a
//! [`schedule::Schedule`] and a [`samplers::Method`], which [`samplers::sample`] runs.

mod grids;
pub mod samplers;
pub mod schedule;
pub mod scheduler_config;
pub mod settings;
