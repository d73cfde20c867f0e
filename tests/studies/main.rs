//! Spectra, distances between sets, the studies that use them, and the figures they draw.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/inception.rs"]
mod random_inception;

mod basis;
mod chain;
mod clip;
mod closed_forms;
mod inception;
mod inspect;
mod linear_baseline;
mod linear_schedules;
mod plot;
mod quality;
mod spectral;
mod studies;
