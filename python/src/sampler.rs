//! Samplers that are generators of Python, and schedules.

use std::sync::{Arc, Mutex, PoisonError};

use downhill::denoise::Level;
use downhill::sample::schedule::Schedule;
use downhill::sample::walk::{Estimate, Oracle, Position, Solver, Stepper, Update};
use downhill::{Error, Tensor};
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;

use crate::array::{Floats, array, tensor};
use crate::error::{FirstException, Result, argument};

scoped_tls_hkt::scoped_thread_local!(
    /// The denoiser and the noise of the step that a generator of this thread is in.
    static mut ORACLE: for<'a> &'a mut (dyn StepCalls + 'a)
);

/// The calls that a generator makes within a step.
trait StepCalls: Send {
    fn estimate(&mut self, x: &Tensor, level: Level) -> std::result::Result<Estimate, Error>;
    fn noise(&mut self) -> std::result::Result<Tensor, Error>;
}

impl StepCalls for Oracle<'_> {
    fn estimate(&mut self, x: &Tensor, level: Level) -> std::result::Result<Estimate, Error> {
        Oracle::estimate(self, x, level)
    }

    fn noise(&mut self) -> std::result::Result<Tensor, Error> {
        Oracle::noise(self)
    }
}

/// A sampler of Python: a function that returns a generator.
#[derive(Debug)]
pub struct PySampler {
    function: Py<PyAny>,
    raised: Arc<FirstException>,
}

impl PySampler {
    /// A sampler that calls `function(x, levels, model, noise)` for every batch.
    pub fn new(function: Py<PyAny>, raised: Arc<FirstException>) -> Self {
        Self { function, raised }
    }
}

impl Solver for PySampler {
    fn begin(&self) -> Box<dyn Stepper> {
        let function = Python::attach(|py| self.function.clone_ref(py));
        Box::new(Walker { function, raised: Arc::clone(&self.raised), generator: None })
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let name = Python::attach(|py| {
            let name = self.function.bind(py).getattr("__qualname__").and_then(|name| name.extract::<String>());
            name.unwrap_or_else(|_| "callable".to_owned())
        });
        vec![("function", name)]
    }

    /// A generator may draw noise.
    fn is_stochastic(&self) -> bool {
        true
    }
}

/// A generator on its way through the levels of one batch.
struct Walker {
    function: Py<PyAny>,
    raised: Arc<FirstException>,
    generator: Option<(Py<PyAny>, Py<Estimator>)>,
}

/// Shares the generator, which cannot be copied. Steps are taken again in browsers alone, where there is no Python.
impl Clone for Walker {
    fn clone(&self) -> Self {
        Python::attach(|py| Self {
            function: self.function.clone_ref(py),
            raised: Arc::clone(&self.raised),
            generator: self
                .generator
                .as_ref()
                .map(|(generator, estimator)| (generator.clone_ref(py), estimator.clone_ref(py))),
        })
    }
}

/// The first estimate of a step, which stands for the step in reports.
type First = Option<(Tensor, Tensor)>;

/// The denoiser as a generator sees it.
#[pyclass(frozen)]
pub struct Estimator {
    first: Mutex<First>,
}

impl Estimator {
    /// eps and x0 of x at sigma.
    fn parts(&self, py: Python<'_>, x: &Floats, sigma: f64) -> Result<(Tensor, Tensor)> {
        let x = tensor(x)?;
        if !ORACLE.is_set() {
            let what = "the denoiser of a sampler was called outside its step";
            return Err(argument(
                what,
                "call `denoise` and `noise` between two `yield`s, in the thread of the sampler",
            ));
        }
        let estimate = ORACLE.with(|oracle| py.detach(|| oracle.estimate(&x, Level::at_sigma(sigma))))?;
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| (estimate.raw, estimate.x0.clone()));
        Ok((estimate.eps, estimate.x0))
    }
}

#[pymethods]
impl Estimator {
    /// x0 of x at sigma, with the clipping of the run.
    fn denoise<'py>(&self, py: Python<'py>, x: Floats<'py>, sigma: f64) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        array(py, self.parts(py, &x, sigma)?.1)
    }

    /// eps of x at sigma.
    fn eps<'py>(&self, py: Python<'py>, x: Floats<'py>, sigma: f64) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        array(py, self.parts(py, &x, sigma)?.0)
    }

    /// Standard normals of the run, in the shape of its states.
    #[staticmethod]
    fn noise(py: Python<'_>) -> Result<Bound<'_, PyArrayDyn<f32>>> {
        if !ORACLE.is_set() {
            return Err(argument("noise was drawn outside a step", "draw it between two `yield`s"));
        }
        array(py, ORACLE.with(|oracle| oracle.noise())?)
    }
}

impl Walker {
    /// Runs the generator to its next state. The oracle is set for this thread.
    fn advance(&mut self, position: Position, x: &Tensor) -> PyResult<(First, Tensor)> {
        Python::attach(|py| {
            let (generator, estimator, value) = if let Some((generator, estimator)) = &self.generator {
                let x = array(py, x.clone()).map_err(PyErr::from)?;
                (generator.bind(py).clone(), estimator.bind(py).clone(), Some(x))
            } else {
                let estimator = Bound::new(py, Estimator { first: Mutex::default() })?;
                let ends = position.steps.iter().map(|step| step.to.sigma);
                let levels: Vec<f64> = std::iter::once(position.step().from.sigma).chain(ends).collect();
                let x = array(py, x.clone()).map_err(PyErr::from)?;
                let generator = self.function.bind(py).call1((x, levels, &estimator))?;
                self.generator = Some((generator.clone().unbind(), estimator.clone().unbind()));
                (generator, estimator, None)
            };
            *estimator.get().first.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let next = generator.call_method1("send", (value,)).map_err(|error| match error {
                error if error.is_instance_of::<PyStopIteration>(py) => argument(
                    format!("the sampler ended after {} of {} steps", position.index, position.steps.len()),
                    "it yields the state at every level after the first",
                )
                .into(),
                error => error,
            })?;
            let state = next.cast::<PyArrayDyn<f32>>()?.readonly();
            if state.shape() != x.shape {
                let what = format!("the sampler yielded shape {:?} for states of shape {:?}", state.shape(), x.shape);
                return Err(argument(what, "a sampler yields the state of every image").into());
            }
            let first = estimator.get().first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let next = tensor(&state).map_err(PyErr::from)?;
            if position.left() == 1 {
                let x = array(py, next.clone()).map_err(PyErr::from)?;
                match generator.call_method1("send", (x,)) {
                    Err(error) if error.is_instance_of::<PyStopIteration>(py) => {}
                    Err(error) => return Err(error),
                    Ok(_) => {
                        let what = format!("the sampler yielded more than {} states", position.steps.len());
                        let hint = "it yields the state at every level after the first, and not the first one";
                        return Err(argument(what, hint).into());
                    }
                }
            }
            Ok((first, next))
        })
    }
}

impl Stepper for Walker {
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> std::result::Result<Update, Error> {
        let raised = Arc::clone(&self.raised);
        let (first, next) = ORACLE.set(oracle, || self.advance(position, &x)).map_err(|error| raised.keep(error))?;
        // A step without a call of the denoiser has no estimate: zeros stand for its eps.
        let (eps, x0) = first.unwrap_or_else(|| (Tensor::zeros(x.shape.clone()), x));
        Ok(Update { eps, x0, x: next })
    }
}

/// A descent through noise levels.
#[pyclass(frozen, name = "Schedule")]
pub struct PySchedule {
    pub schedule: Schedule,
    pub notes: Vec<String>,
}

#[pymethods]
impl PySchedule {
    /// A schedule of listed sigmas.
    #[staticmethod]
    fn from_sigmas(sigmas: Vec<f64>) -> Result<Self> {
        Ok(Self { schedule: Schedule::from_sigmas(&sigmas)?, notes: Vec::new() })
    }

    /// The sigma of each level, from the most noise.
    #[getter]
    fn sigmas(&self) -> Vec<f64> {
        self.schedule.levels().iter().map(|level| level.sigma).collect()
    }

    /// The timestep of each level, where it is one of the model's.
    #[getter]
    fn timesteps(&self) -> Vec<Option<f64>> {
        self.schedule.levels().iter().map(|level| level.timestep).collect()
    }

    /// Sentences about what differs from the model's files.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn __len__(&self) -> usize {
        self.schedule.steps().len()
    }
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Estimator>()?;
    module.add_class::<PySchedule>()
}
