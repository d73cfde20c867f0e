//! Sampling runs: keyword arguments to a run of the library.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use downhill::data::mask::Mask;
use downhill::data::picture::Picture;
use downhill::model::describe::{adapter_json, algorithms_json, family_text, memory_json, run_sections};
use downhill::model::timing::Stopwatch;
use downhill::model::{Event, Files, ModelRun, Sampling, Session, Targets};
use downhill::report::Report;
use downhill::sample::inpaint::Inpaint;
use downhill::sample::samplers::Sampler;
use downhill::sample::walk::{Method, Progress};
use downhill::{Error, Tensor};
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::array::{Floats, array, tensor};
use crate::error::{FirstException, Result, argument};
use crate::images::PyImages;
use crate::model::{PyModel, read_settings};
use crate::sampler::PySampler;

/// The arguments of a run, read from Python.
#[expect(clippy::struct_excessive_bools, reason = "keyword arguments")]
struct Arguments {
    settings: String,
    seed: u64,
    rng: Option<String>,
    count: Option<usize>,
    images: Option<Vec<usize>>,
    batch: Option<usize>,
    size: Option<(usize, usize)>,
    noise: Option<Tensor>,
    state: Option<Tensor>,
    picture: Option<String>,
    mask: Option<String>,
    inpaint: Option<String>,
    paste: bool,
    prompt: Option<String>,
    negative: Option<String>,
    prompt_weights: bool,
    long_prompts: bool,
    clip_skip: Option<usize>,
    labels: Option<Vec<f64>>,
    guidance_scale: Option<f64>,
    guidance_mode: Option<String>,
    guidance_interval: Option<(f64, f64)>,
    guidance_rescale: Option<f64>,
    memory: Option<u64>,
    pixels: bool,
    keep_path: bool,
    keep_predictions: bool,
    trace_nonfinite: bool,
    solver: Option<Py<PyAny>>,
}

impl Arguments {
    fn read(arguments: &Bound<'_, PyDict>) -> Result<Self> {
        fn get<'py, T>(arguments: &Bound<'py, PyDict>, name: &str) -> Result<Option<T>>
        where
            T: FromPyObjectOwned<'py>,
        {
            match arguments.get_item(name)? {
                Some(value) if !value.is_none() => Ok(Some(value.extract::<T>().map_err(Into::<PyErr>::into)?)),
                _ => Ok(None),
            }
        }
        let floats =
            |name| -> Result<Option<Tensor>> { get::<Floats>(arguments, name)?.as_ref().map(tensor).transpose() };
        let is = |name| -> Result<bool> { Ok(get::<bool>(arguments, name)?.unwrap_or(false)) };
        Ok(Self {
            settings: get(arguments, "settings")?.unwrap_or_else(|| "{}".to_owned()),
            seed: get(arguments, "seed")?.unwrap_or(0),
            rng: get(arguments, "rng")?,
            count: count_of(get(arguments, "n")?)?,
            images: get(arguments, "images")?,
            batch: get(arguments, "batch")?,
            size: get(arguments, "size")?,
            noise: floats("noise")?,
            state: floats("state")?,
            picture: get(arguments, "picture")?,
            mask: get(arguments, "mask")?,
            inpaint: get(arguments, "inpaint")?,
            paste: get(arguments, "paste")?.unwrap_or(true),
            prompt: get(arguments, "prompt")?,
            negative: get(arguments, "negative")?,
            prompt_weights: is("prompt_weights")?,
            long_prompts: is("long_prompts")?,
            clip_skip: get(arguments, "clip_skip")?,
            labels: get(arguments, "labels")?,
            guidance_scale: get(arguments, "guidance_scale")?,
            guidance_mode: get(arguments, "guidance_mode")?,
            guidance_interval: get(arguments, "guidance_interval")?,
            guidance_rescale: get(arguments, "guidance_rescale")?,
            memory: get(arguments, "memory")?,
            pixels: get(arguments, "pixels")?.unwrap_or(true),
            keep_path: is("keep_path")?,
            keep_predictions: is("keep_predictions")?,
            trace_nonfinite: is("trace_nonfinite")?,
            solver: get(arguments, "solver")?,
        })
    }

    /// The description of the run.
    fn describe(self, mut sampling: Sampling<'_>) -> Result<Sampling<'_>> {
        sampling = sampling.settings(read_settings(&self.settings)?).seed(self.seed);
        if let Some(rng) = &self.rng {
            sampling = sampling.generator(rng.parse()?);
        }
        if let Some(count) = self.count {
            sampling = sampling.count(count);
        }
        if let Some(images) = self.images {
            sampling = sampling.images(images);
        }
        if let Some(batch) = self.batch {
            sampling = sampling.batch(batch);
        }
        if let Some((height, width)) = self.size {
            sampling = sampling.size(height, width);
        }
        if let Some(noise) = self.noise {
            sampling = sampling.noise(noise);
        }
        if let Some(state) = self.state {
            sampling = sampling.state(state);
        }
        if let Some(picture) = &self.picture {
            sampling = sampling.picture(Picture::read(Path::new(picture))?);
        }
        if let Some(mask) = &self.mask {
            sampling = sampling.mask(Mask::read(Path::new(mask))?);
        }
        if let Some(way) = &self.inpaint {
            sampling = sampling.inpaint(way_of(way)?);
        }
        if let Some(prompt) = self.prompt {
            sampling = sampling.prompt(prompt);
        }
        if let Some(negative) = self.negative {
            sampling = sampling.negative(negative);
        }
        if let Some(blocks) = self.clip_skip {
            sampling = sampling.clip_skip(blocks);
        }
        if let Some(labels) = self.labels {
            sampling = sampling.labels(labels);
        }
        if let Some(scale) = self.guidance_scale {
            sampling = sampling.guidance_scale(scale);
        }
        if let Some(mode) = &self.guidance_mode {
            sampling = sampling.guidance_mode(mode.parse()?);
        }
        if let Some((low, high)) = self.guidance_interval {
            sampling = sampling.guidance_interval(low, high);
        }
        if let Some(share) = self.guidance_rescale {
            sampling = sampling.guidance_rescale(share);
        }
        if let Some(bytes) = self.memory {
            sampling = sampling.memory(bytes);
        }
        if !self.pixels {
            sampling = sampling.without_pixels();
        }
        Ok(sampling
            .no_paste(!self.paste)
            .prompt_weights(self.prompt_weights)
            .long_prompts(self.long_prompts)
            .keep_path(self.keep_path)
            .keep_predictions(self.keep_predictions)
            .trace_nonfinite(self.trace_nonfinite))
    }
}

/// The most images of one run: their indices alone take memory.
const MOST_IMAGES: usize = 10_000_000;

/// A number of images, or an error for more than a run takes.
pub fn count_of(count: Option<usize>) -> Result<Option<usize>> {
    match count {
        Some(0) => Err(argument("`n` of 0", "sample at least one image")),
        Some(count) if count > MOST_IMAGES => Err(argument(
            format!("`n` of {count}, and a run takes {MOST_IMAGES} images at most"),
            "sample them in several runs, each with another seed",
        )),
        count => Ok(count),
    }
}

fn way_of(name: &str) -> Result<Inpaint> {
    let ways = [Inpaint::Project, Inpaint::Repaint { resample: None, jump: None }];
    ways.into_iter().find(|way| way.name() == name).ok_or_else(|| {
        let names = ways.map(|way| format!("`{}`", way.name())).join(" and ");
        argument(format!("`inpaint` of `{name}`"), format!("the ways are {names}"))
    })
}

#[pymethods]
impl PyModel {
    /// Samples images. `watch` is called with every step.
    #[pyo3(signature = (arguments, watch=None))]
    fn sample(&self, py: Python<'_>, arguments: &Bound<'_, PyDict>, watch: Option<Py<PyAny>>) -> Result<PyImages> {
        let mut arguments = Arguments::read(arguments)?;
        let solver = arguments.solver.take();
        let raised = Arc::new(FirstException::default());
        let made = py.detach(|| self.run(arguments, solver, watch.as_ref(), &raised));
        made.map_err(|failure| match failure {
            crate::error::Failure::Library(error) => raised.or(error),
            python @ crate::error::Failure::Python(_) => python,
        })
    }
}

impl PyModel {
    fn run(
        &self,
        arguments: Arguments,
        solver: Option<Py<PyAny>>,
        watch: Option<&Py<PyAny>>,
        raised: &Arc<FirstException>,
    ) -> Result<PyImages> {
        let compiler = self.compiler()?;
        let clock = Arc::new(Mutex::new((Stopwatch::start(), Vec::new(), std::time::Instant::now())));
        // A run that begins within another one, in a callback or in another thread, has a session to itself.
        let mut kept = self.session.try_lock().ok();
        let session = kept.as_mut().and_then(|kept| kept.take());
        let mut session = session.unwrap_or_else(|| Session::new(self.model.clone(), compiler));
        let mut run = arguments.describe(session.model().sampling())?.resolve()?;
        if let Some(solver) = solver {
            run.run.method = Method { clip: None, ..Method::new(PySampler::new(solver, Arc::clone(raised))) };
        }
        let mut report = Report::new("sample");
        for (section, value) in run_sections(&run) {
            report.set(section, value);
        }
        let notes = run.notes.clone();
        let metadata = run.metadata_for(&compiler);
        let files = Files::new(&run, Targets::default(), metadata);
        let levels: Vec<f64> = run.run.schedule.levels().iter().map(|level| level.sigma).collect();
        let total = AtomicUsize::new(0);
        let timer = Arc::clone(&clock);
        let observer = |event: Event| {
            let mut clock = timer.lock().unwrap_or_else(PoisonError::into_inner);
            let (watch_clock, seconds, since) = &mut *clock;
            match event {
                Event::Begun { .. } => {}
                Event::Done { part, detail } => watch_clock.lap_with(part, detail),
                Event::Step { images, progress } => {
                    seconds.push(since.elapsed().as_secs_f64());
                    let total = total.load(Ordering::Relaxed);
                    seen(watch, total, images, progress).map_err(|error| raised.keep(error))?;
                }
            }
            *since = std::time::Instant::now();
            Ok(())
        };
        let mut images = session.start(ModelRun::observe(run, observer))?;
        total.store(images.run().steps(), Ordering::Relaxed);
        let facts = images.facts().clone();
        let mut batches = Vec::new();
        for batch in &mut images {
            batches.push(batch?);
        }
        session.finish(images);
        if let Some(kept) = &mut kept {
            **kept = Some(session);
        }
        let clock = clock.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = compiler.engine;
        report
            .set("adapter", adapter_json(&engine.gpu.adapter))
            .set("family", family_text(engine.family))
            .set("algorithms", facts.algorithms.as_ref().map(algorithms_json))
            .set("batch", facts.batch)
            .set("memory", memory_json(&facts, engine.gpu.memory_bytes().1))
            .set("timings", clock.0.json(&clock.1))
            .set("notes", notes);
        let report = serde_json::to_string(&report).map_err(|error| argument(error.to_string(), "no report"))?;
        Ok(PyImages::new(batches, files, levels, report))
    }
}

/// Shows a step to Python, and lets signals through.
fn seen(watch: Option<&Py<PyAny>>, total: usize, images: &[usize], progress: &Progress) -> PyResult<()> {
    Python::attach(|py| {
        py.check_signals()?;
        let Some(watch) = watch else { return Ok(()) };
        let copied = |tensor: &Tensor| array(py, tensor.clone()).map_err(PyErr::from);
        let step = PyDict::new(py);
        step.set_item("index", progress.index)?;
        step.set_item("total", total)?;
        step.set_item("images", images.to_vec())?;
        step.set_item("sigma", progress.step.from.sigma)?;
        step.set_item("next_sigma", progress.step.to.sigma)?;
        step.set_item("timestep", progress.step.from.timestep)?;
        step.set_item("before", copied(progress.before)?)?;
        step.set_item("eps", copied(progress.eps)?)?;
        step.set_item("x0", copied(progress.x0)?)?;
        step.set_item("x", copied(progress.x)?)?;
        watch.call1(py, (step,)).map(drop)
    })
}

/// Shows a step of a run without a model to Python.
pub fn watched(
    watch: Option<&Py<PyAny>>,
    total: usize,
    images: &[usize],
    progress: &Progress,
    raised: &FirstException,
) -> std::result::Result<(), Error> {
    seen(watch, total, images, progress).map_err(|error| raised.keep(error))
}

/// A sampler as a tuple.
type Row = (&'static str, String, usize, usize, &'static str, Vec<&'static str>);

/// The samplers, each as (name, order, calls per step, usual steps, source, parameters).
#[pyfunction]
fn samplers() -> Vec<Row> {
    let row = |sampler: Sampler| {
        let spec = sampler.spec();
        let parameters = spec.parameters.to_vec();
        (spec.name, spec.order.to_string(), spec.calls.per_step, spec.steps, spec.source, parameters)
    };
    Sampler::ALL.into_iter().map(row).collect()
}

/// The kinds of schedule, each with a short description.
#[pyfunction]
fn schedules() -> Vec<(&'static str, &'static str)> {
    downhill::sample::schedule::ScheduleKind::ALL.into_iter().map(|kind| (kind.name(), kind.about())).collect()
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(samplers, module)?)?;
    module.add_function(wrap_pyfunction!(schedules, module)?)
}
