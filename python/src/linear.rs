//! The linear side: principal components, chains of projections, and closed forms of arrays.

use std::time::Instant;

use downhill::data::{Coupling, Dataset, Noised};
use downhill::denoise::closed_form::linear::Linear;
use downhill::denoise::closed_form::{ClosedForm, Determined, Filter};
use downhill::low_level::kernels::selftest;
use downhill::spectral::{
    Arithmetic as Precision, ComponentsAround, RelativeTo, Route, Settings, Spectrum, components_around,
    principal_components as uncentred,
};
use downhill::study::chain::{Arithmetic, Chain, LevelNoise, Projections, Projector};
use downhill::study::{angles, energy, product};
use downhill::{CompileOptions, Compiler, Error, Model, Tensor};
use faer::{Mat, MatRef};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::array::{Floats, array};
use crate::engine::PyEngine;
use crate::error::{Result, argument};
use crate::matrix::{Matrix, dataset, doubles, expect_components, normals, rows};
use crate::model::PyModel;
use crate::work::on_device;

/// The principal components of the rows of a matrix around their mean.
#[pyfunction]
#[pyo3(signature = (engine, x, count, tolerance, seed, route=None))]
fn principal_components<'py>(
    py: Python<'py>,
    engine: &PyEngine,
    x: Matrix<'py>,
    count: usize,
    tolerance: f64,
    seed: u64,
    route: Option<&str>,
) -> Result<Bound<'py, PyDict>> {
    let engine = engine.get()?;
    let route = route.map(route_of).transpose()?;
    let settings = Settings { tolerance, seed, ..Settings::new(count) };
    let begin = Instant::now();
    py.detach(|| selftest::ensure(engine))?;
    let ComponentsAround { components, mean, variance } = x.components(py, engine, &settings, route)?;
    let seconds = begin.elapsed().as_secs_f64();
    let Spectrum { converged, values, vectors, residuals, .. } = components.spectrum;
    let all = PyDict::new(py);
    all.set_item("converged", converged)?;
    all.set_item("values", doubles(py, &[count], values)?)?;
    all.set_item("vectors", array(py, vectors)?)?;
    all.set_item("residuals", doubles(py, &[count], residuals)?)?;
    all.set_item("mean", doubles(py, &[mean.len()], mean)?)?;
    all.set_item("variance", variance)?;
    all.set_item("route", components.route.to_string())?;
    all.set_item("arithmetic", if components.arithmetic == Precision::Float64 { 64 } else { 32 })?;
    all.set_item("seconds", seconds)?;
    Ok(all)
}

fn route_of(name: &str) -> Result<Route> {
    match name {
        "moment" => Ok(Route::Moment),
        "gram" => Ok(Route::Gram),
        "matrix-free" => Ok(Route::MatrixFree),
        other => Err(argument(format!("`route` of `{other}`"), "take `moment`, `gram` or `matrix-free`")),
    }
}

/// The seconds that the library takes for the principal components of data in its own memory: around their mean, as the
/// package asks for them, and as the program does, with the mean subtracted in place first.
#[pyfunction]
fn library_seconds(
    py: Python<'_>,
    engine: &PyEngine,
    x: Floats<'_>,
    count: usize,
    tolerance: f64,
) -> Result<(f64, f64)> {
    let engine = engine.get()?;
    let (mut data, _) = dataset(&x, "array", false)?;
    let settings = Settings { tolerance, relative_to: RelativeTo::Each, ..Settings::new(count) };
    Ok(py.detach(|| {
        selftest::ensure(engine)?;
        let begin = Instant::now();
        components_around(engine, &data.samples.data, data.dimension(), &settings, None)?;
        let around = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        data.centre();
        uncentred(engine, &data.samples, &settings, None)?;
        Ok::<_, Error>((around, begin.elapsed().as_secs_f64()))
    })?)
}

/// A chain that was asked for.
pub struct Request {
    pub data: Dataset,
    pub sigmas: Vec<f64>,
    /// Standard normals in place of drawn ones, (T, n, p).
    pub noise: Option<Tensor>,
    mean: Option<Vec<f64>>,
    coupling: Coupling,
}

impl Request {
    /// A chain of `count` components on samples (n, ...), around their mean if `centre`.
    pub fn new(
        x: &Floats,
        sigmas: Vec<f64>,
        count: usize,
        coupling: &str,
        centre: bool,
        noise: Option<&Floats>,
    ) -> Result<Self> {
        let coupling = coupling.parse()?;
        if let Some(sigma) = sigmas.iter().find(|sigma| !(sigma.is_finite() && **sigma >= 0.0)) {
            let what = format!("`{sigma}` of `sigmas` is not a standard deviation");
            return Err(argument(what, "give finite numbers of at least 0, one per step"));
        }
        if sigmas.is_empty() {
            return Err(argument("a chain of 0 steps", "give at least one step"));
        }
        let (data, mean) = dataset(x, "array", centre)?;
        expect_components(count, data.dimension())?;
        let noise = normals(noise, &data.samples)?;
        if let Some(noise) = noise.as_ref().filter(|noise| noise.shape[0] != sigmas.len()) {
            let what = format!("`sigmas` of {} steps, and `noise` of {}", sigmas.len(), noise.shape[0]);
            return Err(argument(what, "give one standard deviation for each item of the noise"));
        }
        Ok(Self { data, sigmas, noise, mean, coupling })
    }

    /// The number of values per sample.
    pub fn dimension(&self) -> usize {
        self.data.dimension()
    }

    /// The chain, with the noise of a seed unless noise was given.
    pub fn chain(&self, seed: u64) -> Chain<'_> {
        let noise = self.noise.as_ref().map_or(LevelNoise::Seeded(seed), LevelNoise::Given);
        Chain { data: &self.data.samples, sigmas: &self.sigmas, coupling: self.coupling, noise }
    }

    /// The settings of the angles of the chain over draws of its noise.
    pub fn angles(&self, draws: usize, seed: u64) -> Result<angles::Settings<'_>> {
        expect_draws(draws)?;
        let (data, sigmas) = (&self.data.samples, self.sigmas.as_slice());
        Ok(angles::Settings { data, sigmas, coupling: self.coupling, draws, seed })
    }
}

/// A chain of noise levels, the projections of each and their product.
#[pyfunction]
#[pyo3(signature = (
    engine, x, sigmas, count, coupling, seed, centre, precise, noise=None, keep_bases=true, progress=None
))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn chain<'py>(
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
    keep_bases: bool,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    let engine = engine.get()?;
    let request = Request::new(&x, sigmas, count, coupling, centre, noise.as_ref())?;
    let dimension = request.dimension();
    if keep_bases {
        product::expect_writable(request.sigmas.len() + 1, count, dimension)?;
    }
    let projector = projector_of(engine, count, precise);
    let chain = request.chain(seed);
    let found = on_device(py, engine, progress.as_ref(), |advance| chain.run(&projector, keep_bases, advance))?;
    let all = chain_of(py, &found, dimension)?;
    all.set_item("mean", request.mean.map(|mean| doubles(py, &[dimension], mean)).transpose()?)?;
    Ok(all)
}

/// The projector of `count` components, with products in float64 if `precise`.
pub fn projector_of(engine: &downhill::Engine, count: usize, precise: bool) -> Projector<'_> {
    let projector = Projector::new(engine, count);
    if precise { projector.with(Arithmetic::Precise) } else { projector }
}

fn chain_of<'py>(py: Python<'py>, found: &Projections, dimension: usize) -> Result<Bound<'py, PyDict>> {
    let (levels, k) = (found.values.len(), found.count());
    let all = PyDict::new(py);
    all.set_item("eigenvalues", rows(py, &found.values)?)?;
    all.set_item("cos_adjacent", doubles(py, &[levels - 1, k], found.adjacent.concat())?)?;
    all.set_item("cos_to_first", rows(py, &found.to_first)?)?;
    all.set_item("partial", doubles(py, &[levels, k, k], flat(&found.partial))?)?;
    all.set_item("log_norm", doubles(py, &[levels], found.log_norm.clone())?)?;
    all.set_item("overlaps", doubles(py, &[levels - 1, k, k], flat(&found.overlaps))?)?;
    let energies: Vec<Vec<f64>> = (0..levels).map(|t| found.expected_energy(t)).collect();
    all.set_item("energy", rows(py, &energies)?)?;
    let ratios = energies.iter().map(|energies| downhill::study::chain::participation_ratio(energies)).collect();
    all.set_item("participation_ratio", doubles(py, &[levels], ratios)?)?;
    all.set_item("first", doubles(py, &[k, dimension], row_major(found.first().transpose()))?)?;
    all.set_item("last", doubles(py, &[k, dimension], row_major(found.last().transpose()))?)?;
    if !found.bases.is_empty() {
        all.set_item("bases", array(py, Tensor::new([levels, k, dimension], found.bases.clone()))?)?;
    }
    Ok(all)
}

fn flat(matrices: &[Mat<f64>]) -> Vec<f64> {
    matrices.iter().flat_map(|matrix| row_major(matrix.as_ref())).collect()
}

fn row_major(matrix: MatRef<'_, f64>) -> Vec<f64> {
    let columns = matrix.ncols();
    (0..matrix.nrows() * columns).map(|at| matrix[(at / columns, at % columns)]).collect()
}

/// The turning of components over draws of the noise.
#[pyfunction]
#[pyo3(signature = (engine, x, sigmas, count, coupling, draws, seed, centre, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn component_angles<'py>(
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
    let settings = request.angles(draws, seed)?;
    let found = on_device(py, engine, progress.as_ref(), |advance| {
        angles::run(&Projector::new(engine, count), &settings, advance)
    })?;
    let (levels, k) = (found.summary.len(), found.values.len());
    let summary =
        |of: fn(&downhill::study::estimate::Estimate) -> f64| found.summary.iter().flatten().map(of).collect();
    let all = PyDict::new(py);
    all.set_item("sines", doubles(py, &[draws, levels, k], found.sines.concat().concat())?)?;
    all.set_item("mean", doubles(py, &[levels, k], summary(|summary| summary.mean))?)?;
    all.set_item("half_width", doubles(py, &[levels, k], summary(|summary| summary.half_width))?)?;
    all.set_item("nadler", rows(py, &found.nadler)?)?;
    all.set_item("expansion", rows(py, &found.expansion)?)?;
    all.set_item("eigenvalues", doubles(py, &[k], found.values)?)?;
    all.set_item("variances", doubles(py, &[levels], found.variances)?)?;
    Ok(all)
}

/// Checks that the noise is drawn.
pub fn expect_draws(draws: usize) -> Result<()> {
    if draws > 0 { Ok(()) } else { Err(argument("`draws` of 0", "draw the noise at least once")) }
}

/// The energies of a chain, one row per draw.
#[pyfunction]
#[pyo3(signature = (engine, x, schedule, steps, variance, ratio, count, coupling, draws, seed, centre, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments")]
fn chain_energies<'py>(
    py: Python<'py>,
    engine: &PyEngine,
    x: Floats<'py>,
    schedule: &str,
    steps: usize,
    variance: f64,
    ratio: f64,
    count: usize,
    coupling: &str,
    draws: usize,
    seed: u64,
    centre: bool,
    progress: Option<Py<PyAny>>,
) -> Result<Bound<'py, PyDict>> {
    let engine = engine.get()?;
    let schedule = crate::schedules::schedule_of(schedule, variance, ratio)?;
    let coupling: Coupling = coupling.parse()?;
    expect_draws(draws)?;
    if steps == 0 {
        return Err(argument("a chain of 0 steps", "give at least one step"));
    }
    let (data, _) = dataset(&x, "array", centre)?;
    expect_components(count, data.dimension())?;
    let case = energy::Case { coupling, schedule, steps };
    let seeds = downhill::noise::seeds(seed, draws as u64)?;
    let found = on_device(py, engine, progress.as_ref(), |advance| {
        let projector = Projector::new(engine, count);
        let draw = |seed| energy::run(&projector, &data.samples, case, seed, advance);
        seeds.into_iter().map(draw).collect::<std::result::Result<Vec<_>, Error>>()
    })?;
    let all = PyDict::new(py);
    let matrix = |of: fn(&energy::Energies) -> &Vec<f64>| {
        rows(py, &found.iter().map(|energies| of(energies).clone()).collect::<Vec<_>>())
    };
    let numbers = |of: fn(&energy::Energies) -> f64| doubles(py, &[draws], found.iter().map(of).collect());
    all.set_item("energy", matrix(|found| &found.energy)?)?;
    all.set_item("sampled", matrix(|found| &found.sampled)?)?;
    all.set_item("cosines", matrix(|found| &found.cosines)?)?;
    all.set_item("injected", matrix(|found| &found.injected)?)?;
    all.set_item("injected_theory", matrix(|found| &found.injected_theory)?)?;
    all.set_item("participation", numbers(|found| found.participation)?)?;
    all.set_item("log_norm", numbers(|found| found.log_norm)?)?;
    all.set_item("eta", numbers(|found| found.eta)?)?;
    all.set_item("winner", found.iter().map(|energies| energies.winner).collect::<Vec<_>>())?;
    Ok(all)
}

/// The variances of data along all of their principal components, and these, (r, p), in float64.
#[pyfunction]
fn covariance_spectrum<'py>(py: Python<'py>, x: Floats<'py>) -> Result<Bound<'py, PyDict>> {
    let (data, mean) = dataset(&x, "array", true)?;
    let dimension = data.dimension();
    let mean = mean.unwrap_or_default();
    let filter = py.detach(|| Linear::wiener(&data, &mean, [dimension, 1, 1]))?;
    let (variances, directions) = filter.spectrum();
    let all = PyDict::new(py);
    all.set_item("variances", doubles(py, &[variances.len()], variances.to_vec())?)?;
    all.set_item("directions", doubles(py, &[directions.ncols(), dimension], row_major(directions.transpose()))?)?;
    all.set_item("mean", doubles(py, &[dimension], mean)?)?;
    Ok(all)
}

/// A closed form of data, (n, ...).
#[pyfunction]
#[pyo3(signature = (engine, kind, x, components=None, coupling=None, seed=0))]
fn closed_form(
    engine: &PyEngine,
    kind: &str,
    x: Floats<'_>,
    components: Option<usize>,
    coupling: Option<&str>,
    seed: u64,
) -> Result<PyModel> {
    let noise = coupling.map(|coupling| Ok::<_, Error>(Noised { coupling: coupling.parse()?, seed })).transpose()?;
    let determined = match filter_of(kind) {
        Some(filter) => Determined::Gaussian(filter),
        None if kind == "pca" => Determined::Pca { components, noise },
        None if kind == "ideal" => Determined::Ideal,
        None => return Err(unknown(kind)),
    };
    let (data, _) = dataset(&x, kind, false)?;
    if let Determined::Pca { components: Some(count), .. } = determined {
        expect_components(count, data.dimension())?;
    }
    on(engine, ClosedForm::of_data(determined, data)?)
}

/// A filter of the Gaussian with a mean and a covariance.
#[pyfunction]
fn gaussian(
    engine: &PyEngine,
    kind: &str,
    sample_shape: Vec<usize>,
    mean: Vec<f64>,
    covariance: Vec<f64>,
) -> Result<PyModel> {
    let filter = filter_of(kind).ok_or_else(|| unknown(kind))?;
    on(engine, ClosedForm::of_gaussian(kind, filter, &sample_shape, mean, &covariance)?)
}

fn filter_of(kind: &str) -> Option<Filter> {
    [Filter::Wiener, Filter::Sequential].into_iter().find(|filter| filter.name() == kind)
}

fn unknown(kind: &str) -> crate::error::Failure {
    argument(format!("no closed form is called `{kind}`"), "take `pca`, `wiener`, `sequential` or `ideal`")
}

fn on(engine: &PyEngine, form: ClosedForm) -> Result<PyModel> {
    Ok(PyModel::new(Model::of_closed_form(form), Compiler::new(engine.get()?, CompileOptions::default())))
}

/// Energies along each component of level 0 of draws that went through a chain, over their sum.
#[pyfunction]
fn participation_ratio(energies: Vec<f64>) -> f64 {
    downhill::study::chain::participation_ratio(&energies)
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(principal_components, module)?)?;
    module.add_function(wrap_pyfunction!(library_seconds, module)?)?;
    module.add_function(wrap_pyfunction!(chain, module)?)?;
    module.add_function(wrap_pyfunction!(component_angles, module)?)?;
    module.add_function(wrap_pyfunction!(chain_energies, module)?)?;
    module.add_function(wrap_pyfunction!(covariance_spectrum, module)?)?;
    module.add_function(wrap_pyfunction!(closed_form, module)?)?;
    module.add_function(wrap_pyfunction!(gaussian, module)?)?;
    module.add_function(wrap_pyfunction!(participation_ratio, module)?)
}
