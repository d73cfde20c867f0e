//! The whole that moments belong to: its rows, and everything that decides their values.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// The description of a whole: the number and the shape of its rows, and by name the settings that decide their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The number of rows of the whole.
    pub rows: usize,
    /// The shape of a row: that of a sample, or (features).
    pub shape: Vec<usize>,
    /// Names and texts: the data, the scale of pixels, the network of features, the model and its sampler.
    pub settings: BTreeMap<String, String>,
}

/// The setting that names the data.
pub const DATA: &str = "data";
/// The setting that says the scale of the values: [`UNIT`], [`NUMBERS`] or [`FEATURES`].
pub const VALUES: &str = "values";
/// Pixels from 0 to 1.
pub const UNIT: &str = "pixels from 0 to 1";
/// Numbers as they are in their files.
pub const NUMBERS: &str = "numbers as they are";
/// Outputs of a network of features.
pub const FEATURES: &str = "features";
/// The setting that names the kernels that networks were computed by.
pub const KERNELS: &str = "kernels";
/// The setting that names the network of features.
pub const NETWORK: &str = "features of";

impl Description {
    /// A description without settings.
    #[must_use]
    pub fn of_rows(rows: usize, shape: &[usize]) -> Self {
        Self { rows, shape: shape.to_vec(), settings: BTreeMap::new() }
    }

    /// The number of values per row.
    #[must_use]
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }

    /// The same with one more setting.
    #[must_use]
    pub fn with(mut self, name: &str, text: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), text.into());
        self
    }

    /// A setting.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Checks that `other` describes the same whole. `names` are those of the two, for messages.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the first field that differs, with both values.
    pub fn expect(&self, other: &Self, names: (&str, &str)) -> Result<()> {
        let differs = |field: &str, (a, b): (String, String)| {
            let what = format!("`{field}` is {b} in `{}`, and {a} in `{}`", names.1, names.0);
            let hint = "parts of one whole have the same rows and settings: omit this file, or measure it again with \
                        those of the others";
            Err(Error::argument(what, hint))
        };
        if self.rows != other.rows {
            return differs("rows", (self.rows.to_string(), other.rows.to_string()));
        }
        if self.shape != other.shape {
            return differs("shape", (format!("{:?}", self.shape), format!("{:?}", other.shape)));
        }
        let text = |value: Option<&str>| value.map_or("not there".to_owned(), |value| format!("`{value}`"));
        for name in self.settings.keys().chain(other.settings.keys()) {
            let (a, b) = (self.setting(name), other.setting(name));
            if a != b {
                return differs(name, (text(a), text(b)));
            }
        }
        Ok(())
    }

    /// For files and reports.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "rows": self.rows, "shape": self.shape, "settings": self.settings })
    }

    /// Reads what [`Description::json`] has written; `None` for anything else.
    pub(super) fn of_json(value: &Value) -> Option<Self> {
        let whole = |value: &Value| value.as_u64().and_then(|value| usize::try_from(value).ok());
        let shape = value["shape"].as_array()?.iter().map(whole).collect::<Option<Vec<_>>>()?;
        let text = |(name, text): (&String, &Value)| Some((name.clone(), text.as_str()?.to_owned()));
        let settings = value["settings"].as_object()?.iter().map(text).collect::<Option<_>>()?;
        Some(Self { rows: whole(&value["rows"])?, shape, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_with_both_values() {
        let one = Description::of_rows(9, &[2, 3]).with("data", "x.npy").with("seed", "1");
        one.expect(&one.clone(), ("a", "b")).unwrap();
        assert_eq!(Description::of_json(&one.json()), Some(one.clone()));
        assert_eq!(one.values(), 6);
        for (other, message) in [
            (Description { rows: 8, ..one.clone() }, "`rows` is 8 in `b`, and 9 in `a`"),
            (Description { shape: vec![6], ..one.clone() }, "`shape` is [6] in `b`, and [2, 3] in `a`"),
            (one.clone().with("seed", "2"), "`seed` is `2` in `b`, and `1` in `a`"),
            (one.clone().with("steps", "5"), "`steps` is `5` in `b`, and not there in `a`"),
        ] {
            assert_eq!(one.expect(&other, ("a", "b")).unwrap_err().to_string(), message);
        }
    }
}
