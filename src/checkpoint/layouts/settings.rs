//! Statements of the user about a single file: a small JSON of the same name beside it.

use std::path::Path;

use crate::checkpoint::config::ConfigFile;
use crate::error::{Error, Result, excerpt};
use crate::held;

/// Fields of the descriptions that other programs keep in a file of that name, which hold no settings.
const OF_OTHERS: [&str; 6] = ["description", "sd version", "activation text", "notes", "modelId", "sha256"];

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
        let file = if held::is_file(&path) && path != file { Some(ConfigFile::read(&path)?) } else { None };
        let is_own = |file: &ConfigFile| !OF_OTHERS.iter().any(|field| file.has(field));
        Ok(Self { file: file.filter(is_own), prediction })
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
