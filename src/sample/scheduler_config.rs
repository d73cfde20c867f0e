//! The typed reading of diffusers' `scheduler_config.json`.
//!
//! Any sampler can be used, whatever class the file names. As in diffusers' `from_config`, a field the file lacks
//! takes the default of the class that samples; where those differ, the field is `None` here. The betas alone take the
//! default of the class in the file: the network was trained on them.

use std::path::Path;

use serde_json::{Map, Value};

pub use super::config_fields::{Fields, Spacing};
pub use super::level_config::LevelConfig;
use super::samplers::Sampler;
use super::samplers::spec::{ClipRule, Grid};
use super::walk::{Bound, Clip};
use crate::Result;
use crate::denoise::diffusion::{NoiseTable, PredictionType};

/// The sampling settings in a model's `scheduler_config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// All fields of the file; each sampler reads those of its class.
    pub fields: Fields,
    /// `_class_name`, where the file has one.
    pub class_name: Option<String>,
    /// The fields that fix the noise levels.
    pub levels: LevelConfig,
    /// `prediction_type`: the quantity that the network predicts.
    pub prediction_type: PredictionType,
    /// `clip_sample`: predictions of x0 are clipped.
    pub clip_sample: Option<bool>,
    /// `clip_sample_range`: to plus and minus this.
    pub clip_sample_range: f64,
    /// `set_alpha_to_one`: the last step ends at alpha bar 1, else at that of timestep 0.
    pub set_alpha_to_one: Option<bool>,
    /// `timestep_spacing`.
    pub timestep_spacing: Option<Spacing>,
    /// `steps_offset`, added to the timesteps of the leading spacing.
    pub steps_offset: usize,
    /// `true` if the network gives channels of a variance, which `variance_type` may ask for.
    pub learns_variance: bool,
    /// The model samples latents: gradient estimation takes the range that its paper has for Stable Diffusion.
    pub of_latents: bool,
    /// From an image, the sampler of latent consistency models takes all steps in the last part of its timesteps,
    /// instead of the last steps alone: diffusers' `LatentConsistencyModelImg2ImgPipeline`.
    pub shortens: bool,
}

impl Default for SchedulerConfig {
    /// The settings of an empty file.
    fn default() -> Self {
        Self {
            fields: Fields::default(),
            class_name: None,
            levels: LevelConfig::default(),
            prediction_type: PredictionType::Epsilon,
            clip_sample: None,
            clip_sample_range: 1.0,
            set_alpha_to_one: None,
            timestep_spacing: None,
            steps_offset: 0,
            learns_variance: false,
            of_latents: false,
            shortens: false,
        }
    }
}

impl SchedulerConfig {
    /// Reads the fields of `map`, the object in `file`.
    ///
    /// # Errors
    /// [`UnsupportedField`](crate::Error::UnsupportedField) for a value that would change the samples in a way that is
    /// not supported, [`BadFile`](crate::Error::BadFile) for one of the wrong type or
    /// range. Fields of other samplers are ignored.
    pub fn read(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let fields = Fields::new(map.clone(), file);
        let default = Self::default();
        let class_name: Option<String> = fields.get("_class_name")?;
        let clip_sample_range = fields.get("clip_sample_range")?.unwrap_or(default.clip_sample_range);
        if clip_sample_range <= 0.0 {
            return Err(fields.malformed("clip_sample_range", "a number above 0"));
        }
        let levels = LevelConfig::read(&fields, class_name.as_deref())?;
        Ok(Self {
            prediction_type: levels.prediction_type(&fields)?,
            levels,
            class_name,
            // `CMStochasticIterativeScheduler` has another name for it.
            clip_sample: fields.get("clip_sample")?.or(fields.get("clip_denoised")?),
            clip_sample_range,
            set_alpha_to_one: fields.get("set_alpha_to_one")?,
            timestep_spacing: fields.one_of("timestep_spacing", "leading, trailing, linspace")?,
            steps_offset: fields.get("steps_offset")?.unwrap_or(default.steps_offset),
            learns_variance: false,
            of_latents: false,
            shortens: false,
            fields,
        })
    }

    /// The same for a pipeline of latents. As diffusers' `StableDiffusionPipeline` does whatever the file says,
    /// timesteps are offset by one, and predictions are not clipped: latents have no range.
    #[must_use]
    pub fn for_latents(self) -> Self {
        Self { steps_offset: 1, clip_sample: Some(false), of_latents: true, ..self }
    }

    /// The same for other pipelines of latents, which follow the file. Predictions are not clipped where it does not
    /// say so: latents have no range.
    #[must_use]
    pub fn of_unbounded_latents(self) -> Self {
        Self { clip_sample: self.clip_sample.or(Some(false)), of_latents: true, ..self }
    }

    /// Returns `timestep_spacing` as `sampler` reads it.
    #[must_use]
    pub fn spacing(&self, sampler: Sampler) -> Spacing {
        let spec = sampler.spec();
        let only = match spec.grid {
            Grid::Sigmas(rule) => rule.only_spacing,
            Grid::Timesteps(_) | Grid::Own(_) => None,
        };
        only.or(self.timestep_spacing).unwrap_or(spec.spacing)
    }

    /// Returns `true` if the last step of `sampler` ends without noise.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for a `final_sigmas_type` that diffusers does not have.
    pub fn is_clean_end(&self, sampler: Sampler) -> Result<bool> {
        sampler.spec().end.is_clean(self.set_alpha_to_one, &self.fields)
    }

    /// Returns `clip_sample` as `sampler` reads it: classes without such a field do not clip.
    #[must_use]
    pub fn clips(&self, sampler: Sampler) -> bool {
        match sampler.spec().clip {
            ClipRule::Never | ClipRule::Thresholding => false,
            ClipRule::Field { default, .. } => self.clip_sample.unwrap_or(default),
        }
    }

    /// Returns the clipping of x0 that `sampler` has: dynamic thresholding where the file asks for it and its class has
    /// it, else clipping to a fixed range. `asked` is what the caller wants, before the file.
    ///
    /// # Errors
    /// [`crate::Error::BadFile`] for fields of thresholding that are out of range.
    pub fn clip(&self, sampler: Sampler, asked: Option<bool>) -> Result<Option<Clip>> {
        let rule = sampler.spec().clip;
        // In diffusers an argument of the step of `DDIMScheduler`, and in guided-diffusion how it always samples.
        let rederive_eps = rule.rederives_eps() || self.fields.get_or("use_clipped_model_output", false)?;
        let bound = match asked {
            Some(false) => None,
            _ if rule.thresholds() && self.fields.get_or("thresholding", false)? => Some(self.quantile()?),
            asked => asked.unwrap_or(self.clips(sampler)).then_some(Bound::Range(self.clip_sample_range)),
        };
        Ok(bound.map(|bound| Clip { bound, rederive_eps }))
    }

    /// The bound of dynamic thresholding.
    fn quantile(&self) -> Result<Bound> {
        let share = self.fields.get_or("dynamic_thresholding_ratio", 0.995)?;
        if !(0.0..=1.0).contains(&share) {
            return Err(self.fields.malformed("dynamic_thresholding_ratio", "a number from 0 to 1"));
        }
        let most = self.fields.get_or("sample_max_value", 1.0)?;
        if most <= 0.0 {
            return Err(self.fields.malformed("sample_max_value", "a number above 0"));
        }
        Ok(Bound::Quantile { share, most })
    }

    /// Returns the sampler of the model's scheduler; gradient estimation where the class is not known or not named.
    #[must_use]
    pub fn sampler(&self) -> Sampler {
        self.class_name.as_deref().and_then(Sampler::of_class).unwrap_or(Sampler::Ge)
    }

    /// Returns a note about a class that no sampler implements.
    #[must_use]
    pub fn unknown_class(&self) -> Option<String> {
        let class = self.class_name.as_deref().filter(|class| Sampler::of_class(class).is_none())?;
        Some(format!(
            "the scheduler class `{class}` of {} is not supported: sampling with `{}` instead",
            self.fields.file().display(),
            self.sampler()
        ))
    }

    /// Returns `true` if the images of the model have values from 0 to 1, and not from -1 to 1.
    #[must_use]
    pub fn has_unit_range(&self) -> bool {
        // As `ScoreSdeVePipeline` clips them.
        matches!(self.levels, LevelConfig::Score { .. })
    }

    /// The noise levels of the model, read from `file`.
    ///
    /// # Errors
    /// As [`LevelConfig::table`].
    pub fn noise_table(&self, file: &Path) -> Result<NoiseTable> {
        self.levels.table(file)
    }
}
