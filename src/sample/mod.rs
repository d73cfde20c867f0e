//! Sampling: schedules of noise levels, and the loop that iterates a denoiser down them.
//!
//! [`settings::Settings`] are the requested settings; with a model's [`scheduler_config::SchedulerConfig`] it resolves
//! to a [`settings::Course`]: a [`schedule::Schedule`] and a [`walk::Method`], which [`walk::sample`] runs, and [`run`]
//! for many images, a batch at a time; [`inpaint`] walks states of which a part is known. [`on_sigmas`] resolves
//! settings for denoisers without timesteps. [`samplers`] has a file for each sampler, [`solvers`] the steps that
//! several of them share; [`admissible`] judges a schedule before it runs.

pub mod admissible;
pub mod config_fields;
mod flow;
mod grids;
pub mod inpaint;
pub mod jump;
mod level_config;
pub mod on_sigmas;
pub mod run;
pub mod samplers;
pub mod schedule;
pub mod scheduler_config;
pub mod settings;
pub mod sigma_grids;
pub mod solvers;
pub mod stepping;
pub mod walk;
