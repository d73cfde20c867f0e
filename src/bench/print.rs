//! The figures of a benchmark as Markdown, comma-separated values and JSON.

use std::fmt::Write;

use crate::bench::report::{Findings, Row, Status};
use crate::bench::roofs::ROOF;
use crate::report::columns::{aligned_cells, thousands};
use crate::report::printable::printable_json;

/// The text of a missing figure.
const NONE: &str = "-";

/// Returns everything as one JSON object.
#[must_use]
pub fn json(findings: &Findings) -> String {
    printable_json(&serde_json::to_string_pretty(findings).unwrap_or_default()).into_owned() + "\n"
}

/// Returns the adapter, versions and date of a run, then a table for each suite.
#[must_use]
pub fn markdown(findings: &Findings) -> String {
    let Findings { version, wgpu, date, adapter, driver, family, algorithms, dtype, repeats, .. } = findings;
    let mut text = format!(
        "- adapter: {adapter}\n- driver: {driver}\n- kernels: {family}\n- algorithms: {algorithms}\n\
         - weights of networks: {dtype}\n\
         - versions: downhill {version}, wgpu {wgpu}\n\
         - date: {date}\n- samples: {repeats} a case; times are medians\n"
    );
    let mut rest = findings.rows.as_slice();
    while let Some(first) = rest.first() {
        let (suite, others) = rest.split_at(rest.iter().take_while(|row| row.suite == first.suite).count());
        rest = others;
        let _ = write!(text, "\n## {}\n\n{}", title(&first.suite), table(suite));
        for row in suite.iter().filter(|row| row.status != Status::Measured) {
            let reason = row.reason.as_deref().unwrap_or_default();
            let _ = write!(text, "\n{}: {}, {reason}\n", row.case, status_text(row.status));
        }
    }
    text
}

fn title(suite: &str) -> &str {
    if suite == ROOF { "roofs" } else { suite }
}

fn status_text(status: Status) -> &'static str {
    match status {
        Status::Measured => "measured",
        Status::Unsupported => "unsupported",
        Status::Failed => "failed",
    }
}

/// A column: its heading and its cell in a row.
type Column = (&'static str, fn(&Row) -> String);

const TIMES: [Column; 4] = [
    ("case", |row| row.case.clone()),
    ("ms", |row| row.timing.as_ref().map_or_else(|| status_text(row.status).to_owned(), |t| milliseconds(t.median))),
    ("least ms", |row| or_none(row.timing.as_ref(), |timing| milliseconds(timing.least))),
    ("spread", |row| or_none(row.timing.as_ref().and_then(|timing| timing.spread), percent)),
];
const RATES: [Column; 4] = [
    ("rate", |row| or_none(row.rate.as_ref(), |rate| format!("{} {}", significant(rate.value), rate.unit))),
    ("of roof", |row| or_none(row.rate.as_ref().and_then(|rate| rate.of_roof), percent)),
    ("compile ms", |row| or_none(row.compile_seconds, milliseconds)),
    ("error", |row| or_none(row.check.as_ref(), |check| format!("{:.1e}", check.error))),
];
const CALLS: [Column; 6] = [
    ("parameters", |row| or_none(row.call.as_ref(), |call| thousands(call.parameters))),
    ("prepare ms", |row| or_none(row.call.as_ref(), |call| milliseconds(call.prepare_seconds))),
    ("first ms", |row| or_none(row.call.as_ref(), |call| milliseconds(call.first_seconds))),
    ("dispatches", |row| or_none(row.call.as_ref(), |call| call.dispatches.to_string())),
    ("kernels ms", |row| or_none(row.call.as_ref().and_then(|call| call.kernel_seconds), milliseconds)),
    ("gap", |row| or_none(row.call.as_ref().and_then(|call| call.gap), percent)),
];
const KERNELS: [Column; 1] = [("kernels", |row| match row.kernels.as_slice() {
    [] => NONE.to_owned(),
    kernels => kernels.iter().map(|kernel| format!("`{kernel}`")).collect::<Vec<_>>().join(" "),
})];
const COMPARISON: [Column; 1] = [("against base", |row| {
    or_none(row.comparison.as_ref(), |comparison| format!("{:.2}x {}", comparison.speedup, comparison.verdict))
})];

/// The rows of one suite.
fn table(rows: &[Row]) -> String {
    let mut columns: Vec<Column> = TIMES.to_vec();
    columns.extend(RATES);
    if rows.iter().any(|row| row.call.is_some()) {
        columns.extend(CALLS);
    } else {
        columns.extend(KERNELS);
    }
    if rows.iter().any(|row| row.comparison.is_some()) {
        columns.extend(COMPARISON);
    }
    let heading = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let rule = vec!["---".to_owned(); columns.len()];
    let cells = rows.iter().map(|row| columns.iter().map(|(_, cell)| cell(row)).collect());
    let lines: Vec<Vec<String>> = [heading, rule].into_iter().chain(cells).collect();
    aligned_cells(&lines, " | ").lines().fold(String::new(), |text, line| text + "| " + line + " |\n")
}

fn or_none<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), text)
}

/// Three significant digits, without an exponent.
fn significant(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { 2 - value.abs().log10().floor() as i32 };
    format!("{value:.*}", digits.clamp(0, 9) as usize)
}

fn milliseconds(seconds: f64) -> String {
    significant(seconds * 1e3)
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 1e2)
}

/// A figure for programs to read.
fn figure(value: Option<f64>) -> String {
    or_empty(value.map(|value| format!("{value:e}")))
}

fn or_empty(text: Option<String>) -> String {
    text.unwrap_or_default()
}

/// The columns of the comma-separated form, in seconds, operations and bytes. Each line also names the adapter and
/// the date.
const FIELDS: [Column; 22] = [
    ("suite", |row| row.suite.clone()),
    ("case", |row| row.case.clone()),
    ("status", |row| status_text(row.status).to_owned()),
    ("reason", |row| or_empty(row.reason.clone())),
    ("median_s", |row| figure(row.timing.as_ref().map(|timing| timing.median))),
    ("least_s", |row| figure(row.timing.as_ref().map(|timing| timing.least))),
    ("spread", |row| figure(row.timing.as_ref().and_then(|timing| timing.spread))),
    ("samples", |row| or_empty(row.timing.as_ref().map(|timing| timing.samples.len().to_string()))),
    ("calls_a_sample", |row| or_empty(row.timing.as_ref().map(|timing| timing.calls.to_string()))),
    ("work", |row| or_empty(row.rate.as_ref().map(|rate| rate.work.to_string()))),
    ("rate", |row| figure(row.rate.as_ref().map(|rate| rate.value))),
    ("unit", |row| or_empty(row.rate.as_ref().map(|rate| rate.unit.clone()))),
    ("of_roof", |row| figure(row.rate.as_ref().and_then(|rate| rate.of_roof))),
    ("compile_s", |row| figure(row.compile_seconds)),
    ("error", |row| figure(row.check.as_ref().map(|check| check.error))),
    ("first_s", |row| figure(row.call.as_ref().map(|call| call.first_seconds))),
    ("dispatches", |row| or_empty(row.call.as_ref().map(|call| call.dispatches.to_string()))),
    ("kernels_s", |row| figure(row.call.as_ref().and_then(|call| call.kernel_seconds))),
    ("gap", |row| figure(row.call.as_ref().and_then(|call| call.gap))),
    ("kernels", |row| row.kernels.join(" ")),
    ("speedup", |row| figure(row.comparison.as_ref().map(|comparison| comparison.speedup))),
    ("verdict", |row| or_empty(row.comparison.as_ref().map(|comparison| comparison.verdict.to_string()))),
];

/// Returns one line per case, each complete in itself.
#[must_use]
pub fn csv(findings: &Findings) -> String {
    let Findings { version, wgpu, date, adapter, driver, family, dtype, .. } = findings;
    let origin: [(&str, &String); 7] = [
        ("adapter", adapter),
        ("driver", driver),
        ("family", family),
        ("dtype", dtype),
        ("downhill", version),
        ("wgpu", wgpu),
        ("date", date),
    ];
    let headings = FIELDS.iter().map(|(heading, _)| *heading).chain(origin.iter().map(|(heading, _)| *heading));
    let mut text = headings.collect::<Vec<_>>().join(",") + "\n";
    for row in &findings.rows {
        let fields = FIELDS.iter().map(|(_, cell)| quoted(&cell(row)));
        let line: Vec<_> = fields.chain(origin.iter().map(|(_, value)| quoted(value))).collect();
        text += &(line.join(",") + "\n");
    }
    text
}

/// A field, quoted if it must be (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let texts = [0.0, 0.001_234, 0.5, 9.994, 12.345, 999.4, 12345.6].map(significant);
        assert_eq!(texts, ["0", "0.00123", "0.500", "9.99", "12.3", "999", "12346"]);
    }

    #[test]
    fn fields_are_quoted_where_they_must() {
        assert_eq!(quoted("plain text"), "plain text");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
