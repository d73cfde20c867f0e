//! The experiments of the papers on data, and on spectra of data.

use downhill::Error;
use downhill::data::Dataset;
use downhill::denoise::closed_form::linear::Linear;
use downhill::study::chain::Projector;
use downhill::study::gains::Spacing;
use downhill::study::{angles, baseline, best, dimension, energy, product, promise, transition};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::json;

use crate::array::{Floats, tensor};
use crate::engine::PyEngine;
use crate::error::{FirstException, Result, argument};
use crate::linear::{Request, expect_draws, projector_of};
use crate::matrix::{dataset, expect_components};
use crate::results::results_of;
use crate::schedules::schedule_of;
use crate::work::{counted, on_device};

/// The promise of an error model for falling sigmas.
#[pyfunction]
fn study_promise(py: Python<'_>, eta: f64, nu: f64, sigmas: Vec<f64>) -> Result<Bound<'_, PyDict>> {
    let model = downhill::sample::admissible::ErrorModel::new(eta, nu)?;
    results_of(py, promise::Promise::new(model, sigmas)?.results())
}

/// The phase transition of the spiked model.
#[pyfunction]
#[pyo3(signature = (engine, samples, gammas, ratios, draws, seed, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn study_transition<'py>(
    py: Python<'py>,
    engine: &PyEngine,
    samples: usize,
    gammas: Vec<f64>,
    ratios: Vec<f64>,
    draws: usize,
    seed: u64,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    if samples < 2 || draws == 0 || gammas.iter().chain(&ratios).any(|number| !(number.is_finite() && *number > 0.0)) {
        let hint = "give at least two `samples`, one draw, and `gammas` and `ratios` above 0";
        return Err(argument("a transition without data", hint));
    }
    let engine = engine.get()?;
    let settings = transition::Settings { samples, gammas, ratios, draws, seed };
    let (curves, arithmetic) = on_device(py, engine, progress.as_ref(), |advance| {
        let projector = Projector::new(engine, 1);
        Ok((transition::run(&projector, &settings, advance)?, projector.arithmetic()))
    })?;
    results_of(py, transition::results(&curves, &settings, arithmetic))
}

/// Chains that keep the spectrum of data.
#[pyfunction]
#[pyo3(signature = (x, modes, steps, sigma_max, draws, seed, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn study_baseline<'py>(
    py: Python<'py>,
    x: Floats<'py>,
    modes: usize,
    steps: Vec<usize>,
    sigma_max: f64,
    draws: usize,
    seed: u64,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    let (filter, total, data) = filter_of(py, &x, modes)?;
    drop(data);
    let spacings = Spacing::ALL.to_vec();
    if steps.is_empty() || steps.contains(&0) {
        return Err(argument("`steps` without a step", "give numbers of steps, each at least 1"));
    }
    Spacing::Linear.sigmas(1, sigma_max)?;
    let settings = baseline::Settings { modes, steps, spacings, sigma_max, draws, seed };
    let found = counted(py, &FirstException::default(), progress.as_ref(), |advance| {
        baseline::baseline(&filter, &settings, advance)
    })?;
    results_of(py, baseline::results(&found, &settings, total))
}

/// The Wiener filter of data, the sum of their variances, and the data around their mean.
fn filter_of(py: Python<'_>, x: &Floats, modes: usize) -> Result<(Linear, f64, Dataset)> {
    let (data, _) = dataset(x, "array", true)?;
    let dimension = data.dimension();
    expect_components(modes, dimension)?;
    let filter = py.detach(|| Linear::wiener(&data, &vec![0.0; dimension], [dimension, 1, 1]))?;
    let total: f64 = filter.spectrum().0.iter().sum();
    if total > 0.0 {
        return Ok((filter, total, data));
    }
    Err(argument("samples that are all equal: there is no spectrum", "give data that vary"))
}

/// The schedules that are best for the spectrum of data.
#[pyfunction]
#[pyo3(signature = (engine, x, modes, steps, chain_sigma_max, sigma_max, repeats, probes, seed, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn study_schedules<'py>(
    py: Python<'py>,
    engine: &PyEngine,
    x: Floats<'py>,
    modes: usize,
    steps: usize,
    chain_sigma_max: f64,
    sigma_max: f64,
    repeats: usize,
    probes: usize,
    seed: u64,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    let engine = engine.get()?;
    let (filter, _, data) = filter_of(py, &x, modes)?;
    if steps == 0 || repeats == 0 || probes == 0 {
        return Err(argument("no steps, repeats or probes", "give at least one of each"));
    }
    for sigma in [sigma_max, chain_sigma_max] {
        Spacing::Linear.sigmas(1, sigma)?;
    }
    let first_threshold = best::threshold(filter.spectrum().0[0], data.count(), data.dimension());
    let settings = best::Settings { modes, steps, chain_sigma_max, sigma_max, repeats, probes, seed };
    let found = on_device(py, engine, progress.as_ref(), |advance| {
        best::best(engine, &data.samples, &filter, &settings, advance)
    })?;
    results_of(py, best::results(&found, &settings, first_threshold))
}

/// The dimension of data.
#[pyfunction]
#[pyo3(signature = (engine, x, name, queries, neighbours, neighbourhoods, drawn, seed, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn study_dimension<'py>(
    py: Python<'py>,
    engine: &PyEngine,
    x: Floats<'py>,
    name: &str,
    queries: usize,
    neighbours: usize,
    neighbourhoods: usize,
    drawn: usize,
    seed: u64,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    let engine = engine.get()?;
    let data = Dataset::new(name, tensor(&x)?)?;
    let settings = dimension::Settings { queries, neighbours, neighbourhoods, drawn, seed };
    let facts = (data.name.clone(), data.count(), data.dimension());
    let found = on_device(py, engine, progress.as_ref(), |advance| {
        let variances = dimension::variances(&data)?;
        let (scales, local) = dimension::by_neighbours(engine, data, &settings, advance)?;
        let manifolds = dimension::on_manifolds(&dimension::synthetic(seed), &settings, advance)?;
        Ok(dimension::Dimensions { data: facts, variances, scales, neighbours, local, manifolds })
    })?;
    results_of(py, dimension::results(&found))
}

/// The results of a chain, as the study of products has them.
#[pyfunction]
#[pyo3(signature = (engine, x, sigmas, count, coupling, seed, centre, precise, noise=None, eps=None, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn study_product<'py>(
    py: Python<'py>,
    engine: &PyEngine,
    x: Floats<'py>,
    sigmas: Vec<f64>,
    count: usize,
    coupling: &str,
    seed: u64,
    centre: bool,
    precise: bool,
    noise: Option<Floats<'py>>,
    eps: Option<Floats<'py>>,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    let engine = engine.get()?;
    let request = Request::new(&x, sigmas, count, coupling, centre, noise.as_ref())?;
    let eps = eps.as_ref().map(tensor).transpose()?;
    if let Some(eps) = eps.as_ref().filter(|eps| eps.shape.len() != 2 || eps.shape[1] != request.dimension()) {
        let what = format!("`eps` of shape {:?} for samples of {} values", eps.shape, request.dimension());
        return Err(argument(what, "give draws (m, p)"));
    }
    product::expect_writable(request.sigmas.len() + 1, count, request.dimension())?;
    let projector = projector_of(engine, count, precise);
    let chain = request.chain(seed);
    let found = on_device(py, engine, progress.as_ref(), |advance| chain.run(&projector, true, advance))?;
    let source = request.noise.is_some().then_some("an array");
    let arithmetic = projector.arithmetic();
    results_of(py, product::results(&chain, &found, eps.as_ref(), (source, seed), arithmetic))
}

/// The results of angles over draws of the noise.
#[pyfunction]
#[pyo3(signature = (engine, x, sigmas, count, coupling, draws, seed, centre, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn study_angles<'py>(
    py: Python<'py>,
    engine: &PyEngine,
    x: Floats<'py>,
    sigmas: Vec<f64>,
    count: usize,
    coupling: &str,
    draws: usize,
    seed: u64,
    centre: bool,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    let engine = engine.get()?;
    let request = Request::new(&x, sigmas, count, coupling, centre, None)?;
    let projector = Projector::new(engine, count);
    let settings = request.angles(draws, seed)?;
    let found = on_device(py, engine, progress.as_ref(), |advance| angles::run(&projector, &settings, advance))?;
    results_of(py, angles::results(&found, &settings, &request.data.name, projector.arithmetic()))
}

/// The modes that chains generate, for several numbers of steps, couplings and schedules.
#[pyfunction]
#[pyo3(signature = (engine, x, steps, variance, ratio, count, draws, seed, centre, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn study_energy<'py>(
    py: Python<'py>,
    engine: &PyEngine,
    x: Floats<'py>,
    steps: Vec<usize>,
    variance: f64,
    ratio: f64,
    count: usize,
    draws: usize,
    seed: u64,
    centre: bool,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    let engine = engine.get()?;
    expect_draws(draws)?;
    schedule_of("geometric", variance, ratio)?;
    if steps.is_empty() || steps.contains(&0) {
        return Err(argument("`steps` without a step", "give numbers of steps, each at least 1"));
    }
    let (data, _) = dataset(&x, "array", centre)?;
    expect_components(count, data.dimension())?;
    let seeds = downhill::noise::seeds(seed, draws as u64)?;
    let projector = Projector::new(engine, count);
    let found = on_device(py, engine, progress.as_ref(), |advance| {
        let mut found = Vec::new();
        for (coupling, schedule) in energy::kinds(variance, ratio) {
            for steps in steps.iter().copied() {
                let case = energy::Case { coupling, schedule, steps };
                let draw = |seed| energy::run(&projector, &data.samples, case, seed, advance);
                let draws = seeds.clone().into_iter().map(draw).collect::<std::result::Result<Vec<_>, Error>>()?;
                found.push(energy::Measured { case, draws });
            }
        }
        Ok(found)
    })?;
    let settings = json!({
        "steps": steps, "variance": variance, "ratio": ratio, "components": count, "draws": draws, "seed": seed,
        "arithmetic": projector.arithmetic(),
    });
    results_of(py, energy::results(&found, &data.name, settings))
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(study_promise, module)?)?;
    module.add_function(wrap_pyfunction!(study_product, module)?)?;
    module.add_function(wrap_pyfunction!(study_angles, module)?)?;
    module.add_function(wrap_pyfunction!(study_energy, module)?)?;
    module.add_function(wrap_pyfunction!(study_transition, module)?)?;
    module.add_function(wrap_pyfunction!(study_baseline, module)?)?;
    module.add_function(wrap_pyfunction!(study_schedules, module)?)?;
    module.add_function(wrap_pyfunction!(study_dimension, module)?)
}
