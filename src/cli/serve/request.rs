//! A request: a line of JSON becomes the flags of `downhill sample`.

use clap::{Command, FromArgMatches};
use serde_json::{Map, Value};

use super::sample_command;
use crate::cli::sample::{Args, Choice};
use crate::cli::separate::keep_inputs;
use crate::error::{Error, Result, excerpt};
use crate::formats::json;

/// Flags of `downhill sample` that are settings of the server, or of the command line alone.
const NOT_FIELDS: [&str; 13] = [
    "model",
    "lora",
    "embedding",
    "vae",
    "preview_vae",
    "dtype",
    "resume",
    "shard",
    "timings",
    "help",
    "metric",
    "variances",
    "prompts",
];
/// Fields that name outputs, of which one is needed.
const OUTPUTS: [&str; 7] =
    ["output", "save_samples", "save_images", "save_steps", "save_path", "steps_sheet", "steps_animation"];
/// Fields that name files.
const FILES: [&str; 5] = ["init_noise", "init", "init_image", "mask", "error_model"];
/// Fields whose values may be lists: those that are numbers, or several words, between commas on the command line.
const LISTS: [&str; 9] = [
    "size",
    "original_size",
    "target_size",
    "crop",
    "timesteps",
    "sigmas",
    "class_labels",
    "error_model",
    "guidance_interval",
];

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The client's name for it.
    pub id: Value,
    fields: Map<String, Value>,
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// [`Error::Argument`] for anything but a JSON object.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let hint = "a request is a JSON object, such as {\"output\": \"x.png\", \"seed\": 1}";
        let mut fields: Map<String, Value> = json::parse(line)
            .map_err(|error| Error::argument(format!("a request that is not a JSON object: {error}"), hint))?;
        let id = fields.remove("id").unwrap_or(Value::Null);
        if let Some(count) = fields.remove("n")
            && fields.insert("count".to_owned(), count).is_some()
        {
            return Err(Error::argument("`n` and `count` are the same field", "give one of them"));
        }
        Ok(Self { id, fields })
    }

    /// The request as flags.
    ///
    /// # Errors
    /// [`Error::Argument`] for a field that is not known, a value of another form, and without an output.
    pub fn args(&self) -> Result<Args> {
        let command = sample_command();
        let known: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
        let is_field = |name: &&String| known.contains(name) && !NOT_FIELDS.contains(&name.as_str());
        if let Some(name) = self.fields.keys().find(|name| !is_field(name)) {
            return Err(unknown(name, &known));
        }
        if !OUTPUTS.iter().any(|field| self.fields.get(*field).is_some_and(Value::is_string)) {
            let fields = OUTPUTS.map(|field| format!("`{field}`")).join(", ");
            return Err(Error::argument("a request without an output", format!("give one of {fields}")));
        }
        let stream = OUTPUTS.iter().chain(&FILES).find(|field| self.fields.get(**field) == Some(&"-".into()));
        if let Some(field) = stream {
            let what = format!("`{field}` is a standard stream, which holds requests or events");
            return Err(Error::argument(what, "name a file"));
        }
        let mut words = Vec::new();
        for (name, value) in &self.fields {
            words.extend(word(&command, name, value)?);
        }
        let matches = command.clone().try_get_matches_from(words).map_err(|refusal| refused(&refusal))?;
        keep_inputs(&command, &matches)?;
        let args = Args::from_arg_matches(&matches).map_err(|refusal| refused(&refusal))?;
        if args.sampler == Some(Choice::List) {
            let what = "a `sampler` of \"list\", which is for the command line";
            return Err(Error::argument(what, "name a sampler; `downhill sample --sampler list` describes them"));
        }
        Ok(args)
    }
}

/// A field as a flag; none for null, and for a switch that is off.
fn word(command: &Command, name: &str, value: &Value) -> Result<Option<String>> {
    let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == name) else { return Ok(None) };
    let Some(flag) = arg.get_long() else { return Ok(None) };
    let wrong = |expected: &str| {
        let shown = value.to_string();
        Err(Error::argument(format!("`{name}` is {}", excerpt(&shown)), format!("expected {expected}")))
    };
    if !arg.get_action().takes_values() {
        return match value {
            Value::Bool(true) => Ok(Some(format!("--{flag}"))),
            Value::Bool(false) if name == "clip" => Ok(Some("--no-clip".to_owned())),
            Value::Bool(false) | Value::Null => Ok(None),
            _ => wrong("true or false"),
        };
    }
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let text = match value {
        Value::Null => return Ok(None),
        Value::Array(values) => {
            if !LISTS.contains(&name) {
                return wrong("a text or a number, not a list");
            }
            let between = if name.ends_with("size") { "x" } else { "," };
            values.iter().map(plain).collect::<Option<Vec<_>>>().map(|values| values.join(between))
        }
        other => plain(other),
    };
    match text {
        Some(text) => Ok(Some(format!("--{flag}={text}"))),
        None => wrong("a text, a number, or a list of them"),
    }
}

/// The error for a field that is not known.
fn unknown(name: &str, known: &[String]) -> Error {
    if NOT_FIELDS.contains(&name) {
        let what = format!("`{name}` is not a field of requests");
        return Error::argument(what, "the server has one model with its settings; give it on the command line");
    }
    let fields = known.iter().map(String::as_str).filter(|field| !NOT_FIELDS.contains(field)).chain(["id", "n"]);
    let near = fields.min_by_key(|field| strsim::levenshtein(field, name)).unwrap_or_default();
    Error::argument(format!("`{}` is not a field of requests", excerpt(name)), format!("the nearest field is `{near}`"))
}

/// Turns a refusal of clap into an error of the library.
fn refused(refusal: &clap::Error) -> Error {
    let text = refusal.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let line = first.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    Error::argument(line, "fields are the flags of `downhill sample`, with underscores; see `downhill sample --help`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(json: &str) -> Result<Args> {
        Request::parse(json.as_bytes())?.args()
    }

    #[test]
    fn fields_are_flags() {
        let args = args(
            r#"{"id": [1], "n": 4, "steps": 3, "seed": 18446744073709551615, "sampler": "ddim", "size": [16, 24],
            "prompt": "-a \"cat\"", "class_labels": [1, "2"], "eta": 0.5, "clip": false, "timesteps": [9, 4.5, 0],
            "output": "a b.png", "negative": null}"#,
        );
        // A prompt and class labels exclude each other, which clap knows.
        assert!(args.unwrap_err().to_string().contains("--class-labels"));
        let args = self::args(
            r#"{"id": [1], "n": 4, "steps": 3, "seed": 18446744073709551615, "sampler": "ddim", "size": [16, 24],
            "prompt": "-a \"cat\"", "eta": 0.5, "clip": false, "timesteps": [9, 4.5, 0], "output": "a b.png",
            "negative": null}"#,
        )
        .unwrap();
        assert_eq!((args.count, args.steps, args.seed), (Some(4), Some(3), Some(u64::MAX)));
        assert_eq!(args.conditions.prompt, ["-a \"cat\""]);
        assert_eq!(args.size.map(|size| (size.height, size.width)), Some((16, 24)));
        assert!(args.no_clip && !args.clip);
        assert_eq!(args.timesteps.unwrap().0, [9.0, 4.5, 0.0]);
        assert_eq!(args.output.as_deref(), Some("a b.png"));
    }

    #[test]
    fn lists_are_values_of_fields_that_hold_several() {
        let args = args(
            r#"{"output": "x.png", "prompt": "x", "original_size": [64, 32], "crop": [8, 0], "sigmas": [9, 0.5]}"#,
        )
        .unwrap();
        assert_eq!(args.conditions.original_size.map(|size| (size.height, size.width)), Some((64, 32)));
        assert_eq!(args.sigmas.unwrap().0, [9.0, 0.5]);
    }

    #[test]
    fn what_is_not_a_request_is_refused_by_name() {
        for (json, what) in [
            ("", "not a JSON object"),
            ("[1]", "not a JSON object"),
            (r#"{"output": "x.png", "stepz": 3}"#, "`stepz` is not a field"),
            (r#"{"output": "x.png", "model": "x"}"#, "`model` is not a field"),
            (r#"{"output": "x.png", "lora": "x"}"#, "`lora` is not a field"),
            (r#"{"steps": 3}"#, "without an output"),
            (r#"{"output": "-"}"#, "standard stream"),
            (r#"{"output": "x.png", "steps": "many"}"#, "many"),
            (r#"{"output": "x.png", "steps": {}}"#, "`steps` is {}"),
            (r#"{"output": "x.png", "clip": 3}"#, "`clip` is 3"),
            (r#"{"output": "x.png", "n": 3, "count": 4}"#, "same field"),
            (r#"{"output": "x.png", "n": 0}"#, "0"),
            (r#"{"output": "x.png", "prompt": ["a", "b"]}"#, "`prompt` is [\"a\",\"b\"]"),
            (r#"{"output": "x.png", "n": [1]}"#, "`count` is [1]"),
            (r#"{"output": "x.png", "sampler": "list"}"#, "for the command line"),
        ] {
            let error = args(json).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Argument, "{json}");
            assert!(error.to_string().contains(what), "{json}: {error}");
        }
    }
}
