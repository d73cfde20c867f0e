//! Operators and measurements by name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Operator;
use crate::data::mask::Mask;
use crate::data::picture::Picture;
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::tensor::Tensor;

/// The forms of the text of an operator.
pub const FORMS: &str = "`mask:FILE`, `blur:SIGMA`, `downsample:FACTOR` or `matrix:FILE.npy`";

/// An operator before the images are known that it is for.
#[derive(Clone, Debug, PartialEq)]
pub enum OperatorSpec {
    /// The pixels that are black in an image file, where white is missing.
    Mask(PathBuf),
    /// A Gaussian blur of this standard deviation in pixels.
    Blur(f64),
    /// Means of squares of this many pixels along a side.
    Downsample(usize),
    /// A matrix in a file, (measured values, values of an image).
    Matrix(PathBuf),
}

impl FromStr for OperatorSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || Error::argument(format!("`{text}` is not an operator"), format!("give {FORMS}"));
        let (kind, value) = text.split_once(':').ok_or_else(refused)?;
        match kind {
            "mask" if !value.is_empty() => Ok(Self::Mask(value.into())),
            "matrix" if !value.is_empty() => Ok(Self::Matrix(value.into())),
            "blur" => value.parse().map(Self::Blur).map_err(|_| refused()),
            "downsample" => value.parse().map(Self::Downsample).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for OperatorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mask(file) => write!(f, "mask:{}", file.display()),
            Self::Blur(sigma) => write!(f, "blur:{sigma}"),
            Self::Downsample(factor) => write!(f, "downsample:{factor}"),
            Self::Matrix(file) => write!(f, "matrix:{}", file.display()),
        }
    }
}

impl OperatorSpec {
    /// The operator on images (channels, height, width).
    ///
    /// # Errors
    /// Those of the file and of the operator; [`Error::BadFile`] for a mask or a matrix of another size.
    pub fn operator(&self, image: [usize; 3]) -> Result<Operator> {
        let [_, height, width] = image;
        match self {
            Self::Blur(sigma) => Operator::blur(image, *sigma),
            Self::Downsample(factor) => Operator::downsample(image, *factor),
            Self::Mask(file) => {
                let mask = Mask::read(file)?;
                let (rows, columns) = mask.size();
                if (rows, columns) != (height, width) {
                    let what = format!("a mask of {columns} x {rows} pixels for images of {width} x {height}");
                    return Err(Error::bad_file_hint(file, what, "give the mask the size of the images"));
                }
                Operator::mask(image, &mask.at((height, width))?)
            }
            Self::Matrix(file) => {
                let shape = npy::read(file)?.shape;
                let len: usize = image.iter().product();
                match shape[..] {
                    [rows, columns] if columns == len => Operator::matrix(image, rows, &npy::read_f64(file)?),
                    _ => Err(Error::bad_file_hint(
                        file,
                        format!("a matrix of shape {shape:?} for images of {len} values"),
                        format!("give a matrix of shape [measured values, {len}]"),
                    )),
                }
            }
        }
    }
}

impl Operator {
    /// Reads measurements from an array or a picture: (n, ..) of the shape that the operator gives, or one of them.
    /// Arrays are in the scale of the images; pictures are brought to it, -1 to 1 or 0 to 1 if `is_unit`.
    ///
    /// # Errors
    /// Those of the file; [`Error::BadFile`] for another shape.
    pub fn read(&self, file: &Path, is_unit: bool) -> Result<Tensor> {
        let expected = self.measured_shape();
        let refused =
            |what: String| Err(Error::bad_file_hint(file, what, format!("a measurement has shape {expected:?}")));
        if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
            let mut y = npy::read(file)?;
            if y.shape == expected {
                y.shape.insert(0, 1);
            }
            return if y.shape.len() == expected.len() + 1 && y.shape[0] > 0 && y.shape[1..] == expected[..] {
                Ok(y)
            } else {
                refused(format!("the array has shape {:?}", y.shape))
            };
        }
        let [channels, height, width] = expected[..] else {
            return refused("a picture, where the measurement is a list of numbers".to_owned());
        };
        let picture = Picture::read(file)?;
        if picture.size() != (height, width) {
            let (rows, columns) = picture.size();
            return refused(format!("a picture of {columns} x {rows} pixels"));
        }
        let mut y = picture.at(channels, (height, width))?;
        if is_unit {
            y.data.iter_mut().for_each(|value| *value = 0.5 * (*value + 1.0));
        }
        Ok(y)
    }
}
