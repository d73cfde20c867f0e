//! The field in which two settings differ.

use serde_json::{Map, Value};

use crate::error::excerpt;

/// A field whose values differ, with both as text.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// The names on the way to the field, joined by points: `trajectories.steps`.
    pub field: String,
    pub found: String,
    pub expected: String,
}

/// The first field in which settings that were found differ from the expected ones; lists come last, since most follow
/// from a number that differs, too.
pub fn first_difference(found: &Value, expected: &Value) -> Option<Difference> {
    let mut all = Vec::new();
    collect(found, expected, "", &mut all);
    let (at, _) = all.iter().enumerate().min_by_key(|(_, (_, is_list))| *is_list)?;
    Some(all.swap_remove(at).0)
}

/// Adds the fields that differ, each with `true` if it is a list.
fn collect(found: &Value, expected: &Value, field: &str, all: &mut Vec<(Difference, bool)>) {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            for name in b.keys().chain(a.keys().filter(|name| !b.contains_key(*name))) {
                let inner = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                let of = |object: &Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
                collect(&of(a), &of(b), &inner, all);
            }
        }
        _ if found == expected => {}
        _ => {
            let text = |value: &Value| excerpt(&value.to_string()).into_owned();
            let difference = Difference { field: field.to_owned(), found: text(found), expected: text(expected) };
            all.push((difference, expected.is_array() || found.is_array()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_field_that_differs_is_named() {
        let settings = json!({ "seed": 0, "trajectories": { "steps": 10, "sigmas": [2.5, 1.0] } });
        assert_eq!(first_difference(&settings, &settings), None);
        for (path, value, expected) in [
            ("/seed", json!(1), ("seed", "1", "0")),
            ("/trajectories/steps", json!(5), ("trajectories.steps", "5", "10")),
            ("/trajectories", json!({ "steps": 10 }), ("trajectories.sigmas", "null", "[2.5,1.0]")),
        ] {
            let mut other = settings.clone();
            *other.pointer_mut(path).unwrap() = value;
            let Difference { field, found, expected: own } = first_difference(&other, &settings).unwrap();
            assert_eq!((field.as_str(), found.as_str(), own.as_str()), expected);
        }
        let mut other = settings.clone();
        other["trajectories"] = json!({ "steps": 5, "sigmas": [2.5, 0.5, 1.0] });
        assert_eq!(first_difference(&other, &settings).unwrap().field, "trajectories.steps");
        let more = json!({ "seed": 0, "trajectories": settings["trajectories"], "data": "digits" });
        assert_eq!(first_difference(&more, &settings).unwrap().field, "data");
    }
}
