//! The images of a run, with everything that writes them.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use downhill::formats::check_writable;
use downhill::formats::images::{WHITE, grid, quantise, square_columns};
use downhill::model::{Batch, Files, Targets};
use downhill::report::Output;
use downhill::{Image, Tensor};
use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::array::{array, bytes};
use crate::error::{Result, argument};

/// Images of a run.
#[pyclass(frozen, name = "Images")]
pub struct PyImages {
    batches: Vec<Batch>,
    /// The run's own form of files, without results.
    files: Mutex<Files>,
    sigmas: Vec<f64>,
    report: String,
}

impl PyImages {
    pub fn new(batches: Vec<Batch>, files: Files, sigmas: Vec<f64>, report: String) -> Self {
        Self { batches, files: Mutex::new(files), sigmas, report }
    }

    fn quantised(&self) -> Result<Vec<Image>> {
        let images: Vec<_> = self.batches.iter().map(Batch::images).collect::<std::result::Result<_, _>>()?;
        Ok(images.into_iter().flatten().collect())
    }
}

/// Tensors of images one after the other.
fn joined<'t>(parts: impl IntoIterator<Item = &'t Tensor>) -> Tensor {
    let (mut shape, mut data) = (vec![0], Vec::new());
    for part in parts {
        if shape.len() == 1 {
            shape.extend_from_slice(&part.shape[1..]);
        }
        shape[0] += part.shape[0];
        data.extend_from_slice(&part.data);
    }
    Tensor::new(shape, data)
}

#[pymethods]
impl PyImages {
    fn __len__(&self) -> usize {
        self.batches.iter().map(|batch| batch.indices.len()).sum()
    }

    /// The index of each image in the whole run.
    #[getter]
    fn indices(&self) -> Vec<usize> {
        self.batches.iter().flat_map(|batch| batch.indices.iter().copied()).collect()
    }

    /// The noise levels of the run, from the most noise.
    #[getter]
    fn sigmas(&self) -> Vec<f64> {
        self.sigmas.clone()
    }

    /// The samples in the scale of the model, (n, c, h, w).
    fn samples<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        array(py, joined(self.batches.iter().map(|batch| &batch.samples)))
    }

    /// The images, about -1 to 1, (n, c, h, w).
    fn pixels<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        array(py, joined(self.batches.iter().map(|batch| &batch.pixels)))
    }

    /// The images in 8 bits, (n, h, w, c).
    fn bytes<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyArrayDyn<u8>>> {
        let images = self.quantised()?;
        let Some(first) = images.first() else {
            return Err(argument("images without pixels", "sample with `pixels=True`"));
        };
        let shape = [images.len(), first.height, first.width, first.channels];
        let all: Vec<u8> = images.iter().flat_map(|image| image.pixels.iter().copied()).collect();
        bytes(py, &shape, &all)
    }

    /// All images as one, (h, w, c) in 8 bits.
    #[pyo3(signature = (columns=None))]
    fn grid<'py>(&self, py: Python<'py>, columns: Option<usize>) -> Result<Bound<'py, PyArrayDyn<u8>>> {
        grid_of(py, &self.quantised()?, columns)
    }

    /// The state after each step, (steps, n, c, h, w), if it was kept.
    fn path<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyArrayDyn<f32>>>> {
        self.by_step(py, |batch| &batch.path)
    }

    /// The prediction of x0 at each step as pixels, (steps, n, c, h, w), if it was kept.
    fn predictions<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyArrayDyn<f32>>>> {
        self.by_step(py, |batch| &batch.predictions)
    }

    /// The report of the run, as JSON.
    #[getter]
    fn report(&self) -> &str {
        &self.report
    }

    /// Writes the images as the program does, and returns the files.
    #[pyo3(signature = (output=None, floats=None, samples=None, path=None, steps=None, sheet=None, animation=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn save(
        &self,
        py: Python<'_>,
        output: Option<&str>,
        floats: Option<PathBuf>,
        samples: Option<PathBuf>,
        path: Option<PathBuf>,
        steps: Option<PathBuf>,
        sheet: Option<PathBuf>,
        animation: Option<PathBuf>,
    ) -> Result<Vec<PathBuf>> {
        let images = output.map(Output::parse).transpose()?;
        let targets = Targets { images, floats, samples, steps, sheet, animation, path };
        Ok(py.detach(|| {
            targets.check(self.indices().iter().max().map_or(0, |last| last + 1), |file| check_writable(file))?;
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner).to(targets);
            self.batches.iter().try_for_each(|batch| files.take(batch))?;
            let written = files.finish(&|file, write| write(file))?;
            Ok::<_, downhill::Error>([written.images, written.others].concat())
        })?)
    }
}

impl PyImages {
    fn by_step<'py>(
        &self,
        py: Python<'py>,
        of: impl Fn(&Batch) -> &Vec<Tensor>,
    ) -> Result<Option<Bound<'py, PyArrayDyn<f32>>>> {
        let steps = self.batches.first().map_or(0, |batch| of(batch).len());
        if steps == 0 {
            return Ok(None);
        }
        let all: Vec<Tensor> =
            (0..steps).map(|step| joined(self.batches.iter().map(|batch| &of(batch)[step]))).collect();
        let mut shape = vec![steps];
        shape.extend_from_slice(&all[0].shape);
        let data = all.into_iter().flat_map(|tensor| tensor.data).collect();
        array(py, Tensor::new(shape, data)).map(Some)
    }
}

fn grid_of<'py>(py: Python<'py>, images: &[Image], columns: Option<usize>) -> Result<Bound<'py, PyArrayDyn<u8>>> {
    if images.is_empty() || columns == Some(0) {
        return Err(argument("a grid of no images", "give at least one image, and one column"));
    }
    let whole = grid(images, columns.unwrap_or_else(|| square_columns(images.len())), WHITE);
    bytes(py, &[whole.height, whole.width, whole.channels], &whole.pixels)
}

/// Images (n, c, h, w), about -1 to 1, as one picture of 8 bits.
#[pyfunction]
#[pyo3(signature = (pixels, columns=None))]
fn grid_of_pixels<'py>(
    py: Python<'py>,
    pixels: crate::array::Floats<'py>,
    columns: Option<usize>,
) -> Result<Bound<'py, PyArrayDyn<u8>>> {
    grid_of(py, &quantise(&crate::array::images(&pixels, "pixels")?)?, columns)
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyImages>()?;
    module.add_function(wrap_pyfunction!(grid_of_pixels, module)?)
}
