//! The weights of InceptionV3: pytorch-fid's and torch-fidelity's files, each convolution merged with the batch
//! normalisation behind it.

use std::path::Path;

use super::keys;
use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The epsilon of every normalisation of the network.
const EPS: f64 = 1e-3;
/// Classes of the network of 2015, of which torchvision's later one has 1000.
const CLASSES: usize = 1008;

/// The weights of InceptionV3 in a file, checked against the network.
#[derive(Clone, Debug)]
pub struct InceptionWeights {
    weights: Weights,
}

impl InceptionWeights {
    /// Opens a file of pytorch-fid or torch-fidelity (`pt_inception-2015-12-05-6726825d.pth`), or a safetensors of the
    /// same tensors. The class layer and counts of batches may be there; they are not read.
    ///
    /// # Errors
    /// Those of [`Weights::open`]; [`Error::MissingKey`] and [`Error::WrongShape`] for another network;
    /// [`Error::BadFile`] for torchvision's; [`Error::UnexpectedKey`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Weights::open(path)?)
    }

    /// The network's weights among `weights`.
    ///
    /// # Errors
    /// As [`InceptionWeights::open`].
    pub fn new(weights: Weights) -> Result<Self> {
        let of_torchvision = weights.names().any(|name| name.starts_with("AuxLogits."))
            || weights.shape("fc.weight").is_some_and(|shape| shape[0] != CLASSES);
        if of_torchvision {
            return Err(Error::bad_file_hint(
                weights.path(),
                "an InceptionV3 of torchvision, whose features are not those of the Frechet Inception distance",
                "take pytorch-fid's `pt_inception-2015-12-05-6726825d.pth`",
            ));
        }
        let mut known: Vec<(String, Vec<usize>)> = Vec::new();
        for (key, shape) in keys() {
            if let Some(path) = key.strip_suffix(".weight") {
                known.push((format!("{path}.conv.weight"), shape));
            } else {
                let path = key.strip_suffix(".bias").unwrap_or(&key);
                known.extend(PARTS.map(|part| (format!("{path}.bn.{part}"), shape.clone())));
            }
        }
        for (key, shape) in &known {
            if weights.shape(key) != Some(shape.as_slice()) {
                // Fetching reports the fault.
                weights.fetch(key, shape)?;
            }
        }
        let unread = |name: &&str| name.starts_with("fc.") || name.ends_with(".num_batches_tracked");
        let mut all: Vec<String> = known.into_iter().map(|(key, _)| key).collect();
        all.extend(weights.names().filter(unread).map(str::to_owned));
        weights.check_complete(&all)?;
        Ok(Self { weights })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.weights.path()
    }

    /// The weight or the bias of a layer, merged with its normalisation in float64:
    /// `w g / sqrt(v + eps)` and `b - m g / sqrt(v + eps)`.
    ///
    /// # Errors
    /// Those of [`Weights::fetch`]; [`Error::NonFinite`] for a negative variance.
    pub fn fetch(&self, key: &str, shape: &[usize]) -> Result<Tensor> {
        let (path, part) = key.rsplit_once('.').unwrap_or((key, ""));
        let out = [shape[0]];
        let normal = |part: &str| self.weights.fetch(&format!("{path}.bn.{part}"), &out);
        let [gain, bias, mean, variance] = PARTS.map(normal);
        let (gain, bias, mean, variance) = (gain?, bias?, mean?, variance?);
        let factor = |at: usize| f64::from(gain.data[at]) / (f64::from(variance.data[at]) + EPS).sqrt();
        let values: Vec<f32> = if part == "weight" {
            let weight = self.weights.fetch(&format!("{path}.conv.weight"), shape)?;
            let row = weight.stride();
            weight.data.iter().enumerate().map(|(at, w)| (f64::from(*w) * factor(at / row)) as f32).collect()
        } else {
            let of = |at: usize| f64::from(bias.data[at]) - f64::from(mean.data[at]) * factor(at);
            (0..shape[0]).map(|at| of(at) as f32).collect()
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::NonFinite {
                place: format!("{}: `{path}` with its normalisation", self.path().display()),
                hint: "the variances of a normalisation are at least 0; convert the file again".to_owned(),
            });
        }
        Ok(Tensor::new(shape, values))
    }
}

/// The tensors of a normalisation: gain, bias, mean, variance.
const PARTS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_refused_by_name() {
        let tensor = |name: &str, shape: &[usize]| (name.to_owned(), Tensor::zeros(shape));
        let refused = |tensors| InceptionWeights::new(Weights::from_tensors(tensors)).unwrap_err().to_string();
        let torchvision = refused(vec![tensor("fc.weight", &[1000, 2048])]);
        assert!(torchvision.contains("torchvision"), "{torchvision}");
        let empty = refused(vec![tensor("fc.weight", &[1008, 2048])]);
        assert!(empty.contains("Conv2d_1a_3x3.conv.weight"), "{empty}");
        let other = refused(vec![tensor("Conv2d_1a_3x3.conv.weight", &[32, 1, 3, 3])]);
        assert!(other.contains("[32, 1, 3, 3]"), "{other}");
    }
}
