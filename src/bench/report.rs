//! The findings of a benchmark, as data: rows that a table prints and a later run compares itself with.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::breakdown::Breakdown;
use super::lines;
use super::machine::Machine;
use super::problem::Work;
use super::roofs::ReadRate;
use super::statistics::{Comparison, Timing};
use crate::error::{Error, Result, excerpt};
use crate::formats::json;
use crate::input::read_regular;
use crate::tensor::Precision;

/// The outcome of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Correct, and timed.
    Measured,
    /// More than the device offers, with a reason.
    Unsupported,
    /// Wrong, or a failure of the device, with a reason.
    Failed,
}

/// The part of an output that was compared with the CPU twins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// max |device - twin| / max |twin|.
    pub error: f64,
    /// The name of the part.
    pub part: String,
}

/// Work over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The work of a call: operations or bytes; 0 where it was not kept.
    #[serde(default)]
    pub work: u64,
    /// Work per second over 10^9, by the median.
    pub value: f64,
    /// `GFLOP/s`, `GOP/s` (of integers) or `GB/s`.
    pub unit: String,
    /// The ratio of the rate to that of the roof, if there is one.
    pub of_roof: Option<f64>,
}

impl Rate {
    /// Returns the rate of work by the median of its timing, under a roof in GFLOP/s or GB/s.
    #[must_use]
    pub fn of(work: Work, timing: &Timing, roofs: &Roofs) -> Option<Self> {
        let rate = |work: u64, unit: &str, roof: Option<f64>| {
            let value = work as f64 / timing.median.max(f64::MIN_POSITIVE) * 1e-9;
            Self { work, value, unit: unit.to_owned(), of_roof: roof.map(|roof| value / roof) }
        };
        match work {
            Work::Flops(flops) => Some(rate(flops, "GFLOP/s", roofs.arithmetic)),
            Work::Bytes(bytes) => Some(rate(bytes, "GB/s", roofs.memory)),
            Work::IntegerOperations(operations) => Some(rate(operations, "GOP/s", None)),
            Work::Nothing => None,
        }
    }
}

/// The figures of a network's call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The number of parameters.
    pub parameters: u64,
    /// Seconds to upload weights and record commands, without the compilation.
    pub prepare_seconds: f64,
    /// Seconds of the first call.
    pub first_seconds: f64,
    /// The number of dispatches per call.
    pub dispatches: usize,
    /// Seconds of all its kernels by the device's clock, the median of several calls; `None` if it has no clock.
    pub kernel_seconds: Option<f64>,
    /// The share of a sample's call, from its inputs to its output, beyond those seconds; also the median.
    pub gap: Option<f64>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The suite of the case; `roof` for a roof.
    pub suite: String,
    /// The case.
    pub case: String,
    /// The outcome.
    pub status: Status,
    /// The reason for missing figures.
    #[serde(default)]
    pub reason: Option<String>,
    /// The shaders of the case.
    pub kernels: Vec<String>,
    /// The check before the measurement.
    pub check: Option<Check>,
    /// Seconds to create its pipelines, plus the excess of the first call over a later one.
    pub compile_seconds: Option<f64>,
    /// The time of a call.
    pub timing: Option<Timing>,
    /// The rate that follows from the time.
    pub rate: Option<Rate>,
    /// The figures of a network's call.
    #[serde(default)]
    pub call: Option<Call>,
    /// The kernels of a network's call, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breakdown: Option<Breakdown>,
    /// The comparison with an earlier run.
    #[serde(default)]
    pub comparison: Option<Comparison>,
}

impl Row {
    /// Creates a row without figures.
    #[must_use]
    pub fn new(suite: &str, case: impl ToString) -> Self {
        Self {
            suite: suite.to_owned(),
            case: case.to_string(),
            status: Status::Measured,
            reason: None,
            kernels: Vec::new(),
            check: None,
            compile_seconds: None,
            timing: None,
            rate: None,
            call: None,
            breakdown: None,
            comparison: None,
        }
    }

    /// Returns the row of a case that ended in `error`: unsupported if it needs more than the device allows, otherwise
    /// failed.
    #[must_use]
    pub fn ended(mut self, error: &Error) -> Self {
        let over =
            matches!(error, Error::OverLimit { .. } | Error::TooManyWorkgroups { .. } | Error::OutOfMemory { .. });
        self.status = if over { Status::Unsupported } else { Status::Failed };
        self.reason = Some(error.to_string());
        self
    }

    /// Returns the row of a case that the device does not offer, with the reason.
    #[must_use]
    pub fn unsupported(self, reason: String) -> Self {
        Self { status: Status::Unsupported, reason: Some(reason), ..self }
    }

    /// Adds a comparison with the same row of `base`, if both are measured.
    pub fn compare(&mut self, base: &Findings) {
        let same = base.row(&self.suite, &self.case).and_then(|other| other.timing.as_ref());
        self.comparison = self.timing.as_ref().zip(same).map(|(now, before)| Comparison::new(now, before));
    }

    /// Returns the row with a timing, and the rate that follows from it under a roof in GFLOP/s or GB/s.
    #[must_use]
    pub fn timed(mut self, timing: Timing, work: Work, roofs: &Roofs) -> Self {
        self.rate = Rate::of(work, &timing, roofs);
        self.timing = Some(timing);
        self
    }
}

/// The best performance of the device, as far as it was measured, by the shortest samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Roofs {
    /// GFLOP/s in float32 of the faster chain.
    pub arithmetic: Option<f64>,
    /// GFLOP/s in float16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float16: Option<f64>,
    /// GOP/s of dot products of four signed bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int8: Option<f64>,
    /// GFLOP/s of matrix units, in float16 summed in float32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<f64>,
    /// GB/s of the faster copy, read and written together.
    pub memory: Option<f64>,
    /// GB/s of reads of arrays of different sizes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<ReadRate>,
    /// Seconds of a dispatch of one workgroup among many, the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatch_seconds: Option<f64>,
    /// Seconds of an empty submission and of waiting for it, the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submission_seconds: Option<f64>,
}

/// The storage of weights in reports that precede the choice.
fn float32() -> String {
    Precision::Float32.to_string()
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// The version of the program.
    pub version: String,
    /// The version of wgpu.
    pub wgpu: String,
    /// The day, in UTC.
    pub date: String,
    /// The adapter's name, kind and backend.
    pub adapter: String,
    /// Its driver and the driver's version.
    pub driver: String,
    /// The family of kernels.
    pub family: String,
    /// The choice of algorithms for convolutions.
    #[serde(default)]
    pub algorithms: String,
    /// The storage of the weights of networks.
    #[serde(default = "float32")]
    pub dtype: String,
    /// The number of samples per case; 0 where figures are medians of rounds.
    pub repeats: usize,
    /// `true` for a quick run: a few small cases.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quick: bool,
    /// `true` for a run that was stopped before its last case, and for lines that end before the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// The origin of figures that this program has not written itself: a document and its date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The machine.
    #[serde(default)]
    pub machine: Machine,
    /// The roofs of the rows.
    #[serde(default)]
    pub roofs: Roofs,
    /// The cases, the roofs first.
    #[serde(default)]
    pub rows: Vec<Row>,
}

impl Findings {
    /// Reads a run that was saved as JSON or as lines of JSON. Lines may end early: the run was stopped.
    ///
    /// # Errors
    /// [`Error::FileNotFound`], [`Error::Io`]; [`Error::BadFile`] for a file that is not a saved run.
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = read_regular(file, json::LARGEST_LIST)?;
        if bytes.trim_ascii().is_empty() {
            let hint = "`-o json` is written at the end of a run, `-o jsonl` as it is measured; measure again";
            return Err(Error::bad_file_hint(file, "is empty: not a saved benchmark", hint));
        }
        Self::parse(&bytes).map_err(|error| {
            let hint = "a saved benchmark is the output of `downhill bench -o json` or `-o jsonl`, or its report";
            Error::bad_file_hint(file, format!("not a saved benchmark: {error}"), hint)
        })
    }

    /// Parses a run that was saved as JSON, alone or in the report of the program, or as lines of JSON.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        /// The field that a saved run has in any case.
        #[derive(Deserialize)]
        struct Required {
            #[serde(rename = "rows")]
            _rows: Vec<serde::de::IgnoredAny>,
        }
        /// The report of the program about a run.
        #[derive(Deserialize)]
        struct InReport {
            findings: Findings,
        }
        if lines::is_lines(bytes) {
            return lines::parse(bytes).map_err(|error| excerpt(&error).into_owned());
        }
        match json::parse::<Required>(bytes) {
            Ok(_) => json::parse(bytes),
            Err(error) => json::parse::<InReport>(bytes).map(|report| report.findings).map_err(|_| error),
        }
    }

    /// Returns the row of a case.
    #[must_use]
    pub fn row(&self, suite: &str, case: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.suite == suite && row.case == case)
    }

    /// Adds a comparison to every row that `base` has measured too.
    pub fn compare(&mut self, base: &Self) {
        for row in &mut self.rows {
            row.compare(base);
        }
    }

    /// Lists the differences between this run and `base` that make their ratios less meaningful.
    #[must_use]
    pub fn differences(&self, base: &Self) -> Vec<String> {
        let pairs = [
            ("adapter", &self.adapter, &base.adapter),
            ("driver", &self.driver, &base.driver),
            ("kernels", &self.family, &base.family),
            ("algorithms", &self.algorithms, &base.algorithms),
            ("dtype", &self.dtype, &base.dtype),
        ];
        let unknown = "unknown".to_owned();
        let processor = |run: &Self| run.machine.processor.clone();
        // An older file does not name the processor.
        let processors = processor(self).zip(processor(base)).unwrap_or((unknown.clone(), unknown));
        let pairs = pairs.into_iter().chain([("processor", &processors.0, &processors.1)]);
        let differs = pairs.filter(|(_, now, before)| now != before);
        differs.map(|(what, now, before)| format!("{what}: `{before}` then, `{now}` now")).collect()
    }

    /// Iterates over the cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.status == Status::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::statistics::Verdict;

    fn findings(seconds: f64) -> Findings {
        let samples = [0.99, 1.0, 1.01].map(|factor| factor * seconds).to_vec();
        let roofs = Roofs { arithmetic: Some(4.0), ..Roofs::default() };
        let row = Row::new("conv", "a").timed(Timing::new(samples, 1), Work::Flops(2_000_000_000), &roofs);
        let rows = vec![row, Row::new("conv", "b").ended(&Error::bad_file("x", "y"))];
        let text = |text: &str| text.to_owned();
        Findings {
            version: text("1"),
            wgpu: text("2"),
            date: text("3"),
            adapter: text("a"),
            driver: text("d"),
            family: text("f"),
            algorithms: text("g"),
            dtype: float32(),
            repeats: 3,
            quick: false,
            stopped: false,
            source: None,
            machine: Machine::default(),
            roofs,
            rows,
        }
    }

    #[test]
    fn a_row_has_its_rate_under_the_roof() {
        let findings = findings(1.0);
        let rate = findings.rows[0].rate.as_ref().unwrap();
        assert_eq!((rate.value, rate.of_roof), (2.0, Some(0.5)));
        assert_eq!(findings.failures().map(|row| row.case.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn only_rows_that_both_have_are_compared() {
        let (mut now, mut before) = (findings(1.0), findings(2.0));
        before.adapter = "other".to_owned();
        now.rows.push(Row::new("conv", "new"));
        now.compare(&before);
        let comparison = now.rows[0].comparison.as_ref().unwrap();
        assert_eq!((comparison.speedup, comparison.verdict), (2.0, Verdict::Faster));
        assert!(now.rows[1].comparison.is_none() && now.rows[2].comparison.is_none());
        assert_eq!(now.differences(&before), ["adapter: `other` then, `a` now"]);
    }

    #[test]
    fn findings_survive_json() {
        let findings = findings(1.0);
        let text = serde_json::to_string(&findings).unwrap();
        assert_eq!(serde_json::from_str::<Findings>(&text).unwrap(), findings);
    }

    #[test]
    fn a_run_is_read_alone_and_in_a_report() {
        let findings = findings(1.0);
        let alone = serde_json::to_string(&findings).unwrap();
        assert!(!alone.contains("quick") && !alone.contains("stopped"), "{alone}");
        assert_eq!(Findings::parse(alone.as_bytes()).unwrap(), findings);
        let report = format!("{{\"command\": \"bench\", \"findings\": {alone}}}");
        assert_eq!(Findings::parse(report.as_bytes()).unwrap(), findings);
        let other = Findings::parse(b"{\"command\": \"sample\"}").unwrap_err();
        assert!(other.starts_with("missing field `rows`"), "{other}");
    }

    #[test]
    fn what_the_device_does_not_grant_is_no_failure() {
        let over = Error::OutOfMemory { tensor: "x".into(), bytes: 1, hint: String::new() };
        assert_eq!(Row::new("conv", "a").ended(&over).status, Status::Unsupported);
        assert_eq!(Row::new("conv", "a").ended(&Error::bad_file("x", "y")).status, Status::Failed);
    }
}
