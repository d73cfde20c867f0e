//! Features of images, computed on the engine by the classifier of digits or by InceptionV3.

use std::path::Path;

use serde_json::{Value, json};

use crate::checkpoint::{digits_classifier, digits_classifier_sha256};
use crate::error::{Error, Result};
use crate::gpu::Kind as AdapterKind;
use crate::graph::{Compiler, Program};
use crate::input::sha256;
use crate::nets::classifier::{self, CLASS_NAME, Classifier};
use crate::nets::inception::weights::InceptionWeights;
use crate::nets::inception::{self, Preparation, SIDE};
use crate::tensor::Tensor;

/// The number of images per call of the classifier.
const BATCH: usize = 64;
/// That of InceptionV3 on a software adapter, where a larger one gains nothing, and on a GPU. Its maps take up to 6 MB
/// each per image.
const INCEPTION_BATCH: (usize, usize) = (2, 32);
/// Sides of images beyond which a change of size is out of range.
const MOST_SIDE: usize = 1 << 14;

/// A network of features that is not on a device yet.
#[derive(Clone, Debug, Default)]
pub enum Features {
    /// The embedded classifier of digits: images of 28 x 28, one channel.
    #[default]
    Digits,
    /// InceptionV3: images of any size, grey or of three channels.
    Inception {
        /// Its weights.
        weights: InceptionWeights,
        /// The way from images to its input.
        preparation: Preparation,
    },
}

/// A network of features on a device, for images of one shape.
pub struct Extractor<'e> {
    program: Program<'e>,
    kind: Kind,
    /// (channels, height, width) of an image.
    image_shape: [usize; 3],
    batch: usize,
    dimension: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Digits,
    Inception(Preparation),
}

/// The network's output for a set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The features, (n, features).
    pub features: Tensor,
    /// The logits before the softmax, (n, classes), of a classifier.
    pub logits: Option<Tensor>,
}

impl Answer {
    /// Returns the class of each image, that of its largest logit; none for a network that is not a classifier.
    #[must_use]
    pub fn classes(&self) -> Vec<usize> {
        let largest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
        let rows = self.logits.iter().flat_map(|logits| logits.data.chunks_exact(logits.stride()));
        rows.map(largest).collect()
    }
}

impl Features {
    /// InceptionV3 with the weights of a file.
    ///
    /// # Errors
    /// Those of [`InceptionWeights::open`].
    pub fn inception(path: &Path, preparation: Preparation) -> Result<Self> {
        Ok(Self::Inception { weights: InceptionWeights::open(path)?, preparation })
    }

    /// The length of a feature vector.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn dimension(&self) -> Result<usize> {
        match self {
            Self::Digits => Ok(digits()?.0.features),
            Self::Inception { .. } => Ok(inception::FEATURES),
        }
    }

    /// (channels, height, width) of images of a shape, (height, width) or (channels, height, width), if the network
    /// takes them. Nothing is on a device. `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Argument`] for other images.
    pub fn image_shape(&self, name: &str, shape: &[usize]) -> Result<[usize; 3]> {
        let found = match *shape {
            [height, width] => Some([1, height, width]),
            [channels, height, width] => Some([channels, height, width]),
            // Rows of pixels of arrays that do not say their shape.
            [784] => Some([1, 28, 28]),
            _ => None,
        };
        let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let images = format!("images of `{name}` are {}", sides.join(" x "));
        match (self, found) {
            (Self::Digits, Some(found)) if found == digits()?.0.image_shape() => Ok(found),
            (Self::Digits, _) => Err(Error::argument(
                format!("{images}, and cannot be compared with digits"),
                "the embedded classifier takes digits, 1 x 28 x 28; give `features` for other images: the weights of \
                 InceptionV3",
            )),
            (Self::Inception { .. }, Some([1 | 3, height, width])) if height.max(width) <= MOST_SIDE => {
                Ok(found.unwrap_or_default())
            }
            (Self::Inception { .. }, _) => Err(Error::argument(
                format!("{images}, which InceptionV3 does not take"),
                "images have one or three channels, height and width",
            )),
        }
    }

    /// The network on a device, for images of `image_shape`.
    ///
    /// # Errors
    /// Those of [`Features::image_shape`] and of the device.
    pub fn on<'e>(&self, compiler: impl Into<Compiler<'e>>, image_shape: [usize; 3]) -> Result<Extractor<'e>> {
        self.on_side(compiler, image_shape, SIDE)
    }

    /// As [`Features::on`], where InceptionV3 reads images of `side` x `side` pixels, for tests.
    ///
    /// # Errors
    /// As [`Features::on`].
    pub fn on_side<'e>(
        &self,
        compiler: impl Into<Compiler<'e>>,
        image_shape: [usize; 3],
        side: usize,
    ) -> Result<Extractor<'e>> {
        self.image_shape("(images)", &image_shape)?;
        let (compiler, dimension) = (compiler.into(), self.dimension()?);
        match self {
            Self::Digits => {
                let (net, weights) = digits()?;
                let fetch = |key: &str, shape: &[usize]| weights.fetch(key, shape);
                let program = compiler.program(&net.graph(BATCH), &fetch)?;
                Ok(Extractor { program, kind: Kind::Digits, image_shape, batch: BATCH, dimension })
            }
            Self::Inception { weights, preparation } => {
                let [_, height, width] = image_shape;
                let (few, many) = INCEPTION_BATCH;
                let is_software = compiler.engine.gpu.adapter.kind == AdapterKind::Software;
                let batch = if is_software { few } else { many };
                let graph = inception::graph(batch, (height, width), side, *preparation);
                let program = compiler.program(&graph, &|key, shape| weights.fetch(key, shape))?;
                let kind = Kind::Inception(*preparation);
                Ok(Extractor { program, kind, image_shape, batch, dimension })
            }
        }
    }

    /// The network, its weights and its preparation in words: features of one identity are comparable.
    ///
    /// # Errors
    /// Those of the file of weights.
    pub fn identity(&self) -> Result<String> {
        match self {
            Self::Digits => Ok(format!("the classifier of digits, sha256 {}", digits_classifier_sha256())),
            Self::Inception { weights, preparation } => {
                let digest = sha256(weights.path())?;
                Ok(format!("InceptionV3 as {}, sha256 {digest}", preparation.name()))
            }
        }
    }

    /// For reports.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Digits => json!({ "network": "classifier of digits" }),
            Self::Inception { weights, preparation } => json!({
                "network": "InceptionV3",
                "file": weights.path().display().to_string(),
                "preparation": preparation.name(),
            }),
        }
    }
}

/// The embedded classifier and its weights.
fn digits() -> Result<(Classifier, crate::checkpoint::Weights)> {
    let (config, weights) = digits_classifier()?;
    config.expect_class(&[CLASS_NAME])?;
    let net = Classifier::from_map(&config.values, &config.path)?;
    let keys: Vec<String> = net.keys().into_iter().map(|(key, _)| key).collect();
    weights.check_complete(&keys)?;
    Ok((net, weights))
}

impl<'e> Extractor<'e> {
    /// Prepares the classifier of digits on a device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(compiler: impl Into<Compiler<'e>>) -> Result<Self> {
        let shape = digits()?.0.image_shape();
        Features::Digits.on(compiler, shape)
    }

    /// The shape of an input image: (channels, height, width).
    #[must_use]
    pub fn image_shape(&self) -> [usize; 3] {
        self.image_shape
    }

    /// The length of a feature vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Computes features of images in -1..1, (n, c, h, w) or rows (n, c h w), for any n.
    ///
    /// # Errors
    /// [`Error::Argument`] for images of another size; [`Error::Device`].
    pub fn of(&self, images: &Tensor) -> Result<Answer> {
        let stride: usize = self.image_shape.iter().product();
        let fits = images.shape.len() == 2 || images.shape[1..] == self.image_shape;
        if !fits || images.stride() != stride {
            let what =
                format!("images of shape {:?} for a network of features of {:?}", images.shape, self.image_shape);
            return Err(Error::argument(what, "features are prepared for images of one shape"));
        }
        let count = images.shape[0];
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for first in (0..count).step_by(self.batch) {
            let taken = self.batch.min(count - first);
            let batch = self.input(&images.data[first * stride..(first + taken) * stride]);
            let name = if self.kind == Kind::Digits { classifier::X } else { inception::X };
            let outputs = self.program.run(&[(name, &batch)])?;
            features.extend_from_slice(&outputs[0].data[..taken * self.dimension]);
            if let Some(of_classes) = outputs.get(1) {
                logits.extend_from_slice(&of_classes.data[..taken * of_classes.stride()]);
            }
        }
        let classes = logits.len() / count.max(1);
        let logits = (self.kind == Kind::Digits).then(|| Tensor::new([count, classes], logits));
        Ok(Answer { features: Tensor::new([count, self.dimension], features), logits })
    }

    /// The input of a call. A batch that is not full ends with zeros: images are independent. A grey image becomes one
    /// of three equal channels, as pytorch-fid converts it.
    fn input(&self, images: &[f32]) -> Tensor {
        let [channels, height, width] = self.image_shape;
        match self.kind {
            Kind::Digits => {
                let mut batch = Tensor::zeros([self.batch, channels, height, width]);
                batch.data[..images.len()].copy_from_slice(images);
                batch
            }
            Kind::Inception(preparation) => {
                let mut batch = Tensor::zeros([self.batch, 3, height, width]);
                let plane = height * width;
                let from = images.chunks_exact(channels * plane);
                for (image, into) in from.zip(batch.data.chunks_exact_mut(3 * plane)) {
                    for (at, value) in into.iter_mut().enumerate() {
                        *value = preparation.value(image[if channels == 1 { at % plane } else { at }]);
                    }
                }
                batch
            }
        }
    }
}
