//! Purposes of random numbers: one family of streams for each, so that no two uses ever share a stream.
//!
//! The counter of [`super::philox`] holds image, step and block. The noise of images has the images below 2^48; every
//! other purpose has the images of one value of the upper 16 bits. Within one seed the block function is a bijection of
//! the counter, so streams of different purposes have no block in common, whatever their indices, steps and lengths.

use super::philox::{Stream, normal_rows, normals};

/// The number of bits of an index.
const INDEX_BITS: u32 = 48;

/// Declares [`Purpose`], one purpose per line with its code.
macro_rules! purposes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)*) => {
        /// A use of random numbers, with streams that no other use has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Purpose {
            $($(#[$doc])* $variant,)*
        }

        impl Purpose {
            /// All of them.
            pub const ALL: [Self; [$($code),*].len()] = [$(Self::$variant),*];

            /// The upper 16 bits of its images.
            const fn code(self) -> u64 {
                match self { $(Self::$variant => $code,)* }
            }
        }
    };
}

purposes! {
    /// The noise of sampled images: start states, and the noise that steps add. Index: image; step: draw.
    Images = 0;
    /// Directions of sliced distances. Index: direction.
    Directions = 1;
    /// First vectors and probes of eigensolvers. Index: vector.
    SolverVectors = 2;
    /// Noise on data in closed forms. Index: sample; step: level.
    DataNoise = 3;
    /// The directions of generated data. Index: direction.
    DataDirections = 4;
    /// The coordinates of generated data along their directions. Index: sample.
    DataFactors = 5;
    /// The white noise of generated data. Index: sample.
    DataWhite = 6;
    /// Draws from the posterior of an autoencoder. Index: image.
    Posterior = 7;
    /// The noise of the levels of a linear chain. Index: sample; step: level.
    ChainLevels = 8;
    /// White noise that a linear chain acts on. Index: draw.
    ChainInputs = 9;
    /// Draws from a Gaussian that is denoised again. Index: draw.
    GaussianDraws = 10;
    /// The noise on these draws. Index: draw.
    GaussianNoise = 11;
    /// Noise on images whose noise a denoiser estimates. Index: image; step: level.
    AddedNoise = 12;
    /// Resamples of bootstraps. Index: resample.
    Resamples = 13;
    /// Random orders of permutation tests. Index: order.
    Orders = 14;
    /// Centres of synthetic manifolds. Index: centre.
    ManifoldCentres = 15;
    /// Samples of synthetic manifolds. Index: sample; step: data set.
    ManifoldSamples = 16;
    /// The centre that a sample of a synthetic manifold belongs to. Index: sample; step: data set.
    ManifoldChoices = 17;
    /// Probes of the rounding of a Jacobian. Index: vector; step: place.
    JacobianProbes = 18;
    /// Directions in which a Jacobian predicts a denoiser. Index: direction; step: place.
    JacobianSteps = 19;
    /// Samples and noise of a trained linear denoiser. Index: sample; step: iteration.
    TrainingNoise = 20;
    /// The choice of samples in training. Index: iteration.
    TrainingSamples = 21;
    /// Random weights of networks, as controls. Index: tensor.
    ControlWeights = 22;
    /// Data and operands of benchmarks.
    Benchmarks = 23;
    /// Noise of simulated measurements. Index: image.
    Measurements = 24;
    /// First centres of clusters. Index: centre.
    Clusters = 25;
    /// Probes of the sums of a Jacobian. Index: vector; step: level.
    BasisProbes = 26;
    /// Vectors that span planes of loops. Index: vector; step: level.
    LoopPlanes = 27;
}

impl Purpose {
    /// The image and the step of the generator for this purpose.
    ///
    /// Directions of sliced distances are at the last step of the images, which no run has: they were drawn there
    /// before purposes had codes, and distances of earlier versions stay comparable.
    fn address(self, index: u64, step: u32) -> (u64, u32) {
        let index = index & ((1 << INDEX_BITS) - 1);
        match self {
            Self::Directions => (index, u32::MAX),
            _ => (self.code() << INDEX_BITS | index, step),
        }
    }

    /// Returns `len` standard normals of (`seed`, `index`, `step`), in float32. A shorter draw is a prefix of a longer
    /// one. Indices repeat after 2^48.
    #[must_use]
    pub fn normals(self, seed: u64, index: u64, step: u32, len: usize) -> Vec<f32> {
        let (image, step) = self.address(index, step);
        normals(seed, image, step, len)
    }

    /// Returns standard normals as a matrix (rows, len), row-major: row i is [`Purpose::normals`] of index i at `step`.
    /// Uses all cores.
    #[must_use]
    pub fn normal_rows(self, seed: u64, step: u32, rows: usize, len: usize) -> Vec<f32> {
        let (first, step) = self.address(0, step);
        normal_rows(seed, step, first, rows, len)
    }

    /// Returns the words of (`seed`, `index`, `step`), for draws other than normals.
    #[must_use]
    pub fn stream(self, seed: u64, index: u64, step: u32) -> Stream {
        let (image, step) = self.address(index, step);
        Stream::new(seed, image, step)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::RngExt;

    use super::*;

    #[test]
    fn no_two_purposes_share_a_stream() {
        const BLOCKS: usize = 16;
        let mut seen: HashMap<[u32; 4], (Purpose, u64, u32)> = HashMap::new();
        for purpose in Purpose::ALL {
            for index in [0, 1, 2, 63, 1 << 20, (1 << INDEX_BITS) - 1] {
                // Directions have one step.
                let steps: &[u32] = if purpose == Purpose::Directions { &[0] } else { &[0, 1, 2, 65_537, 1 << 30] };
                for step in steps {
                    let mut stream = purpose.stream(7, index, *step);
                    for _ in 0..BLOCKS {
                        let block: [u32; 4] = std::array::from_fn(|_| stream.random());
                        let before = seen.insert(block, (purpose, index, *step));
                        assert_eq!(before, None, "{purpose:?}, index {index}, step {step} share a block");
                    }
                }
            }
        }
    }

    #[test]
    fn codes_differ() {
        let mut codes: Vec<u64> = Purpose::ALL.iter().map(|purpose| purpose.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Purpose::ALL.len());
        assert!(codes.iter().all(|code| *code < 1 << 16));
    }

    #[test]
    fn normals_of_one_index_are_not_correlated_across_purposes() {
        const LEN: usize = 784;
        let drawn: Vec<Vec<f32>> = Purpose::ALL.iter().map(|purpose| purpose.normals(3, 0, 0, LEN)).collect();
        for (at, a) in drawn.iter().enumerate() {
            for (other, b) in drawn.iter().enumerate().skip(at + 1) {
                let cosine: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / LEN as f64;
                // Five standard errors.
                let (one, two) = (Purpose::ALL[at], Purpose::ALL[other]);
                assert!(cosine.abs() < 5.0 / (LEN as f64).sqrt(), "{one:?} and {two:?}: {cosine}");
            }
        }
    }

    #[test]
    fn the_noise_of_images_is_that_of_image_and_step() {
        for (image, step) in [(0, 0), (5, 0), (5, 3), (1 << 33, 1)] {
            assert_eq!(Purpose::Images.normals(11, image, step, 9), normals(11, image, step, 9));
        }
        let rows = Purpose::ChainLevels.normal_rows(2, 4, 3, 5);
        assert_eq!(rows[5..10], Purpose::ChainLevels.normals(2, 1, 4, 5));
    }
}
