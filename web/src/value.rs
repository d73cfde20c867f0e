//! Values between Rust and JavaScript.

use downhill::{Error, ErrorKind, Tensor};
use js_sys::{Float32Array, Object, Reflect};
use wasm_bindgen::JsValue;

/// The result of a function that JavaScript calls.
pub type JsResult<T> = std::result::Result<T, JsValue>;

/// Sets a field of an object.
pub fn set(object: &Object, name: &str, value: impl Into<JsValue>) {
    // Only a frozen object refuses, and these are new.
    let _ = Reflect::set(object, &name.into(), &value.into());
}

/// Returns an error as `{ message, kind, hint }`, of which `downhill.js` makes a `DownhillError`.
pub fn thrown(error: Error) -> JsValue {
    let object = Object::new();
    set(&object, "message", error.to_string());
    set(&object, "kind", kind(error.kind()));
    set(&object, "hint", error.hint().map_or(JsValue::NULL, JsValue::from));
    object.into()
}

/// Returns the name of a kind of errors.
fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Argument => "argument",
        ErrorKind::NotFound => "not-found",
        ErrorKind::Adapter => "adapter",
        ErrorKind::File => "file",
        ErrorKind::Memory => "memory",
        ErrorKind::Device => "device",
        ErrorKind::NonFinite => "non-finite",
        ErrorKind::Cancelled => "cancelled",
        _ => "other",
    }
}

/// Reads settings from JSON.
///
/// # Errors
/// One of the kind `argument` naming the field.
pub fn settings<T: serde::de::DeserializeOwned>(json: &str) -> JsResult<T> {
    serde_json::from_str(json)
        .map_err(|error| thrown(Error::argument(format!("the options: {error}"), "see `downhill.d.ts`")))
}

/// Reads a seed in decimal, 0 without one: numbers of JavaScript do not hold all seeds.
///
/// # Errors
/// [`Error::Argument`] for what is none.
pub fn seed(text: Option<&str>) -> downhill::Result<u64> {
    let text = text.unwrap_or("0");
    text.parse()
        .map_err(|_| Error::argument(format!("`seed` of {text}"), "give a whole number from 0 to 18446744073709551615"))
}

/// Returns a value as a JavaScript object.
///
/// # Errors
/// None in practice.
pub fn object(value: &impl serde::Serialize) -> JsResult<JsValue> {
    let text = serde_json::to_string(value).map_err(|error| JsValue::from(error.to_string()))?;
    js_sys::JSON::parse(&text)
}

/// Returns the values of a tensor.
pub fn floats(tensor: &Tensor) -> Float32Array {
    Float32Array::from(tensor.data.as_slice())
}
