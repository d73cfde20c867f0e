//! Flags of runs that fill in a part of an image.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

use crate::cli::numbers::whole_from;
use crate::cli::stream;
use crate::data::mask::Mask;
use crate::data::picture::Picture;
use crate::error::{Error, Result};
use crate::model::Sampling;
use crate::sample::inpaint::Inpaint;

const INPAINTING: &str = "Filling in parts of an image";

/// The flags of runs that fill in a part of an image.
#[derive(Clone, Debug, clap::Args)]
pub struct InpaintArgs {
    /// Paint only the white part of this mask in `--init-image`, and keep the black part; half of white is white. The
    /// mask has the size of the image. `alpha` takes the transparency of the image as the mask
    #[arg(long, value_name = "FILE|alpha", help_heading = INPAINTING)]
    pub mask: Option<MaskArg>,

    /// The way in which the painted part is made to fit: `project` puts the known part back after each step, under the
    /// noise of that level; `repaint` also goes up again and repeats steps (RePaint) [default: project; networks of
    /// inpainting take the mask themselves]
    #[arg(long, value_enum, value_name = "WAY", requires = "mask", help_heading = INPAINTING)]
    pub inpaint: Option<WayArg>,

    /// The number of times that `repaint` takes each step [default: 10]
    #[arg(long, value_name = "N", requires = "mask", help_heading = INPAINTING,
        value_parser = whole_from::<usize>(0))]
    pub resample: Option<usize>,

    /// The number of steps that `repaint` goes up at a time [default: a 25th of the steps, from 1 to 10]
    #[arg(long, value_name = "J", requires = "mask", help_heading = INPAINTING,
        value_parser = whole_from::<usize>(0))]
    pub jump: Option<usize>,

    /// Leave the known pixels as the decoder of a latent model returns them, instead of those of the image
    #[arg(long, requires = "mask", help_heading = INPAINTING)]
    pub no_paste: bool,
}

/// The mask of the flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaskArg {
    /// An image file.
    File(PathBuf),
    /// The transparency of the image.
    Alpha,
}

impl FromStr for MaskArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "" => Err("expected a file, or `alpha`".to_owned()),
            "alpha" => Ok(Self::Alpha),
            file => Ok(Self::File(file.into())),
        }
    }
}

/// The ways of the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WayArg {
    /// Projection on what is known.
    Project,
    /// RePaint.
    Repaint,
}

impl InpaintArgs {
    /// The mask, for a picture.
    ///
    /// # Errors
    /// [`Error::Argument`] for `alpha` without a picture; those of [`Mask::read`] and [`Mask::of_alpha`].
    pub fn read(&self, picture: Option<&Picture>) -> Result<Option<Mask>> {
        match (&self.mask, picture) {
            (None, _) => Ok(None),
            (Some(MaskArg::File(file)), _) => Mask::of_picture(stream::read_picture(file)?).map(Some),
            (Some(MaskArg::Alpha), Some(picture)) => Mask::of_alpha(picture).map(Some),
            (Some(MaskArg::Alpha), None) => {
                Err(Error::argument("`--mask alpha` without an image", "give the image by `--init-image`"))
            }
        }
    }

    /// Adds mask and way to a run.
    ///
    /// # Errors
    /// [`Error::Argument`] for settings of `repaint` with another way.
    pub fn describe<'a>(&self, mut sampling: Sampling<'a>, mask: Option<Mask>) -> Result<Sampling<'a>> {
        if let Some(mask) = mask {
            sampling = sampling.mask(mask);
        }
        let way = match self.inpaint {
            Some(WayArg::Repaint) => Some(Inpaint::Repaint { resample: self.resample, jump: self.jump }),
            Some(WayArg::Project) => Some(Inpaint::Project),
            None => None,
        };
        let settings = [("resample", self.resample.is_some()), ("jump", self.jump.is_some())];
        if let (false, Some((flag, _))) =
            (self.inpaint == Some(WayArg::Repaint), settings.iter().find(|(_, is_given)| *is_given))
        {
            let what = format!("`--{flag}` is a setting of `repaint`");
            return Err(Error::argument(what, format!("add `--inpaint repaint`, or omit `--{flag}`")));
        }
        if let Some(way) = way {
            sampling = sampling.inpaint(way);
        }
        Ok(sampling.no_paste(self.no_paste))
    }
}
