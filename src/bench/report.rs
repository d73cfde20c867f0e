//! What a benchmark found, as data: rows that a table prints and a later run compares itself to.

use serde::{Deserialize, Serialize};

use super::problem::Work;
use super::statistics::{Comparison, Timing};
use crate::error::Error;
use crate::tensor::Precision;

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Right, and timed.
    Measured,
    /// More than the device offers; the reason is given.
    Unsupported,
    /// Wrong, or the device failed; the reason is given.
    Failed,
}

/// The part of an answer that was held against the CPU twins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// max |device - twin| / max |twin|.
    pub error: f64,
    /// Which part it was.
    pub part: String,
}

/// Work over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Work of a call: operations or bytes.
    pub work: u64,
    /// Work a second over 10^9, by the median.
    pub value: f64,
    /// `GFLOP/s` or `GB/s`.
    pub unit: String,
    /// The rate over that of the roof, where there is one.
    pub of_roof: Option<f64>,
}

/// What only a network's call has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Numbers in its weights.
    pub parameters: u64,
    /// Seconds to upload weights and record commands, without the compilation.
    pub prepare_seconds: f64,
    /// Seconds of the first call.
    pub first_seconds: f64,
    /// Dispatches of a call.
    pub dispatches: usize,
    /// Seconds of all its kernels by the device's clock, the median of several calls; `None` where it has no clock.
    pub kernel_seconds: Option<f64>,
    /// The share of a sample's call, from its inputs to its answer, beyond those seconds; the median too.
    pub gap: Option<f64>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The suite it belongs to; `roof` for a roof.
    pub suite: String,
    /// The case.
    pub case: String,
    /// How it ended.
    pub status: Status,
    /// Why there are no figures.
    #[serde(default)]
    pub reason: Option<String>,
    /// The shaders it ran.
    pub kernels: Vec<String>,
    /// The check before the measurement.
    pub check: Option<Check>,
    /// Seconds to make its pipelines, and what the first call took beyond a later one.
    pub compile_seconds: Option<f64>,
    /// The time of a call.
    pub timing: Option<Timing>,
    /// What that amounts to.
    pub rate: Option<Rate>,
    /// What only a network's call has.
    #[serde(default)]
    pub call: Option<Call>,
    /// Against an earlier run.
    #[serde(default)]
    pub comparison: Option<Comparison>,
}

impl Row {
    /// A row without figures, so far.
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
            comparison: None,
        }
    }

    /// The row of a case that ended in `error`: more than the device grants is unsupported, all else has failed.
    #[must_use]
    pub fn ended(mut self, error: &Error) -> Self {
        let over = matches!(error, Error::OverLimit { .. } | Error::OutOfMemory { .. });
        self.status = if over { Status::Unsupported } else { Status::Failed };
        self.reason = Some(error.to_string());
        self
    }

    /// The row with a timing, and the rate that follows from it under a roof in GFLOP/s or GB/s.
    #[must_use]
    pub fn timed(mut self, timing: Timing, work: Work, roofs: &Roofs) -> Self {
        let rate = |work: u64, unit: &str, roof: Option<f64>| {
            let value = work as f64 / timing.median.max(f64::MIN_POSITIVE) * 1e-9;
            Rate { work, value, unit: unit.to_owned(), of_roof: roof.map(|roof| value / roof) }
        };
        self.rate = match work {
            Work::Flops(flops) => Some(rate(flops, "GFLOP/s", roofs.arithmetic)),
            Work::Bytes(bytes) => Some(rate(bytes, "GB/s", roofs.memory)),
            Work::Nothing => None,
        };
        self.timing = Some(timing);
        self
    }
}

/// What the device does at best, as far as it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roofs {
    /// GFLOP/s of the faster chain, by its least sample.
    pub arithmetic: Option<f64>,
    /// GB/s of the faster copy, read and written together, by its least sample.
    pub memory: Option<f64>,
}

/// How weights were stored before there was a choice.
fn float32() -> String {
    Precision::Float32.to_string()
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// The program's version.
    pub version: String,
    /// The release of wgpu.
    pub wgpu: String,
    /// The day, in UTC.
    pub date: String,
    /// The adapter's name, sort and backend.
    pub adapter: String,
    /// Its driver and the driver's version.
    pub driver: String,
    /// The family of kernels.
    pub family: String,
    /// How the algorithms of convolutions are chosen.
    #[serde(default)]
    pub algorithms: String,
    /// How the weights of networks are stored.
    #[serde(default = "float32")]
    pub dtype: String,
    /// Samples a case.
    pub repeats: usize,
    /// The roofs that the rows stand under.
    pub roofs: Roofs,
    /// The cases, the roofs first.
    pub rows: Vec<Row>,
}

impl Findings {
    /// Sets every row that `base` has measured too beside it.
    pub fn compare(&mut self, base: &Self) {
        for row in &mut self.rows {
            let same = base.rows.iter().find(|other| other.suite == row.suite && other.case == row.case);
            let timings = (row.timing.as_ref(), same.and_then(|other| other.timing.as_ref()));
            if let (Some(now), Some(before)) = timings {
                row.comparison = Some(Comparison::new(now, before));
            }
        }
    }

    /// What differs between this run and `base`, so that their ratios mean less.
    #[must_use]
    pub fn differences(&self, base: &Self) -> Vec<String> {
        let pairs = [
            ("adapter", &self.adapter, &base.adapter),
            ("driver", &self.driver, &base.driver),
            ("kernels", &self.family, &base.family),
            ("algorithms", &self.algorithms, &base.algorithms),
            ("dtype", &self.dtype, &base.dtype),
        ];
        let differs = pairs.into_iter().filter(|(_, now, before)| now != before);
        differs.map(|(what, now, before)| format!("{what}: `{before}` then, `{now}` now")).collect()
    }

    /// The cases that failed.
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
        let roofs = Roofs { arithmetic: Some(4.0), memory: None };
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
    fn what_the_device_does_not_grant_is_no_failure() {
        let over = Error::OutOfMemory { tensor: "x".into(), bytes: 1, hint: String::new() };
        assert_eq!(Row::new("conv", "a").ended(&over).status, Status::Unsupported);
        assert_eq!(Row::new("conv", "a").ended(&Error::bad_file("x", "y")).status, Status::Failed);
    }
}
