//! The spiked-covariance model: a few directions of signal in white noise.

use std::path::Path;

use super::Dataset;
use super::source::{SourceKind, extent_of};
use super::stream::Drawn;
use crate::error::{Error, Result};
use crate::input::{ask, room};
use crate::noise::Purpose;
use crate::tensor::Tensor;

/// Data generated from a few directions in noise, unless there is a file or a folder of that name. `Pixels` do not
/// apply: the numbers are those of the model.
pub(super) static KIND: SourceKind = SourceKind {
    form: "data generated from a few directions in noise, `spiked:n=1500,p=300,spikes=5/4/3/2/1,noise=0,seed=0`",
    accepts: |candidate| {
        let is_named = candidate.text == "spiked" || candidate.text.starts_with("spiked:");
        if !is_named || candidate.exists {
            return Ok(false);
        }
        Spiked::parse(candidate.text).map(|_| true)
    },
    load: |text, _| Ok(Dataset { name: text.to_owned(), ..Spiked::parse(text)?.generate()? }),
    stream: |text, _| {
        let model = Spiked::parse(text)?;
        let (directions, count, shape) = (model.directions()?, model.samples, [model.dimension]);
        let draw = Box::new(move |first, rows: &mut [f32]| model.draw(&directions, first, rows));
        Ok(Box::new(Drawn { name: text.to_owned(), count, shape, draw }))
    },
    extent: Some(|text| extent_of("spiked", &OPTIONS, text)),
};

/// The options of a model.
const OPTIONS: [&str; 5] = ["n", "p", "spikes", "noise", "seed"];

/// `x = sum over i of sqrt(spike_i) z_i v_i + noise xi`, with `z_i` and `xi` standard normal and `v_i` orthonormal
/// directions drawn from the seed: covariance `sum of spike_i v_i v_i' + noise^2 I` (Johnstone 2001; Nadler 2008, Ann.
/// Stat. 36:2791).
///
/// One spike is the rank-1 model. Sample j depends on (seed, j) alone: fewer samples are the beginning of more.
#[derive(Clone, Debug, PartialEq)]
pub struct Spiked {
    /// The number of samples, n.
    pub samples: usize,
    /// The number of values per sample, p.
    pub dimension: usize,
    /// Variances along the directions, without the noise.
    pub spikes: Vec<f64>,
    /// Standard deviation of the noise, sigma.
    pub noise: f64,
    /// The seed of the directions, the factors and the noise.
    pub seed: u64,
}

const FORM: &str =
    "generated data are `spiked:n=1500,p=300,spikes=5/4/3,noise=0.1,seed=0`, in any order; every option has a default";

impl Spiked {
    /// The model that `text` names: `spiked:n=1500,p=300,spikes=5/4/3/2/1,noise=0,seed=0`, where these are the
    /// defaults.
    ///
    /// # Errors
    /// [`Error::Argument`] for an unknown option or a malformed number, and those of [`Self::directions`].
    pub fn parse(text: &str) -> Result<Self> {
        let mut model =
            Self { samples: 1500, dimension: 300, spikes: vec![5.0, 4.0, 3.0, 2.0, 1.0], noise: 0.0, seed: 0 };
        let refuse = |part: &str| Error::argument(format!("`{part}` of `{text}` is not understood"), FORM);
        let Some(options) = text.strip_prefix("spiked").map(|rest| rest.strip_prefix(':').unwrap_or(rest)) else {
            return Err(refuse(text));
        };
        let mut given = Vec::new();
        for part in options.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| refuse(part))?;
            if given.contains(&name) {
                return Err(Error::argument(format!("`{text}` gives `{name}=` twice"), FORM));
            }
            given.push(name);
            let number = |value: &str| value.parse::<f64>().map_err(|_| refuse(part));
            let whole = |value: &str| value.parse::<usize>().map_err(|_| refuse(part));
            match name {
                "n" => model.samples = whole(value)?,
                "p" => model.dimension = whole(value)?,
                "spikes" => model.spikes = value.split('/').map(number).collect::<Result<_>>()?,
                "noise" => model.noise = number(value)?,
                "seed" => model.seed = value.parse().map_err(|_| refuse(part))?,
                _ => return Err(refuse(part)),
            }
        }
        model.check()?;
        Ok(model)
    }

    /// Returns the orthonormal directions `v_i`, one per row: (spikes, dimension), float64.
    ///
    /// # Errors
    /// [`Error::Argument`] for a model without samples or values, with more spikes than values, or with variances or
    /// noise that are negative or not finite, [`Error::OutOfMemory`].
    pub fn directions(&self) -> Result<Vec<Vec<f64>>> {
        self.check()?;
        let vectors = self.spikes.len().saturating_add(2) as u64;
        ask(
            Path::new("spiked"),
            vectors.saturating_mul(self.dimension as u64).saturating_mul(size_of::<f64>() as u64),
        )?;
        let mut directions: Vec<Vec<f64>> = Vec::with_capacity(self.spikes.len());
        for index in 0..self.spikes.len() {
            let drawn = Purpose::DataDirections.normals(self.seed, index as u64, 0, self.dimension);
            let mut direction: Vec<f64> = drawn.into_iter().map(f64::from).collect();
            // Twice is enough (Kahan, Parlett): cancellation leaves errors after a single pass.
            for _ in 0..2 {
                for other in &directions {
                    let along: f64 = other.iter().zip(&direction).map(|(a, b)| a * b).sum();
                    direction.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
                }
                let norm = direction.iter().map(|value| value * value).sum::<f64>().sqrt();
                for value in &mut direction {
                    *value /= norm;
                }
            }
            directions.push(direction);
        }
        Ok(directions)
    }

    /// Draws the samples.
    ///
    /// # Errors
    /// Those of [`Self::directions`].
    pub fn generate(&self) -> Result<Dataset> {
        let directions = self.directions()?;
        let count = self.samples.saturating_mul(self.dimension);
        let mut values = room(Path::new("spiked"), count)?;
        values.resize(count, 0.0);
        self.draw(&directions, 0, &mut values);
        Dataset::new("spiked", Tensor::new([self.samples, self.dimension], values))
    }

    /// Draws the samples from number `first` on into `rows`.
    fn draw(&self, directions: &[Vec<f64>], first: usize, rows: &mut [f32]) {
        let mut sample = vec![0.0f64; self.dimension];
        for (index, row) in (first as u64..).zip(rows.chunks_exact_mut(self.dimension)) {
            let noise = Purpose::DataWhite.normals(self.seed, index, 0, self.dimension);
            sample.iter_mut().zip(noise).for_each(|(value, noise)| *value = self.noise * f64::from(noise));
            let factors = Purpose::DataFactors.normals(self.seed, index, 0, self.spikes.len());
            for ((direction, spike), factor) in directions.iter().zip(&self.spikes).zip(factors) {
                let scale = spike.sqrt() * f64::from(factor);
                sample.iter_mut().zip(direction).for_each(|(value, along)| *value += scale * along);
            }
            row.iter_mut().zip(&sample).for_each(|(into, value)| *into = *value as f32);
        }
    }

    fn check(&self) -> Result<()> {
        let Self { samples, dimension, spikes, noise, .. } = self;
        let refuse = |what: String, hint: &str| Err(Error::argument(what, hint));
        if *samples == 0 || *dimension == 0 {
            return refuse(
                format!("{samples} samples of {dimension} values are not a data set"),
                "give at least one of both",
            );
        }
        if spikes.len() > *dimension {
            let what = format!("{} spikes do not fit into {dimension} dimensions", spikes.len());
            return refuse(what, "give fewer spikes or more dimensions");
        }
        if let Some(number) = spikes.iter().chain([noise]).find(|number| !(number.is_finite() && **number >= 0.0)) {
            return refuse(format!("{number} is not a variance"), "spikes and noise are numbers of at least 0");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Spiked {
        Spiked { samples: 4000, dimension: 12, spikes: vec![9.0, 4.0], noise: 0.5, seed: 3 }
    }

    #[test]
    fn samples_have_the_variances_of_the_model() {
        let model = model();
        let (data, directions) = (model.generate().unwrap(), model.directions().unwrap());
        let variance = |direction: &[f64]| {
            let squares = data.samples.data.chunks_exact(12).map(|sample| {
                let along: f64 = sample.iter().zip(direction).map(|(value, d)| f64::from(*value) * d).sum();
                along * along
            });
            squares.sum::<f64>() / 4000.0
        };
        for (direction, spike) in directions.iter().zip(&model.spikes) {
            let expected = spike + 0.25;
            // The standard error of a variance is sqrt(2 / n) of it.
            assert!((variance(direction) / expected - 1.0).abs() < 4.0 * (2.0f64 / 4000.0).sqrt());
        }
        let total: f64 = data.samples.data.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / 4000.0;
        assert!((total / (13.0 + 12.0 * 0.25) - 1.0).abs() < 0.05, "{total}");
        let cosine: f64 = directions[0].iter().zip(&directions[1]).map(|(a, b)| a * b).sum();
        assert!(cosine.abs() < 1e-15, "{cosine}");
    }

    #[test]
    fn fewer_samples_are_the_beginning_and_seeds_differ() {
        let all = model().generate().unwrap();
        let few = Spiked { samples: 5, ..model() }.generate().unwrap();
        assert_eq!(few.samples.data, all.samples.data[..60]);
        let other = Spiked { samples: 5, seed: 4, ..model() }.generate().unwrap();
        assert_ne!(few.samples.data, other.samples.data);
    }

    #[test]
    fn models_are_read_from_their_names() {
        let read = Spiked::parse("spiked:p=12,n=4000,spikes=9/4,noise=0.5,seed=3").unwrap();
        assert_eq!(read, model());
        assert_eq!(Spiked::parse("spiked").unwrap().spikes.len(), 5);
        for text in ["spiked:q=1", "spiked:p", "spiked:p=x", "spiked:spikes=", "spiked:noise=-1", "spiked:p=0", "other"]
        {
            assert_eq!(Spiked::parse(text).unwrap_err().kind(), crate::ErrorKind::Argument, "{text}");
        }
    }

    #[test]
    fn models_beyond_the_memory_are_refused() {
        for (samples, dimension) in [(1, 1 << 50), (1 << 50, 1), (usize::MAX, 3)] {
            let error = Spiked { samples, dimension, spikes: vec![1.0], ..model() }.generate().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Memory, "{error}");
        }
    }

    #[test]
    fn models_that_cannot_be_are_usage_errors() {
        let cases = [
            Spiked { samples: 0, ..model() },
            Spiked { dimension: 0, ..model() },
            Spiked { dimension: 1, ..model() },
            Spiked { noise: f64::NAN, ..model() },
            Spiked { spikes: vec![-1.0], ..model() },
        ];
        for case in cases {
            assert_eq!(case.generate().unwrap_err().kind(), crate::ErrorKind::Argument, "{case:?}");
        }
        let error = Spiked::parse("spiked:n=10,p=4,n=20").unwrap_err();
        assert!(error.to_string().contains("gives `n=` twice"), "{error}");
    }
}
