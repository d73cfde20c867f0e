//! The experiments of the papers on denoisers: models, and functions of Python.

use std::sync::Arc;

use downhill::data::Dataset;
use downhill::denoise::closed_form::neighbours::Neighbours;
use downhill::denoise::jacobian::{Differences, Jacobian};
use downhill::denoise::{Denoiser, Level};
use downhill::low_level::kernels::selftest;
use downhill::model::levels_over;
use downhill::sample::schedule::Schedule;
use downhill::sample::settings::{Course, Settings};
use downhill::sample::walk::Method;
use downhill::spectral::Settings as Solver;
use downhill::study::error::OnImages;
use downhill::study::parts::Shard;
use downhill::study::results::Results;
use downhill::study::subject::Subject;
use downhill::study::trajectories::Trajectories;
use downhill::study::{Advance, constancy, error, error_model, jacobian, norms, projection};
use downhill::{Engine, Error, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::json;

use crate::array::Floats;
use crate::call::DIFFERENCE;
use crate::denoiser::denoiser_of;
use crate::engine::PyEngine;
use crate::error::{FirstException, Result, argument};
use crate::matrix::{dataset, expect_components};
use crate::model::{PyModel, read_settings};
use crate::results::results_of;
use crate::work::counted;

/// A denoiser under study, on a device, and the noise that it is for.
struct Ground {
    denoiser: Box<dyn Denoiser + 'static>,
    batch: usize,
    name: String,
    image: [usize; 3],
    /// The least and the most noise.
    range: (f64, f64),
    /// The mean of the data, around which states start.
    mean: Option<Vec<f64>>,
    course: Option<(Schedule, Method)>,
    levels: Vec<Level>,
    /// The model, unless the denoiser is a function.
    subject: Option<Subject>,
}

/// The keyword arguments that all studies of a denoiser share.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Asked {
    /// The shape of an image, of a function.
    shape: Option<[usize; 3]>,
    gives_eps: bool,
    /// The least and the most noise, of a function.
    sigma_range: Option<(f64, f64)>,
    name: Option<String>,
    label: Option<String>,
    /// The settings of trajectories, as JSON.
    settings: String,
    steps: usize,
    count: usize,
    batch: Option<usize>,
    seed: u64,
    /// The number of noise levels, where there are no trajectories.
    levels: usize,
    data_name: String,
}

impl Asked {
    /// The denoiser on the device, with the course of its trajectories if there are any.
    fn ground(
        &self,
        py: Python<'_>,
        denoiser: &Bound<'_, PyAny>,
        images: usize,
        walks: bool,
        raised: &Arc<FirstException>,
    ) -> Result<Ground> {
        let settings = read_settings(&self.settings)?;
        match denoiser.cast::<PyModel>() {
            Ok(model) => {
                let model = model.get();
                py.detach(|| self.of_model(model, settings, images, walks)).map_err(Into::into)
            }
            Err(_) => self.of_function(denoiser, settings, images, walks, raised),
        }
    }

    fn of_model(
        &self,
        model: &PyModel,
        settings: Settings,
        images: usize,
        walks: bool,
    ) -> std::result::Result<Ground, Error> {
        let subject = Subject::new(model.model.clone(), self.label.as_deref())?;
        let course = if walks {
            let trails = subject.trails(settings, self.count, self.steps)?;
            Some((trails.schedule, trails.method))
        } else {
            None
        };
        let levels = subject.levels(self.levels);
        selftest::ensure(model.compiler.engine)?;
        let ready = subject.clone().ready(model.compiler, self.batch, images, &mut |_| Ok(()))?;
        Ok(Ground {
            denoiser: ready.denoiser,
            batch: ready.facts.batch,
            name: subject.name.clone(),
            image: subject.image,
            range: subject.sigma_range(),
            mean: subject.mean.clone(),
            course,
            levels,
            subject: Some(subject),
        })
    }

    fn of_function(
        &self,
        function: &Bound<'_, PyAny>,
        settings: Settings,
        images: usize,
        walks: bool,
        raised: &Arc<FirstException>,
    ) -> Result<Ground> {
        let denoiser = denoiser_of(function, self.shape, self.gives_eps, images, raised)?;
        let listed = settings.sigmas.as_deref().map(|sigmas| (sigmas[sigmas.len() - 1], sigmas[0]));
        let Some(range) = self.sigma_range.or(listed) else {
            let hint = "give `sigma_max` and `sigma_min`: the noise that it is for";
            return Err(argument("a denoiser without its range of noise", hint));
        };
        if !(range.0 > 0.0 && range.0 <= range.1 && range.1.is_finite()) && self.sigma_range.is_some() {
            let what = format!("a range of noise from {} to {}", range.0, range.1);
            return Err(argument(what, "give `sigma_max` above `sigma_min`, and that above 0"));
        }
        let course = if walks {
            let without_model = settings.error_model.is_none() && settings.sigmas.is_none();
            let steps = settings.steps.or(without_model.then_some(self.steps));
            let settings = Settings { steps, clip: Some(false), ..settings };
            let Course { schedule, method, .. } = settings.on_sigmas((range.1, range.0))?;
            Some((schedule, method))
        } else {
            None
        };
        Ok(Ground {
            image: denoiser.image_shape(),
            denoiser,
            batch: self.batch.unwrap_or(images.min(64)).max(1),
            name: self.name.clone().unwrap_or_else(|| "a function".to_owned()),
            range,
            mean: None,
            course,
            levels: levels_over(range, self.levels).map(Level::at_sigma).collect(),
            subject: None,
        })
    }

    /// Data that fit the images of a denoiser.
    fn data(&self, data: Option<&Floats>, image: [usize; 3]) -> Result<Option<Dataset>> {
        let Some((data, _)) = data.map(|data| dataset(data, &self.data_name, false)).transpose()? else {
            return Ok(None);
        };
        let (found, values) = (data.dimension(), image.iter().product::<usize>());
        if found == values {
            return Ok(Some(data));
        }
        let what = format!("`data` of {found} values per sample for images of {values}");
        Err(argument(what, "take data of the size that the denoiser is for"))
    }
}

impl Ground {
    /// Runs `measure` on the denoiser and its trajectories.
    fn walked<T: Send>(
        &mut self,
        py: Python<'_>,
        asked: &Asked,
        raised: &FirstException,
        progress: Option<&Py<PyAny>>,
        measure: impl FnOnce(&mut dyn Denoiser, &Trajectories, Advance) -> std::result::Result<T, Error> + Send,
    ) -> Result<T> {
        let Some((schedule, method)) = &self.course else {
            return Err(argument("a study of trajectories without any", "give `settings`"));
        };
        let (count, batch, seed, mean) = (asked.count, self.batch, asked.seed, self.mean.as_deref());
        let walk = Trajectories { schedule, method, count, batch, seed, mean, shard: Shard::WHOLE };
        let denoiser = self.denoiser.as_mut();
        counted(py, raised, progress, |advance| measure(denoiser, &walk, advance))
    }
}

/// A study of a denoiser, by its name.
#[pyfunction]
#[pyo3(signature = (
    engine, study, denoiser, asked, data=None, segments=10, share=0.95, components=8, whole=false, tolerance=0.01,
    progress=None
))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn study_denoiser<'py>(
    py: Python<'py>,
    engine: &PyEngine,
    study: &str,
    denoiser: &Bound<'py, PyAny>,
    asked: Asked,
    data: Option<Floats<'py>>,
    segments: usize,
    share: f64,
    components: usize,
    whole: bool,
    tolerance: f64,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    if asked.count == 0 || asked.steps == 0 {
        return Err(argument("a study of no images, or of no steps", "give `n` and `steps` of at least 1"));
    }
    let engine = match denoiser.cast::<PyModel>() {
        Ok(model) => model.get().compiler.engine,
        Err(_) => engine.get()?,
    };
    let raised = Arc::new(FirstException::default());
    let mut ground = asked.ground(py, denoiser, asked.count, study != "error", &raised)?;
    let data = asked.data(data.as_ref(), ground.image)?;
    let progress = progress.as_ref();
    let (name, range) = (ground.name.clone(), ground.range);
    let results = match study {
        "norms" => {
            let found = ground.walked(py, &asked, &raised, progress, norms::along_trajectories)?;
            norms::results(&found, &name)
        }
        "error" => {
            let data = data.ok_or_else(|| argument("there are no images to add noise to", "give `data`: (n, ...)"))?;
            let data = data.evenly(asked.count);
            let [channels, height, width] = ground.image;
            let images = Tensor::new([data.count(), channels, height, width], data.samples.data);
            let Ground { denoiser, levels, batch, .. } = &mut ground;
            let (levels, batch, seed) = (levels.as_slice(), *batch, asked.seed);
            let denoiser = denoiser.as_mut();
            let found = counted(py, &raised, progress, |advance| {
                let on = OnImages { images: &images, levels, batch, seed, shard: Shard::WHOLE };
                error::errors_on_images(denoiser, &on, advance)
            })?;
            error::results(&found, &name, &data.name)
        }
        "constancy" => {
            let found = ground.walked(py, &asked, &raised, progress, |denoiser, walk, advance| {
                let samples = neighbours(engine, data)?;
                constancy::constancy(denoiser, walk, samples.as_ref(), segments, range.0, advance)
            })?;
            constancy::results(&found, &name)
        }
        "projection" => {
            let found = ground.walked(py, &asked, &raised, progress, |denoiser, walk, advance| {
                let Some(samples) = neighbours(engine, data)? else {
                    return Err(Error::argument("there are no data to project on", "give `data`: (n, ...)"));
                };
                projection::projections(denoiser, walk, &samples, advance)
            })?;
            projection::results(&found, &name, &asked.data_name)
        }
        "error-model" => {
            if !(share > 0.0 && share <= 1.0) {
                return Err(argument(format!("`share` of {share}"), "`share` is above 0 and at most 1"));
            }
            let source = data.as_ref().map(|data| data.name.clone());
            let points = ground.walked(py, &asked, &raised, progress, |denoiser, walk, advance| {
                let samples = neighbours(engine, data)?;
                error_model::measure(denoiser, walk, samples.as_ref(), range, advance)
            })?;
            error_model::results(&points, share, &name, source.as_deref())
        }
        "jacobian" => {
            let wanted = Eigen { components, whole, tolerance };
            wanted.study(py, &asked, ground, denoiser, &raised, progress)?
        }
        other => return Err(argument(format!("no study is called `{other}`"), "see `downhill.studies`")),
    };
    results_of(py, results)
}

/// The exact projection on data, if there are any.
fn neighbours(engine: &Engine, data: Option<Dataset>) -> std::result::Result<Option<Neighbours<'_>>, Error> {
    let of = |data: Dataset| {
        let mean = data.mean();
        Neighbours::new(engine, data, mean)
    };
    data.map(of).transpose()
}

/// The eigenvectors of a Jacobian that are sought.
struct Eigen {
    components: usize,
    whole: bool,
    tolerance: f64,
}

/// Vectors that are multiplied at once.
const BLOCK: usize = 16;
/// The most values of an image whose whole Jacobian is formed.
const LARGEST_WHOLE: usize = 8192;

impl Eigen {
    /// The leading eigenvectors of the Jacobian along trajectories.
    fn study(
        &self,
        py: Python<'_>,
        asked: &Asked,
        mut ground: Ground,
        denoiser: &Bound<'_, PyAny>,
        raised: &FirstException,
        progress: Option<&Py<PyAny>>,
    ) -> Result<Results> {
        let dimension: usize = ground.image.iter().product();
        expect_components(self.components, dimension)?;
        let block = BLOCK.min(dimension);
        let solver = Solver {
            tolerance: self.tolerance,
            block: Some(block),
            most_applications: 16,
            seed: asked.seed,
            ..Solver::new(self.components)
        };
        solver.check(dimension)?;
        if self.whole && dimension > LARGEST_WHOLE {
            let what = format!("a whole Jacobian of {dimension} x {dimension} values is too large");
            return Err(argument(what, "omit `whole`"));
        }
        let solver = jacobian::Solver {
            components: self.components,
            settings: solver,
            is_whole: self.whole || dimension <= jacobian::USUALLY_WHOLE,
            floor: jacobian::USUAL_FLOOR,
        };
        let paths = ground.walked(py, asked, raised, progress, jacobian::places)?;
        let compiler = denoiser.cast::<PyModel>().ok().map(|model| model.get().compiler);
        let (name, most) = (ground.name.clone(), ground.range.1);
        let Ground { denoiser, subject, .. } = ground;
        let (turnings, products) = counted(py, raised, progress, move |advance| {
            let turn = |jacobian: &dyn Jacobian| {
                let turning = |path: &Vec<_>| jacobian::turning(jacobian, path, &solver, advance);
                let turnings = paths.iter().map(turning).collect::<std::result::Result<Vec<_>, Error>>()?;
                let sigmas = paths[0].iter().map(|place| place.level.sigma).collect();
                Ok::<_, Error>(jacobian::Found { sigmas, turnings, controls: Vec::new() })
            };
            let step = subject.as_ref().and_then(Subject::difference_step);
            let mut denoiser = denoiser;
            match (&subject, compiler, step) {
                (Some(subject), Some(compiler), None) => {
                    // The network's memory is free again before its tangents take theirs.
                    drop(denoiser);
                    Ok((turn(&subject.jacobian(compiler, block)?)?, "exact"))
                }
                (_, _, Some(step)) => Ok((turn(&Differences::new(denoiser.as_mut(), &step))?, "central differences")),
                (_, _, None) => {
                    let step = move |sigma: f64| DIFFERENCE * sigma.max(1e-3 * most);
                    Ok((turn(&Differences::new(denoiser.as_mut(), &step))?, "central differences"))
                }
            }
        })?;
        let described = json!({
            "products": products, "made": turnings.products(), "whole": solver.is_whole, "floor": solver.floor,
            "settings": solver.settings,
        });
        Ok(turnings.results(&name, dimension, described, asked.seed))
    }
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(study_denoiser, module)?)
}
