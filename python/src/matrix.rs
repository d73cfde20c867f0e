//! Matrices of samples in, matrices of float64 out.

use downhill::data::Dataset;
use downhill::spectral::{ComponentsAround, Route, Settings, components_around};
use downhill::{Engine, Error, Tensor};
use numpy::{PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{Floats, tensor};
use crate::error::{Result, argument};

/// An argument that is a matrix of float32 or float64, in C order.
#[derive(FromPyObject)]
pub enum Matrix<'py> {
    Single(PyReadonlyArray2<'py, f32>),
    Double(PyReadonlyArray2<'py, f64>),
}

impl Matrix<'_> {
    /// The principal components of the rows, which are read in place, around their mean.
    pub fn components(
        &self,
        py: Python<'_>,
        engine: &Engine,
        settings: &Settings,
        route: Option<Route>,
    ) -> Result<ComponentsAround> {
        let not_in_order = |_| argument("a matrix that is not in C order", "use a contiguous copy");
        let found = match self {
            Self::Single(matrix) => {
                let (values, dimension) = (matrix.as_slice().map_err(not_in_order)?, matrix.shape()[1]);
                py.detach(|| components_around(engine, values, dimension, settings, route))
            }
            Self::Double(matrix) => {
                let (values, dimension) = (matrix.as_slice().map_err(not_in_order)?, matrix.shape()[1]);
                py.detach(|| components_around(engine, values, dimension, settings, route))
            }
        };
        Ok(found?)
    }
}

/// Samples (n, ...), with their mean if it is to be subtracted.
pub fn dataset(x: &Floats, name: &str, is_centred: bool) -> Result<(Dataset, Option<Vec<f64>>)> {
    let x = tensor(x)?;
    if x.shape.len() < 2 || x.data.is_empty() {
        return Err(argument(format!("data of shape {:?}", x.shape), "data are (n, ...), at least one sample"));
    }
    let mut data = Dataset::new(name, x)?;
    let mean = is_centred.then(|| data.centre());
    Ok((data, mean))
}

/// Checks that samples of `dimension` values have `count` components.
pub fn expect_components(count: usize, dimension: usize) -> Result<()> {
    if (1..=dimension).contains(&count) {
        return Ok(());
    }
    let what = format!("{count} components of samples of {dimension} values");
    Err(argument(what, format!("ask for 1 to {dimension}")))
}

/// An array of float64.
pub fn doubles<'py>(py: Python<'py>, shape: &[usize], values: Vec<f64>) -> Result<Bound<'py, PyArrayDyn<f64>>> {
    Ok(PyArray1::from_vec(py, values).reshape(shape.to_vec())?)
}

/// Rows of float64 as a matrix.
pub fn rows<'py>(py: Python<'py>, rows: &[Vec<f64>]) -> Result<Bound<'py, PyArrayDyn<f64>>> {
    let columns = rows.first().map_or(0, Vec::len);
    doubles(py, &[rows.len(), columns], rows.concat())
}

/// Standard normals in place of drawn ones, (T, n, p), for samples (n, p).
pub fn normals(noise: Option<&Floats>, samples: &Tensor) -> Result<Option<Tensor>> {
    let Some(noise) = noise.map(tensor).transpose()? else { return Ok(None) };
    let (n, p) = (samples.shape[0], samples.shape[1]);
    match noise.shape[..] {
        [_, rows, columns] if (rows, columns) == (n, p) => {}
        _ => {
            let what = format!("`noise` of shape {:?} for data of {n} samples of {p} values", noise.shape);
            return Err(argument(what, format!("give standard normals (steps, {n}, {p})")));
        }
    }
    if noise.is_finite() {
        return Ok(Some(noise));
    }
    let error = Error::NonFinite { place: "`noise`".into(), hint: "give finite numbers".into() };
    Err(error.into())
}
