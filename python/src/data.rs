//! Data sets by their names.

use downhill::data::Source;
use downhill::formats::images::Pixels;
use downhill::{Error, Tensor};
use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::array::array;
use crate::error::Result;

/// The samples of a data set, (n, *shape). Bytes of images are from -1 to 1.
#[pyfunction]
fn data<'py>(py: Python<'py>, source: &str) -> Result<Bound<'py, PyArrayDyn<f32>>> {
    let samples = py.detach(|| {
        let found = Source::parse(source)?.load(Pixels::Signed)?;
        let shape = [&[found.count()], &found.sample_shape[..]].concat();
        Ok::<_, Error>(Tensor::new(shape, found.samples.data))
    })?;
    array(py, samples)
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(data, module)?)
}
