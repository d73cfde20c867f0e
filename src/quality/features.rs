//! Features of images, computed on the engine by the classifier of digits.

use crate::checkpoint::digits_classifier;
use crate::error::{Error, Result};
use crate::graph::{Compiler, Program};
use crate::nets::classifier::{CLASS_NAME, Classifier, X};
use crate::tensor::Tensor;

/// The number of images per call.
const BATCH: usize = 64;

/// The embedded classifier on a device.
pub struct Extractor<'e> {
    net: Classifier,
    program: Program<'e>,
}

/// The classifier's output for a set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The features, (n, features).
    pub features: Tensor,
    /// The logits before the softmax, (n, classes).
    pub logits: Tensor,
}

impl Answer {
    /// Returns the class of each image, that of its largest logit.
    #[must_use]
    pub fn classes(&self) -> Vec<usize> {
        let largest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
        self.logits.data.chunks_exact(self.logits.stride()).map(largest).collect()
    }
}

impl<'e> Extractor<'e> {
    /// Prepares the classifier on a device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(compiler: impl Into<Compiler<'e>>) -> Result<Self> {
        let (config, weights) = digits_classifier()?;
        config.expect_class(&[CLASS_NAME])?;
        let net = Classifier::from_map(&config.values, &config.path)?;
        let keys: Vec<String> = net.keys().into_iter().map(|(key, _)| key).collect();
        weights.check_complete(&keys)?;
        let fetch = |key: &str, shape: &[usize]| weights.fetch(key, shape);
        let program = compiler.into().program(&net.graph(BATCH), &fetch)?;
        Ok(Self { net, program })
    }

    /// The shape of an input image: (channels, height, width).
    #[must_use]
    pub fn image_shape(&self) -> [usize; 3] {
        self.net.image_shape()
    }

    /// The length of a feature vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.net.features
    }

    /// Computes features and logits of images in -1..1, (n, c, h, w) or rows (n, c h w), for any n.
    ///
    /// # Errors
    /// [`Error::Argument`] for images of another size; [`Error::Device`].
    pub fn of(&self, images: &Tensor) -> Result<Answer> {
        let stride: usize = self.net.image_shape().iter().product();
        let fits = images.shape.len() == 2 || images.shape[1..] == self.net.image_shape();
        if !fits || images.stride() != stride {
            let what = format!("images of shape {:?} for a classifier of {:?}", images.shape, self.net.image_shape());
            return Err(Error::argument(what, "its features are defined for digits of 28 x 28, one channel"));
        }
        let count = images.shape[0];
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        let [channels, height, width] = self.net.image_shape();
        for first in (0..count).step_by(BATCH) {
            let taken = BATCH.min(count - first);
            // A batch that is not full ends with zeros: images are independent.
            let mut batch = Tensor::zeros([BATCH, channels, height, width]);
            batch.data[..taken * stride].copy_from_slice(&images.data[first * stride..(first + taken) * stride]);
            let outputs = self.program.run(&[(X, &batch)])?;
            features.extend_from_slice(&outputs[0].data[..taken * self.net.features]);
            logits.extend_from_slice(&outputs[1].data[..taken * self.net.classes]);
        }
        Ok(Answer {
            features: Tensor::new([count, self.net.features], features),
            logits: Tensor::new([count, self.net.classes], logits),
        })
    }
}
