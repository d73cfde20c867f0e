//! The JSON configurations that accompany the weights, read field by field.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::source::read_model_file;
use crate::error::{Error, Result, excerpt};
use crate::formats::json;

/// The longest name of a class in bytes.
const LONGEST_CLASS: usize = 200;

/// A `config.json`, `scheduler_config.json` or `model_index.json`.
///
/// Each accessor takes the value of an absent field: the default of the diffusers class. A `null` is not an absent
/// field: only the accessors that begin with `opt_` accept it, as `None`. A value of another type is an
/// [`Error::BadFile`] that names file, field and value.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// The file it was read from. In parentheses if it is embedded.
    pub path: PathBuf,
    /// The fields, as in the file.
    pub values: Map<String, Value>,
}

impl ConfigFile {
    /// Reads `path`, a configuration of at most a megabyte.
    ///
    /// # Errors
    /// [`Error::BadFile`] if the file is missing, longer, or not a JSON object.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &read_model_file(path, json::LARGEST)?)
    }

    /// Reads `path`, a list of names: a vocabulary or an index, which may be longer than a configuration.
    ///
    /// # Errors
    /// As [`ConfigFile::read`].
    pub fn read_list(path: &Path) -> Result<Self> {
        Self::parse(path, &read_model_file(path, json::LARGEST_LIST)?)
    }

    /// Parses JSON. Messages name it `path`.
    ///
    /// # Errors
    /// [`Error::BadFile`] if it is not a JSON object.
    pub fn parse(path: impl Into<PathBuf>, text: &[u8]) -> Result<Self> {
        let path = path.into();
        match json::parse(&quote_infinities(text)) {
            Ok(values) => Ok(Self { path, values }),
            Err(error) => Err(Error::bad_file_hint(
                path,
                format!("not a JSON object: {error}"),
                "the file is damaged or incomplete; download or save it again",
            )),
        }
    }

    /// Returns the class of the configuration, `_class_name`.
    ///
    /// # Errors
    /// [`Error::BadFile`] if the field is missing or not a string.
    pub fn class_name(&self) -> Result<&str> {
        match self.values.get("_class_name") {
            Some(Value::String(name)) if name.len() <= LONGEST_CLASS => Ok(name),
            Some(_) => Err(self.wrong_value("_class_name", "the name of a class")),
            None => Err(Error::bad_file_hint(
                &self.path,
                "no field `_class_name`",
                "this is not a configuration saved by diffusers' `save_pretrained`",
            )),
        }
    }

    /// Returns the class if it is one of `supported`.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for another class, otherwise as [`ConfigFile::class_name`].
    pub fn expect_class(&self, supported: &[&str]) -> Result<&str> {
        let name = self.class_name()?;
        if supported.contains(&name) { Ok(name) } else { Err(self.unsupported("_class_name", supported.join(", "))) }
    }

    /// Reads a non-negative integer.
    pub fn usize(&self, field: &str, default: usize) -> Result<usize> {
        self.get(field, default, "a whole number", as_usize)
    }

    /// Reads a non-negative integer or null.
    pub fn opt_usize(&self, field: &str, default: Option<usize>) -> Result<Option<usize>> {
        self.get(field, default, "a whole number or null", nullable(as_usize))
    }

    /// Reads an integer.
    pub fn i64(&self, field: &str, default: i64) -> Result<i64> {
        self.get(field, default, "a whole number", Value::as_i64)
    }

    /// Reads a number. Python's `Infinity`, `-Infinity` and `NaN` are accepted.
    pub fn f64(&self, field: &str, default: f64) -> Result<f64> {
        self.get(field, default, "a number", as_f64)
    }

    /// Reads a number or null.
    pub fn opt_f64(&self, field: &str, default: Option<f64>) -> Result<Option<f64>> {
        self.get(field, default, "a number or null", nullable(as_f64))
    }

    /// Reads a boolean.
    pub fn bool(&self, field: &str, default: bool) -> Result<bool> {
        self.get(field, default, "true or false", Value::as_bool)
    }

    /// Reads a boolean or null.
    pub fn opt_bool(&self, field: &str, default: Option<bool>) -> Result<Option<bool>> {
        self.get(field, default, "true, false or null", nullable(Value::as_bool))
    }

    /// Reads a string.
    pub fn string(&self, field: &str, default: &str) -> Result<String> {
        self.get(field, default.to_owned(), "a string", as_string)
    }

    /// Reads a string or null.
    pub fn opt_string(&self, field: &str, default: Option<&str>) -> Result<Option<String>> {
        self.get(field, default.map(str::to_owned), "a string or null", nullable(as_string))
    }

    /// Reads a list of non-negative integers.
    pub fn usize_list(&self, field: &str, default: &[usize]) -> Result<Vec<usize>> {
        self.get(field, default.to_vec(), "a list of whole numbers", list(as_usize))
    }

    /// Reads a list of non-negative integers, a single one (which becomes a list of one) or null: diffusers' `int |
    /// tuple`.
    pub fn opt_usize_or_list(&self, field: &str, default: Option<&[usize]>) -> Result<Option<Vec<usize>>> {
        let one_or_list = |value: &Value| as_usize(value).map(|one| vec![one]).or_else(|| list(as_usize)(value));
        let expected = "a whole number, a list of them or null";
        self.get(field, default.map(<[usize]>::to_vec), expected, nullable(one_or_list))
    }

    /// Reads a list of numbers or null.
    pub fn opt_f64_list(&self, field: &str, default: Option<&[f64]>) -> Result<Option<Vec<f64>>> {
        self.get(field, default.map(<[f64]>::to_vec), "a list of numbers or null", nullable(list(as_f64)))
    }

    /// Reads a list of strings.
    pub fn string_list(&self, field: &str, default: &[&str]) -> Result<Vec<String>> {
        let default = default.iter().map(|name| (*name).to_owned()).collect();
        self.get(field, default, "a list of strings", list(as_string))
    }

    /// Returns `true` if the file has the field, even as null.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.values.contains_key(field)
    }

    /// The error for a field whose value is valid but not supported. `supported` lists the supported values.
    #[must_use]
    pub fn unsupported(&self, field: &str, supported: impl Into<String>) -> Error {
        Error::UnsupportedField {
            file: self.path.clone(),
            field: field.to_owned(),
            value: self.shown(field),
            supported: supported.into(),
        }
    }

    /// The error for an invalid value. `expected` describes a valid one.
    #[must_use]
    pub fn wrong_value(&self, field: &str, expected: &str) -> Error {
        Error::bad_file(&self.path, format!("`{field}` is {}, expected {expected}", self.shown(field)))
    }

    fn shown(&self, field: &str) -> String {
        self.values.get(field).map_or_else(|| "not given".to_owned(), |value| excerpt(&value.to_string()).into_owned())
    }

    fn get<T>(&self, field: &str, default: T, expected: &str, convert: impl Fn(&Value) -> Option<T>) -> Result<T> {
        match self.values.get(field) {
            None => Ok(default),
            Some(value) => convert(value).ok_or_else(|| self.wrong_value(field, expected)),
        }
    }
}

fn as_usize(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}

fn as_f64(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some("NaN") => Some(f64::NAN),
        _ => value.as_f64(),
    }
}

fn as_string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn list<T>(convert: impl Fn(&Value) -> Option<T>) -> impl Fn(&Value) -> Option<Vec<T>> {
    move |value| value.as_array()?.iter().map(&convert).collect()
}

fn nullable<T>(convert: impl Fn(&Value) -> Option<T>) -> impl Fn(&Value) -> Option<Option<T>> {
    move |value| if value.is_null() { Some(None) } else { convert(value).map(Some) }
}

/// Quotes the numbers that Python writes but JSON does not define, so that [`ConfigFile::f64`] finds them: many
/// published scheduler configurations have `"lambda_min_clipped": -Infinity`.
fn quote_infinities(json: &[u8]) -> Vec<u8> {
    const NUMBERS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut quoted = Vec::with_capacity(json.len());
    let (mut in_string, mut rest) = (false, json);
    while let Some((&byte, after)) = rest.split_first() {
        if in_string && byte == b'\\' {
            let escape = rest.len().min(2);
            quoted.extend_from_slice(&rest[..escape]);
            rest = &rest[escape..];
            continue;
        }
        if !in_string && let Some(number) = NUMBERS.into_iter().find(|number| rest.starts_with(number)) {
            quoted.push(b'"');
            quoted.extend_from_slice(number);
            quoted.push(b'"');
            rest = &rest[number.len()..];
            continue;
        }
        in_string ^= byte == b'"';
        quoted.push(byte);
        rest = after;
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> ConfigFile {
        ConfigFile::parse("config.json", json.as_bytes()).unwrap()
    }

    #[test]
    fn absent_fields_take_the_default_and_null_does_not() {
        let config = config(r#"{"attention_head_dim": null, "layers_per_block": 3}"#);
        assert_eq!(config.usize("layers_per_block", 2).unwrap(), 3);
        assert_eq!(config.usize("norm_num_groups", 32).unwrap(), 32);
        assert_eq!(config.opt_usize("attention_head_dim", Some(8)).unwrap(), None);
        assert_eq!(config.opt_usize("num_class_embeds", Some(8)).unwrap(), Some(8));
        assert!(config.has("attention_head_dim") && !config.has("num_class_embeds"));
        let message = config.usize("attention_head_dim", 8).unwrap_err().to_string();
        assert_eq!(message, "config.json: `attention_head_dim` is null, expected a whole number");
    }

    #[test]
    fn every_type_is_read() {
        let config = config(
            r#"{"eps": 1e-6, "whole": 2, "flag": true, "act": "silu", "out": [4, 8], "blocks": ["A", "B"],
                "betas": [0.1, 1], "size": 28, "sizes": [32, 64], "sign": -1}"#,
        );
        assert_eq!(config.f64("eps", 1.0).unwrap(), 1e-6);
        assert_eq!(config.opt_f64("whole", None).unwrap(), Some(2.0));
        assert_eq!(config.i64("sign", 0).unwrap(), -1);
        assert!(config.bool("flag", false).unwrap());
        assert_eq!(config.opt_bool("flag", None).unwrap(), Some(true));
        assert_eq!(config.string("act", "relu").unwrap(), "silu");
        assert_eq!(config.opt_string("act", None).unwrap().as_deref(), Some("silu"));
        assert_eq!(config.usize_list("out", &[1]).unwrap(), [4, 8]);
        assert_eq!(config.string_list("blocks", &[]).unwrap(), ["A", "B"]);
        assert_eq!(config.string_list("others", &["C"]).unwrap(), ["C"]);
        assert_eq!(config.opt_f64_list("betas", None).unwrap(), Some(vec![0.1, 1.0]));
        assert_eq!(config.opt_usize_or_list("size", None).unwrap(), Some(vec![28]));
        assert_eq!(config.opt_usize_or_list("sizes", None).unwrap(), Some(vec![32, 64]));
    }

    #[test]
    fn a_value_of_another_type_is_named() {
        let config = config(r#"{"layers": "two", "groups": -1, "half": 0.5, "out": [4, "8"], "flag": 1, "act": 3}"#);
        let errors = [
            (config.usize("layers", 2).unwrap_err(), "`layers` is \"two\", expected a whole number"),
            (config.usize("groups", 2).unwrap_err(), "`groups` is -1, expected a whole number"),
            (config.usize("half", 2).unwrap_err(), "`half` is 0.5, expected a whole number"),
            (config.usize_list("out", &[]).unwrap_err(), "`out` is [4,\"8\"], expected a list of whole numbers"),
            (config.bool("flag", false).unwrap_err(), "`flag` is 1, expected true or false"),
            (config.string("act", "").unwrap_err(), "`act` is 3, expected a string"),
            (config.f64("layers", 0.0).unwrap_err(), "`layers` is \"two\", expected a number"),
        ];
        for (error, message) in errors {
            assert_eq!(error.to_string(), format!("config.json: {message}"));
            assert_eq!(error.kind(), crate::ErrorKind::File);
        }
    }

    #[test]
    fn unsupported_values_say_what_is_supported() {
        let config = config(r#"{"_class_name": "VQModel", "act_fn": "mish"}"#);
        let error = config.unsupported("act_fn", "silu");
        assert_eq!(error.to_string(), "config.json: `act_fn` is \"mish\", which is not supported");
        assert_eq!(error.hint().as_deref(), Some("supported: silu"));
        assert_eq!(config.class_name().unwrap(), "VQModel");
        assert_eq!(config.expect_class(&["VQModel"]).unwrap(), "VQModel");
        let error = config.expect_class(&["UNet2DModel", "UNet2DConditionModel"]).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("supported: UNet2DModel, UNet2DConditionModel"));
    }

    #[test]
    fn a_file_without_a_class_or_without_json_is_refused() {
        assert!(config("{}").class_name().unwrap_err().to_string().contains("no field `_class_name`"));
        assert!(config(r#"{"_class_name": 3}"#).class_name().unwrap_err().to_string().contains("`_class_name` is 3"));
        for json in ["", "[1]", "{\"a\": ", "{'a': 1}", "\"\\"] {
            let error = ConfigFile::parse("config.json", json.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("config.json: not a JSON object"), "{error}");
        }
    }

    #[test]
    fn pythons_infinities_are_numbers_outside_strings_only() {
        let config = config(r#"{"low": -Infinity, "high": Infinity, "none": NaN, "said": "a \" NaN, Infinity"}"#);
        assert_eq!(config.f64("low", 0.0).unwrap(), f64::NEG_INFINITY);
        assert_eq!(config.f64("high", 0.0).unwrap(), f64::INFINITY);
        assert!(config.f64("none", 0.0).unwrap().is_nan());
        assert_eq!(config.string("said", "").unwrap(), "a \" NaN, Infinity");
    }
}
