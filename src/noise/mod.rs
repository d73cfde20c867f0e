//! Reproducible noise, generated on the host.
//!
//! Two generators share one interface, [`Noise`]:
//!
//! * [`philox`], the default: counter-based and keyed by (seed, image, step). Image i of seed s is the same in any
//!   batch, shard or device, no matter what else is drawn.
//! * [`torch`], for reproducing published runs: the stream of `torch.Generator("cpu")`. It is drawn for the whole run
//!   at once, as `torch.randn((total, ...))` draws it, and a batch takes its images.
//!
//! Step 0 is the initial noise; step k >= 1 is the noise added by the k-th stochastic update of the run.
//!
//! Whatever else is drawn has a [`Purpose`], and streams that no other purpose shares.

pub mod philox;
mod purpose;
pub mod torch;

pub use purpose::Purpose;

use crate::error::{Error, Result};

/// The generators of noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Generator {
    /// Philox4x32-10, keyed by seed, image and step.
    #[default]
    Philox,
    /// `PyTorch`'s CPU generator.
    Torch,
}

impl std::str::FromStr for Generator {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "philox" => Ok(Self::Philox),
            "torch" => Ok(Self::Torch),
            _ => Err(Error::argument(format!("there is no generator `{name}`"), "use `philox` or `torch`")),
        }
    }
}

impl std::fmt::Display for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Philox => "philox",
            Self::Torch => "torch",
        })
    }
}

/// Returns the `count` seeds from `first` on.
///
/// # Errors
/// [`Error::Argument`] if there are fewer: seeds do not begin again at 0.
pub fn seeds(first: u64, count: u64) -> Result<Vec<u64>> {
    let others = count.saturating_sub(1);
    match first.checked_add(others) {
        Some(_) => Ok((0..count).map(|at| first + at).collect()),
        None => Err(Error::argument(
            format!("there are no {count} seeds from a `seed` of {first} on"),
            format!("give a `seed` of at most {}", u64::MAX - others),
        )),
    }
}

/// The noise of a sampling run of `total` images with `len` values per image.
#[derive(Clone, Debug)]
pub enum Noise {
    /// Each image is drawn independently.
    Philox {
        seed: u64,
        /// The number of values per image.
        len: usize,
    },
    /// The tensor of the whole run is drawn, step by step.
    Torch {
        /// The stream, positioned before the draw of step `next`.
        stream: torch::Stream,
        seed: u64,
        /// The number of images in the whole run, including those of other batches and shards.
        total: usize,
        /// The number of values per image.
        len: usize,
        /// The step that is drawn next.
        next: u32,
    },
}

impl Noise {
    /// Creates the noise of a run of `total` images (over all batches and shards) with `len` values per image.
    ///
    /// With [`Generator::Torch`] the noise depends on `total` and `len`, as in `PyTorch`. With [`Generator::Philox`],
    /// image i has the same noise in a run of any size.
    #[must_use]
    pub fn new(generator: Generator, seed: u64, total: usize, len: usize) -> Self {
        match generator {
            Generator::Philox => Self::Philox { seed, len },
            Generator::Torch => Self::Torch { stream: torch::Stream::new(seed), seed, total, len, next: 0 },
        }
    }

    /// Returns the initial noise of `images` (indices in the whole run, in any order), one after the other: float32
    /// standard normals of shape (images, len).
    ///
    /// # Panics
    /// As [`Noise::step`].
    pub fn initial(&mut self, images: &[usize]) -> Vec<f32> {
        self.step(0, images)
    }

    /// Returns the noise of step `step` for `images`, of shape (images, len). Step 0 is the initial noise.
    ///
    /// Steps may be requested in any order and repeatedly. In ascending order `PyTorch`'s stream is drawn only once per
    /// batch; an earlier step replays it from the seed.
    ///
    /// # Panics
    /// Panics if an index is not below the `total` of a run with [`Generator::Torch`].
    pub fn step(&mut self, step: u32, images: &[usize]) -> Vec<f32> {
        match self {
            Self::Philox { seed, len } => {
                images.iter().flat_map(|image| philox::normals(*seed, *image as u64, step, *len)).collect()
            }
            Self::Torch { stream, seed, total, len, next } => {
                if step < *next {
                    *stream = torch::Stream::new(*seed);
                    *next = 0;
                }
                while *next < step {
                    stream.skip(*total * *len);
                    *next += 1;
                }
                *next += 1;
                stream.images(*total, *len, images)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: usize = 7;
    const LEN: usize = 9;

    #[test]
    fn an_image_is_the_same_in_any_batch_and_order() {
        for generator in [Generator::Philox, Generator::Torch] {
            let mut whole = Noise::new(generator, 11, TOTAL, LEN);
            let all: Vec<usize> = (0..TOTAL).collect();
            let run: Vec<Vec<f32>> = (0..4).map(|step| whole.step(step, &all)).collect();
            for batch in [vec![0, 1, 2], vec![3, 4, 5, 6], vec![1, 3, 5], vec![6, 0], vec![4], vec![2, 2], vec![]] {
                let mut shard = Noise::new(generator, 11, TOTAL, LEN);
                // Out of order and twice, as a resumed run requests them.
                for step in [0u32, 1, 3, 3, 2, 0] {
                    let expected: Vec<f32> = batch
                        .iter()
                        .flat_map(|image| run[step as usize][image * LEN..(image + 1) * LEN].to_vec())
                        .collect();
                    assert_eq!(shard.step(step, &batch), expected, "{generator}, step {step}, images {batch:?}");
                }
            }
        }
    }

    #[test]
    fn steps_images_and_seeds_differ() {
        for generator in [Generator::Philox, Generator::Torch] {
            let mut noise = Noise::new(generator, 1, 2, 64);
            let first = noise.initial(&[0, 1]);
            assert_ne!(first[..64], first[64..], "two images of one step");
            assert_ne!(first, noise.step(1, &[0, 1]), "two steps");
            assert_ne!(first, Noise::new(generator, 2, 2, 64).initial(&[0, 1]), "two seeds");
        }
    }

    #[test]
    fn names_round_trip_and_unknown_ones_are_usage_errors() {
        for generator in [Generator::Philox, Generator::Torch] {
            assert_eq!(generator.to_string().parse::<Generator>().unwrap(), generator);
        }
        assert_eq!("cuda".parse::<Generator>().unwrap_err().kind(), crate::ErrorKind::Argument);
    }
}
