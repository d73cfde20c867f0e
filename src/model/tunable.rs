//! Models whose convolutions have a choice of algorithms and whose products have one of tiles, and their graphs.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::describe::model_json;
use super::stages::Autoencoder;
use super::{Classifier, Kind, Model, Size};
use crate::error::{Error, Result};
use crate::graph::op::Graph;

/// A model to tune: a network, a pipeline, or one that belongs to others.
#[derive(Clone, Debug)]
pub enum Tunable {
    /// A network or a pipeline.
    Model(Box<Model>),
    /// The folder of an autoencoder.
    Autoencoder(Box<Autoencoder>),
    /// The file of a classifier that guides.
    Classifier(Box<Classifier>),
}

impl Tunable {
    /// Opens a model by name, or the embedded one.
    ///
    /// # Errors
    /// As [`Model::open`], for a name of neither a model nor an autoencoder nor a classifier.
    pub fn open(name: Option<&str>) -> Result<Self> {
        let error = match Model::open_or_embedded(name) {
            Ok(model) => return Ok(Self::Model(Box::new(model))),
            Err(error) => error,
        };
        let Some(name) = name else { return Err(error) };
        let autoencoder = || Autoencoder::open(name).ok().map(|found| Self::Autoencoder(Box::new(found)));
        let classifier = || Classifier::open(Path::new(name)).ok().map(|found| Self::Classifier(Box::new(found)));
        autoencoder().or_else(classifier).ok_or(error)
    }

    /// Returns the graphs of a call with a number of images of a size: the denoising network's first, then those of
    /// the autoencoder's decoder and encoder; of a classifier that of its gradient. The size is by default that of the
    /// training.
    ///
    /// # Errors
    /// [`Error::Argument`] for a closed form, for a size that does not fit, and for a missing size where the training's
    /// is unknown.
    pub fn graphs(&self, images: usize, size: Option<Size>) -> Result<Vec<Arc<Graph>>> {
        let known = |size: Option<Size>, name: &str| {
            size.ok_or_else(|| {
                let what = format!("`{name}` does not say how large its images are");
                Error::argument(what, "give `size`: height and width")
            })
        };
        let model = match self {
            Self::Autoencoder(autoencoder) => {
                return of_autoencoder(autoencoder.net.as_ref(), images, known(size, &autoencoder.name)?);
            }
            Self::Classifier(classifier) => {
                let size = known(size.or(classifier.image_size()), &classifier.file_name())?;
                return Ok(vec![Arc::new(classifier.gradient_graph(images, size)?)]);
            }
            Self::Model(model) => model,
        };
        let mut graphs = vec![model.call_graph(images, size)?];
        if let Kind::Latent(latent) = model.kind() {
            let (height, width) = latent.network.size(None).unwrap_or_default();
            let trained = (height * latent.factor(), width * latent.factor());
            graphs.extend(of_autoencoder(latent.autoencoder.as_ref(), images, size.unwrap_or(trained))?);
        }
        Ok(graphs)
    }

    /// Returns the model for a report.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Model(model) => model_json(model),
            Self::Classifier(classifier) => json!({ "name": classifier.file_name(), "sha256": classifier.sha256() }),
            Self::Autoencoder(autoencoder) => json!({ "name": autoencoder.name, "class": autoencoder.net.class() }),
        }
    }
}

/// The graphs of decoder and encoder for images of a size.
fn of_autoencoder(
    net: &dyn crate::nets::autoencoder::Autoencoder,
    images: usize,
    size: Size,
) -> Result<Vec<Arc<Graph>>> {
    let encoder = net.encoder(images, size)?;
    let latents = (size.0 / net.factor(), size.1 / net.factor());
    Ok(vec![Arc::new(net.decoder(images, latents)?), Arc::new(encoder)])
}
