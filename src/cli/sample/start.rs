//! Where the states start.

use std::path::{Path, PathBuf};

use super::args::Args;
use crate::cli::args::Size;
use crate::cli::model::read_images;
use crate::data::picture::Picture;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Where the states start.
#[derive(Debug)]
pub enum Start {
    /// From the seed.
    Seeded,
    /// Standard normals from a file.
    Noise(PathBuf, Tensor),
    /// States x at the first sigma from a file.
    State(PathBuf, Tensor),
    /// Noise over an image from a file; the noise is from a file, too, or from the seed.
    Image(PathBuf, Picture, Option<(PathBuf, Tensor)>),
}

impl Start {
    /// What the flags say, for states of so many channels.
    ///
    /// # Errors
    /// Those of [`read_images`].
    pub fn read(args: &Args, channels: usize) -> Result<Self> {
        let read = |file: &PathBuf| Ok((file.clone(), read_images(file, channels)?));
        let noise = args.init_noise.as_ref().map(read).transpose()?;
        Ok(match (noise, &args.init, &args.init_image) {
            (noise, _, Some(file)) => Self::Image(file.clone(), Picture::read(file)?, noise),
            (Some((file, noise)), ..) => Self::Noise(file, noise),
            (None, Some(file), _) => read(file).map(|(file, state)| Self::State(file, state))?,
            (None, None, None) => Self::Seeded,
        })
    }

    /// The file that it comes from, and what was in it.
    pub fn given(&self) -> Option<(&Path, &Tensor)> {
        match self {
            Self::Seeded | Self::Image(_, _, None) => None,
            Self::Noise(file, tensor) | Self::State(file, tensor) | Self::Image(_, _, Some((file, tensor))) => {
                Some((file, tensor))
            }
        }
    }

    /// The size that a file decides.
    pub fn size(&self) -> Option<Size> {
        self.given().map(|(_, tensor)| Size { height: tensor.shape[2], width: tensor.shape[3] })
    }

    /// How many images: those asked for, those of the file, or as many as `usual`.
    ///
    /// # Errors
    /// [`Error::Argument`] for more than the file holds.
    pub fn count(&self, asked: Option<usize>, usual: usize) -> Result<usize> {
        let Some((file, tensor)) = self.given() else { return Ok(asked.unwrap_or(usual)) };
        let count = asked.unwrap_or(tensor.shape[0]);
        if count > tensor.shape[0] {
            let what = format!("`--count {count}`, and {} holds {} images", file.display(), tensor.shape[0]);
            return Err(Error::argument(what, "leave out `--count` to take them all"));
        }
        Ok(count)
    }
}
