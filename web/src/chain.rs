//! The linear diffusion chain on small digits, on the CPU.

use std::cell::OnceCell;

use downhill::data::{Coupling, Pixels, digits};
use downhill::study::chain::{Chain, LevelNoise, Projector, Schedule, participation_ratio};
use downhill::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::value::{JsResult, object, seed, settings, thrown};

/// The digits of a chain: the first ones.
const SAMPLES: usize = 1000;
/// The side of a digit in pixels.
const SIDE: usize = 28;
/// Pixels of a digit whose mean is one value, along each side.
const MEANS: usize = 2;
/// The largest number of levels.
const LEVELS: usize = 200;

thread_local! {
    static DIGITS: OnceCell<Tensor> = const { OnceCell::new() };
}

/// Options of a chain; see `downhill.d.ts`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChainOptions {
    components: Option<usize>,
    levels: usize,
    coupling: String,
    sigma_max: Option<f64>,
    sigma_min: Option<f64>,
    seed: Option<String>,
}

/// The outcome; see `downhill.d.ts`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    components: usize,
    levels: usize,
    coupling: String,
    samples: usize,
    dimension: usize,
    sigmas: Vec<f64>,
    values: Vec<Vec<f64>>,
    adjacent: Vec<Vec<f64>>,
    to_first: Vec<Vec<f64>>,
    product: Vec<Vec<f64>>,
    energy: Vec<Vec<f64>>,
    effective: Vec<f64>,
    log_norm: Vec<f64>,
}

/// Runs a chain.
///
/// # Errors
/// One of the kind `argument` naming the option.
#[wasm_bindgen]
pub fn chain(options: &str) -> JsResult<JsValue> {
    object(&run(&settings(options)?).map_err(thrown)?)
}

fn run(options: &ChainOptions) -> Result<Outcome> {
    let coupling: Coupling = options.coupling.parse()?;
    let seed = seed(options.seed.as_deref())?;
    let data = small_digits()?;
    let (samples, dimension) = (data.shape[0], data.shape[1]);
    let components = options.components.unwrap_or(8);
    if components == 0 || components > dimension {
        let what = format!("`components` of {components}");
        return Err(Error::argument(what, format!("give a number from 1 to {dimension}")));
    }
    if options.levels == 0 || options.levels > LEVELS {
        let what = format!("`levels` of {}", options.levels);
        return Err(Error::argument(what, format!("give a number from 1 to {LEVELS}")));
    }
    let steps = added(options.levels, options.sigma_max.unwrap_or(1.0), options.sigma_min)?;
    let chain = Chain { data: &data, sigmas: &steps, coupling, noise: LevelNoise::Seeded(seed) };
    let found = chain.run(&Projector::on_host(components), false, &|_| {})?;
    let mut product = vec![vec![1.0; components]];
    for factors in &found.adjacent {
        let last = &product[product.len() - 1];
        product.push(last.iter().zip(factors).map(|(product, factor)| product * factor).collect());
    }
    let energy: Vec<Vec<f64>> = (0..=options.levels).map(|level| found.expected_energy(level)).collect();
    let mut variance = 0.0;
    let totals = steps.iter().map(|step| {
        variance += step * step;
        f64::sqrt(variance)
    });
    Ok(Outcome {
        components,
        levels: options.levels,
        coupling: coupling.to_string(),
        samples,
        dimension,
        sigmas: std::iter::once(0.0).chain(totals).collect(),
        values: found.values,
        adjacent: found.adjacent,
        to_first: found.to_first,
        product,
        effective: energy.iter().map(|energies| participation_ratio(energies)).collect(),
        energy,
        log_norm: found.log_norm,
    })
}

/// The deviations that the levels add: equal ones up to `most` in all, or such that the total rises in equal ratios
/// from `least`.
fn added(levels: usize, most: f64, least: Option<f64>) -> Result<Vec<f64>> {
    let is_deviation = |value: f64| value.is_finite() && value > 0.0;
    if !is_deviation(most) {
        return Err(Error::argument(format!("`sigmaMax` of {most}"), "give a number above 0"));
    }
    let Some(least) = least else { return Ok(Schedule::Constant { variance: most * most }.sigmas(levels)) };
    if !is_deviation(least) || least > most {
        return Err(Error::argument(format!("`sigmaMin` of {least}"), format!("give a number above 0, up to {most}")));
    }
    let total = |level: usize| match (level, levels) {
        (0, _) => 0.0,
        (_, 1) => most,
        (level, levels) => least * (most / least).powf((level - 1) as f64 / (levels - 1) as f64),
    };
    Ok((0..levels).map(|level| (total(level + 1).powi(2) - total(level).powi(2)).max(0.0).sqrt()).collect())
}

/// The first digits in means of pixels, from 0 to 1, around their mean.
fn small_digits() -> Result<Tensor> {
    if let Some(data) = DIGITS.with(|kept| kept.get().cloned()) {
        return Ok(data);
    }
    let all = digits(Pixels::Unit)?.samples;
    let side = SIDE / MEANS;
    let mut data = Vec::with_capacity(SAMPLES * side * side);
    for sample in 0..SAMPLES {
        let image = all.item(sample);
        for (row, column) in (0..side).flat_map(|row| (0..side).map(move |column| (row, column))) {
            let within = (0..MEANS * MEANS).map(|at| (row * MEANS + at / MEANS) * SIDE + column * MEANS + at % MEANS);
            data.push(within.map(|at| image[at]).sum::<f32>() / (MEANS * MEANS) as f32);
        }
    }
    for pixel in 0..side * side {
        let values = || (0..SAMPLES).map(|sample| sample * side * side + pixel);
        let mean = values().map(|at| f64::from(data[at])).sum::<f64>() / SAMPLES as f64;
        values().for_each(|at| data[at] = (f64::from(data[at]) - mean) as f32);
    }
    let data = Tensor::new([SAMPLES, side * side], data);
    DIGITS.with(|kept| drop(kept.set(data.clone())));
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(coupling: &str, levels: usize) -> ChainOptions {
        let coupling = coupling.to_owned();
        ChainOptions { components: Some(4), levels, coupling, sigma_max: Some(1.0), sigma_min: None, seed: None }
    }

    #[test]
    fn fresh_noise_leaves_one_component_and_one_draw_leaves_all() {
        let fresh = run(&options("fresh", 12)).unwrap();
        let shared = run(&options("shared", 12)).unwrap();
        assert_eq!((fresh.values.len(), fresh.adjacent.len(), fresh.product.len()), (13, 12, 13));
        assert!(fresh.effective[0] > 3.999 && fresh.effective[12] < shared.effective[12]);
        assert!(fresh.product[12][3] < fresh.product[12][0]);
        assert!((fresh.sigmas[12] - 1.0).abs() < 1e-12 && fresh.sigmas[0] == 0.0);
        // Level 0 has no noise, so its components are those of the data in every coupling.
        assert_eq!(fresh.values[0], shared.values[0]);
    }

    #[test]
    fn totals_rise_in_equal_ratios_and_wrong_options_are_named() {
        let steps = added(3, 4.0, Some(1.0)).unwrap();
        let squares: Vec<f64> = steps.iter().map(|step| step * step).collect();
        assert!((squares[0] - 1.0).abs() < 1e-12 && (squares[1] - 3.0).abs() < 1e-12);
        assert!((squares.iter().sum::<f64>() - 16.0).abs() < 1e-9);
        for (wrong, name) in [(added(3, 0.0, None), "sigmaMax"), (added(3, 1.0, Some(2.0)), "sigmaMin")] {
            assert!(wrong.unwrap_err().to_string().contains(name));
        }
        assert!(run(&options("nothing", 3)).unwrap_err().to_string().contains("nothing"));
        assert!(run(&options("fresh", 0)).unwrap_err().to_string().contains("levels"));
    }
}
