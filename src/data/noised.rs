//! Data under noise at many levels: x at level s is x0 + s times standard noise, and levels may share their noise.

use crate::error::{Error, Result};
use crate::noise::Purpose;
use crate::tensor::Tensor;

/// The coupling of the noise of one level with that of another, on which chains of projections depend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Coupling {
    /// The forward process itself, `x_t = x_(t-1) + sigma_t xi_t`: each level adds its part to the level before.
    Nested,
    /// `x_t = x_0 + s_t xi_t`: independent noise at every level.
    #[default]
    Fresh,
    /// `x_t = x_0 + s_t xi_1`: one draw, scaled to each level.
    Shared,
}

impl Coupling {
    /// All couplings.
    pub const ALL: [Self; 3] = [Self::Nested, Self::Fresh, Self::Shared];
}

impl std::str::FromStr for Coupling {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|coupling| coupling.to_string() == name).ok_or_else(|| {
            Error::argument(format!("no coupling is called `{name}`"), "take `nested`, `fresh` or `shared`")
        })
    }
}

impl std::fmt::Display for Coupling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nested => "nested",
            Self::Fresh => "fresh",
            Self::Shared => "shared",
        })
    }
}

/// Noise on samples: a function of seed, coupling, sample and level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noised {
    /// The coupling of levels.
    pub coupling: Coupling,
    /// The seed of the noise.
    pub seed: u64,
}

impl Noised {
    /// The samples (n, p) at one level: of fresh and shared noise the same whatever other levels there are, of nested
    /// noise the first level of a process.
    #[must_use]
    pub fn at(self, samples: &Tensor, level: f64) -> Tensor {
        let step = match self.coupling {
            Coupling::Nested => 1,
            Coupling::Fresh => step_of(level),
            Coupling::Shared => 0,
        };
        let mut noisy = samples.clone();
        self.add(&mut noisy, level, step);
        noisy
    }

    /// Calls `visit` with the samples (n, p) at each of the rising `levels`, with its index.
    ///
    /// # Errors
    /// Those of `visit`.
    pub fn each(
        self,
        samples: &Tensor,
        levels: &[f64],
        visit: &mut dyn FnMut(usize, Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut walked = (self.coupling == Coupling::Nested).then(|| samples.clone());
        let mut variance = 0.0;
        for (index, level) in levels.iter().enumerate() {
            let noisy = match &mut walked {
                None => self.at(samples, *level),
                Some(walked) => {
                    let added = (level * level - variance).max(0.0).sqrt();
                    self.add(walked, added, index as u32 + 1);
                    variance = level * level;
                    walked.clone()
                }
            };
            visit(index, noisy)?;
        }
        Ok(())
    }

    /// Adds `scale` times the noise of `step`, drawn in parallel.
    fn add(self, samples: &mut Tensor, scale: f64, step: u32) {
        /// Samples per thread at a time.
        const SAMPLES: usize = 512;
        let dimension = samples.shape[1];
        let add = |first: usize, values: &mut [f32]| {
            for (at, sample) in values.chunks_exact_mut(dimension).enumerate() {
                let noise = Purpose::DataNoise.normals(self.seed, (first + at) as u64, step, dimension);
                for (value, noise) in sample.iter_mut().zip(noise) {
                    *value = (f64::from(*value) + scale * f64::from(noise)) as f32;
                }
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let each = (samples.shape[0].div_ceil(cores)).max(SAMPLES);
        if cores == 1 {
            // Browsers have one thread, and refuse to start another.
            return add(0, &mut samples.data);
        }
        std::thread::scope(|scope| {
            for (at, values) in samples.data.chunks_mut(each * dimension).enumerate() {
                let add = &add;
                scope.spawn(move || add(at * each, values));
            }
        });
    }
}

/// The step of the generator for a level of independent noise.
fn step_of(level: f64) -> u32 {
    let bits = level.to_bits();
    (bits as u32) ^ ((bits >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [f64; 3] = [0.5, 1.5, 4.0];

    fn noises(coupling: Coupling) -> Vec<Vec<f64>> {
        let samples = Tensor::new([1500, 7], (0..10_500u16).map(f32::from).collect::<Vec<_>>());
        let mut all = Vec::new();
        let noised = Noised { coupling, seed: 3 };
        let visit = &mut |_, noisy: Tensor| {
            let pairs = noisy.data.iter().zip(&samples.data);
            all.push(pairs.map(|(noisy, clean)| f64::from(*noisy) - f64::from(*clean)).collect());
            Ok(())
        };
        noised.each(&samples, &LEVELS, visit).unwrap();
        all
    }

    fn product(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / a.len() as f64
    }

    #[test]
    fn levels_have_their_variance_and_share_noise_as_their_coupling_says() {
        for coupling in Coupling::ALL {
            let noises = noises(coupling);
            for i in 0..3 {
                for j in 0..3 {
                    let (low, high) = (LEVELS[i.min(j)], LEVELS[i.max(j)]);
                    let expected = match coupling {
                        _ if i == j => low * low,
                        Coupling::Nested => low * low,
                        Coupling::Fresh => 0.0,
                        Coupling::Shared => low * high,
                    };
                    // Three standard errors of a mean of 10,500 products.
                    let error = 3.0 * low * high * (2.0f64 / 10_500.0).sqrt();
                    let found = product(&noises[i], &noises[j]);
                    assert!((found - expected).abs() < error, "{coupling}, {i}, {j}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_level_alone_is_as_among_others_and_fewer_samples_are_the_beginning() {
        let samples = Tensor::zeros([1100, 3]);
        for coupling in [Coupling::Fresh, Coupling::Shared] {
            let noised = Noised { coupling, seed: 9 };
            let alone = noised.at(&samples, 1.5);
            noised
                .each(&samples, &LEVELS, &mut |at, noisy| {
                    assert_eq!(noisy == alone, at == 1);
                    Ok(())
                })
                .unwrap();
            assert_eq!(noised.at(&Tensor::zeros([2, 3]), 1.5).data, alone.data[..6]);
            assert_ne!(Noised { seed: 8, ..noised }.at(&samples, 1.5), alone);
        }
    }

    #[test]
    fn couplings_have_names() {
        for coupling in Coupling::ALL {
            assert_eq!(coupling.to_string().parse::<Coupling>().unwrap(), coupling);
        }
        assert_eq!("other".parse::<Coupling>().unwrap_err().kind(), crate::ErrorKind::Argument);
    }
}
