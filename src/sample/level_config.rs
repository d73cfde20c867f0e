//! The noise levels of a model, as its `scheduler_config.json` describes them.

use std::path::Path;

use super::config_fields::Fields;
use super::samplers::spec::Levels;
use super::samplers::{Sampler, levels_of_class};
use crate::Result;
use crate::denoise::diffusion::{BetaConfig, BetaSchedule, NoiseTable, PredictionType};

/// The range of noise of EDM and of consistency models, where a file does not state it.
const EDM_RANGE: (f64, f64) = (0.002, 80.0);
/// The same of networks that give scores.
const SCORE_RANGE: (f64, f64) = (0.01, 1348.0);

/// The fields that fix the noise levels, by the process that the network was trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum LevelConfig {
    /// A beta per timestep.
    Betas(BetaConfig),
    /// Those of `IPNDMScheduler`, with T timesteps.
    Angle {
        /// T.
        timesteps: usize,
    },
    /// Flow matching with T timesteps.
    Flow {
        /// T.
        timesteps: usize,
        /// `invert_sigmas`: the network counts time from the noise.
        is_inverted: bool,
    },
    /// The networks of Karras et al. (2022).
    Edm {
        /// The least noise.
        sigma_min: f64,
        /// The most noise.
        sigma_max: f64,
        /// The standard deviation of the data.
        sigma_data: f64,
    },
    /// Networks that give scores (Song et al. 2021).
    Score {
        /// The number of levels.
        timesteps: usize,
        /// The least and the most noise.
        range: (f64, f64),
    },
    /// Consistency models (Song et al. 2023).
    Consistency {
        /// The number of levels.
        timesteps: usize,
        /// The least and the most noise.
        range: (f64, f64),
        /// The standard deviation of the data.
        sigma_data: f64,
        /// The exponent of the levels.
        rho: f64,
    },
}

impl LevelConfig {
    /// The least and the most noise that the fields of EDM, scores and consistency models state, of which those that
    /// are not given are `usual`.
    fn range(fields: &Fields, usual: (f64, f64)) -> Result<(f64, f64)> {
        Ok((fields.get_or("sigma_min", usual.0)?, fields.get_or("sigma_max", usual.1)?))
    }
}

impl Default for LevelConfig {
    fn default() -> Self {
        Self::Betas(BetaConfig::default())
    }
}

impl LevelConfig {
    /// Reads the fields of a scheduler of `class_name`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for a class whose noise levels are neither known nor described by betas,
    /// [`crate::Error::BadFile`] for values of the wrong type.
    pub(super) fn read(fields: &Fields, class_name: Option<&str>) -> Result<Self> {
        let timesteps = fields.get_or("num_train_timesteps", 1000)?;
        if fields.get_or("use_flow_sigmas", false)? {
            return Ok(Self::Flow { timesteps, is_inverted: false });
        }
        let usual = match class_levels(class_name) {
            None => None,
            Some(Levels::Angle) => {
                if fields.is_given("trained_betas") {
                    return Err(fields.unsupported("trained_betas", "null for this class"));
                }
                return Ok(Self::Angle { timesteps });
            }
            Some(Levels::Flow) => {
                // Of the two classes, one has the field.
                let may_be = class_name.and_then(Sampler::of_class) == Some(Sampler::FlowEuler);
                let is_inverted = may_be && fields.get_or("invert_sigmas", false)?;
                return Ok(Self::Flow { timesteps, is_inverted });
            }
            Some(Levels::Edm) => {
                let (sigma_min, sigma_max) = Self::range(fields, EDM_RANGE)?;
                return Ok(Self::Edm { sigma_min, sigma_max, sigma_data: fields.get_or("sigma_data", 0.5)? });
            }
            Some(Levels::Score) => {
                let timesteps = fields.get_or("num_train_timesteps", 2000)?;
                return Ok(Self::Score { timesteps, range: Self::range(fields, SCORE_RANGE)? });
            }
            Some(Levels::Consistency) => {
                return Ok(Self::Consistency {
                    timesteps: fields.get_or("num_train_timesteps", 40)?,
                    range: Self::range(fields, EDM_RANGE)?,
                    sigma_data: fields.get_or("sigma_data", 0.5)?,
                    rho: fields.get_or("rho", 7.0)?,
                });
            }
            Some(Levels::Ddpm) => Some(BetaConfig::default()),
            Some(Levels::Narrow) => Some(narrow(BetaSchedule::Linear)),
            Some(Levels::Latent) => Some(narrow(BetaSchedule::ScaledLinear)),
        };
        betas(fields, usual).map(Self::Betas)
    }

    /// The betas; `None` for a process without them.
    #[must_use]
    pub fn betas(&self) -> Option<&BetaConfig> {
        match self {
            Self::Betas(betas) => Some(betas),
            Self::Angle { .. }
            | Self::Flow { .. }
            | Self::Edm { .. }
            | Self::Score { .. }
            | Self::Consistency { .. } => None,
        }
    }

    /// The noise levels, read from `file`.
    ///
    /// # Errors
    /// [`crate::Error::BadFile`] for levels that are not possible.
    pub fn table(&self, file: &Path) -> Result<NoiseTable> {
        match self {
            Self::Betas(betas) => NoiseTable::new(betas, file),
            Self::Angle { timesteps } => NoiseTable::angle(*timesteps, file),
            Self::Flow { timesteps, is_inverted: false } => NoiseTable::flow(*timesteps, file),
            Self::Flow { timesteps, is_inverted: true } => Ok(NoiseTable::flow(*timesteps, file)?.inverted()),
            Self::Edm { sigma_min, sigma_max, sigma_data } => {
                NoiseTable::edm(*sigma_min, *sigma_max, *sigma_data, file)
            }
            Self::Score { timesteps, range } => NoiseTable::score(*timesteps, range.0, range.1, file),
            Self::Consistency { timesteps, range, sigma_data, rho } => {
                NoiseTable::consistency(*timesteps, *range, *sigma_data, *rho, file)
            }
        }
    }

    /// Reads `prediction_type`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for one that networks of this process do not have.
    pub(super) fn prediction_type(&self, fields: &Fields) -> Result<PredictionType> {
        let (usual, others, supported): (_, &[PredictionType], _) = match self {
            Self::Betas(_) => (
                PredictionType::Epsilon,
                &[PredictionType::Sample, PredictionType::VPrediction],
                "epsilon, sample, v_prediction",
            ),
            // Their classes do not have the field.
            Self::Score { .. } | Self::Consistency { .. } => (PredictionType::Epsilon, &[], "epsilon"),
            Self::Angle { .. } => (PredictionType::VPrediction, &[], "v_prediction"),
            Self::Edm { .. } => (PredictionType::Epsilon, &[PredictionType::VPrediction], "epsilon, v_prediction"),
            Self::Flow { .. } => {
                // The classes of flow matching do not have the field.
                let is_integrator = fields.get_or("use_flow_sigmas", false)?;
                let usual = if is_integrator { PredictionType::Epsilon } else { PredictionType::FlowPrediction };
                let others = &[PredictionType::Epsilon, PredictionType::Sample, PredictionType::FlowPrediction];
                (usual, others, "epsilon, sample, flow_prediction")
            }
        };
        let prediction = fields.one_of("prediction_type", supported)?.unwrap_or(usual);
        if prediction == usual || others.contains(&prediction) {
            return Ok(prediction);
        }
        Err(fields.unsupported("prediction_type", supported))
    }
}

/// The noise levels of a class by default; `None` for one that is not known.
fn class_levels(class_name: Option<&str>) -> Option<Levels> {
    let Some(class_name) = class_name else { return Some(Levels::Ddpm) };
    match class_name {
        // Classes without a sampler here.
        "DDIMInverseScheduler" | "DPMSolverMultistepInverseScheduler" | "RePaintScheduler" => Some(Levels::Ddpm),
        known => levels_of_class(known),
    }
}

fn narrow(beta_schedule: BetaSchedule) -> BetaConfig {
    BetaConfig { beta_start: 0.000_85, beta_end: 0.012, beta_schedule, ..BetaConfig::default() }
}

/// The fields of betas, of which those that are not given are the `usual` ones.
fn betas(fields: &Fields, usual: Option<BetaConfig>) -> Result<BetaConfig> {
    let told = ["beta_schedule", "beta_start", "beta_end", "trained_betas"];
    let told = told.iter().any(|field| fields.is_given(field));
    let default = match usual {
        Some(betas) => betas,
        None if told => BetaConfig::default(),
        None => {
            return Err(fields.unsupported(
                "_class_name",
                "the schedulers of diffusers that are built on betas, flow matching, or EDM",
            ));
        }
    };
    let trained_betas: Option<Vec<f64>> = fields.get("trained_betas")?;
    let schedule = fields.one_of("beta_schedule", "linear, scaled_linear, squaredcos_cap_v2, sigmoid, laplace");
    Ok(BetaConfig {
        num_train_timesteps: fields.get("num_train_timesteps")?.unwrap_or(default.num_train_timesteps),
        beta_start: fields.get("beta_start")?.unwrap_or(default.beta_start),
        beta_end: fields.get("beta_end")?.unwrap_or(default.beta_end),
        beta_schedule: match trained_betas {
            Some(_) => default.beta_schedule,
            None => schedule?.unwrap_or(default.beta_schedule),
        },
        trained_betas,
        rescale_betas_zero_snr: fields.get_or("rescale_betas_zero_snr", false)?,
    })
}
