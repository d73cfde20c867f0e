//! The scale of changes, by the settings that PEFT keeps beside the factors: `adapter_config.json`, or the metadata
//! `lora_adapter_metadata` of files saved by diffusers.

use std::path::Path;

use serde_json::{Map, Value};

use crate::checkpoint::config::ConfigFile;
use crate::error::{Error, Result};

/// The settings of one part of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Settings {
    /// `lora_alpha`
    alpha: Option<f64>,
    /// `alpha_pattern`: other alphas for some modules.
    patterns: Vec<(String, f64)>,
    /// `use_rslora`: alpha is divided by the square root of the rank.
    by_root: bool,
}

/// Fields that say how an adapter was trained or chosen, without effect on its product.
const INITIALISATIONS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

impl Settings {
    /// Reads the fields that begin with `prefix`. `file` is the name that messages carry.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] for methods that are not a plain product; [`Error::BadFile`] for values that make no
    /// sense.
    pub fn read(values: &Map<String, Value>, file: &Path, prefix: &str) -> Result<Self> {
        let config = ConfigFile { path: file.to_path_buf(), values: values.clone() };
        let field = |name: &str| format!("{prefix}{name}");
        let unsupported = |name: &str, value: &Value, supported: &str| {
            Err(Error::UnsupportedField {
                file: file.to_path_buf(),
                field: field(name),
                value: value.to_string(),
                supported: supported.to_owned(),
            })
        };
        if let Some(kind) = values.get(&field("peft_type")).filter(|kind| kind.as_str() != Some("LORA")) {
            return unsupported("peft_type", kind, "\"LORA\"");
        }
        for name in ["use_dora", "lora_bias", "use_qalora", "use_bdlora"] {
            if let Some(value) = values.get(&field(name)).filter(|value| is_set(value)) {
                return unsupported(name, value, "false");
            }
        }
        for name in ["layer_replication", "modules_to_save", "trainable_token_indices", "target_parameters"] {
            if let Some(value) = values.get(&field(name)).filter(|value| is_set(value)) {
                return unsupported(name, value, "null");
            }
        }
        if let Some(value) = values.get(&field("bias")).filter(|value| is_set(value) && value.as_str() != Some("none"))
        {
            return unsupported("bias", value, "\"none\"");
        }
        if let Some(Value::String(way)) = values.get(&field("init_lora_weights"))
            && !INITIALISATIONS.contains(&way.as_str())
        {
            // These take a part of the base weights away when the adapter is made.
            return unsupported("init_lora_weights", &Value::String(way.clone()), "true, false, \"gaussian\"");
        }
        let mut patterns = Vec::new();
        match values.get(&field("alpha_pattern")) {
            None | Some(Value::Null) => {}
            Some(Value::Object(found)) => {
                for (pattern, alpha) in found {
                    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._^-".contains(c);
                    match alpha.as_f64() {
                        Some(alpha) if alpha.is_finite() && pattern.chars().all(is_plain) => {
                            patterns.push((pattern.clone(), alpha));
                        }
                        _ => return unsupported("alpha_pattern", &found[pattern], "numbers by the names of modules"),
                    }
                }
            }
            Some(_) => return Err(config.wrong_value(&field("alpha_pattern"), "an object of numbers")),
        }
        let alpha = config.opt_f64(&field("lora_alpha"), None)?;
        if alpha.is_some_and(|alpha| !alpha.is_finite()) {
            return Err(config.wrong_value(&field("lora_alpha"), "a finite number"));
        }
        let by_root = config.opt_bool(&field("use_rslora"), None)?.unwrap_or(false);
        Ok(Self { alpha, patterns, by_root })
    }

    /// The alpha of a module, if there is one.
    pub fn alpha(&self, module: &str) -> Option<f64> {
        let fits = |pattern: &str| match pattern.strip_prefix('^') {
            Some(whole) => module == whole,
            None => module == pattern || module.strip_suffix(pattern).is_some_and(|before| before.ends_with('.')),
        };
        let pattern = self.patterns.iter().find(|(pattern, _)| fits(pattern));
        pattern.map(|(_, alpha)| *alpha).or(self.alpha)
    }

    /// The scale of a change of this rank.
    pub fn scale(&self, alpha: Option<f64>, rank: usize) -> f64 {
        let rank = rank as f64;
        alpha.map_or(1.0, |alpha| alpha / if self.by_root { rank.sqrt() } else { rank })
    }
}

/// Returns `true` for a value that switches something on.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(values) => !values.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(values: Value) -> Result<Settings> {
        let Value::Object(values) = values else { unreachable!() };
        Settings::read(&values, Path::new("adapter_config.json"), "")
    }

    #[test]
    fn scales_follow_alpha_and_rank() {
        let plain = read(json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": false, "bias": "none",
            "modules_to_save": null, "init_lora_weights": true, "alpha_pattern": {"to_q": 2, "^a.to_k": 3.0}}))
        .unwrap();
        let scale = |module: &str| plain.scale(plain.alpha(module), 4);
        assert_eq!([scale("a.to_v"), scale("a.to_q"), scale("a.to_k"), scale("b.a.to_k")], [2.0, 0.5, 0.75, 2.0]);
        assert_eq!(plain.alpha("a.xto_q"), Some(8.0));
        let root = read(json!({"lora_alpha": 8, "use_rslora": true})).unwrap();
        assert!((root.scale(root.alpha("x"), 4) - 4.0).abs() < 1e-12);
        assert!((Settings::default().scale(None, 4) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn other_methods_are_refused_by_name() {
        for (values, field) in [
            (json!({"peft_type": "LOHA"}), "peft_type"),
            (json!({"use_dora": true}), "use_dora"),
            (json!({"modules_to_save": ["conv_in"]}), "modules_to_save"),
            (json!({"bias": "all"}), "bias"),
            (json!({"init_lora_weights": "pissa"}), "init_lora_weights"),
            (json!({"alpha_pattern": {"(a|b)": 1}}), "alpha_pattern"),
        ] {
            match read(values).unwrap_err() {
                Error::UnsupportedField { field: found, .. } => assert_eq!(found, field),
                error => panic!("{error:?}"),
            }
        }
        assert_eq!(read(json!({"lora_alpha": "much"})).unwrap_err().kind(), crate::ErrorKind::File);
    }
}
