//! Arrays in and out. The package hands over `NumPy` arrays of float32 in C order; their values are copied once into a
//! tensor. Tensors become `NumPy` arrays without a copy.

use downhill::Tensor;
use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods, ToPyArray};
use pyo3::prelude::*;

use crate::error::{Result, argument};

/// An argument that is an array of float32.
pub type Floats<'py> = PyReadonlyArrayDyn<'py, f32>;

/// A tensor with the values of an array.
pub fn tensor(array: &Floats) -> Result<Tensor> {
    let values = array.as_slice().map_err(|_| argument("an array that is not in C order", "use a contiguous copy"))?;
    Ok(Tensor::new(array.shape(), values.to_vec()))
}

/// A tensor of images, (n, c, h, w).
pub fn images(array: &Floats, name: &str) -> Result<Tensor> {
    if array.shape().len() == 4 && array.shape()[0] > 0 {
        return tensor(array);
    }
    let what = format!("`{name}` of shape {:?}", array.shape());
    Err(argument(what, "images are (n, channels, height, width), at least one"))
}

/// An array of a tensor's values, which move there.
pub fn array(py: Python<'_>, tensor: Tensor) -> Result<Bound<'_, PyArrayDyn<f32>>> {
    let Tensor { shape, data } = tensor;
    let flat = numpy::PyArray1::from_vec(py, data);
    Ok(flat.reshape(shape)?)
}

/// An array of bytes.
pub fn bytes<'py>(py: Python<'py>, shape: &[usize], values: &[u8]) -> Result<Bound<'py, PyArrayDyn<u8>>> {
    Ok(values.to_pyarray(py).reshape(shape.to_vec())?)
}
