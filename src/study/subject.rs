//! The subject of a study: a denoiser, its trajectories, and the data to compare it with.

use serde_json::{Value, json};

use super::parts::Shard;
use super::trajectories::Trajectories;
use crate::data::{self, Dataset, Pixels, Source};
use crate::denoise::Level;
use crate::denoise::closed_form::Spec;
use crate::denoise::jacobian::NetworkJacobian;
use crate::denoise::vjp::NetworkVjp;
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::model::describe::model_json;
use crate::model::{DenoiserOptions, Kind, Model, ModelDenoiser, Observer};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::{Schedule, ScheduleKind};
use crate::sample::settings::{Course, Settings};
use crate::sample::walk::Method;

/// A denoiser that is not on a device yet.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The name of the model.
    pub name: String,
    /// (channels, height, width) of an image.
    pub image: [usize; 3],
    /// The mean of the data of a closed form, around which states start.
    pub mean: Option<Vec<f64>>,
    model: Model,
    label: Option<f64>,
}

/// The trajectories of a subject, before its denoiser is on a device.
#[derive(Clone, Debug)]
pub struct Trails {
    /// The noise levels.
    pub schedule: Schedule,
    /// The method of the steps.
    pub method: Method,
    sampler: Option<Sampler>,
    count: usize,
    mean: Option<Vec<f64>>,
}

impl Subject {
    /// A model as the subject of a study. `class` is the class of all images, by number or by name, for networks that
    /// take class labels.
    ///
    /// # Errors
    /// Those of [`Model::denoised_shape`]: a network that is not a denoiser of images, a class that is missing or not
    /// taken.
    pub fn new(model: Model, class: Option<&str>) -> Result<Self> {
        let label = class.map(|class| model.expect_network()?.label(class)).transpose()?;
        let image = model.denoised_shape(label)?;
        let mean = match model.kind() {
            Kind::ClosedForm(form) => Some(form.mean().to_vec()),
            Kind::Network(_) | Kind::Latent(_) => None,
        };
        Ok(Self { name: model.name().to_owned(), image, mean, model, label })
    }

    /// Returns the model for a report.
    #[must_use]
    pub fn json(&self) -> Value {
        model_json(&self.model)
    }

    /// `count` trajectories under `settings`, of `steps` steps unless the settings or an error model decide. The usual
    /// schedule of networks is `ddim`.
    ///
    /// # Errors
    /// Those of [`Model::course`].
    pub fn trails(&self, settings: Settings, count: usize, steps: usize) -> Result<Trails> {
        // Levels that are listed leave nothing to choose.
        let without_model = settings.error_model.is_none() && settings.sigmas.is_none();
        let usual = (self.model.network().is_some() && without_model).then_some(ScheduleKind::Ddim);
        let settings = Settings {
            schedule: settings.schedule.or(usual),
            steps: settings.steps.or(without_model.then_some(steps)),
            clip: Some(false),
            ..settings
        };
        let Course { schedule, method, .. } = self.model.course(&settings)?;
        let mean = self.mean.clone();
        Ok(Trails { schedule, method, sampler: settings.sampler, count, mean })
    }

    /// The least and the most noise of the range in which it is called or sampled.
    #[must_use]
    pub fn sigma_range(&self) -> (f64, f64) {
        self.model.sigma_range()
    }

    /// `count` levels over its range, evenly spaced in log sigma; those of a network are distinct timesteps.
    #[must_use]
    pub fn levels(&self, count: usize) -> Vec<Level> {
        self.model.levels(count)
    }

    /// The data that `text` names; without a text, those of an ideal denoiser, or of the class of a guided one, if this
    /// is one.
    ///
    /// # Errors
    /// Those of [`Source::load`]; [`Error::Argument`] for data of another size than the images.
    pub fn data(&self, text: Option<&str>) -> Result<Option<Dataset>> {
        let source = match text {
            Some(text) => Source::parse(text)?,
            None => match Spec::parse(&self.name)? {
                Some(Spec::Ideal { data, .. }) => data,
                Some(Spec::Guided { data, options }) => {
                    return options.of_class(&data.load(Pixels::Signed)?).map(Some);
                }
                _ => return Ok(None),
            },
        };
        let data = source.load(if self.has_unit_range() { Pixels::Unit } else { Pixels::Signed })?;
        let (found, values) = (data.dimension(), self.image.iter().product::<usize>());
        if found == values {
            return Ok(Some(data));
        }
        let what =
            format!("samples of `{}` have {found} values, and the images of `{}` have {values}", data.name, self.name);
        Err(Error::argument(what, "take data of the size that the model was made for"))
    }

    /// As [`Self::data`], or `digits` where they fit: for the embedded network, those that it has not seen.
    ///
    /// # Errors
    /// Those of [`Self::data`]; [`Error::Argument`] without data.
    pub fn expect_data(&self, text: Option<&str>) -> Result<Dataset> {
        self.data_or(text, data::HELD_OUT)
    }

    /// As [`Self::data`], or `digits` where they fit: for the embedded network, those that it was trained on.
    ///
    /// # Errors
    /// Those of [`Self::expect_data`].
    pub fn expect_training_data(&self, text: Option<&str>) -> Result<Dataset> {
        self.data_or(text, data::SEEN)
    }

    fn data_or(&self, text: Option<&str>, of_embedded: &str) -> Result<Dataset> {
        let is_embedded = self.name == "digits" && self.model.network().is_some();
        let usual = (self.image == [1, 28, 28]).then_some(if is_embedded { of_embedded } else { "digits" });
        let data = match (self.data(text)?, usual) {
            (None, Some(usual)) => self.data(Some(usual))?,
            (data, _) => data,
        };
        data.ok_or_else(|| {
            let what = format!("there are no data to compare `{}` with", self.name);
            Error::argument(what, format!("give `data`: {}", data::forms()))
        })
    }

    /// The denoiser on a device, for `images` images, of which `batch` go in one call.
    ///
    /// # Errors
    /// Those of [`Model::denoiser`].
    pub fn ready<'e>(
        self,
        compiler: Compiler<'e>,
        batch: Option<usize>,
        images: usize,
        observer: &mut Observer,
    ) -> Result<ModelDenoiser<'e>> {
        self.model.denoiser(compiler, &DenoiserOptions { batch, images, label: self.label }, observer)
    }

    /// Half the step of central differences of the denoiser at a noise level; `None` for a network, whose
    /// [`Self::jacobian`] is exact.
    #[must_use]
    pub fn difference_step(&self) -> Option<impl Fn(f64) -> f64 + use<>> {
        match self.model.kind() {
            Kind::Network(_) | Kind::Latent(_) => None,
            Kind::ClosedForm(form) => Some(form.difference_step()),
        }
    }

    /// The exact Jacobian of a network, for `block` vectors per call.
    ///
    /// # Errors
    /// Those of [`Model::jacobian`].
    pub fn jacobian<'e>(&self, compiler: Compiler<'e>, block: usize) -> Result<NetworkJacobian<'e>> {
        self.model.jacobian(compiler, self.label, block)
    }

    /// The exact Jacobian of the same network with random weights from `seed`; `None` for a closed form.
    ///
    /// # Errors
    /// Those of [`Model::jacobian`].
    pub fn untrained<'e>(
        &self,
        compiler: Compiler<'e>,
        block: usize,
        seed: u64,
    ) -> Result<Option<NetworkJacobian<'e>>> {
        self.with_random_weights(seed).map(|untrained| untrained.jacobian(compiler, block)).transpose()
    }

    /// The same network with random weights from `seed`; `None` for a closed form.
    #[must_use]
    pub fn with_random_weights(&self, seed: u64) -> Option<Self> {
        let network = self.model.network()?.with_random_weights(seed);
        Some(Self { name: "random weights".to_owned(), model: Model::of_network(network), ..self.clone() })
    }

    /// The exact transposed Jacobian of a network, for `images` images per call.
    ///
    /// # Errors
    /// Those of [`Model::vjp`].
    pub fn vjp<'e>(&self, compiler: Compiler<'e>, images: usize) -> Result<NetworkVjp<'e>> {
        self.model.vjp(compiler, self.label, images)
    }

    /// Returns `true` if its pixels are 0 to 1 instead of -1 to 1.
    #[must_use]
    pub fn has_unit_range(&self) -> bool {
        self.model.network().is_some_and(|network| network.scheduler.has_unit_range())
    }

    /// Returns `true` if its images are latents of an autoencoder.
    #[must_use]
    pub fn is_latent(&self) -> bool {
        matches!(self.model.kind(), Kind::Latent(_))
    }

    /// The Wiener filter of the data that `text` names; without a text, of the data of a closed form, or of `digits`
    /// where they fit. `None` without data.
    ///
    /// # Errors
    /// Those of [`Model::open`]; [`Error::Argument`] for data of another size than the images.
    pub fn wiener(&self, text: Option<&str>) -> Result<Option<Self>> {
        if text.is_none() && self.name.starts_with("wiener:") {
            return Self::new(Model::open(&self.name)?, None).map(Some);
        }
        let own = match self.model.kind() {
            Kind::ClosedForm(_) => self.name.split_once(':').map(|(_, rest)| Source::split(rest).0),
            Kind::Network(_) | Kind::Latent(_) => None,
        };
        let usual = (self.image == [1, 28, 28]).then_some("digits");
        let Some(text) = text.or(own).or(usual) else { return Ok(None) };
        let filter = Self::new(Model::open(&format!("wiener:{text}"))?, None)?;
        let (found, values) = (filter.image.iter().product::<usize>(), self.image.iter().product::<usize>());
        if found == values {
            return Ok(Some(filter));
        }
        let what = format!("samples of `{text}` have {found} values, and the images of `{}` have {values}", self.name);
        Err(Error::argument(what, "take data of the size that the model was made for"))
    }
}

impl Trails {
    /// The trajectories from `seed`, `batch` of them per call.
    #[must_use]
    pub fn from_seed(&self, seed: u64, batch: usize) -> Trajectories<'_> {
        let Self { schedule, method, count, mean, .. } = self;
        Trajectories { schedule, method, count: *count, batch, seed, mean: mean.as_deref(), shard: Shard::WHOLE }
    }

    /// The sigmas at which states are visited: those of the calls, and the end unless it is without noise.
    #[must_use]
    pub fn sigmas_of_places(&self) -> Vec<f64> {
        let calls = self.schedule.steps().iter().map(|step| step.from.sigma);
        let end = self.schedule.steps().last().map(|step| step.to.sigma).filter(|sigma| *sigma > 0.0);
        calls.chain(end).collect()
    }

    /// Returns the trajectories for a report.
    #[must_use]
    pub fn json(&self) -> Value {
        let levels = self.schedule.levels();
        json!({
            "count": self.count,
            "sampler": self.sampler.map(Sampler::name),
            "steps": self.schedule.steps().len(),
            "sigmas": levels.iter().map(|level| level.sigma).collect::<Vec<_>>(),
            "timesteps": levels.iter().map(|level| level.timestep).collect::<Vec<_>>(),
        })
    }
}
