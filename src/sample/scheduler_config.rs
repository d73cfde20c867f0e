//! The typed reading of diffusers' `scheduler_config.json`.
//!
//! Any sampler can be asked for, whatever class the file names. As in diffusers' `from_config`, a field the file lacks
//! takes the default of the class that samples; where those differ, the field is none here. The betas alone take the
//! default of the class in the file: the network was trained on them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::catalogue::Sampler;
use super::fields::Fields;
use super::solver_config::{FinalSigma, SolverConfig};
use crate::denoise::diffusion::{BetaConfig, BetaSchedule, NoiseTable, PredictionType};
use crate::{Error, Result};

/// How diffusers spreads N timesteps over T (the values of `timestep_spacing`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// Multiples of T/N from 0, and the offset.
    #[default]
    Leading,
    /// From T - 1 downwards.
    Trailing,
    /// Both ends included.
    Linspace,
}

/// The variance of the noise that a DDPM step adds (the values of `variance_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// The posterior's, right for data concentrated on a point.
    #[default]
    FixedSmall,
    /// The same, by way of its logarithm.
    FixedSmallLog,
    /// beta, right for data of unit variance.
    FixedLarge,
}

/// What a model's `scheduler_config.json` says about sampling.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// Where it was read from, for messages.
    pub file: PathBuf,
    /// `_class_name`, where the file has one.
    pub class_name: Option<String>,
    /// The fields that fix the noise levels.
    pub betas: BetaConfig,
    /// `prediction_type`: what the network predicts.
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
    /// `variance_type`.
    pub variance_type: VarianceType,
    /// What concerns some samplers alone.
    pub solver: SolverConfig,
    /// The model samples latents: gradient estimation takes the range that its paper has for Stable Diffusion.
    pub of_latents: bool,
}

impl Default for SchedulerConfig {
    /// What an empty file says.
    fn default() -> Self {
        Self {
            file: PathBuf::from("scheduler_config.json"),
            class_name: None,
            betas: BetaConfig::default(),
            prediction_type: PredictionType::Epsilon,
            clip_sample: None,
            clip_sample_range: 1.0,
            set_alpha_to_one: None,
            timestep_spacing: None,
            steps_offset: 0,
            variance_type: VarianceType::FixedSmall,
            solver: SolverConfig::default(),
            of_latents: false,
        }
    }
}

impl SchedulerConfig {
    /// Reads the fields of `map`, the object in `file`.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for a value that would change the samples in a way not supported here,
    /// [`Error::BadFile`] for one of the wrong type or range. Fields of other samplers' own are passed over.
    pub fn read(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let fields = Fields { map, file };
        for (field, what) in [
            ("rescale_betas_zero_snr", "false: timestep T - 1 would have no signal and an infinite sigma"),
            ("thresholding", "false: `clip_sample` clips to a fixed range instead"),
            ("use_flow_sigmas", "false: models trained on betas"),
        ] {
            if fields.get(field)?.unwrap_or(false) {
                return Err(fields.unsupported(field, what));
            }
        }
        let default = Self::default();
        let class_name: Option<String> = fields.get("_class_name")?;
        let clip_sample_range = fields.get("clip_sample_range")?.unwrap_or(default.clip_sample_range);
        if clip_sample_range <= 0.0 {
            return Err(fields.malformed("clip_sample_range", "a number above 0"));
        }
        let prediction_type = fields.one_of("prediction_type", "epsilon, sample, v_prediction")?.unwrap_or_default();
        Ok(Self {
            file: file.to_path_buf(),
            betas: betas(&fields, class_name.as_deref())?,
            class_name,
            prediction_type,
            clip_sample: fields.get("clip_sample")?,
            clip_sample_range,
            set_alpha_to_one: fields.get("set_alpha_to_one")?,
            timestep_spacing: fields.one_of("timestep_spacing", "leading, trailing, linspace")?,
            steps_offset: fields.get("steps_offset")?.unwrap_or(default.steps_offset),
            variance_type: fields
                .one_of("variance_type", "fixed_small, fixed_small_log, fixed_large")?
                .unwrap_or_default(),
            solver: SolverConfig::read(&fields, prediction_type)?,
            of_latents: false,
        })
    }

    /// The same for a pipeline of latents. As diffusers' `StableDiffusionPipeline` does whatever the file says, timesteps are
    /// offset by one, and predictions are not clipped: latents have no range.
    #[must_use]
    pub fn for_latents(self) -> Self {
        Self { steps_offset: 1, clip_sample: Some(false), of_latents: true, ..self }
    }

    /// Whether `sampler` can honour what the file says.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] naming a field that it cannot.
    pub fn check(&self, sampler: Sampler) -> Result<()> {
        match self.solver.refusal(sampler) {
            None => Ok(()),
            Some((field, value, supported)) => Err(Error::UnsupportedField {
                file: self.file.clone(),
                field: field.to_owned(),
                value: value.to_owned(),
                supported: supported.to_owned(),
            }),
        }
    }

    /// `timestep_spacing` as `sampler` reads it.
    #[must_use]
    pub fn spacing(&self, sampler: Sampler) -> Spacing {
        self.timestep_spacing.unwrap_or(match sampler {
            Sampler::Ge | Sampler::Ddim | Sampler::Ddpm | Sampler::Pndm => Spacing::Leading,
            _ => Spacing::Linspace,
        })
    }

    /// `set_alpha_to_one` as `sampler` reads it.
    #[must_use]
    pub fn is_clean_end(&self, sampler: Sampler) -> bool {
        match sampler {
            Sampler::Ge | Sampler::Ddim => self.set_alpha_to_one.unwrap_or(true),
            Sampler::Pndm => self.set_alpha_to_one.unwrap_or(false),
            Sampler::Deis => false,
            Sampler::Euler | Sampler::DpmPlusPlus2m | Sampler::UniPc => self.solver.final_sigma == FinalSigma::Zero,
            Sampler::Ddpm | Sampler::EulerAncestral | Sampler::Heun | Sampler::Lms => true,
        }
    }

    /// `clip_sample` as `sampler` reads it: those of diffusers' classes that have no such field do not clip.
    #[must_use]
    pub fn clips(&self, sampler: Sampler) -> bool {
        match sampler {
            Sampler::Ge | Sampler::Ddim | Sampler::Ddpm => self.clip_sample.unwrap_or(true),
            Sampler::Heun => self.clip_sample.unwrap_or(false),
            _ => false,
        }
    }

    /// The noise levels of the model, read from `file`.
    ///
    /// # Errors
    /// As [`NoiseTable::new`].
    pub fn noise_table(&self, file: &Path) -> Result<NoiseTable> {
        NoiseTable::new(&self.betas, file)
    }
}

/// The betas a class of diffusers has by default; none for a class that is not built on betas, or not known.
fn class_betas(class_name: Option<&str>) -> Option<BetaConfig> {
    let Some(class_name) = class_name else { return Some(BetaConfig::default()) };
    let (beta_start, beta_end, beta_schedule) = match class_name {
        "DDIMScheduler"
        | "DDIMInverseScheduler"
        | "DDIMParallelScheduler"
        | "DDPMScheduler"
        | "DDPMParallelScheduler"
        | "PNDMScheduler"
        | "DEISMultistepScheduler"
        | "DPMSolverMultistepScheduler"
        | "DPMSolverMultistepInverseScheduler"
        | "DPMSolverSinglestepScheduler"
        | "EulerAncestralDiscreteScheduler"
        | "EulerDiscreteScheduler"
        | "GEScheduler"
        | "LMSDiscreteScheduler"
        | "RePaintScheduler"
        | "SASolverScheduler"
        | "UniPCMultistepScheduler" => return Some(BetaConfig::default()),
        "DPMSolverSDEScheduler"
        | "HeunDiscreteScheduler"
        | "KDPM2AncestralDiscreteScheduler"
        | "KDPM2DiscreteScheduler" => (0.000_85, 0.012, BetaSchedule::Linear),
        "LCMScheduler" | "TCDScheduler" => (0.000_85, 0.012, BetaSchedule::ScaledLinear),
        _ => return None,
    };
    Some(BetaConfig { beta_start, beta_end, beta_schedule, ..BetaConfig::default() })
}

/// The fields that fix the noise levels.
fn betas(fields: &Fields, class_name: Option<&str>) -> Result<BetaConfig> {
    let told = ["beta_schedule", "beta_start", "beta_end", "trained_betas"];
    let told = told.iter().any(|field| fields.is_given(field));
    let default = match class_betas(class_name) {
        Some(betas) => betas,
        None if told => BetaConfig::default(),
        None => return Err(fields.unsupported("_class_name", "the schedulers of diffusers that are built on betas")),
    };
    let trained_betas: Option<Vec<f64>> = fields.get("trained_betas")?;
    let schedule = fields.one_of("beta_schedule", "linear, scaled_linear, squaredcos_cap_v2");
    Ok(BetaConfig {
        num_train_timesteps: fields.get("num_train_timesteps")?.unwrap_or(default.num_train_timesteps),
        beta_start: fields.get("beta_start")?.unwrap_or(default.beta_start),
        beta_end: fields.get("beta_end")?.unwrap_or(default.beta_end),
        beta_schedule: match trained_betas {
            Some(_) => default.beta_schedule,
            None => schedule?.unwrap_or(default.beta_schedule),
        },
        trained_betas,
    })
}
