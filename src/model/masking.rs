//! Runs in which a part of a picture is kept: what follows from a mask for each kind of model.

use super::Size;
use super::resolve::ModelRun;
use super::sampling::Sampling;
use crate::data::mask::Origin;
use crate::error::{Error, Result};
use crate::sample::inpaint::{Inpaint, Known, Resampling};
use crate::sample::samplers::Sampler;
use crate::sample::settings::Course;
use crate::tensor::Tensor;

/// The samplers that do not begin again after a jump: in mid-schedule they follow diffusers, which counts on estimates
/// that are not there, or begins with steps of another kind.
const NOT_BEGUN_AGAIN: [Sampler; 2] = [Sampler::Pndm, Sampler::Lms];

/// The part of a run's picture that is painted, and how the rest is kept.
#[derive(Clone, Debug)]
pub struct Masking {
    /// `true` where the picture is painted: a value per pixel of the images.
    pub painted: Vec<bool>,
    /// The same at the size of a state: of an image, or of its latents.
    pub of_state: Vec<bool>,
    /// The way in which the rest is kept.
    pub way: Way,
    /// The jumps of the walk, if it makes any.
    pub resampling: Option<Resampling>,
    /// `true` if the known pixels are put into decoded images.
    pub pastes: bool,
    /// The origin of the mask.
    pub origin: Origin,
}

/// The way in which what is painted is made to fit the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The walk is projected on what is known.
    Walk(Inpaint),
    /// The network takes the mask and the latents under it.
    Network,
}

impl Masking {
    /// The name of the way.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.way {
            Way::Walk(inpaint) => inpaint.name(),
            Way::Network => "by the network",
        }
    }

    /// Its settings by keyword, for the metadata of images.
    pub(super) fn pairs(&self, has_latents: bool) -> Vec<(&'static str, String)> {
        let (name, sha256) = self.source();
        let mut pairs = vec![("mask", name)];
        pairs.extend(sha256.map(|sha256| ("mask sha256", sha256)));
        pairs.push(("inpaint", self.name().to_owned()));
        if let Some(Resampling { times, jump }) = self.resampling {
            pairs.extend([("resample", times.to_string()), ("jump", jump.to_string())]);
        }
        if has_latents {
            pairs.push(("known pixels", if self.pastes { "pasted" } else { "decoded" }.to_owned()));
        }
        pairs
    }

    /// For reports.
    pub(super) fn json(&self) -> serde_json::Value {
        let (name, sha256) = self.source();
        let painted = self.painted.iter().filter(|is_painted| **is_painted).count();
        serde_json::json!({
            "source": name,
            "sha256": sha256,
            "painted_pixels": painted,
            "inpaint": self.name(),
            "resampling": self.resampling,
            "pasted": self.pastes,
        })
    }

    /// The origin of the mask in words, and its digest.
    fn source(&self) -> (String, Option<String>) {
        match &self.origin {
            Origin::File { path, sha256 } => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                (name, Some(sha256.clone()))
            }
            Origin::Alpha => ("alpha".to_owned(), None),
            Origin::Values { sha256 } => ("given values".to_owned(), Some(sha256.clone())),
        }
    }

    /// The known part of a state, or of images, (1, c, h, w).
    pub(super) fn known(clean: Tensor, painted: &[bool]) -> Known {
        Known { clean, painted: painted.to_vec() }
    }

    /// The known part of the latents of a picture, (1, c, h, w) in -1..1, or else the channels that the network takes
    /// after the latents. `encode` turns pixels into latents.
    pub(super) fn of_latents(
        &self,
        pixels: &Tensor,
        encode: &dyn Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<(Option<Known>, Option<Tensor>)> {
        Ok(match self.way {
            Way::Walk(_) => (Some(Self::known(encode(pixels)?, &self.of_state)), None),
            Way::Network => (None, Some(self.channels(&encode(&self.kept_pixels(pixels))?))),
        })
    }

    /// The known pixels that are put into decoded images, if they are.
    pub(super) fn pasted(&self, pixels: Tensor) -> Option<Known> {
        self.pastes.then(|| Self::known(pixels, &self.painted))
    }

    /// The pixels that are kept, (1, c, h, w) in -1..1, with grey in place of those that are painted: what networks of
    /// inpainting see of the picture.
    fn kept_pixels(&self, pixels: &Tensor) -> Tensor {
        let area = self.painted.len().max(1);
        let values = pixels.data.iter().enumerate();
        let data = values.map(|(at, value)| if self.painted[at % area] { 0.0 } else { *value }).collect();
        Tensor::new(pixels.shape.clone(), data)
    }

    /// The channels that networks of inpainting take after the latents: the mask, 1 where it is painted, and the
    /// `kept` latents, (1, c, h, w).
    fn channels(&self, kept: &Tensor) -> Tensor {
        let mask = self.of_state.iter().map(|is_painted| f32::from(u8::from(*is_painted)));
        let mut shape = kept.shape.clone();
        shape[1] += 1;
        Tensor::new(shape, mask.chain(kept.data.iter().copied()).collect::<Vec<_>>())
    }
}

impl Sampling<'_> {
    /// Refuses a mask without a picture or of another size, and settings of masks without one.
    pub(super) fn check_mask(&self) -> Result<()> {
        match (&self.mask, &self.picture) {
            (Some(mask), Some(picture)) => mask.expect_size_of(picture),
            (Some(_), None) => {
                Err(Error::argument("a `mask` without an image", "give the image that is filled in by `init_image`"))
            }
            (None, _) => {
                let given = [("inpaint", self.inpaint.is_some()), ("no_paste", self.no_paste)];
                match given.into_iter().find(|(_, is_given)| *is_given) {
                    None => Ok(()),
                    Some((field, _)) => Err(Error::argument(
                        format!("`{field}` has no meaning without a `mask`"),
                        format!("give `init_image` and `mask`, or leave out `{field}`"),
                    )),
                }
            }
        }
    }

    /// Returns `true` if the walk begins at noise although there is a picture: with a mask, the picture is only kept,
    /// unless the strength is below 1.
    pub(super) fn begins_at_noise(&self) -> bool {
        self.mask.is_some() && self.settings.strength.is_none_or(|strength| strength == 1.0)
    }

    /// Returns what follows from the mask for images of a size, whose states have one value per `factor` x `factor`
    /// pixels. `is_inpainting` is `true` for networks of inpainting. Notes are added for the user.
    ///
    /// # Errors
    /// [`Error::Argument`] for settings that do not fit the model, the sampler or the schedule.
    pub(super) fn masking(
        &self,
        course: &mut Course,
        size: Size,
        factor: Option<usize>,
        is_inpainting: bool,
    ) -> Result<Option<Masking>> {
        let Some(mask) = &self.mask else { return Ok(None) };
        let way = match (is_inpainting, self.inpaint) {
            (true, None) => Way::Network,
            (true, Some(_)) => {
                let what = "`inpaint` has no meaning for a network of inpainting, which takes the mask itself";
                return Err(Error::argument(what, "leave out `inpaint`"));
            }
            (false, way) => Way::Walk(way.unwrap_or_default()),
        };
        if factor.is_none() && self.no_paste {
            let what = "`no_paste` has no meaning for a model without latents: its known pixels are exact";
            return Err(Error::argument(what, "leave out `no_paste`"));
        }
        let steps = course.schedule.steps().len();
        let resampling = match way {
            Way::Walk(inpaint) => inpaint.resampling(steps)?,
            Way::Network => None,
        };
        if resampling.is_some() && NOT_BEGUN_AGAIN.contains(&course.sampler) {
            let what = format!(
                "the sampler `{}` cannot go up again: begun in mid-schedule, it misses the estimates before",
                course.sampler
            );
            return Err(Error::argument(what, "choose another `sampler`, such as `ddim`, or the way `project`"));
        }
        course.notes.extend(mask.note().map(str::to_owned));
        let painted = mask.at(size)?;
        let of_state = match factor {
            None => painted.clone(),
            Some(factor) => mask.of_latents(&painted, size.1, factor)?,
        };
        if let Some(resampling) = resampling {
            let taken: usize = resampling.descents(steps).iter().map(std::ops::Range::len).sum();
            course.notes.push(format!(
                "`repaint` takes {taken} steps for the {steps} of the schedule: {} times each, in jumps of {}",
                resampling.times, resampling.jump
            ));
        }
        let pastes = factor.is_some() && !self.no_paste;
        Ok(Some(Masking { painted, of_state, way, resampling, pastes, origin: mask.origin().clone() }))
    }
}

impl ModelRun<'_> {
    /// Returns `true` if the walk begins at noise, although there is a picture.
    pub(super) fn begins_at_noise(&self) -> bool {
        self.masking.is_some() && self.settings.strength.is_none_or(|strength| strength == 1.0)
    }

    pub(super) fn with_masking(mut self, masking: Option<Masking>, known: Option<Known>) -> Self {
        self.run.resampling = masking.as_ref().and_then(|masking| masking.resampling);
        self.run.known = known;
        Self { masking, ..self }
    }
}
