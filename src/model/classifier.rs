//! Classifiers that guide a network of pixels: the file, and what a run takes from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Size;
use super::images::Part;
use super::memory::usual_batch;
use super::network::NetworkModel;
use super::resolve::{Labels, meaningless};
use super::sampling::Sampling;
use crate::checkpoint::{ClassifierFile, Weights};
use crate::denoise::process::Process;
use crate::denoise::{ClassifierGradient, GuidanceRule};
use crate::error::{Error, Result};
use crate::graph::op::Graph;
use crate::graph::run::check_graph;
use crate::graph::{Compiler, Footprint};
use crate::input::sha256;
use crate::kernels::selftest;
use crate::nets::adm::AdmClassifier;
use crate::nets::architecture::{CallSize, LabelInput};
use crate::tensor::Precision;

/// The name of the [`Part`] of a classifier.
const CLASSIFIER: &str = "classifier";

/// A classifier of noised images of openai/guided-diffusion, opened from its file. Nothing is on a device yet.
#[derive(Clone, Debug)]
pub struct Classifier {
    path: PathBuf,
    sha256: String,
    net: Arc<AdmClassifier>,
    weights: Weights,
    notes: Vec<String>,
}

/// The guidance of a run by a classifier.
#[derive(Clone, Debug)]
pub struct ClassifierGuidance {
    /// The classifier.
    pub classifier: Classifier,
    /// The factor of the gradient of log p(y | x).
    pub scale: f64,
    /// The classes of the images.
    pub labels: Labels,
}

impl Classifier {
    /// Opens a `.pt` or `.safetensors` file in the original layout, whose shapes tell its configuration; a `.json` of
    /// the same name beside it states the rest.
    ///
    /// # Errors
    /// Those of [`ClassifierFile::open`], [`AdmClassifier::read`] and [`Weights::check`].
    pub fn open(file: &Path) -> Result<Self> {
        let ClassifierFile { config, weights, note } = ClassifierFile::open(file)?;
        let net = AdmClassifier::read(&config)?;
        weights.check(&net.keys())?;
        let notes = weights.notes().chain(note).collect();
        Ok(Self { path: file.to_path_buf(), sha256: sha256(file)?, net: Arc::new(net), weights, notes })
    }

    /// The number of its classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.net.classes()
    }

    /// The SHA-256 of the file's content, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Sentences for the user on what was assumed.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The name of the file.
    pub(super) fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Height and width of the images of its training, if they are known.
    pub(super) fn image_size(&self) -> Option<Size> {
        self.net.config().image_size
    }

    /// The graph of the gradients for a number of images of a size.
    ///
    /// # Errors
    /// Those of [`AdmClassifier::gradient_graph`].
    pub(super) fn gradient_graph(&self, images: usize, size: Size) -> Result<Graph> {
        self.net.gradient_graph(CallSize::images(images, size))
    }

    /// Refuses a network with other images or classes, and one whose noise is not that of the classifier's training.
    fn check(&self, network: &NetworkModel, (height, width): Size) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::argument(what, hint));
        let name = &network.name;
        if network.table.process() != Process::Betas || network.table.sigma_max().is_infinite() {
            let what = format!("`classifier` has no meaning for `{name}`, whose process of noise is another");
            return refuse(what, "a classifier guides networks of variance-preserving noise in steps");
        }
        let (channels, own) = (self.net.config().in_channels, network.net.in_channels());
        if channels != own {
            let what = format!("a `classifier` of images of {channels} channels, and those of `{name}` have {own}");
            return refuse(what, "classifier and network must be of the same images");
        }
        if let Some((own_height, own_width)) = self.net.config().image_size
            && (own_height, own_width) != (height, width)
        {
            let what = format!(
                "a `classifier` of images of {own_height}x{own_width}, and those of `{name}` are {height}x{width}"
            );
            return refuse(what, "classifier and network must be of the same images");
        }
        self.net.check(CallSize::images(1, (height, width)))?;
        match network.net.labels() {
            LabelInput::Numbers { classes: Some(classes), .. } if classes != self.classes() => {
                let what = format!("a `classifier` of {} classes, and `{name}` has {classes}", self.classes());
                refuse(what, "classifier and network must have the same classes")
            }
            LabelInput::Numbers { .. } | LabelInput::None | LabelInput::Rows(_) => Ok(()),
        }
    }
}

impl ClassifierGuidance {
    /// The classes of some images, by their index in the whole run.
    pub(super) fn classes(&self, images: &[usize]) -> Vec<usize> {
        images.iter().map(|image| self.labels.of(*image) as usize).collect()
    }

    /// Its settings by keyword, for the metadata of images.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("classifier", format!("{} sha256:{}", self.classifier.file_name(), self.classifier.sha256)),
            ("classifier scale", self.scale.to_string()),
        ]
    }

    /// For reports.
    pub(super) fn json(&self) -> Value {
        json!({
            "file": self.classifier.path.display().to_string(),
            "sha256": self.classifier.sha256,
            "classes": self.classifier.classes(),
            "scale": self.scale,
            "labels": self.labels.labels,
        })
    }

    /// The classifier on a device, for images of a size, at most `images` of them per call, and its memory. The maps
    /// between its layers are float32: gradients are small.
    pub(super) fn on<'e>(
        &self,
        mut compiler: Compiler<'e>,
        images: usize,
        size: Size,
    ) -> Result<(ClassifierGradient<'e>, Part)> {
        compiler.options.maps = Precision::Float32;
        let plan = |images: usize| {
            let graph = self.classifier.gradient_graph(images, size)?;
            check_graph(compiler.engine, &graph, &compiler.options)?;
            Ok::<_, Error>(compiler.plan(&graph))
        };
        let one = plan(1)?;
        let (batch, plan) = match usual_batch(&one, compiler.engine).min(images.max(1)) {
            1 => (1, one),
            batch => (batch, plan(batch)?),
        };
        selftest::ensure(compiler.engine)?;
        let part = Part { name: CLASSIFIER, footprint: Footprint::of(&plan) };
        let files = (self.classifier.net.clone(), self.classifier.weights.clone());
        let call = CallSize::images(batch, size);
        Ok((ClassifierGradient::with_plan(compiler.engine, files, (call, plan), self.scale)?, part))
    }
}

impl Sampling<'_> {
    /// The guidance of a network of pixels by the classifier, if there is one.
    ///
    /// # Errors
    /// [`Error::Argument`] for a classifier that does not fit the network, and for class labels that are missing or
    /// that it does not have.
    pub(super) fn classified(&self, network: &NetworkModel, size: Size) -> Result<Option<ClassifierGuidance>> {
        let Some((classifier, scale)) = &self.classifier else { return Ok(None) };
        let scale = *scale;
        if !scale.is_finite() {
            return Err(Error::argument(format!("`classifier_scale` of {scale} is out of range"), "give a number"));
        }
        classifier.check(network, size)?;
        let hint = format!("give `class_labels`: numbers from 0 to {}", classifier.classes().saturating_sub(1));
        let labels = self.labels.clone().unwrap_or_default();
        if labels.is_empty() {
            return Err(Error::argument("a `classifier` needs a class label for each image", hint));
        }
        let most = classifier.classes() as f64;
        if let Some(label) = labels.iter().find(|label| label.fract() != 0.0 || !(0.0..most).contains(*label)) {
            return Err(Error::argument(format!("the `classifier` does not have a class {label}"), hint));
        }
        self.rule()?.check_scale("classifier_scale", scale)?;
        let labels = Labels { labels, scale: 1.0, rule: GuidanceRule::default() };
        Ok(Some(ClassifierGuidance { classifier: classifier.clone(), scale, labels }))
    }

    /// Refuses a classifier, for a model without a network of pixels.
    pub(super) fn expect_no_classifier(&self, name: &str) -> Result<()> {
        match self.classifier {
            None => Ok(()),
            Some(_) => Err(meaningless("classifier", name)),
        }
    }
}
