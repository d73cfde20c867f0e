//! Data sets: what `DATA` names on the command line, and generated ones whose covariance is known.
//!
//! A [`Dataset`] is a matrix with one sample a row. Pixels are bytes in files; [`Pixels`] says which numbers they become.
//! Every value is checked to be finite when the data are read, so that nobody above has to.

mod digits;
mod folder;
mod noised;
pub mod picture;
mod spiked;

use std::path::{Path, PathBuf};

pub use digits::{digit_labels, digits};
pub use noised::{Coupling, Noised};
pub use spiked::Spiked;

use crate::error::{Error, Result};
pub use crate::formats::Pixels;
use crate::formats::{idx, npy, npz};
use crate::tensor::Tensor;

/// Where data come from: `DATA` of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The 10,000 digits within the program.
    Digits,
    /// A folder of images.
    Folder(PathBuf),
    /// An array file of Python.
    Npy(PathBuf),
    /// Images in `arr_0` of an `.npz`, as `downhill sample -o x.npz` writes them.
    Npz(PathBuf),
    /// An IDX file, compressed by gzip or not.
    Idx(PathBuf),
}

impl Source {
    /// What `text` names: `digits` (unless there is something of that name), an `.npy`, a folder of images, or an IDX file.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for a file that by its first bytes is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_path_buf()));
        }
        if !path.exists() {
            return if text == "digits" {
                Ok(Self::Digits)
            } else {
                Err(Error::FileNotFound { path: path.to_path_buf() })
            };
        }
        let first = first_bytes(path)?;
        if first.starts_with(b"\x93NUMPY") || path.extension().is_some_and(|suffix| suffix == "npy") {
            return Ok(Self::Npy(path.to_path_buf()));
        }
        if first.starts_with(b"PK") {
            return Ok(Self::Npz(path.to_path_buf()));
        }
        if idx::looks_like(&first) {
            return Ok(Self::Idx(path.to_path_buf()));
        }
        Err(Error::bad_file_hint(
            path,
            "neither an `.npy`, an `.npz` nor an IDX file",
            "data are `digits`, an `.npy` of shape (N,...), an `.npz` of images, an IDX file (gzip or not) or a folder of images",
        ))
    }

    /// Reads the data.
    ///
    /// # Errors
    /// [`Error::FileNotFound`], [`Error::Io`], [`Error::BadFile`] for what is malformed or empty, [`Error::NonFinite`]
    /// for data that hold NaN or infinity.
    pub fn load(&self, pixels: Pixels) -> Result<Dataset> {
        match self {
            Self::Digits => digits(pixels),
            Self::Folder(path) => folder::read(path, pixels),
            Self::Npy(path) => Dataset::new(&path.display().to_string(), npy::read(path)?),
            Self::Npz(path) => Dataset::new(&path.display().to_string(), images_of(path, pixels)?),
            Self::Idx(path) => {
                let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
                Dataset::new(&path.display().to_string(), idx::parse(path, &bytes, pixels)?)
            }
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digits => f.write_str("digits"),
            Self::Folder(path) | Self::Npy(path) | Self::Npz(path) | Self::Idx(path) => path.display().fmt(f),
        }
    }
}

/// The images (N, C, H, W) in the array `arr_0` (N, H, W, C) of bytes.
fn images_of(path: &Path, pixels: Pixels) -> Result<Tensor> {
    let array = npz::read(path, &["arr_0"])?.remove(0);
    let [count, height, width, channels] = array.shape[..] else {
        let what = format!("`arr_0` has shape {:?}", array.shape);
        return Err(Error::bad_file_hint(path, what, "images are an array (N, height, width, channels) of bytes"));
    };
    if !array.is_bytes {
        return Err(Error::bad_file_hint(path, "`arr_0` does not hold bytes", "images are an array of type uint8"));
    }
    let mut values = Vec::with_capacity(array.values.len());
    for image in array.values.chunks_exact((height * width * channels).max(1)) {
        for channel in 0..channels {
            values.extend(image.iter().skip(channel).step_by(channels).map(|byte| pixels.value(*byte as u8)));
        }
    }
    Ok(Tensor::new([count, channels, height, width], values))
}

fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| Error::io(path, error))?;
    let mut first = Vec::with_capacity(8);
    file.take(8).read_to_end(&mut first).map_err(|error| Error::io(path, error))?;
    Ok(first)
}

/// Samples, one a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What the user calls it.
    pub name: String,
    /// The shape of a sample: (28, 28), (3, 32, 32), (p).
    pub sample_shape: Vec<usize>,
    /// The samples as a matrix (n, p), every value finite.
    pub samples: Tensor,
}

impl Dataset {
    /// Data called `name` from an array (N, ...), of which each item is a sample.
    ///
    /// # Errors
    /// [`Error::BadFile`] for an array without samples or of samples without values, [`Error::NonFinite`] for NaN or infinity.
    pub fn new(name: &str, array: Tensor) -> Result<Self> {
        let (shape, values) = (array.shape, array.data);
        let [count, sample_shape @ ..] = shape.as_slice() else {
            return Err(no_samples(name, &shape));
        };
        let dimension: usize = sample_shape.iter().product();
        if *count == 0 || dimension == 0 || sample_shape.is_empty() {
            return Err(no_samples(name, &shape));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NonFinite {
                place: format!("`{name}`: value {} of sample {}", at % dimension, at / dimension),
                hint: "leave such samples out, or replace the values".into(),
            });
        }
        let samples = Tensor::new([*count, dimension], values);
        Ok(Self { name: name.to_owned(), sample_shape: sample_shape.to_vec(), samples })
    }

    /// Samples.
    #[must_use]
    pub fn count(&self) -> usize {
        self.samples.shape[0]
    }

    /// Values of a sample.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.samples.shape[1]
    }

    /// The mean of the samples, of `dimension()` values, summed in float64.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        let mut sums = vec![0.0f64; self.dimension()];
        for sample in self.samples.data.chunks_exact(self.dimension()) {
            for (sum, value) in sums.iter_mut().zip(sample) {
                *sum += f64::from(*value);
            }
        }
        let count = self.count() as f64;
        sums.into_iter().map(|sum| sum / count).collect()
    }

    /// Takes the mean off every sample, and answers it. Where this is left out, the mean is the direction of the largest
    /// second moment of most data, images above all.
    pub fn centre(&mut self) -> Vec<f64> {
        let mean = self.mean();
        for sample in self.samples.data.chunks_exact_mut(mean.len()) {
            for (value, mean) in sample.iter_mut().zip(&mean) {
                *value = (f64::from(*value) - mean) as f32;
            }
        }
        mean
    }
}

fn no_samples(name: &str, shape: &[usize]) -> Error {
    Error::bad_file_hint(
        name,
        format!("the array of shape {shape:?} holds no samples"),
        "data are an array (N, ...) of N samples with at least one value each",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_is_a_matrix_of_finite_samples() {
        let data = Dataset::new("x", Tensor::new([2, 3, 2], (0..12u8).map(f32::from).collect())).unwrap();
        assert_eq!((data.count(), data.dimension(), data.sample_shape.as_slice()), (2, 6, [3, 2].as_slice()));
        for shape in [vec![0, 4], vec![3], vec![2, 0]] {
            let values = vec![0.0; shape.iter().product()];
            let error = Dataset::new("x.npy", Tensor::new(shape, values)).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::File);
            assert!(error.to_string().starts_with("x.npy: the array of shape"), "{error}");
        }
        for value in [f32::NAN, f32::INFINITY] {
            let error = Dataset::new("x.npy", Tensor::new([2, 2], vec![0.0, 1.0, 2.0, value])).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::NonFinite);
            assert_eq!(error.to_string(), "non-finite values in `x.npy`: value 1 of sample 1");
        }
    }

    #[test]
    fn centring_takes_the_mean_off() {
        let mut data = Dataset::new("x", Tensor::new([3, 2], vec![1.0, 10.0, 2.0, 20.0, 3.0, 60.0])).unwrap();
        assert_eq!(data.centre(), [2.0, 30.0]);
        assert_eq!(data.samples.data, [-1.0, -20.0, 0.0, -10.0, 1.0, 30.0]);
        assert_eq!(data.mean(), [0.0, 0.0]);
    }

    #[test]
    fn sources_are_told_apart_by_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("images.idx"), [0, 0, 8, 1, 0, 0, 0, 1, 7]).unwrap();
        npy::write(at("x"), &Tensor::zeros([2, 2])).unwrap();
        std::fs::write(at("other"), "text of some length").unwrap();
        let image = |first: u8| crate::formats::Image {
            height: 1,
            width: 2,
            channels: 3,
            pixels: (first..first + 6).collect(),
        };
        npy::write_npz(at("images"), &[image(0), image(100)]).unwrap();
        let images = Source::parse(&at("images")).unwrap();
        assert!(matches!(images, Source::Npz(_)));
        let loaded = images.load(Pixels::Unit).unwrap();
        assert_eq!((loaded.count(), loaded.sample_shape.as_slice()), (2, [3, 1, 2].as_slice()));
        let bytes: Vec<f32> = loaded.samples.item(1).iter().map(|value| (value * 255.0).round()).collect();
        assert_eq!(bytes, [100.0, 103.0, 101.0, 104.0, 102.0, 105.0]);
        npz::write(Path::new(&at("floats")), &[("arr_0", &[1, 1, 1, 1], &[0.0])]).unwrap();
        assert_eq!(
            Source::parse(&at("floats")).unwrap().load(Pixels::Unit).unwrap_err().kind(),
            crate::ErrorKind::File
        );
        assert_eq!(Source::parse("digits").unwrap(), Source::Digits);
        assert!(matches!(Source::parse(&at("")).unwrap(), Source::Folder(_)));
        assert!(matches!(Source::parse(&at("images.idx")).unwrap(), Source::Idx(_)));
        assert!(matches!(Source::parse(&at("x")).unwrap(), Source::Npy(_)));
        assert_eq!(Source::parse(&at("missing")).unwrap_err().kind(), crate::ErrorKind::NotFound);
        let error = Source::parse(&at("other")).unwrap_err();
        assert_eq!((error.kind(), error.hint().is_some()), (crate::ErrorKind::File, true));
    }
}
