//! Sizes as typed on the command line.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// The largest extent. Sizes of several extents stay within 64 bits.
const LONGEST: usize = 1 << 16;

/// The size of a matrix product, `MxKxN` or one number for all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductSize {
    /// The number of rows of the first operand and of the result.
    pub rows: usize,
    /// The number of columns of the first operand, and of rows of the second.
    pub k: usize,
    /// The number of columns of the second operand and of the result.
    pub columns: usize,
}

/// The size of a map, `CxHxW` or `NxCxHxW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSize {
    /// The number of images.
    pub images: usize,
    /// The number of channels.
    pub channels: usize,
    /// The number of rows of pixels.
    pub height: usize,
    /// The number of columns of pixels.
    pub width: usize,
}

/// The size of self-attention, `TOKENSxCHANNELS` with one head or `TOKENSxCHANNELSxHEAD_DIM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionSize {
    /// The number of queries, keys and values.
    pub tokens: usize,
    /// The number of channels of all heads together.
    pub channels: usize,
    /// The number of channels per head: a divisor of the channels, a multiple of four.
    pub head_dim: usize,
}

/// The size of a copy in MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CopySize {
    /// MiB read, and as many written.
    pub mebibytes: f64,
}

/// The size of data, `NxP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataSize {
    /// The number of samples.
    pub samples: usize,
    /// The number of values per sample.
    pub dimension: usize,
}

/// Parses extents separated by `x`.
fn extents(text: &str) -> Result<Vec<usize>, String> {
    text.split(['x', 'X'])
        .map(|part| match part.trim().parse() {
            Ok(extent) if (1..=LONGEST).contains(&extent) => Ok(extent),
            _ => Err(format!("`{text}`: `{part}` is not a number from 1 to {LONGEST}")),
        })
        .collect()
}

impl FromStr for ProductSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match extents(text)?[..] {
            [side] => Ok(Self { rows: side, k: side, columns: side }),
            [rows, k, columns] => Ok(Self { rows, k, columns }),
            _ => Err(format!("`{text}`: a product is `MxKxN`, or one number for a cube")),
        }
    }
}

impl FromStr for MapSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match extents(text)?[..] {
            [channels, height, width] => Ok(Self { images: 1, channels, height, width }),
            [images, channels, height, width] => Ok(Self { images, channels, height, width }),
            _ => Err(format!("`{text}`: a map is `CxHxW`, or `NxCxHxW` for several images")),
        }
    }
}

impl FromStr for AttentionSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tokens, channels, head_dim) = match extents(text)?[..] {
            [tokens, channels] => (tokens, channels, channels),
            [tokens, channels, head_dim] => (tokens, channels, head_dim),
            _ => return Err(format!("`{text}`: attention is `TOKENSxCHANNELS` or `TOKENSxCHANNELSxHEAD_DIM`")),
        };
        if !channels.is_multiple_of(head_dim) || !head_dim.is_multiple_of(crate::tensor::TEXEL) {
            return Err(format!("`{text}`: a head is a divisor of the channels and a multiple of four"));
        }
        Ok(Self { tokens, channels, head_dim })
    }
}

impl FromStr for DataSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match extents(text)?[..] {
            [samples, dimension] => Ok(Self { samples, dimension }),
            _ => Err(format!("`{text}`: data are `NxP`: samples, and values per sample")),
        }
    }
}

impl FromStr for CopySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().parse() {
            Ok(mebibytes) if (0.001..=LONGEST as f64).contains(&mebibytes) => Ok(Self { mebibytes }),
            _ => Err(format!("`{text}` is not a number of MiB from 0.001 to {LONGEST}")),
        }
    }
}

impl Display for ProductSize {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.rows, self.k, self.columns)
    }
}

impl Display for MapSize {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}x{}", self.images, self.channels, self.height, self.width)
    }
}

impl Display for AttentionSize {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.tokens, self.channels, self.head_dim)
    }
}

impl Display for DataSize {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.samples, self.dimension)
    }
}

impl Display for CopySize {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.mebibytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_named() {
        assert_eq!("768".parse::<ProductSize>().unwrap().to_string(), "768x768x768");
        assert_eq!("2x3X4".parse(), Ok(ProductSize { rows: 2, k: 3, columns: 4 }));
        assert_eq!("128x32x16".parse(), Ok(MapSize { images: 1, channels: 128, height: 32, width: 16 }));
        assert_eq!("8x128x32x32".parse::<MapSize>().unwrap().to_string(), "8x128x32x32");
        assert_eq!("256x512".parse(), Ok(AttentionSize { tokens: 256, channels: 512, head_dim: 512 }));
        assert_eq!("256x512x64".parse::<AttentionSize>().unwrap().to_string(), "256x512x64");
        assert_eq!("60000x784".parse::<DataSize>().unwrap().to_string(), "60000x784");
        assert_eq!("0.5".parse::<CopySize>().unwrap().to_string(), "0.5 MiB");
    }

    #[test]
    fn what_is_no_size_is_refused_by_name() {
        for text in ["", "0", "2x3", "2x3x4x5", "-1", "1.5", "65537", "x", "99999999999999999999"] {
            assert!(text.parse::<ProductSize>().unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
        for text in ["32", "32x32", "1x2x3x4x5", "axbxc"] {
            assert!(text.parse::<MapSize>().unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
        for text in ["256", "256x10", "256x64x48", "256x8x2"] {
            assert!(text.parse::<AttentionSize>().unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
        for text in ["", "784", "0x4", "1x2x3", "4x"] {
            assert!(text.parse::<DataSize>().unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
        for text in ["", "0", "-1", "nan", "inf", "1e9", "4x4"] {
            assert!(text.parse::<CopySize>().unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
    }
}
