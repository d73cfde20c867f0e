//! The report of a run: one JSON object in which every number can be traced.

use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};
use web_time::Instant;

use super::printable::printable_json;
use crate::error::Result;
use crate::formats::write_atomically;

/// The report of a run: adapter, driver, seed, flags, timings, bytes, in sections of any form.
///
/// A new report has `program`, `version`, `command` and `platform`; [`Report::write`] adds `elapsed_seconds`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    #[serde(flatten)]
    sections: Map<String, Value>,
    #[serde(skip)]
    begun: Instant,
}

impl Report {
    /// A report of `command`, which begins now.
    #[must_use]
    pub fn new(command: &str) -> Self {
        let mut report = Self { sections: Map::new(), begun: Instant::now() };
        report
            .set("program", env!("CARGO_PKG_NAME"))
            .set("version", env!("CARGO_PKG_VERSION"))
            .set("command", command)
            .set("platform", json!({ "system": std::env::consts::OS, "architecture": std::env::consts::ARCH }));
        report
    }

    /// Sets a section, in place of what it held. Numbers that JSON lacks (NaN, infinities) become null.
    pub fn set(&mut self, section: &str, value: impl Into<Value>) -> &mut Self {
        self.sections.insert(section.to_string(), value.into());
        self
    }

    /// A section, when it is set.
    #[must_use]
    pub fn get(&self, section: &str) -> Option<&Value> {
        self.sections.get(section)
    }

    /// Writes the report with the seconds since it began, indented.
    ///
    /// # Errors
    /// Those of [`write_atomically`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut report = self.clone();
        report.set("elapsed_seconds", self.begun.elapsed().as_secs_f64());
        write_atomically(path, |writer| {
            let json = serde_json::to_string_pretty(&report)?;
            writer.write_all(printable_json(&json).as_bytes())?;
            writer.write_all(b"\n")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_written_as_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs/report.json");
        let mut report = Report::new("sample");
        report.set("seed", u64::MAX).set("adapter", json!({ "name": "a \"quoted\" name" })).set("loss", f64::NAN);
        report.set("seed", 7);
        report.write(&path).unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("}\n"));
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["program"], "downhill");
        assert_eq!(read["command"], "sample");
        assert_eq!(read["seed"], 7);
        assert_eq!(read["adapter"]["name"], "a \"quoted\" name");
        assert!(read["loss"].is_null());
        assert!(read["elapsed_seconds"].as_f64().unwrap() >= 0.0);
        assert_eq!(report.get("seed"), Some(&json!(7)));
        assert!(report.get("elapsed_seconds").is_none(), "writing does not change the report");
    }
}
