//! The options of closed-form denoisers, after the name of their data: `,name=value`.

use crate::data::{Coupling, Noised};
use crate::error::{Error, Result};

/// The default number of components, unless the data have fewer values.
pub const USUAL_COMPONENTS: usize = 32;

/// Settings of a projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PcaOptions {
    /// The number of components; `None` for [`USUAL_COMPONENTS`].
    pub components: Option<usize>,
    /// The number of samples to take, from the first; `None` for all.
    pub samples: Option<usize>,
    /// Noise on the samples of each level; `None` for the components of the clean data.
    pub noise: Option<Noised>,
}

/// Settings of a mixture of Gaussians.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixtureOptions {
    /// The number of Gaussians.
    pub components: usize,
    /// The variances that each keeps, with the mean of the rest along all other directions; `None` for all.
    pub rank: Option<usize>,
    /// The seed of the clusters.
    pub seed: u64,
}

/// A malformed value of an option.
pub(super) fn malformed(text: &str, name: &str, value: &str, expected: &str, hint: &str) -> Error {
    Error::argument(format!("`{name}={value}` of `{text}` is not {expected}"), hint)
}

pub(super) fn unknown(name: &str, kind: &str, hint: &str) -> Error {
    Error::argument(format!("`{name}=` is not an option of `{kind}:`"), hint)
}

pub(super) fn missing(text: &str, name: &str, hint: &str) -> Error {
    Error::argument(format!("`{text}` does not give `{name}=`"), hint)
}

fn count(value: &str) -> Option<usize> {
    value.parse().ok().filter(|count| *count > 0)
}

impl PcaOptions {
    pub(super) fn parse(text: &str, options: &[(&str, &str)]) -> Result<Self> {
        let mut asked = Self::default();
        let mut seed = None;
        for (name, value) in options {
            let refuse = |expected: &str| Err(malformed(text, name, value, expected, PCA_HINT));
            match *name {
                "k" if count(value).is_some() => asked.components = count(value),
                "k" => return refuse("a number of components"),
                "n" if count(value).is_some() => asked.samples = count(value),
                "n" => return refuse("a number of samples"),
                "noise" => asked.noise = Some(Noised { coupling: value.parse::<Coupling>()?, seed: 0 }),
                "seed" => match value.parse() {
                    Ok(number) => seed = Some(number),
                    Err(_) => return refuse("a seed"),
                },
                _ => return Err(unknown(name, "pca", PCA_HINT)),
            }
        }
        match (&mut asked.noise, seed) {
            (Some(noise), Some(seed)) => noise.seed = seed,
            (None, Some(_)) => {
                let what = format!("`seed=` of `{text}` seeds noise, and there is no `noise=`");
                return Err(Error::argument(what, PCA_HINT));
            }
            _ => {}
        }
        Ok(asked)
    }
}

const PCA_HINT: &str = "`pca:DATA` takes `k=` components, `n=` samples, `noise=nested|fresh|shared` on the samples of \
                        each level, and its `seed=`, after commas";

const MIXTURE_HINT: &str = "`mixture:DATA` takes `k=` Gaussians, and optionally the `rank=` of their covariances and \
                            the `seed=` of the clusters, after commas";

impl MixtureOptions {
    pub(super) fn parse(text: &str, options: &[(&str, &str)]) -> Result<Self> {
        let mut components = None;
        let mut asked = Self { components: 0, rank: None, seed: 0 };
        for (name, value) in options {
            let refuse = |expected: &str| malformed(text, name, value, expected, MIXTURE_HINT);
            match *name {
                "k" => components = Some(count(value).ok_or_else(|| refuse("a number of components"))?),
                "rank" => asked.rank = Some(value.parse().map_err(|_| refuse("a number of variances"))?),
                "seed" => asked.seed = value.parse().map_err(|_| refuse("a seed"))?,
                _ => return Err(unknown(name, "mixture", MIXTURE_HINT)),
            }
        }
        let components = components.ok_or_else(|| missing(text, "k", MIXTURE_HINT))?;
        Ok(Self { components, ..asked })
    }
}
