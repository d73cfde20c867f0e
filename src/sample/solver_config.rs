//! The fields of `scheduler_config.json` that only some samplers have.

use serde::de::DeserializeOwned;

use super::catalogue::Sampler;
use super::fields::Fields;
use super::solvers::dpm::Algorithm;
use crate::Result;
use crate::denoise::diffusion::PredictionType;

/// Those whose sigmas can be spread anew between their ends.
const SPREADING: &[Sampler] =
    &[Sampler::Euler, Sampler::Heun, Sampler::Lms, Sampler::DpmPlusPlus2m, Sampler::UniPc, Sampler::Deis];
/// Those of diffusers' exponential integrators.
const INTEGRATORS: &[Sampler] = &[Sampler::DpmPlusPlus2m, Sampler::UniPc, Sampler::Deis];
/// Those with a choice of where they end.
const ENDING: &[Sampler] = &[Sampler::Euler, Sampler::DpmPlusPlus2m, Sampler::UniPc];

/// How sigmas are spread between the first and the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// As the timesteps lie.
    #[default]
    Timesteps,
    /// Evenly in the seventh root (`use_karras_sigmas`).
    Karras,
    /// Evenly in the logarithm (`use_exponential_sigmas`).
    Exponential,
    /// The same, with timesteps rounded as for Karras (`use_lu_lambdas`).
    Lu,
}

/// Where the last step ends (`final_sigmas_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigma {
    /// Without noise.
    #[default]
    Zero,
    /// At the least noise.
    SigmaMin,
}

/// The form of an integrator's second order and above (`solver_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// DPM-Solver's usual one.
    Midpoint,
    /// DPM-Solver's other one.
    Heun,
    /// DEIS's.
    LogRho,
    /// `UniPC`'s B(h) = h.
    Bh1,
    /// `UniPC`'s B(h) = e^h - 1.
    Bh2,
}

/// How sigma is interpolated between timesteps (`interpolation_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Linearly.
    #[default]
    Linear,
    /// Not at all: N + 1 sigmas are spread evenly in the logarithm.
    LogLinear,
}

/// What a model's `scheduler_config.json` says to solvers.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the file")]
pub struct SolverConfig {
    /// `solver_order`.
    pub order: usize,
    /// `algorithm_type` of DPM-Solver.
    pub algorithm: Algorithm,
    /// `solver_type`; none where the file is silent. A form of another solver means the own usual one, as in diffusers.
    pub form: Option<Form>,
    /// `lower_order_final`.
    pub lower_order_final: bool,
    /// `euler_at_final`.
    pub euler_at_final: bool,
    /// `final_sigmas_type`.
    pub final_sigma: FinalSigma,
    /// `use_karras_sigmas` and its like.
    pub spread: Spread,
    /// `sigma_min`: the last of the spread sigmas.
    pub sigma_min: Option<f64>,
    /// `sigma_max`: the first of the spread sigmas.
    pub sigma_max: Option<f64>,
    /// `interpolation_type`.
    pub interpolation: Interpolation,
    /// `lambda_min_clipped`: no timestep has a lower logarithm of signal to noise.
    pub lambda_min_clipped: f64,
    /// `predict_x0` of `UniPC`.
    pub predict_x0: bool,
    /// `disable_corrector` of `UniPC`.
    pub disable_corrector: Vec<usize>,
    /// `skip_prk_steps` of PNDM.
    pub skip_prk_steps: bool,
    /// What is not supported, and by which samplers it would be used.
    refused: Vec<Refused>,
}

#[derive(Clone, Debug, PartialEq)]
struct Refused {
    field: &'static str,
    value: String,
    supported: &'static str,
    samplers: &'static [Sampler],
}

impl Default for SolverConfig {
    fn default() -> Self {
        Self {
            order: 2,
            algorithm: Algorithm::X0,
            form: None,
            lower_order_final: true,
            euler_at_final: false,
            final_sigma: FinalSigma::Zero,
            spread: Spread::Timesteps,
            sigma_min: None,
            sigma_max: None,
            interpolation: Interpolation::Linear,
            lambda_min_clipped: f64::NEG_INFINITY,
            predict_x0: true,
            disable_corrector: Vec::new(),
            skip_prk_steps: false,
            refused: Vec::new(),
        }
    }
}

/// The fields, and what of them has been refused so far.
struct Reading<'a> {
    fields: &'a Fields<'a>,
    refused: Vec<Refused>,
}

impl Reading<'_> {
    /// `field` as it stands is not supported by `samplers`.
    fn refuse(&mut self, field: &'static str, supported: &'static str, samplers: &'static [Sampler]) {
        self.refused.push(Refused { field, value: self.fields.value(field), supported, samplers });
    }

    /// The value of a field that takes a word, refused where it is none of the `supported` ones.
    fn word<T: DeserializeOwned>(
        &mut self,
        field: &'static str,
        supported: &'static str,
        samplers: &'static [Sampler],
    ) -> Option<T> {
        let word = self.fields.one_of(field, supported);
        if word.is_err() {
            self.refuse(field, supported, samplers);
        }
        word.ok().flatten()
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool> {
        Ok(self.fields.get(field)?.unwrap_or(default))
    }

    fn algorithm(&mut self, final_sigma: FinalSigma) -> Algorithm {
        let supported = "dpmsolver, dpmsolver++, sde-dpmsolver, sde-dpmsolver++, deis";
        let algorithm: Algorithm = self.word("algorithm_type", supported, INTEGRATORS).unwrap_or_default();
        if algorithm.is_stochastic() {
            self.refuse("algorithm_type", "deis, dpmsolver, dpmsolver++", &[Sampler::Deis]);
        }
        if !algorithm.is_in_x0() && final_sigma == FinalSigma::Zero {
            let supported = "dpmsolver++ and sde-dpmsolver++, or any with `final_sigmas_type` sigma_min";
            self.refuse("algorithm_type", supported, &[Sampler::DpmPlusPlus2m]);
        }
        algorithm
    }

    fn order(&mut self, algorithm: Algorithm, default: usize) -> Result<usize> {
        let order = self.fields.get("solver_order")?.unwrap_or(default);
        if order == 0 || order > 3 {
            self.refuse("solver_order", "1, 2, 3", INTEGRATORS);
        }
        if order == 3 && algorithm == Algorithm::StochasticEps {
            self.refuse("solver_order", "1, 2 with sde-dpmsolver", &[Sampler::DpmPlusPlus2m]);
        }
        Ok(order)
    }

    fn spread(&mut self) -> Result<Spread> {
        if self.flag("use_beta_sigmas", false)? {
            self.refuse("use_beta_sigmas", "false; `use_karras_sigmas` and `use_exponential_sigmas`", SPREADING);
        }
        let mut spread = Spread::Timesteps;
        for (field, asked) in [
            ("use_karras_sigmas", Spread::Karras),
            ("use_exponential_sigmas", Spread::Exponential),
            ("use_lu_lambdas", Spread::Lu),
        ] {
            if self.flag(field, false)? {
                if spread != Spread::Timesteps {
                    self.refuse(field, "false beside another spread of the sigmas", SPREADING);
                }
                spread = asked;
            }
        }
        Ok(spread)
    }

    /// What no sampler here supports at all.
    fn refuse_others(&mut self, prediction: PredictionType) -> Result<()> {
        let timestep_type: Option<String> = self.fields.get("timestep_type")?;
        if timestep_type.is_some_and(|kind| kind != "discrete") && prediction == PredictionType::VPrediction {
            self.refuse("timestep_type", "discrete", &[Sampler::Euler]);
        }
        if self.flag("use_dynamic_shifting", false)? {
            self.refuse("use_dynamic_shifting", "false: it shifts the sigmas of flow models", INTEGRATORS);
        }
        for (field, supported) in [("shift_terminal", "null: flow models alone have it"), ("solver_p", "null")] {
            if self.fields.is_given(field) {
                self.refuse(field, supported, &[Sampler::UniPc]);
            }
        }
        Ok(())
    }
}

impl SolverConfig {
    /// Reads the fields. What is not supported is an error only for the samplers that would use it: see
    /// [`SolverConfig::refusal`].
    ///
    /// # Errors
    /// [`crate::Error::BadFile`] for a value of the wrong type.
    pub(super) fn read(fields: &Fields, prediction: PredictionType) -> Result<Self> {
        let default = Self::default();
        let mut reading = Reading { fields, refused: Vec::new() };
        let final_sigma = reading.word("final_sigmas_type", "zero, sigma_min", ENDING).unwrap_or_default();
        let algorithm = reading.algorithm(final_sigma);
        reading.refuse_others(prediction)?;
        Ok(Self {
            order: reading.order(algorithm, default.order)?,
            algorithm,
            form: reading.word("solver_type", "midpoint, heun, logrho, bh1, bh2", INTEGRATORS),
            lower_order_final: reading.flag("lower_order_final", default.lower_order_final)?,
            euler_at_final: reading.flag("euler_at_final", default.euler_at_final)?,
            final_sigma,
            spread: reading.spread()?,
            sigma_min: fields.get("sigma_min")?,
            sigma_max: fields.get("sigma_max")?,
            interpolation: reading
                .word("interpolation_type", "linear, log_linear", &[Sampler::Euler])
                .unwrap_or_default(),
            lambda_min_clipped: fields.number("lambda_min_clipped")?.unwrap_or(default.lambda_min_clipped),
            predict_x0: reading.flag("predict_x0", default.predict_x0)?,
            disable_corrector: fields.get("disable_corrector")?.unwrap_or_default(),
            skip_prk_steps: reading.flag("skip_prk_steps", default.skip_prk_steps)?,
            refused: reading.refused,
        })
    }

    /// (field, value, what is supported) of what `sampler` would use and does not support.
    pub(super) fn refusal(&self, sampler: Sampler) -> Option<(&'static str, &str, &'static str)> {
        let own = self.refused.iter().find(|refused| refused.samplers.contains(&sampler))?;
        Some((own.field, &own.value, own.supported))
    }
}
