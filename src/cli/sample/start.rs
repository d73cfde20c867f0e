//! The files that states start from.

use std::path::{Path, PathBuf};

use super::args::Args;
use crate::cli::inputs::{read_finite, read_images};
use crate::cli::stream::{self, input_name, is_stream};
use crate::data::mask::Mask;
use crate::data::picture::Picture;
use crate::error::Result;
use crate::model::{Kind, Model, Sampling};
use crate::tensor::Tensor;

/// The files that states start from; none of them for noise from the seed.
#[derive(Debug, Default)]
pub struct Start {
    /// Standard normals.
    pub noise: Option<(PathBuf, Tensor)>,
    /// States x at the first sigma.
    pub state: Option<(PathBuf, Tensor)>,
    /// An image, under noise.
    pub picture: Option<(PathBuf, Picture)>,
    /// The part of the image that is painted.
    pub mask: Option<Mask>,
    /// `true` if the walk begins at noise, although there is an image: the image is only kept in part.
    pub is_only_kept: bool,
}

impl Start {
    /// Reads the files that the flags name, for states of `model`.
    ///
    /// # Errors
    /// Those of [`read_images`], [`Picture::read`] and [`super::inpaint::InpaintArgs::read`]; those of
    /// [`crate::denoise::closed_form::ClosedForm::as_images`].
    pub fn read(args: &Args, model: &Model) -> Result<Self> {
        let read = |file: &PathBuf| {
            let tensor = match model.kind() {
                Kind::Network(network) => read_images(file, network.net.in_channels())?,
                Kind::Latent(latent) => read_images(file, latent.latent_channels())?,
                Kind::ClosedForm(form) => form.as_images(read_finite(file)?, file)?,
            };
            Ok::<_, crate::Error>((file.clone(), tensor))
        };
        let picture =
            args.init_image.as_ref().map(|file| Ok::<_, crate::Error>((file.clone(), stream::read_picture(file)?)));
        let picture = picture.transpose()?;
        let mask = args.inpainting.read(picture.as_ref().map(|(_, picture)| picture))?;
        let is_only_kept = mask.is_some() && args.strength.is_none_or(|strength| strength == 1.0);
        Ok(Self {
            mask,
            is_only_kept,
            noise: args.init_noise.as_ref().map(read).transpose()?,
            state: args.init.as_ref().map(read).transpose()?,
            picture,
        })
    }

    /// Returns `true` if a file holds one item per image.
    pub fn is_given(&self) -> bool {
        self.noise.is_some() || self.state.is_some()
    }

    /// Moves the tensors and the picture of these files into a run.
    pub fn begin<'a>(&mut self, mut sampling: Sampling<'a>) -> Sampling<'a> {
        let tensor = |(_, tensor): &mut (PathBuf, Tensor)| std::mem::replace(tensor, Tensor::zeros([0]));
        if let Some(noise) = self.noise.as_mut().map(tensor) {
            sampling = sampling.noise(noise);
        }
        if let Some(state) = self.state.as_mut().map(tensor) {
            sampling = sampling.state(state);
        }
        match &self.picture {
            None => sampling,
            Some((_, picture)) => sampling.picture(picture.clone()),
        }
    }
}

impl std::fmt::Display for Start {
    /// The start in words, with the names of files.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |file: &Path| match file.file_name() {
            _ if is_stream(file) => input_name(file),
            name => name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        };
        if let Some((file, _)) = &self.state {
            write!(f, "state from {}", name(file))?;
            return match &self.picture {
                None => Ok(()),
                Some((file, _)) => write!(f, ", filling in {}", name(file)),
            };
        }
        match &self.noise {
            None => f.write_str("seeded noise")?,
            Some((file, _)) => write!(f, "noise from {}", name(file))?,
        }
        match &self.picture {
            None => Ok(()),
            Some((file, _)) if self.is_only_kept => write!(f, ", filling in {}", name(file)),
            Some((file, _)) => write!(f, " over {}", name(file)),
        }
    }
}
