//! The phase transition of the spiked model: how much the leading component knows of the one direction of signal, and its
//! eigenvalue, against the signal-to-noise ratio, measured and by [`nadler`].

use super::Advance;
use super::chain::Projector;
use super::estimate::Estimate;
use super::nadler;
use crate::data::Spiked;
use crate::error::Result;
use crate::tensor::Tensor;

/// What is asked; the noise has variance 1.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Settings {
    /// Samples, n.
    pub samples: usize,
    /// Values over samples, p / n, one curve each.
    pub gammas: Vec<f64>,
    /// Signal-to-noise ratios, in ascending order.
    pub ratios: Vec<f64>,
    /// Data sets for each point, seeds `seed`, `seed` + 1, ...
    pub draws: usize,
    pub seed: u64,
}

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Point {
    /// p / n as it is, p being a whole number.
    pub gamma: f64,
    pub ratio: f64,
    pub cos_squared: Estimate,
    pub eigenvalue: Estimate,
    /// The same by theory.
    pub cos_squared_theory: f64,
    pub eigenvalue_theory: f64,
}

/// Measures every point, a curve a vector; `advance` counts points.
///
/// # Errors
/// Those of [`Spiked::generate`] and of [`Projector::leading`].
pub fn run(projector: &Projector, settings: &Settings, advance: Advance) -> Result<Vec<Vec<Point>>> {
    let curve = |gamma: &f64| {
        let dimension = ((gamma * settings.samples as f64).round() as usize).max(1);
        let point = |ratio: &f64| {
            let point = measure(projector, settings, dimension, *ratio);
            advance(1);
            point
        };
        settings.ratios.iter().map(point).collect::<Result<Vec<_>>>()
    };
    settings.gammas.iter().map(curve).collect()
}

fn measure(projector: &Projector, settings: &Settings, dimension: usize, ratio: f64) -> Result<Point> {
    let samples = settings.samples;
    let (mut cosines, mut values) = (Vec::new(), Vec::new());
    let seeds: Vec<u64> = (0..settings.draws as u64).map(|draw| settings.seed + draw).collect();
    for seeds in seeds.chunks(projector.batch([samples, dimension])) {
        let model = |seed: &u64| Spiked { samples, dimension, spikes: vec![ratio], noise: 1.0, seed: *seed };
        let models: Vec<Spiked> = seeds.iter().map(model).collect();
        let sets = models.iter().map(|model| Ok(model.generate()?.samples)).collect::<Result<Vec<Tensor>>>()?;
        for (model, leading) in models.iter().zip(projector.leading(&sets)?) {
            let direction = model.directions()?.remove(0);
            let pairs = leading.vectors.col(0).iter().zip(&direction);
            cosines.push(pairs.map(|(a, b)| a * b).sum::<f64>().powi(2));
            values.push(leading.values[0]);
        }
    }
    let gamma = dimension as f64 / samples as f64;
    Ok(Point {
        gamma,
        ratio,
        cos_squared: Estimate::of(&cosines),
        eigenvalue: Estimate::of(&values),
        cos_squared_theory: nadler::cos_squared(ratio, gamma),
        eigenvalue_theory: nadler::eigenvalue(ratio, gamma),
    })
}
