//! The stages of a pipeline from text: texts to contexts, latents to images, images to latents.

use downhill::Error;
use downhill::latent::autoencoder::{scaled as scaled_latents, unscaled};
use downhill::latent::passage::PromptStyle;
use downhill::latent::tiles::Tiling;
use downhill::model::stages::{Autoencoder, Texts};
use downhill::model::{Kind, Source, TextSource};
use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::array::{Floats, array, images};
use crate::error::{Result, argument};
use crate::model::PyModel;

/// Contexts of texts, and what SDXL adds to the time embedding.
type Encoded<'py> = (Bound<'py, PyArrayDyn<f32>>, Option<Bound<'py, PyArrayDyn<f32>>>);

impl PyModel {
    /// The autoencoder of the pipeline, or the one that took its place.
    fn stage_of_images(&self) -> std::result::Result<Autoencoder, Error> {
        let Kind::Latent(latent) = self.model.kind() else { return Autoencoder::open(self.model.name()) };
        let (net, files) = (latent.autoencoder.clone(), latent.autoencoder_files.clone());
        Ok(Autoencoder { name: self.model.name().to_owned(), class: latent.class.clone(), net, files })
    }

    /// The text encoders of the pipeline, with the changes of LoRA files and with learned tokens.
    fn stage_of_texts(&self) -> std::result::Result<TextSource, Error> {
        match self.model.kind() {
            Kind::Latent(latent) => match &latent.source {
                Source::Text(source) => Ok(source.as_ref().clone()),
                Source::Labels => {
                    let what = format!("`{}` takes class labels, not texts", self.model.name());
                    Err(Error::argument(what, "give `labels`"))
                }
            },
            Kind::Network(_) | Kind::ClosedForm(_) => Texts::open(self.model.name())?.encoder(),
        }
    }
}

#[pymethods]
impl PyModel {
    /// The embeddings of texts, (n, tokens, channels), and their pooled embeddings where the pipeline has them.
    #[pyo3(signature = (texts, batch=None))]
    fn encode_text<'py>(&self, py: Python<'py>, texts: Vec<String>, batch: Option<usize>) -> Result<Encoded<'py>> {
        if texts.is_empty() {
            return Err(argument("no texts", "give at least one text"));
        }
        let encoded = py.detach(|| {
            let source = self.stage_of_texts()?;
            let tokenizers: Vec<_> = source.parts.iter().map(|part| part.tokenizer.clone()).collect();
            let passages = TextSource::passages(&tokenizers, &texts, PromptStyle::default())?;
            source.encode(self.compiler()?, &passages, batch, &mut |_| Ok(()))
        })?;
        let pooled = encoded.encoded.pooled.map(|pooled| array(py, pooled)).transpose()?;
        Ok((array(py, encoded.encoded.hidden)?, pooled))
    }

    /// Images (n, c, h, w), about -1 to 1, of latents as the network has them.
    #[pyo3(signature = (latents, scaled=true, batch=None))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        latents: Floats<'py>,
        scaled: bool,
        batch: Option<usize>,
    ) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let latents = images(&latents, "latents")?;
        let decoded = py.detach(|| {
            let autoencoder = self.stage_of_images()?;
            let latents = if scaled { unscaled(autoencoder.net.as_ref(), &latents) } else { latents };
            autoencoder.decode(self.compiler()?, &latents, batch, Tiling::Auto, &mut |_| Ok(()))
        })?;
        array(py, decoded.output)
    }

    /// The mean of the latents of images, or a draw with a seed.
    #[pyo3(signature = (pixels, scaled=true, seed=None, batch=None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        pixels: Floats<'py>,
        scaled: bool,
        seed: Option<u64>,
        batch: Option<usize>,
    ) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let pixels = images(&pixels, "pixels")?;
        let encoded = py.detach(|| {
            let autoencoder = self.stage_of_images()?;
            let encoded = autoencoder.encode(self.compiler()?, &pixels, batch, seed, &mut |_| Ok(()))?.output;
            Ok::<_, Error>(if scaled { scaled_latents(autoencoder.net.as_ref(), &encoded) } else { encoded })
        })?;
        array(py, encoded)
    }
}
