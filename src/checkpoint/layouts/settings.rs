//! What a user states about a single file: a small JSON of the same name beside it.

use std::path::Path;

use crate::checkpoint::config::ConfigFile;
use crate::error::{Error, Result, excerpt};

/// Statements about a single file `x.safetensors`, from `x.json` beside it. They win over what is guessed from the
/// shapes of tensors. Without such a file there are none.
#[derive(Clone, Debug, Default)]
pub(in crate::checkpoint) struct Settings {
    file: Option<ConfigFile>,
    /// `prediction_type` as the caller states it, which wins over the file.
    pub prediction: Option<&'static str>,
}

impl Settings {
    /// Reads the settings beside `file`, if there are any, under the `prediction` that the caller states.
    ///
    /// # Errors
    /// [`Error::BadFile`] if the settings are not a JSON object.
    pub fn beside(file: &Path, prediction: Option<&'static str>) -> Result<Self> {
        let path = file.with_extension("json");
        let file = if path.is_file() && path != file { Some(ConfigFile::read(&path)?) } else { None };
        Ok(Self { file, prediction })
    }

    /// The file, whose accessors name it in errors, if there is one.
    ///
    /// # Errors
    /// [`Error::BadFile`] for a field that is not one of `known`: a setting is honoured or refused.
    pub fn expect(&self, known: &[&str]) -> Result<Option<&ConfigFile>> {
        let Some(file) = &self.file else { return Ok(None) };
        match file.values.keys().find(|field| !known.contains(&field.as_str())) {
            None => Ok(Some(file)),
            Some(field) => Err(Error::bad_file_hint(
                &file.path,
                format!("the setting `{}` is not known for this model", excerpt(field)),
                format!("known: {}", known.join(", ")),
            )),
        }
    }
}
