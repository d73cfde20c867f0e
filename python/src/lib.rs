//! The Python package: a thin layer over the library's front door. Arrays become tensors, keyword arguments become
//! settings, errors become exceptions; everything else is `downhill`'s.
//!
//! The module is private to the package `downhill`, whose Python code gives it its signatures, its documentation and
//! its conversions between array libraries.

mod array;
mod call;
mod data;
mod data_studies;
mod denoiser;
mod engine;
mod error;
mod images;
mod linear;
mod matrix;
mod model;
mod results;
mod sample;
mod sampler;
mod schedules;
mod stages;
mod studies;
mod work;

use pyo3::prelude::*;

/// The module `downhill._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    engine::register(module)?;
    data::register(module)?;
    model::register(module)?;
    images::register(module)?;
    sample::register(module)?;
    denoiser::register(module)?;
    sampler::register(module)?;
    linear::register(module)?;
    schedules::register(module)?;
    studies::register(module)?;
    data_studies::register(module)
}
