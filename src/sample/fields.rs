//! Fields of a JSON object, typed, with errors that name field and file.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The object in a file, with errors that name both.
pub(super) struct Fields<'a> {
    pub map: &'a Map<String, Value>,
    pub file: &'a Path,
}

impl Fields<'_> {
    /// The value of `field`; none where it is absent or null.
    pub fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                T::deserialize(value).map(Some).map_err(|_| self.malformed(field, std::any::type_name::<T>()))
            }
        }
    }

    /// The value of a field that takes one of the words listed in `supported`.
    pub fn one_of<T: DeserializeOwned>(&self, field: &str, supported: &str) -> Result<Option<T>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| self.unsupported(field, supported)),
        }
    }

    /// The value of a field that takes a number, an infinite one too: such stand in the file by their names in Python.
    pub fn number(&self, field: &str) -> Result<Option<f64>> {
        match self.map.get(field).and_then(Value::as_str) {
            Some("-Infinity") => Ok(Some(f64::NEG_INFINITY)),
            Some("Infinity") => Ok(Some(f64::INFINITY)),
            _ => self.get(field),
        }
    }

    /// Whether a field is there and not null.
    pub fn is_given(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(|value| !value.is_null())
    }

    pub fn value(&self, field: &str) -> String {
        self.map.get(field).map_or_else(|| "absent".to_owned(), Value::to_string)
    }

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
        Error::bad_file(self.file, format!("`{field}` is {}, expected {expected}", self.value(field)))
    }

    pub fn unsupported(&self, field: &str, supported: &str) -> Error {
        Error::UnsupportedField {
            file: self.file.to_path_buf(),
            field: field.to_owned(),
            value: self.value(field),
            supported: supported.to_owned(),
        }
    }
}
