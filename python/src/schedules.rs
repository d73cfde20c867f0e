//! Closed forms of linear diffusion: Nadler's formulas, gains of chains, and the schedules that are best by them.

use downhill::study::chain::Schedule;
use downhill::study::gains::{self, Spacing};
use downhill::study::optimise::Minimum;
use downhill::study::overlap::Overlap;
use downhill::study::{best, energy, nadler, schedules};
use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::error::{Result, argument};
use crate::matrix::doubles;

/// The least of a function: its place as levels, its value, the steps of the search, and whether it ended.
type Found = (Vec<f64>, f64, usize, bool);

/// cos^2 of the angle between the leading sample component and the direction, for each ratio.
#[pyfunction]
fn cos_squared(ratios: Vec<f64>, gamma: f64) -> Vec<f64> {
    ratios.into_iter().map(|ratio| nadler::cos_squared(ratio, gamma)).collect()
}

/// The leading sample eigenvalue over the variance of the noise, for each ratio.
#[pyfunction]
fn leading_eigenvalue(ratios: Vec<f64>, gamma: f64) -> Vec<f64> {
    ratios.into_iter().map(|ratio| nadler::eigenvalue(ratio, gamma)).collect()
}

/// sin^2 of the angle of each component of a spectrum to itself under noise of `variance`.
#[pyfunction]
fn small_noise_sine_squared(spectrum: Vec<f64>, variance: f64, samples: usize) -> Vec<f64> {
    (0..spectrum.len()).map(|i| nadler::small_noise_sine_squared(&spectrum, i, variance, samples)).collect()
}

/// The noise at which the leading direction is lost.
#[pyfunction]
fn threshold(variance: f64, samples: usize, dimension: usize) -> f64 {
    best::threshold(variance, samples, dimension)
}

/// The variance of a mode after `steps` steps with injected noise, equation 25.
#[pyfunction]
fn injected_variance(cosine: f64, total: f64, eta: f64, steps: usize) -> f64 {
    energy::equation_25(cosine, total, eta, steps)
}

/// The gain of a chain over falling sigmas, for each variance.
#[pyfunction]
fn gain(chain: &str, variances: Vec<f64>, sigmas: Vec<f64>) -> Result<Vec<f64>> {
    let (Some(first), Some(last)) = (sigmas.first().copied(), sigmas.last().copied()) else {
        return Err(argument("`sigmas` without a level", "give at least one"));
    };
    let of = |lambda: f64| match chain {
        "ddim" => Ok(gains::ddim(lambda, &sigmas)),
        "flow" => Ok(gains::flow(lambda, first, last)),
        "sequential" => Ok(gains::sequential(lambda, first, last)),
        other => Err(argument(format!("no chain is called `{other}`"), "take `ddim`, `flow` or `sequential`")),
    };
    variances.into_iter().map(of).collect()
}

/// `steps` + 1 levels, falling from `first` to 0.
#[pyfunction]
fn spacing(name: &str, steps: usize, first: f64) -> Result<Vec<f64>> {
    let Some(spacing) = Spacing::ALL.into_iter().find(|spacing| spacing.to_string() == name) else {
        let names = Spacing::ALL.map(|spacing| format!("`{spacing}`")).join(", ");
        return Err(argument(format!("no spacing is called `{name}`"), format!("the spacings are {names}")));
    };
    Ok(spacing.sigmas(steps, first)?)
}

/// Standard deviations of the noise of each step of a chain.
#[pyfunction]
fn step_sigmas(schedule: &str, steps: usize, variance: f64, ratio: f64) -> Result<Vec<f64>> {
    Ok(schedule_of(schedule, variance, ratio)?.sigmas(steps))
}

/// The schedule of the noise that the steps of a chain add.
pub fn schedule_of(name: &str, variance: f64, ratio: f64) -> Result<Schedule> {
    for (name, value) in [("variance", variance), ("ratio", ratio)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(argument(format!("`{name}` of {value}"), "give a number above 0"));
        }
    }
    match name {
        "inverse" => Ok(Schedule::Inverse),
        "constant" => Ok(Schedule::Constant { variance }),
        "geometric" => Ok(Schedule::Geometric { variance, ratio }),
        other => {
            let what = format!("no schedule of steps is called `{other}`");
            Err(argument(what, "take `inverse`, `constant` or `geometric`"))
        }
    }
}

/// Squared cosines of each kept direction and the span of the kept ones, (levels, kept).
#[pyfunction]
fn squared_cosines(
    py: Python<'_>,
    variances: Vec<f64>,
    kept: usize,
    samples: usize,
    dimension: usize,
    sigmas: Vec<f64>,
) -> Result<Bound<'_, PyArrayDyn<f64>>> {
    let overlap = Overlap::new(&variances, kept, samples, dimension);
    let of = |sigma: &f64| (0..overlap.kept()).map(|i| overlap.squared_cosine(i, *sigma).0).collect::<Vec<_>>();
    doubles(py, &[sigmas.len(), overlap.kept()], sigmas.iter().flat_map(of).collect())
}

/// Mean energies along each direction of white noise that went through a chain, over their sum.
#[pyfunction]
fn concentration(variances: Vec<f64>, kept: usize, samples: usize, dimension: usize, levels: Vec<f64>) -> Vec<f64> {
    schedules::concentration(&Overlap::new(&variances, kept, samples, dimension), dimension, &levels)
}

/// The levels at which the first direction has the greatest share of the energy.
#[pyfunction]
fn most_concentrated(
    py: Python<'_>,
    variances: Vec<f64>,
    kept: usize,
    samples: usize,
    dimension: usize,
    steps: usize,
    highest: f64,
) -> Result<Found> {
    if kept.min(variances.len()) < 2 {
        return Err(argument(format!("{kept} components"), "concentration is among two at least"));
    }
    expect_walk(steps, highest)?;
    let overlap = Overlap::new(&variances, kept, samples, dimension);
    Ok(found(py.detach(|| schedules::most_concentrated(&overlap, dimension, steps, highest))))
}

/// The levels of the least shortfall.
#[pyfunction]
fn best_recovery(py: Python<'_>, variances: Vec<f64>, steps: usize, first: f64) -> Result<Found> {
    expect_variances(&variances)?;
    expect_walk(steps, first)?;
    Ok(found(py.detach(|| schedules::best_recovery(&variances, steps, first))))
}

/// Levels at equal distances in the metric of all modes.
#[pyfunction]
fn geodesic(variances: Vec<f64>, steps: usize, first: f64) -> Result<Vec<f64>> {
    expect_variances(&variances)?;
    expect_walk(steps, first)?;
    Ok(schedules::geodesic(&variances, steps, first))
}

/// The mean over variances of -ln(gain of DDIM / gain of the probability flow).
#[pyfunction]
fn shortfall(variances: Vec<f64>, sigmas: Vec<f64>) -> Result<f64> {
    expect_variances(&variances)?;
    if sigmas.is_empty() {
        return Err(argument("`sigmas` without a level", "give at least one"));
    }
    Ok(schedules::shortfall(&variances, &sigmas))
}

fn found((levels, minimum): (Vec<f64>, Minimum)) -> Found {
    (levels, minimum.value, minimum.steps, minimum.converged)
}

fn expect_variances(variances: &[f64]) -> Result<()> {
    if !variances.is_empty() && variances.iter().all(|variance| variance.is_finite() && *variance > 0.0) {
        return Ok(());
    }
    Err(argument("`variances` that are not all above 0", "give those of the modes to recover, each above 0"))
}

fn expect_walk(steps: usize, first: f64) -> Result<()> {
    if steps == 0 || !(first.is_finite() && first > 0.0) {
        let what = format!("{steps} steps from a noise level of {first}");
        return Err(argument(what, "give at least one step, and a level above 0"));
    }
    Ok(())
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(cos_squared, module)?)?;
    module.add_function(wrap_pyfunction!(leading_eigenvalue, module)?)?;
    module.add_function(wrap_pyfunction!(small_noise_sine_squared, module)?)?;
    module.add_function(wrap_pyfunction!(threshold, module)?)?;
    module.add_function(wrap_pyfunction!(injected_variance, module)?)?;
    module.add_function(wrap_pyfunction!(gain, module)?)?;
    module.add_function(wrap_pyfunction!(spacing, module)?)?;
    module.add_function(wrap_pyfunction!(step_sigmas, module)?)?;
    module.add_function(wrap_pyfunction!(squared_cosines, module)?)?;
    module.add_function(wrap_pyfunction!(concentration, module)?)?;
    module.add_function(wrap_pyfunction!(most_concentrated, module)?)?;
    module.add_function(wrap_pyfunction!(best_recovery, module)?)?;
    module.add_function(wrap_pyfunction!(geodesic, module)?)?;
    module.add_function(wrap_pyfunction!(shortfall, module)?)
}
