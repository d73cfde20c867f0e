//! From the latents of a run to pixels.

use super::Size;
use super::latent::LatentModel;
use crate::checkpoint::Component;
use crate::error::Result;
use crate::graph::Compiler;
use crate::latent::autoencoder::{Decoder, Planned, unscaled};
use crate::tensor::Tensor;

/// From latents to pixels.
pub(super) struct Decoding<'e> {
    latent: Box<LatentModel>,
    compiler: Compiler<'e>,
    size: (usize, usize),
    /// The plans of a decoder that is not on the device yet, and of that of previews.
    planned: Option<(Planned, Option<Planned>)>,
    decoder: Option<Decoder<'e>>,
    /// The decoder of the predictions at each step, if it is another one.
    preview: Option<Decoder<'e>>,
    /// `true` if it is on the device beside the network.
    pub both_stay: bool,
}

impl<'e> Decoding<'e> {
    /// Decoders by their plans, not on the device yet: that of images, and that of previews.
    pub fn new(
        latent: Box<LatentModel>,
        compiler: Compiler<'e>,
        size: Size,
        planned: (Planned, Option<Planned>),
        both_stay: bool,
    ) -> Self {
        Self { latent, compiler, size, planned: Some(planned), decoder: None, preview: None, both_stay }
    }

    /// Returns `true` if the decoder is not on the device yet.
    pub fn waits(&self) -> bool {
        self.decoder.is_none()
    }

    /// Puts the decoder on the device.
    pub fn load(&mut self) -> Result<()> {
        let Some((planned, preview)) = self.planned.take() else { return Ok(()) };
        let decoder =
            |files: &Component, planned| Decoder::new(self.compiler.engine, files.clone(), self.size, planned);
        self.preview = match (&self.latent.preview, preview) {
            (Some((_, files)), Some(planned)) => Some(decoder(files, planned)?),
            _ => None,
        };
        self.decoder = Some(decoder(&self.latent.autoencoder_files, planned)?);
        Ok(())
    }

    /// Images from latents of the network, or previews from its predictions.
    pub fn pixels(&self, latents: &Tensor, is_preview: bool) -> Result<Tensor> {
        let decoder = if is_preview { self.preview.as_ref().or(self.decoder.as_ref()) } else { self.decoder.as_ref() };
        let Some(decoder) = decoder else { return Ok(Tensor::zeros([0])) };
        decoder.decode(&unscaled(decoder.net(), latents))
    }
}
