//! Sizes as `downhill bench` takes and names them.

use std::fmt::{self, Display, Formatter};

/// The work to be timed, float32 throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `rows x k` times `k x columns`.
    Matmul {
        /// Rows of the first operand and of the result.
        rows: usize,
        /// Columns of the first operand, rows of the second.
        k: usize,
        /// Columns of the second operand and of the result.
        columns: usize,
    },
    /// A 3 x 3 convolution of stride 1 and padding 1, without bias, with as many channels out as in.
    Conv {
        /// Images.
        images: usize,
        /// Channels.
        channels: usize,
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
    },
}

/// Which sort of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// Matrix products
    Matmul,
    /// 3x3 convolutions
    Conv,
    /// Both
    All,
}

const MATMUL: &str = "768,1024";
const CONV: &str = "128x32x32,256x16x16,512x8x8,64x64x64,8x256x16x16,8x512x8x8";

impl Suite {
    /// The cases of `sizes`, or the usual ones.
    ///
    /// # Errors
    /// A message about a size that is none of this suite.
    pub fn cases(self, sizes: Option<&str>) -> Result<Vec<Case>, String> {
        let of = |sizes: &str, parse: fn(&str) -> Result<Case, String>| sizes.split(',').map(parse).collect();
        match (self, sizes) {
            (Self::Matmul, sizes) => of(sizes.unwrap_or(MATMUL), Case::matmul),
            (Self::Conv, sizes) => of(sizes.unwrap_or(CONV), Case::conv),
            (Self::All, None) => Ok([Self::Matmul.cases(None)?, Self::Conv.cases(None)?].concat()),
            (Self::All, Some(_)) => Err("name `matmul` or `conv` before `--sizes`".to_owned()),
        }
    }
}

impl Case {
    fn matmul(text: &str) -> Result<Self, String> {
        match extents(text)?[..] {
            [side] => Ok(Self::Matmul { rows: side, k: side, columns: side }),
            [rows, k, columns] => Ok(Self::Matmul { rows, k, columns }),
            _ => Err(format!("`{text}`: a product is `MxKxN`, or one number for a cube")),
        }
    }

    fn conv(text: &str) -> Result<Self, String> {
        match extents(text)?[..] {
            [channels, height, width] => Ok(Self::Conv { images: 1, channels, height, width }),
            [images, channels, height, width] => Ok(Self::Conv { images, channels, height, width }),
            _ => Err(format!("`{text}`: a map is `CxHxW`, or `NxCxHxW` for several images")),
        }
    }

    /// The suite's name in the report.
    #[must_use]
    pub fn suite(self) -> &'static str {
        match self {
            Self::Matmul { .. } => "matmul",
            Self::Conv { .. } => "conv",
        }
    }

    /// Multiplications and additions of a call.
    #[must_use]
    pub fn flops(self) -> usize {
        match self {
            Self::Matmul { rows, k, columns } => 2 * rows * k * columns,
            Self::Conv { images, channels, height, width } => 18 * images * channels * channels * height * width,
        }
    }

    /// Products that are summed up in one number of the answer.
    #[must_use]
    pub fn terms(self) -> usize {
        match self {
            Self::Matmul { k, .. } => k,
            Self::Conv { channels, .. } => 9 * channels,
        }
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matmul { rows, k, columns } => write!(f, "{rows}x{k}x{columns}"),
            Self::Conv { images, channels, height, width } => write!(f, "{images}x{channels}x{height}x{width} 3x3"),
        }
    }
}

fn extents(text: &str) -> Result<Vec<usize>, String> {
    let extent = |part: &str| match part.trim().parse() {
        Ok(extent) if (1..=1 << 16).contains(&extent) => Ok(extent),
        _ => Err(format!("`{text}`: `{part}` is not a number from 1 to 65536")),
    };
    text.split('x').map(extent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_cases_are_named_as_downhill_names_them() {
        let names: Vec<String> = Suite::All.cases(None).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), 8);
        assert_eq!((names[0].as_str(), names[2].as_str()), ("768x768x768", "1x128x32x32 3x3"));
    }

    #[test]
    fn a_size_of_another_suite_is_refused() {
        assert!(Suite::Matmul.cases(Some("8x8")).is_err());
        assert!(Suite::Conv.cases(Some("8")).is_err());
        assert!(Suite::Conv.cases(Some("8x0x8")).is_err());
        assert!(Suite::All.cases(Some("8")).is_err());
    }
}
