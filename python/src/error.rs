//! Errors of the library as exceptions of the package.

use downhill::{Error, ErrorKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Names of fields in the library's messages, and the keyword arguments of the package that set them.
const KEYWORDS: [(&str, &str); 7] = [
    ("`init_image`", "`start`"),
    ("`init`", "`start`"),
    ("`class_labels`", "`labels`"),
    ("`class_label`", "`label`"),
    ("`cfg_scale`", "`guidance_scale`"),
    ("`count`", "`n`"),
    ("`save_samples`", "`save(samples=...)`"),
];

/// A result whose error may be one of the library.
pub type Result<T> = std::result::Result<T, Failure>;

/// A failure of the library or of Python code that it called.
#[derive(Debug)]
pub enum Failure {
    Library(Error),
    Python(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Python(error) => error,
            Failure::Library(error) => Python::attach(|py| exception(py, &error)),
        }
    }
}

/// An error about an argument.
pub fn argument(what: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::Library(Error::argument(what, hint))
}

/// The exception of an error: a class of `downhill._errors` with the message, and the hint as an attribute.
fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error.kind() {
        ErrorKind::Argument => "ArgumentError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::Adapter => "AdapterError",
        ErrorKind::File if matches!(error, Error::Io { .. }) => "FileError",
        ErrorKind::File => "ModelError",
        ErrorKind::Memory => "OutOfMemoryError",
        ErrorKind::Device => "DeviceError",
        ErrorKind::NonFinite => "NonFiniteError",
        _ => "Error",
    };
    let made = || -> PyResult<PyErr> {
        let class = py.import("downhill._errors")?.getattr(class)?.cast_into::<PyType>()?;
        let hint = error.hint().map(|hint| in_keywords(&hint));
        Ok(PyErr::from_value(class.call1((in_keywords(&error.to_string()), hint))?))
    };
    made().unwrap_or_else(|_| PyRuntimeError::new_err(error.to_string()))
}

/// A message with the fields of the library under the names of their keyword arguments.
fn in_keywords(text: &str) -> String {
    KEYWORDS.iter().fold(text.to_owned(), |text, (field, keyword)| text.replace(field, keyword))
}

/// The first failure of Python code that ran inside the library, which carries on the exception across it.
#[derive(Debug, Default)]
pub struct FirstException(std::sync::Mutex<Option<PyErr>>);

impl FirstException {
    /// Keeps an exception, and returns the error that stops the library.
    pub fn keep(&self, error: PyErr) -> Error {
        let mut kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.get_or_insert(error);
        Error::Cancelled
    }

    /// The exception that was kept, or else the library's own error.
    pub fn or(&self, error: Error) -> Failure {
        let kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        kept.map_or(Failure::Library(error), Failure::Python)
    }
}
