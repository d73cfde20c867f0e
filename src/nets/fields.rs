//! Reading a diffusers configuration: every field is honoured or refused, and every error names the file and the field.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result, excerpt};

/// The fields that diffusers' `EMAModel` adds to the configuration of a network whose weights it averages in training.
const OF_AVERAGED_WEIGHTS: [&str; 7] =
    ["decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"];

/// The private names that diffusers writes into every configuration.
const OF_EVERY_FILE: [&str; 4] = ["_class_name", "_diffusers_version", "_name_or_path", "_commit_hash"];

/// Returns the names of a configuration that are passed over without a look at their values, as in diffusers: private
/// ones, and those of an average of weights.
#[must_use]
pub fn passed_over(map: &Map<String, Value>) -> Vec<&str> {
    let is_private = |name: &str| name.starts_with('_') && !OF_EVERY_FILE.contains(&name);
    let names = map.keys().map(String::as_str);
    names.filter(|name| is_private(name) || OF_AVERAGED_WEIGHTS.contains(name)).collect()
}

/// The fields of one configuration. It remembers which were read, so that [`Fields::finish`] can name the others.
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    file: PathBuf,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields in `map`, read from `file` (for messages).
    #[must_use]
    pub fn new(map: &'a Map<String, Value>, file: &Path) -> Self {
        Self { map, file: file.to_path_buf(), known: Vec::new() }
    }

    /// The value of `field`, or `default` where it is absent.
    ///
    /// # Errors
    /// When the value is of another type.
    pub fn get<T: DeserializeOwned>(&mut self, field: &'static str, default: T) -> Result<T> {
        self.known.push(field);
        let Some(value) = self.map.get(field) else { return Ok(default) };
        T::deserialize(value).map_err(|error| {
            let (value, error) = (value.to_string(), error.to_string());
            self.bad(format!("`{field}` is {}: {}", excerpt(&value), excerpt(&error)))
        })
    }

    /// A count from 1 to `limit`; the limit keeps sums and products of a hostile file within range.
    ///
    /// # Errors
    /// When the value is not an integer or out of range.
    pub fn count(&mut self, field: &'static str, default: usize, limit: usize) -> Result<usize> {
        let count = self.get(field, default)?;
        self.check_count(field, count, limit)
    }

    /// As [`Fields::count`], where null stands for "none given".
    ///
    /// # Errors
    /// When the value is neither null nor an integer in range.
    pub fn optional_count(
        &mut self,
        field: &'static str,
        default: Option<usize>,
        limit: usize,
    ) -> Result<Option<usize>> {
        let count = self.get(field, default)?;
        count.map(|count| self.check_count(field, count, limit)).transpose()
    }

    /// A list of counts, each from 1 to `limit`.
    ///
    /// # Errors
    /// When the value is not a list of integers in range.
    pub fn counts(&mut self, field: &'static str, default: &[usize], limit: usize) -> Result<Vec<usize>> {
        let counts = self.get(field, default.to_vec())?;
        counts.into_iter().map(|count| self.check_count(field, count, limit)).collect()
    }

    /// One of `choices`, by its spelling in the file (null is spelt `null`); `default` is a spelling too.
    ///
    /// # Errors
    /// When the value is not among them: [`Error::UnsupportedField`] that lists them.
    pub fn choice<T: Copy>(
        &mut self,
        field: &'static str,
        default: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<T> {
        let spelling: Option<String> = self.get(field, Some(default.to_owned()).filter(|name| name != "null"))?;
        self.pick(field, spelling.as_deref(), choices)
    }

    /// A list of `choices`, as [`Fields::choice`].
    ///
    /// # Errors
    /// When a value is not among them.
    pub fn choices<T: Copy>(
        &mut self,
        field: &'static str,
        default: &[&str],
        choices: &[(&'static str, T)],
    ) -> Result<Vec<T>> {
        let spellings: Vec<String> = self.get(field, default.iter().map(ToString::to_string).collect())?;
        spellings.iter().map(|spelling| self.pick(field, Some(spelling), choices)).collect()
    }

    /// Checks that a list has an entry for each of `block_out_channels`.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_length(&self, field: &str, entries: usize, levels: usize) -> Result<()> {
        if entries == levels {
            return Ok(());
        }
        Err(self.bad(format!(
            "`{field}` has {entries} entries but `block_out_channels` has {levels}: they must be as many"
        )))
    }

    /// Checks that the file has no field besides those that were read. Names that begin with `_` are notes of the
    /// writer, null says nothing, and the fields of an average of weights say how these were made: diffusers passes all
    /// of them over.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for the first other field.
    pub fn finish(&self) -> Result<()> {
        let known =
            |name: &str| name.starts_with('_') || self.known.contains(&name) || OF_AVERAGED_WEIGHTS.contains(&name);
        match self.map.iter().find(|(name, value)| !known(name) && !value.is_null()) {
            None => Ok(()),
            Some((name, value)) => Err(self.unsupported(name, &value.to_string(), self.known.join(", "))),
        }
    }

    /// An error about the content of the file.
    pub fn bad(&self, what: impl Into<String>) -> Error {
        Error::bad_file_hint(&self.file, what, "restore the file as diffusers' `save_pretrained` wrote it")
    }

    /// An error about a value that is well formed but not implemented here.
    pub fn unsupported(&self, field: &str, value: &str, supported: impl Into<String>) -> Error {
        Error::UnsupportedField {
            file: self.file.clone(),
            field: field.to_owned(),
            value: value.to_owned(),
            supported: supported.into(),
        }
    }

    /// Checks that a count is from 1 to `limit`.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_count(&self, field: &str, count: usize, limit: usize) -> Result<usize> {
        match count {
            0 => Err(self.bad(format!("`{field}` is 0, at least 1 is needed"))),
            count if count > limit => Err(self.bad(format!("`{field}` is {count}, at most {limit} is allowed"))),
            count => Ok(count),
        }
    }

    fn pick<T: Copy>(&self, field: &str, spelling: Option<&str>, choices: &[(&'static str, T)]) -> Result<T> {
        let name = spelling.unwrap_or("null");
        if let Some((_, choice)) = choices.iter().find(|(choice, _)| *choice == name) {
            return Ok(*choice);
        }
        let supported: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
        let value = spelling.map_or_else(|| "null".to_owned(), |name| format!("\"{name}\""));
        Err(self.unsupported(field, &value, supported.join(", ")))
    }
}
