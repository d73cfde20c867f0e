//! The fields of a `scheduler_config.json`, typed on access, with errors that name field and file.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The object in a file. Fields that are never read are ignored, as in diffusers.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    map: Map<String, Value>,
    file: PathBuf,
}

impl Default for Fields {
    /// An empty `scheduler_config.json`.
    fn default() -> Self {
        Self::new(Map::new(), Path::new("scheduler_config.json"))
    }
}

impl Fields {
    /// The object `map`, read from `file`.
    #[must_use]
    pub fn new(map: Map<String, Value>, file: &Path) -> Self {
        Self { map, file: file.to_path_buf() }
    }

    /// The file they were read from, for messages.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The same fields with `field` set to `value`.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.map.insert(field.to_owned(), value);
        self
    }

    /// The value of `field`; `None` where it is absent or null.
    ///
    /// # Errors
    /// [`Error::BadFile`] for a value of another type.
    pub fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                T::deserialize(value).map(Some).map_err(|_| self.malformed(field, std::any::type_name::<T>()))
            }
        }
    }

    /// The value of `field`, or `default` where it is absent or null.
    ///
    /// # Errors
    /// As [`Fields::get`].
    pub fn get_or<T: DeserializeOwned>(&self, field: &str, default: T) -> Result<T> {
        Ok(self.get(field)?.unwrap_or(default))
    }

    /// The value of a field that takes one of the words listed in `supported`.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for another value.
    pub fn one_of<T: DeserializeOwned>(&self, field: &str, supported: &str) -> Result<Option<T>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| self.unsupported(field, supported)),
        }
    }

    /// The value of a field that takes a number, possibly an infinite one, which the file holds by its name in Python.
    ///
    /// # Errors
    /// As [`Fields::get`].
    pub fn number(&self, field: &str) -> Result<Option<f64>> {
        match self.map.get(field).and_then(Value::as_str) {
            Some("-Infinity") => Ok(Some(f64::NEG_INFINITY)),
            Some("Infinity") => Ok(Some(f64::INFINITY)),
            _ => self.get(field),
        }
    }

    /// Returns the value of a noise level, or `None` if it is absent.
    ///
    /// # Errors
    /// [`Error::BadFile`] for a value that is not a number above 0.
    pub fn sigma(&self, field: &str) -> Result<Option<f64>> {
        match self.get::<f64>(field)? {
            Some(sigma) if !(sigma.is_finite() && sigma > 0.0) => {
                let what = format!("`{field}` is {}, and a noise level is a number above 0", self.value(field));
                Err(Error::bad_file(&self.file, what))
            }
            sigma => Ok(sigma),
        }
    }

    /// Returns `true` if a field is present and not null.
    #[must_use]
    pub fn is_given(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(|value| !value.is_null())
    }

    /// Refuses a field that is true.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`], or [`Error::BadFile`] for a value that is neither true nor false.
    pub fn refuse_true(&self, field: &str, supported: &str) -> Result<()> {
        if self.get_or(field, false)? { Err(self.unsupported(field, supported)) } else { Ok(()) }
    }

    fn value(&self, field: &str) -> String {
        self.map.get(field).map_or_else(|| "absent".to_owned(), Value::to_string)
    }

    /// The error for a value of the wrong type or range.
    #[must_use]
    pub fn malformed(&self, field: &str, expected: &str) -> Error {
        let expected = match expected {
            "bool" => "true or false",
            "f64" => "a number",
            "usize" => "a whole number, not negative",
            "alloc::string::String" => "a string",
            "alloc::vec::Vec<f64>" => "a list of numbers",
            "alloc::vec::Vec<usize>" => "a list of whole numbers",
            other => other,
        };
        Error::bad_file(&self.file, format!("`{field}` is {}, expected {expected}", self.value(field)))
    }

    /// The error for a value that is well-formed and not supported.
    #[must_use]
    pub fn unsupported(&self, field: &str, supported: &str) -> Error {
        Error::UnsupportedField {
            file: self.file.clone(),
            field: field.to_owned(),
            value: self.value(field),
            supported: supported.to_owned(),
        }
    }
}

/// The spread of N timesteps over T in diffusers (the values of `timestep_spacing`).
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

/// The distribution of sigmas between the first and the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Those of the spacing's timesteps.
    #[default]
    Timesteps,
    /// Evenly in the seventh root (`use_karras_sigmas`).
    Karras,
    /// Evenly in the logarithm (`use_exponential_sigmas`).
    Exponential,
    /// The same, with timesteps rounded as for Karras (`use_lu_lambdas`).
    Lu,
    /// As quantiles of a beta distribution (`use_beta_sigmas`).
    Beta,
}

impl Spread {
    /// Reads `use_karras_sigmas`, `use_exponential_sigmas`, `use_lu_lambdas` and `use_beta_sigmas`.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for two of them, [`Error::BadFile`] for a value of another type.
    pub fn read(fields: &Fields) -> Result<Self> {
        let mut spread = Self::Timesteps;
        for (field, asked) in [
            ("use_karras_sigmas", Self::Karras),
            ("use_exponential_sigmas", Self::Exponential),
            ("use_lu_lambdas", Self::Lu),
            ("use_beta_sigmas", Self::Beta),
        ] {
            if fields.get_or(field, false)? {
                if spread != Self::Timesteps {
                    return Err(fields.unsupported(field, "false beside another spread of the sigmas"));
                }
                spread = asked;
            }
        }
        Ok(spread)
    }
}

/// The level that the last step ends at (`final_sigmas_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigma {
    /// Without noise.
    #[default]
    Zero,
    /// At the least noise.
    SigmaMin,
}

impl FinalSigma {
    /// Reads `final_sigmas_type`.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for another value.
    pub fn read(fields: &Fields) -> Result<Self> {
        Ok(fields.one_of("final_sigmas_type", "zero, sigma_min")?.unwrap_or_default())
    }
}

/// The interpolation of sigma between timesteps (`interpolation_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Linear.
    #[default]
    Linear,
    /// None: N + 1 sigmas are spread evenly in the logarithm.
    LogLinear,
}

impl Interpolation {
    /// Reads `interpolation_type`.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for another value.
    pub fn read(fields: &Fields) -> Result<Self> {
        Ok(fields.one_of("interpolation_type", "linear, log_linear")?.unwrap_or_default())
    }
}

/// The form of an integrator's second order and above (`solver_type`). A `solver_type` of another solver falls back to
/// this solver's default, as in diffusers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The default of DPM-Solver.
    Midpoint,
    /// The alternative of DPM-Solver.
    Heun,
    /// The only one of DEIS.
    LogRho,
    /// B(h) = h of `UniPC`.
    Bh1,
    /// B(h) = e^h - 1 of `UniPC`.
    Bh2,
}

impl Form {
    /// Reads `solver_type`; `None` where the file does not name one.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for another value.
    pub fn read(fields: &Fields) -> Result<Option<Self>> {
        fields.one_of("solver_type", "midpoint, heun, logrho, bh1, bh2")
    }
}

/// The variance of the noise that a DDPM step adds (the values of `variance_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// The posterior's: exact for data concentrated on a point.
    #[default]
    FixedSmall,
    /// The same, computed from its logarithm.
    FixedSmallLog,
    /// beta: exact for data of unit variance.
    FixedLarge,
    /// The same, computed from its logarithm. diffusers takes the root of that logarithm, which is not a number; its
    /// samples under this name are those of [`VarianceType::FixedLarge`] here.
    FixedLargeLog,
    /// The network gives it.
    Learned,
    /// The network gives its place between the logarithms of the posterior's, at -1, and beta, at 1.
    LearnedRange,
}

impl VarianceType {
    /// Reads `variance_type`.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for another value.
    pub fn read(fields: &Fields) -> Result<Self> {
        const ALL: &str = "fixed_small, fixed_small_log, fixed_large, fixed_large_log, learned, learned_range";
        Ok(fields.one_of("variance_type", ALL)?.unwrap_or_default())
    }
}

/// Reads `solver_order`, 2 where the file does not name one.
///
/// # Errors
/// [`Error::UnsupportedField`] for an order other than 1, 2 and 3, [`Error::BadFile`] for a value of another type.
pub fn solver_order(fields: &Fields) -> Result<usize> {
    let order = fields.get_or("solver_order", 2)?;
    if (1..=3).contains(&order) { Ok(order) } else { Err(fields.unsupported("solver_order", "1, 2, 3")) }
}
