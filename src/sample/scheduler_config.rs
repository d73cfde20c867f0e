//! The typed reading of diffusers' `scheduler_config.json`.
//!
//! Whatever class the file names, it is sampled here by DDPM, DDIM or gradient estimation. As in diffusers'
//! `DDIMScheduler.from_config`, a field the file lacks takes the default of the class that samples (these three agree on
//! them). The betas alone take the default of the class in the file: the network was trained on them.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

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
    /// `_class_name`, where the file has one.
    pub class_name: Option<String>,
    /// The fields that fix the noise levels.
    pub betas: BetaConfig,
    /// `prediction_type`: what the network predicts.
    pub prediction_type: PredictionType,
    /// `clip_sample`: predictions of x0 are clipped.
    pub clip_sample: bool,
    /// `clip_sample_range`: to plus and minus this.
    pub clip_sample_range: f64,
    /// `set_alpha_to_one`: the last step ends at alpha bar 1, else at that of timestep 0.
    pub set_alpha_to_one: bool,
    /// `timestep_spacing`.
    pub timestep_spacing: Spacing,
    /// `steps_offset`, added to the timesteps of the leading spacing.
    pub steps_offset: usize,
    /// `variance_type`.
    pub variance_type: VarianceType,
}

impl Default for SchedulerConfig {
    /// diffusers' `DDIMScheduler()` and `DDPMScheduler()`.
    fn default() -> Self {
        Self {
            class_name: None,
            betas: BetaConfig::default(),
            prediction_type: PredictionType::Epsilon,
            clip_sample: true,
            clip_sample_range: 1.0,
            set_alpha_to_one: true,
            timestep_spacing: Spacing::Leading,
            steps_offset: 0,
            variance_type: VarianceType::FixedSmall,
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
        Ok(Self {
            betas: fields.betas(class_name.as_deref())?,
            class_name,
            prediction_type: fields.one_of("prediction_type", "epsilon, sample, v_prediction")?.unwrap_or_default(),
            clip_sample: fields.get("clip_sample")?.unwrap_or(default.clip_sample),
            clip_sample_range,
            set_alpha_to_one: fields.get("set_alpha_to_one")?.unwrap_or(default.set_alpha_to_one),
            timestep_spacing: fields.one_of("timestep_spacing", "leading, trailing, linspace")?.unwrap_or_default(),
            steps_offset: fields.get("steps_offset")?.unwrap_or(default.steps_offset),
            variance_type: fields
                .one_of("variance_type", "fixed_small, fixed_small_log, fixed_large")?
                .unwrap_or_default(),
        })
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

/// The object in a file, with errors that name both.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    file: &'a Path,
}

impl Fields<'_> {
    /// The value of `field`; none where it is absent or null.
    fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                T::deserialize(value).map(Some).map_err(|_| self.malformed(field, std::any::type_name::<T>()))
            }
        }
    }

    /// The value of a field that takes one of the words listed in `supported`.
    fn one_of<T: DeserializeOwned>(&self, field: &str, supported: &str) -> Result<Option<T>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| self.unsupported(field, supported)),
        }
    }

    fn betas(&self, class_name: Option<&str>) -> Result<BetaConfig> {
        let told = ["beta_schedule", "beta_start", "beta_end", "trained_betas"];
        let told = told.iter().any(|field| self.map.get(*field).is_some_and(|value| !value.is_null()));
        let default = match class_betas(class_name) {
            Some(betas) => betas,
            None if told => BetaConfig::default(),
            None => return Err(self.unsupported("_class_name", "the schedulers of diffusers that are built on betas")),
        };
        let trained_betas: Option<Vec<f64>> = self.get("trained_betas")?;
        let schedule = self.one_of("beta_schedule", "linear, scaled_linear, squaredcos_cap_v2");
        Ok(BetaConfig {
            num_train_timesteps: self.get("num_train_timesteps")?.unwrap_or(default.num_train_timesteps),
            beta_start: self.get("beta_start")?.unwrap_or(default.beta_start),
            beta_end: self.get("beta_end")?.unwrap_or(default.beta_end),
            beta_schedule: match trained_betas {
                Some(_) => default.beta_schedule,
                None => schedule?.unwrap_or(default.beta_schedule),
            },
            trained_betas,
        })
    }

    fn value(&self, field: &str) -> String {
        self.map.get(field).map_or_else(|| "absent".to_owned(), Value::to_string)
    }

    fn malformed(&self, field: &str, expected: &str) -> Error {
        let expected = match expected {
            "bool" => "true or false",
            "f64" => "a number",
            "usize" => "a whole number, not negative",
            "alloc::string::String" => "a string",
            "alloc::vec::Vec<f64>" => "a list of numbers",
            other => other,
        };
        Error::bad_file(self.file, format!("`{field}` is {}, expected {expected}", self.value(field)))
    }

    fn unsupported(&self, field: &str, supported: &str) -> Error {
        Error::UnsupportedField {
            file: self.file.to_path_buf(),
            field: field.to_owned(),
            value: self.value(field),
            supported: supported.to_owned(),
        }
    }
}
