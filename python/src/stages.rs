//! The stages of a pipeline from text: texts to contexts, latents to images, images to latents.

use downhill::Error;
use downhill::latent::autoencoder::{scaled as scaled_latents, unscaled};
use downhill::latent::passage::PromptStyle;
use downhill::latent::tiles::Tiling;
use downhill::model::TextSource;
use downhill::model::stages::{Autoencoder, Texts};
use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::array::{Floats, array, images};
use crate::error::{Result, argument};
use crate::model::PyModel;

/// Contexts of texts, and what SDXL adds to the time embedding.
type Encoded<'py> = (Bound<'py, PyArrayDyn<f32>>, Option<Bound<'py, PyArrayDyn<f32>>>);

#[pymethods]
impl PyModel {
    /// The embeddings of texts, (n, tokens, channels), and their pooled embeddings where the pipeline has them.
    #[pyo3(signature = (texts, batch=None))]
    fn encode_text<'py>(&self, py: Python<'py>, texts: Vec<String>, batch: Option<usize>) -> Result<Encoded<'py>> {
        if texts.is_empty() {
            return Err(argument("no texts", "give at least one text"));
        }
        let encoded = py.detach(|| {
            let opened = Texts::open(self.model.name())?;
            let passages = TextSource::passages(&opened.tokenizers, &texts, PromptStyle::default())?;
            let source = opened.encoder()?;
            source.encode(self.compiler, &passages, batch, &mut |_| Ok(()))
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
            let autoencoder = Autoencoder::open(self.model.name())?;
            let latents = if scaled { unscaled(autoencoder.net.as_ref(), &latents) } else { latents };
            autoencoder.decode(self.compiler, &latents, batch, Tiling::Auto, &mut |_| Ok(()))
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
            let autoencoder = Autoencoder::open(self.model.name())?;
            let encoded = autoencoder.encode(self.compiler, &pixels, batch, seed, &mut |_| Ok(()))?.output;
            Ok::<_, Error>(if scaled { scaled_latents(autoencoder.net.as_ref(), &encoded) } else { encoded })
        })?;
        array(py, encoded)
    }
}
