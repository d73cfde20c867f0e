//! The options of closed-form denoisers, after the name of their data: `,name=value`.

use std::str::FromStr;

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

/// Settings of a local denoiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalOptions {
    /// The side of a patch, in pixels; odd.
    pub patch: usize,
    /// The patches that a place is compared with.
    pub boundary: Boundary,
    /// The number of samples to take, from the first; `None` for all.
    pub samples: Option<usize>,
}

/// The places of the data whose patches a place in an image is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Boundary {
    /// All places; patches continue at the opposite edge. Wholly equivariant.
    Circular,
    /// The places where the edges of the image cut the same part off a patch: what a network that pads with zeros can
    /// distinguish. Equivariant away from the edges.
    Padded,
    /// The same place alone. Not equivariant.
    Fixed,
}

impl Boundary {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Circular, Self::Padded, Self::Fixed];

    /// The name, as in `boundary=padded`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Circular => "circular",
            Self::Padded => "padded",
            Self::Fixed => "fixed",
        }
    }
}

impl FromStr for Boundary {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|boundary| boundary.name() == text).ok_or_else(|| {
            Error::argument(format!("no boundary is called `{text}`"), "give `circular`, `padded` or `fixed`")
        })
    }
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

const LOCAL_HINT: &str = "`local:DATA` takes the side of a `patch=` in pixels, an odd number, and optionally \
                          `boundary=circular|padded|fixed` and `n=` samples, after commas";

impl LocalOptions {
    pub(super) fn parse(text: &str, options: &[(&str, &str)]) -> Result<Self> {
        let mut patch = None;
        let mut asked = Self { patch: 0, boundary: Boundary::Padded, samples: None };
        for (name, value) in options {
            let refuse = |expected: &str| malformed(text, name, value, expected, LOCAL_HINT);
            match *name {
                "patch" => {
                    let side = count(value).filter(|side| side % 2 == 1);
                    patch = Some(side.ok_or_else(|| refuse("an odd number of pixels"))?);
                }
                "boundary" => asked.boundary = value.parse()?,
                "n" => asked.samples = Some(count(value).ok_or_else(|| refuse("a number of samples"))?),
                _ => return Err(unknown(name, "local", LOCAL_HINT)),
            }
        }
        let patch = patch.ok_or_else(|| missing(text, "patch", LOCAL_HINT))?;
        Ok(Self { patch, ..asked })
    }
}
