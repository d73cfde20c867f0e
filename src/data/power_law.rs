//! Gaussian data whose spectrum falls as a power of the index: no gap divides signal from noise, as in natural images.

use std::path::Path;

use super::Dataset;
use super::source::{SourceKind, extent_of};
use super::stream::Drawn;
use crate::error::{Error, Result};
use crate::input::room;
use crate::noise::Purpose;
use crate::tensor::Tensor;

/// Data with the spectrum of a power law, unless there is a file or a folder of that name. `Pixels` do not apply: the
/// numbers are those of the model.
pub(super) static KIND: SourceKind = SourceKind {
    form: "data whose spectrum is a power law, `power-law:n=1500,p=300,exponent=1,scale=1,seed=0`",
    accepts: |candidate| {
        let is_named = candidate.text == NAME || candidate.text.starts_with("power-law:");
        if !is_named || candidate.exists {
            return Ok(false);
        }
        PowerLaw::parse(candidate.text).map(|_| true)
    },
    load: |text, _| Ok(Dataset { name: text.to_owned(), ..PowerLaw::parse(text)?.generate()? }),
    stream: |text, _| {
        let model = PowerLaw::parse(text)?;
        let (deviations, count, shape) = (model.deviations()?, model.samples, [model.dimension]);
        let draw = Box::new(move |first, rows: &mut [f32]| model.draw(&deviations, first, rows));
        Ok(Box::new(Drawn { name: text.to_owned(), count, shape, draw }))
    },
    extent: Some(|text| extent_of(NAME, &OPTIONS, text)),
};

const NAME: &str = "power-law";
/// The options of a model.
const OPTIONS: [&str; 5] = ["n", "p", "exponent", "scale", "seed"];
const FORM: &str =
    "the data are `power-law:n=1500,p=300,exponent=1,scale=1,seed=0`, in any order; every option has a default";

/// Samples of independent normal values, of variance `scale / i^exponent` for value i from 1.
///
/// The spectrum of natural images is near an exponent of 1 for each of the sorted eigenvalues (Field 1987, J. Opt. Soc.
/// Am. A 4:2379: power falls with the square of the frequency, and the modes up to a frequency number its square).
/// Eigenvectors are the axes: neither the analysis nor denoisers of linear chains distinguish directions.
///
/// Sample j depends on (seed, j) alone: fewer samples are the beginning of more.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerLaw {
    /// The number of samples, n.
    pub samples: usize,
    /// The number of values per sample, p.
    pub dimension: usize,
    /// The negative power of the index.
    pub exponent: f64,
    /// The largest variance.
    pub scale: f64,
    /// The seed of the samples.
    pub seed: u64,
}

impl PowerLaw {
    /// The model that `text` names: `power-law:n=1500,p=300,exponent=1,scale=1,seed=0`, where these are the defaults.
    ///
    /// # Errors
    /// [`Error::Argument`] for an unknown option, a malformed number, or a model that cannot be.
    pub fn parse(text: &str) -> Result<Self> {
        let mut model = Self { samples: 1500, dimension: 300, exponent: 1.0, scale: 1.0, seed: 0 };
        let refuse = |part: &str| Error::argument(format!("`{part}` of `{text}` is not understood"), FORM);
        let Some(options) = text.strip_prefix(NAME).map(|rest| rest.strip_prefix(':').unwrap_or(rest)) else {
            return Err(refuse(text));
        };
        let mut given = Vec::new();
        for part in options.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| refuse(part))?;
            if given.contains(&name) {
                return Err(Error::argument(format!("`{text}` gives `{name}=` twice"), FORM));
            }
            given.push(name);
            let number = || value.parse::<f64>().map_err(|_| refuse(part));
            let whole = || value.parse::<usize>().map_err(|_| refuse(part));
            match name {
                "n" => model.samples = whole()?,
                "p" => model.dimension = whole()?,
                "exponent" => model.exponent = number()?,
                "scale" => model.scale = number()?,
                "seed" => model.seed = value.parse().map_err(|_| refuse(part))?,
                _ => return Err(refuse(part)),
            }
        }
        model.check()?;
        Ok(model)
    }

    /// The variances of the values, largest first.
    #[must_use]
    pub fn variances(&self) -> Vec<f64> {
        (1..=self.dimension).map(|i| self.scale * (i as f64).powf(-self.exponent)).collect()
    }

    /// Draws the samples.
    ///
    /// # Errors
    /// [`Error::Argument`] for a model that cannot be, [`Error::OutOfMemory`].
    pub fn generate(&self) -> Result<Dataset> {
        self.check()?;
        let count = self.samples.saturating_mul(self.dimension);
        let mut values = room(Path::new(NAME), count)?;
        values.resize(count, 0.0);
        self.draw(&self.deviations()?, 0, &mut values);
        Dataset::new(NAME, Tensor::new([self.samples, self.dimension], values))
    }

    /// The standard deviations of the values.
    fn deviations(&self) -> Result<Vec<f64>> {
        self.check()?;
        let mut deviations = room(Path::new(NAME), self.dimension)?;
        deviations.extend(self.variances().into_iter().map(f64::sqrt));
        Ok(deviations)
    }

    /// Draws the samples from number `first` on into `rows`.
    fn draw(&self, deviations: &[f64], first: usize, rows: &mut [f32]) {
        for (index, row) in (first as u64..).zip(rows.chunks_exact_mut(self.dimension)) {
            let factors = Purpose::DataFactors.normals(self.seed, index, 1, self.dimension);
            for ((into, scale), factor) in row.iter_mut().zip(deviations).zip(factors) {
                *into = (scale * f64::from(factor)) as f32;
            }
        }
    }

    fn check(&self) -> Result<()> {
        let Self { samples, dimension, exponent, scale, .. } = self;
        if *samples == 0 || *dimension == 0 {
            let what = format!("{samples} samples of {dimension} values are not a data set");
            return Err(Error::argument(what, "give at least one of both"));
        }
        if !(exponent.is_finite() && *exponent >= 0.0) {
            let what = format!("{exponent} is not an exponent of a falling spectrum");
            return Err(Error::argument(what, "give a number of at least 0, such as 1"));
        }
        if !(scale.is_finite() && *scale > 0.0) {
            return Err(Error::argument(format!("{scale} is not a variance"), "give a number above 0"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variances_fall_as_the_power_says() {
        let model = PowerLaw::parse("power-law:n=6000,p=9,exponent=2,scale=3,seed=4").unwrap();
        let data = model.generate().unwrap();
        for (at, expected) in model.variances().into_iter().enumerate() {
            let squares = data.samples.data.chunks_exact(9).map(|sample| f64::from(sample[at]).powi(2));
            let found = squares.sum::<f64>() / 6000.0;
            assert!((expected - 3.0 / ((at + 1) as f64).powi(2)).abs() < 1e-12);
            // Five standard errors.
            assert!((found / expected - 1.0).abs() < 5.0 * (2.0f64 / 6000.0).sqrt(), "{at}: {found}, {expected}");
        }
        let few = PowerLaw { samples: 3, ..model }.generate().unwrap();
        assert_eq!(few.samples.data, data.samples.data[..27]);
    }

    #[test]
    fn models_are_read_from_their_names() {
        assert_eq!(PowerLaw::parse("power-law").unwrap().exponent, 1.0);
        for text in ["power-law:q=1", "power-law:n", "power-law:exponent=-1", "power-law:scale=0", "power-law:p=0", "x"]
        {
            assert_eq!(PowerLaw::parse(text).unwrap_err().kind(), crate::ErrorKind::Argument, "{text}");
        }
        assert_eq!(extent_of(NAME, &OPTIONS, "power-law:n=5,p=3,k=2"), "power-law:n=5,p=3".len());
        assert_eq!(extent_of(NAME, &OPTIONS, "power-law,k=2"), "power-law".len());
    }

    #[test]
    fn models_beyond_the_memory_are_refused() {
        let model = PowerLaw { samples: usize::MAX, dimension: 3, exponent: 1.0, scale: 1.0, seed: 0 };
        assert_eq!(model.generate().unwrap_err().kind(), crate::ErrorKind::Memory);
    }
}
