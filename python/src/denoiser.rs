//! Denoisers that are functions of Python, and sampling them.

use std::sync::Arc;

use downhill::denoise::{Denoiser, Level};
use downhill::sample::run::{Run, Start};
use downhill::sample::walk::{Method, Progress};
use downhill::{Error, Tensor};
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods, ToPyArray};
use pyo3::prelude::*;

use crate::array::{Floats, array, tensor};
use crate::error::{FirstException, Result, argument};
use crate::model::{PyModel, read_settings};
use crate::sample::{count_of, watched};
use crate::sampler::PySampler;

/// A function of Python `(x, sigma) -> x0`, or eps, as a denoiser: x is (n, c, h, w), sigma (n,).
pub struct PyDenoiser {
    call: Py<PyAny>,
    image: [usize; 3],
    gives_eps: bool,
    raised: Arc<FirstException>,
}

impl PyDenoiser {
    /// A denoiser of images (c, h, w) that calls `call`, whose result is eps if `gives_eps`, else x0.
    pub fn new(call: Py<PyAny>, image: [usize; 3], gives_eps: bool, raised: Arc<FirstException>) -> Self {
        Self { call, image, gives_eps, raised }
    }

    fn result(&self, x: &Tensor, levels: &[Level]) -> std::result::Result<Tensor, Error> {
        let called = Python::attach(|py| -> PyResult<Tensor> {
            py.check_signals()?;
            let sigmas = Level::sigmas(levels).to_pyarray(py);
            let given = array(py, x.clone()).map_err(PyErr::from)?;
            let result = self.call.bind(py).call1((given, sigmas))?;
            let result = result.cast::<PyArrayDyn<f32>>()?.readonly();
            if result.shape() != x.shape {
                let what = format!("a denoiser returned shape {:?} for x of shape {:?}", result.shape(), x.shape);
                return Err(argument(what, "a denoiser returns an image for each image").into());
            }
            tensor(&result).map_err(PyErr::from)
        });
        called.map_err(|error| self.raised.keep(error))
    }
}

impl Denoiser for PyDenoiser {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> std::result::Result<Tensor, Error> {
        let mut result = self.result(x, levels)?;
        if !self.gives_eps {
            let stride = x.stride();
            for (at, level) in levels.iter().enumerate() {
                let values = result.data[at * stride..][..stride].iter_mut().zip(x.item(at));
                values.for_each(|(out, x)| *out = ((f64::from(*x) - f64::from(*out)) / level.sigma) as f32);
            }
        }
        Ok(result)
    }

    fn parts(&mut self, x: &Tensor, levels: &[Level]) -> std::result::Result<(Tensor, Tensor), Error> {
        let result = self.result(x, levels)?;
        let mut other = x.clone();
        let stride = x.stride();
        for (at, level) in levels.iter().enumerate() {
            let values = other.data[at * stride..][..stride].iter_mut().zip(result.item(at));
            let sigma = level.sigma;
            if self.gives_eps {
                values.for_each(|(x, eps)| *x = (f64::from(*x) - sigma * f64::from(*eps)) as f32);
            } else {
                values.for_each(|(x, x0)| *x = ((f64::from(*x) - f64::from(*x0)) / sigma) as f32);
            }
        }
        Ok(if self.gives_eps { (result, other) } else { (other, result) })
    }
}

/// A denoiser for a study or a run: a model, or a function with the shape of its images.
pub fn denoiser_of(
    object: &Bound<'_, PyAny>,
    shape: Option<[usize; 3]>,
    gives_eps: bool,
    images: usize,
    raised: &Arc<FirstException>,
) -> Result<Box<dyn Denoiser + 'static>> {
    if let Ok(model) = object.cast::<PyModel>() {
        let (model, py) = (model.get(), object.py());
        return Ok(py.detach(|| model.boxed(images))?);
    }
    let Some(image) = shape else {
        return Err(argument("a function without the shape of its images", "give `shape`: (channels, height, width)"));
    };
    Ok(Box::new(PyDenoiser::new(object.clone().unbind(), image, gives_eps, Arc::clone(raised))))
}

/// The most values of all images of a run: 16 GiB.
const MOST_VALUES: usize = 1 << 32;

/// Samples a denoiser of Python: x at the last level, (n, c, h, w), and the sigmas.
#[pyfunction]
#[pyo3(signature = (
    denoise, shape, gives_eps, settings, sigma_range, n, seed, batch, rng=None, noise=None, state=None, mean=None,
    solver=None, watch=None
))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn sample<'py>(
    py: Python<'py>,
    denoise: &Bound<'py, PyAny>,
    shape: [usize; 3],
    gives_eps: bool,
    settings: &str,
    sigma_range: (f64, f64),
    n: usize,
    seed: u64,
    batch: usize,
    rng: Option<&str>,
    noise: Option<Floats<'py>>,
    state: Option<Floats<'py>>,
    mean: Option<Vec<f64>>,
    solver: Option<Py<PyAny>>,
    watch: Option<Py<PyAny>>,
) -> Result<(Bound<'py, PyArrayDyn<f32>>, Vec<f64>)> {
    count_of(Some(n))?;
    let values = shape.iter().try_fold(n, |product, extent| product.checked_mul(*extent));
    if values.is_none_or(|values| values > MOST_VALUES) {
        let what = format!("{n} images of {shape:?}, more than {MOST_VALUES} values");
        return Err(argument(what, "sample fewer or smaller images at a time"));
    }
    let settings = read_settings(settings)?;
    let raised = Arc::new(FirstException::default());
    let mut denoiser = denoiser_of(denoise, Some(shape), gives_eps, batch, &raised)?;
    let start = match (noise.as_ref().map(tensor).transpose()?, state.as_ref().map(tensor).transpose()?) {
        (None, None) => Start::Seeded,
        (Some(noise), None) => Start::Noise(noise),
        (None, Some(state)) => Start::State(state),
        (Some(_), Some(_)) => return Err(argument("both `noise` and `start` are given", "give one of them")),
    };
    let generator = rng.map(str::parse).transpose()?.unwrap_or_default();
    let made = py.detach(|| {
        let mut course = settings.on_sigmas(sigma_range)?;
        if let Some(solver) = solver {
            course.method = Method { clip: None, ..Method::new(PySampler::new(solver, Arc::clone(&raised))) };
        }
        let sigmas = course.schedule.levels().iter().map(|level| level.sigma).collect();
        let run = Run { batch, seed, generator, start, mean, ..Run::new(course.schedule, course.method, n) };
        let total = run.steps();
        let mut batches = run.batches(shape)?;
        let mut data = Vec::new();
        loop {
            let images: Vec<usize> = (data.len() / shape.iter().product::<usize>().max(1)..n).take(batch).collect();
            let watched = &mut |progress: &Progress| watched(watch.as_ref(), total, &images, progress, &raised);
            let Some(samples) = batches.next_batch(denoiser.as_mut(), watched).transpose()? else { break };
            data.extend(samples.x.data);
        }
        let [channels, height, width] = shape;
        Ok::<_, Error>((Tensor::new([n, channels, height, width], data), sigmas))
    });
    let (x, sigmas) = made.map_err(|error| raised.or(error))?;
    Ok((array(py, x)?, sigmas))
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(sample, module)?)
}
