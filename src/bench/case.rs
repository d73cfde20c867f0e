//! The cases of a benchmark: the default ones, and those of given sizes.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use super::lanczos::Eigenpairs;
use super::maps::{EncoderCopy, attention, kernel_copy, norm};
use super::problem::Problem;
use super::products::{conv, with_data, with_weights};
use super::sizes::{AttentionSize, CopySize, DataSize, MapSize, ProductSize};
use super::unet::Net;
use crate::error::{Error, Result};
use crate::gpu::row_texels;
use crate::kernels::Engine;
use crate::spectral::Route;
use crate::tensor::TEXEL;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Matrix products.
    Matmul,
    /// 3 x 3 convolutions.
    Conv,
    /// Group normalisations.
    Norm,
    /// Self-attention.
    Attention,
    /// Copies.
    Copy,
    /// Calls of whole networks.
    Unet,
    /// Principal components of data.
    Lanczos,
}

impl Suite {
    /// All suites, in the order of their tables.
    pub const ALL: [Self; 7] =
        [Self::Matmul, Self::Conv, Self::Norm, Self::Attention, Self::Copy, Self::Unet, Self::Lanczos];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Matmul => "matmul",
            Self::Conv => "conv",
            Self::Norm => "norm",
            Self::Attention => "attention",
            Self::Copy => "copy",
            Self::Unet => "unet",
            Self::Lanczos => "lanczos",
        }
    }
}

/// The second operand of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// Weights, packed for the kernel beforehand.
    Weights,
    /// Data, in the usual layout.
    Data,
}

/// The mechanism of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copier {
    /// A kernel.
    Kernel,
    /// The command encoder.
    Encoder,
}

/// A case: one piece of work to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Case {
    /// Kernels on data.
    Kernels(Operation),
    /// A call of a network.
    Call(Net),
    /// Principal components of data.
    Spectrum(Eigenpairs),
}

/// An operation of kernels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// A matrix product.
    Product(ProductSize, Second),
    /// A 3 x 3 convolution.
    Conv(MapSize),
    /// A group normalisation with `SiLU`.
    Norm(MapSize),
    /// A self-attention.
    Attention(AttentionSize),
    /// A copy.
    Copy(CopySize, Copier),
}

impl Case {
    /// Returns the default cases of `suite`.
    #[must_use]
    pub fn usual(suite: Suite) -> Vec<Self> {
        let product = |rows, k, columns| ProductSize { rows, k, columns };
        let map = |images, channels, side| MapSize { images, channels, height: side, width: side };
        let maps = [map(1, 128, 32), map(1, 256, 16), map(1, 512, 8), map(1, 64, 64)];
        let attention = |tokens, channels, head_dim| AttentionSize { tokens, channels, head_dim };
        match suite {
            Suite::Matmul => {
                let sizes = [product(768, 768, 768), product(1024, 1024, 1024), product(256, 256, 768)];
                sizes.into_iter().flat_map(both_seconds).collect()
            }
            Suite::Conv => {
                let sizes = maps.into_iter().chain([map(8, 256, 16), map(8, 512, 8)]);
                sizes.map(|size| Self::Kernels(Operation::Conv(size))).collect()
            }
            Suite::Norm => {
                let sizes = maps.into_iter().chain([map(8, 128, 32)]);
                sizes.map(|size| Self::Kernels(Operation::Norm(size))).collect()
            }
            Suite::Attention => {
                let sizes = [attention(256, 256, 256), attention(64, 512, 512), attention(1024, 256, 32)];
                sizes.into_iter().map(|size| Self::Kernels(Operation::Attention(size))).collect()
            }
            Suite::Copy => {
                let sizes = [1.0, 16.0, 64.0].map(|mebibytes| CopySize { mebibytes });
                sizes.into_iter().flat_map(both_copiers).collect()
            }
            Suite::Unet => Net::USUAL.into_iter().map(Self::Call).collect(),
            Suite::Lanczos => {
                let larger = [(60_000, 784), (20_000, 3072), (8000, 12_288)];
                let sizes = larger.map(|(samples, dimension)| DataSize { samples, dimension });
                let cheapest = sizes.map(|size| Self::Spectrum(Eigenpairs { size, route: None }));
                both_ways(DataSize { samples: 10_000, dimension: 784 }).into_iter().chain(cheapest).collect()
            }
        }
    }

    /// Returns the cases of `suite` in a run of all suites: the default ones, without data that take more than a few
    /// seconds.
    #[must_use]
    pub fn among_all(suite: Suite) -> Vec<Self> {
        /// The largest number of values in the data.
        const MOST_VALUES: usize = 10_000_000;
        let is_small = |case: &Self| match case {
            Self::Spectrum(Eigenpairs { size, .. }) => size.samples * size.dimension <= MOST_VALUES,
            _ => true,
        };
        Self::usual(suite).into_iter().filter(is_small).collect()
    }

    /// Returns the cases of `suite` in a quick run: one or two small ones.
    #[must_use]
    pub fn quick(suite: Suite) -> Vec<Self> {
        let map = MapSize { images: 1, channels: 128, height: 32, width: 32 };
        match suite {
            Suite::Matmul => both_seconds(ProductSize { rows: 512, k: 512, columns: 512 }),
            Suite::Conv => vec![Self::Kernels(Operation::Conv(map))],
            Suite::Norm => vec![Self::Kernels(Operation::Norm(map))],
            Suite::Attention => {
                let size = AttentionSize { tokens: 256, channels: 256, head_dim: 256 };
                vec![Self::Kernels(Operation::Attention(size))]
            }
            Suite::Copy => both_copiers(CopySize { mebibytes: 1.0 }),
            Suite::Unet => Net::QUICK.into_iter().map(Self::Call).collect(),
            Suite::Lanczos => {
                vec![Self::Spectrum(Eigenpairs { size: DataSize { samples: 2000, dimension: 784 }, route: None })]
            }
        }
    }

    /// Parses the cases of `suite` at `sizes`, separated by commas.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the invalid size.
    pub fn of_sizes(suite: Suite, sizes: &str) -> Result<Vec<Self>> {
        fn each<S: FromStr<Err = String>>(sizes: &str, cases: impl Fn(S) -> Vec<Case>) -> Result<Vec<Case>> {
            let refused = |what| Error::argument(format!("`sizes` {what}"), "separate sizes by commas");
            let parsed: Vec<S> =
                sizes.split(',').map(|size| size.trim().parse().map_err(refused)).collect::<Result<_>>()?;
            Ok(parsed.into_iter().flat_map(cases).collect())
        }
        match suite {
            Suite::Matmul => each(sizes, both_seconds),
            Suite::Conv => each(sizes, |size| vec![Self::Kernels(Operation::Conv(size))]),
            Suite::Norm => each(sizes, |size| vec![Self::Kernels(Operation::Norm(size))]),
            Suite::Attention => each(sizes, |size| vec![Self::Kernels(Operation::Attention(size))]),
            Suite::Copy => each(sizes, both_copiers),
            Suite::Lanczos => each(sizes, both_ways),
            Suite::Unet => each(sizes, |net| vec![Self::Call(net)]),
        }
    }

    /// The suite of the case.
    #[must_use]
    pub fn suite(&self) -> Suite {
        match self {
            Self::Kernels(Operation::Product(..)) => Suite::Matmul,
            Self::Kernels(Operation::Conv(_)) => Suite::Conv,
            Self::Kernels(Operation::Norm(_)) => Suite::Norm,
            Self::Kernels(Operation::Attention(_)) => Suite::Attention,
            Self::Kernels(Operation::Copy(..)) => Suite::Copy,
            Self::Call(_) => Suite::Unet,
            Self::Spectrum(_) => Suite::Lanczos,
        }
    }
}

impl Operation {
    /// Returns the number of texels in the largest array on the device, so that an array that cannot fit is not created
    /// on the host either.
    fn largest_texels(&self) -> usize {
        let texels = |channels: usize| channels.div_ceil(TEXEL);
        match *self {
            Self::Product(ProductSize { rows, k, columns }, _) => {
                let matrices = [rows * texels(k), k * texels(columns), rows * texels(columns)];
                matrices.into_iter().fold(0, usize::max)
            }
            Self::Conv(MapSize { images, channels, height, width }) => {
                (images * height * width * texels(channels)).max(9 * channels * texels(channels))
            }
            Self::Norm(MapSize { images, channels, height, width }) => images * height * width * texels(channels),
            Self::Attention(AttentionSize { tokens, channels, head_dim }) => {
                (tokens * 3 * texels(channels)).max(channels / head_dim * tokens * texels(tokens))
            }
            Self::Copy(size, _) => copy_texels(size),
        }
    }

    /// Creates the work on the host, for an engine.
    ///
    /// # Errors
    /// [`Error::OverLimit`] if an array is larger than the device allows.
    pub fn problem(&self, engine: &Engine) -> Result<Box<dyn Problem>> {
        let (kind, family) = (engine.storage_kind(), engine.family);
        let (limit, limit_name) = engine.gpu.max_texels(kind);
        if self.largest_texels() > limit {
            let bytes = |texels: usize| (texels * TEXEL * size_of::<f32>()) as u64;
            return Err(Error::OverLimit {
                tensor: self.to_string(),
                bytes: bytes(self.largest_texels()),
                limit_name,
                limit: bytes(limit),
                hint: "choose smaller `sizes`".into(),
            });
        }
        Ok(match *self {
            Self::Product(size, Second::Weights) => Box::new(with_weights(size)),
            Self::Product(size, Second::Data) => Box::new(with_data(size, family)),
            Self::Conv(size) => Box::new(conv(size)),
            Self::Norm(size) => Box::new(norm(size)),
            Self::Attention(size) => Box::new(attention(size)),
            // The encoder copies whole rows of a texture: make the kernel do the same.
            Self::Copy(size, Copier::Kernel) => Box::new(kernel_copy(row_texels(kind, copy_texels(size)), family)),
            Self::Copy(size, Copier::Encoder) => Box::new(EncoderCopy { texels: row_texels(kind, copy_texels(size)) }),
        })
    }
}

fn both_seconds(size: ProductSize) -> Vec<Case> {
    [Second::Weights, Second::Data].map(|second| Case::Kernels(Operation::Product(size, second))).to_vec()
}

fn both_copiers(size: CopySize) -> Vec<Case> {
    [Copier::Kernel, Copier::Encoder].map(|copier| Case::Kernels(Operation::Copy(size, copier))).to_vec()
}

fn both_ways(size: DataSize) -> Vec<Case> {
    [None, Some(Route::MatrixFree)].map(|route| Case::Spectrum(Eigenpairs { size, route })).to_vec()
}

fn copy_texels(size: CopySize) -> usize {
    ((size.mebibytes * f64::from(1 << 20)) as usize / (TEXEL * size_of::<f32>())).max(1)
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernels(operation) => operation.fmt(f),
            Self::Call(net) => net.fmt(f),
            Self::Spectrum(eigenpairs) => eigenpairs.fmt(f),
        }
    }
}

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(size, Second::Weights) => write!(f, "{size} weights"),
            Self::Product(size, Second::Data) => write!(f, "{size} data"),
            Self::Conv(size) => write!(f, "{size} 3x3"),
            Self::Norm(size) => size.fmt(f),
            Self::Attention(size) => size.fmt(f),
            Self::Copy(size, Copier::Kernel) => write!(f, "{size} by a kernel"),
            Self::Copy(size, Copier::Encoder) => write!(f, "{size} by the encoder"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_become_cases() {
        let names =
            |suite, sizes| Case::of_sizes(suite, sizes).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(Suite::Matmul, "8"), ["8x8x8 weights", "8x8x8 data"]);
        assert_eq!(names(Suite::Conv, "8x4x4, 2x8x4x4"), ["1x8x4x4 3x3", "2x8x4x4 3x3"]);
        assert_eq!(names(Suite::Lanczos, "90x8"), ["90x8", "90x8 matrix-free"]);
        assert_eq!(names(Suite::Copy, "1"), ["1 MiB by a kernel", "1 MiB by the encoder"]);
        let refused = Case::of_sizes(Suite::Conv, "8x4x4,8").unwrap_err();
        assert_eq!((refused.kind(), refused.to_string().contains("`8`")), (crate::ErrorKind::Argument, true));
        assert_eq!(names(Suite::Unet, "digits, cifar10-32:64"), ["digits, batch 1", "cifar10-32, batch 64"]);
        for refused in ["1", "cifar10-32:", "cifar10-32:0", "celeba-64:many", "cifar10"] {
            let error = Case::of_sizes(Suite::Unet, refused).unwrap_err();
            assert_eq!((error.kind(), error.to_string().contains(refused)), (crate::ErrorKind::Argument, true));
        }
    }

    #[test]
    fn usual_cases_have_names_of_their_own() {
        for suite in Suite::ALL {
            let cases = Case::usual(suite);
            assert!(cases.len() > 2);
            for (at, case) in cases.iter().enumerate() {
                assert_eq!(case.suite(), suite);
                assert!(cases[..at].iter().all(|other| other.to_string() != case.to_string()), "{case}");
            }
        }
    }

    #[test]
    fn a_quick_run_has_a_few_cases_of_every_suite() {
        for suite in Suite::ALL {
            let cases = Case::quick(suite);
            assert!((1..=2).contains(&cases.len()));
            assert!(cases.iter().all(|case| case.suite() == suite));
        }
    }

    #[test]
    fn the_largest_array_is_found() {
        let texels = |suite, sizes| match Case::of_sizes(suite, sizes).unwrap()[0] {
            Case::Kernels(operation) => operation.largest_texels(),
            _ => unreachable!("only kernels have arrays"),
        };
        assert_eq!(texels(Suite::Matmul, "2x100x8"), 200);
        assert_eq!(texels(Suite::Conv, "512x8x8"), 9 * 512 * 128);
        assert_eq!(texels(Suite::Attention, "1024x256x32"), 8 * 1024 * 256);
        assert_eq!(texels(Suite::Copy, "1"), 65_536);
    }
}
