//! The figures of a benchmark as Markdown, comma-separated values and JSON.

use std::fmt::Write;

use crate::bench::breakdown::{Grouping, Part};
use crate::bench::report::{Findings, Rate, Row, Status};
use crate::bench::roofs::ROOF;
use crate::bench::summary;
use crate::report::columns::{aligned_cells, thousands};
use crate::report::printable::printable_json;

/// The text of a missing figure.
const NONE: &str = "-";

/// Returns everything as one JSON object.
#[must_use]
pub fn json(findings: &Findings) -> String {
    printable_json(&serde_json::to_string_pretty(findings).unwrap_or_default()).into_owned() + "\n"
}

/// Returns the adapter, the machine, versions, date and roofs of a run, then a table for each suite, after that of
/// networks a table of kernels for each that has them, and at the end the run in one line.
#[must_use]
pub fn markdown(findings: &Findings, grouping: Grouping) -> String {
    let Findings { version, wgpu, date, adapter, driver, family, algorithms, dtype, repeats, .. } = findings;
    let mut text = format!(
        "- adapter: {adapter}\n- driver: {driver}\n- machine: {machine}\n- kernels: {family}\n\
         - algorithms: {algorithms}\n- weights of networks: {dtype}\n\
         - versions: downhill {version}, wgpu {wgpu}\n\
         - date: {date}\n- samples: {repeats} a case; times are medians\n",
        machine = findings.machine.line(),
    );
    if findings.stopped {
        text += "- stopped before its last case\n";
    }
    for line in summary::roofs(findings) {
        let _ = writeln!(text, "- {line}");
    }
    let mut rest = findings.rows.as_slice();
    while let Some(first) = rest.first() {
        let (suite, others) = rest.split_at(rest.iter().take_while(|row| row.suite == first.suite).count());
        rest = others;
        let _ = write!(text, "\n## {}\n\n{}", title(&first.suite), table(&columns(suite), suite));
        for row in suite.iter().filter(|row| row.status != Status::Measured) {
            let reason = row.reason.as_deref().unwrap_or_default();
            let _ = write!(text, "\n{}: {}, {reason}\n", row.case, status_text(row.status));
        }
        for (row, breakdown) in suite.iter().filter_map(|row| Some((row, row.breakdown.as_ref()?))) {
            let parts = breakdown.parts(grouping);
            let columns: &[Column<Part>] = match grouping {
                Grouping::Kinds => &PARTS[1..],
                Grouping::Steps => &PARTS,
            };
            let _ = write!(text, "\n### kernels of {}\n\n{}", row.case, table(columns, parts));
        }
    }
    text + "\n" + &summary::line(findings) + "\n"
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
pub(super) type Column<T> = (&'static str, fn(&T) -> String);

const TIMES: [Column<Row>; 4] = [
    ("case", |row| row.case.clone()),
    ("ms", |row| row.timing.as_ref().map_or_else(|| status_text(row.status).to_owned(), |t| milliseconds(t.median))),
    ("least ms", |row| or_none(row.timing.as_ref().and_then(|timing| timing.least), milliseconds)),
    ("spread", |row| or_none(row.timing.as_ref().and_then(|timing| timing.spread), percent)),
];
const RATES: [Column<Row>; 4] = [
    ("rate", |row| rate_text(row.rate.as_ref())),
    ("of roof", |row| or_none(row.rate.as_ref().and_then(|rate| rate.of_roof), percent)),
    ("compile ms", |row| or_none(row.compile_seconds, milliseconds)),
    ("error", |row| or_none(row.check.as_ref(), |check| format!("{:.1e}", check.error))),
];
const CALLS: [Column<Row>; 6] = [
    ("parameters", |row| or_none(row.call.as_ref(), |call| thousands(call.parameters))),
    ("prepare ms", |row| or_none(row.call.as_ref(), |call| milliseconds(call.prepare_seconds))),
    ("first ms", |row| or_none(row.call.as_ref(), |call| milliseconds(call.first_seconds))),
    ("dispatches", |row| or_none(row.call.as_ref(), |call| call.dispatches.to_string())),
    ("kernels ms", |row| or_none(row.call.as_ref().and_then(|call| call.kernel_seconds), milliseconds)),
    ("gap", |row| or_none(row.call.as_ref().and_then(|call| call.gap), percent)),
];
const KERNELS: [Column<Row>; 1] = [("kernels", |row| match row.kernels.as_slice() {
    [] => NONE.to_owned(),
    kernels => kernels.iter().map(|kernel| format!("`{kernel}`")).collect::<Vec<_>>().join(" "),
})];
const COMPARISON: [Column<Row>; 1] = [("against base", |row| {
    or_none(row.comparison.as_ref(), |comparison| format!("{:.2}x {}", comparison.speedup, comparison.verdict))
})];

/// The columns of the kernels of a call.
const PARTS: [Column<Part>; 8] = [
    ("module", |part| part.module.clone()),
    ("operation", |part| part.operation.clone()),
    ("kernel", |part| format!("`{}`", part.kernel)),
    ("dispatches", |part| part.dispatches.to_string()),
    ("ms", |part| milliseconds(part.timing.median)),
    ("share", |part| percent(part.share)),
    ("rate", |part| rate_text(part.rate.as_ref())),
    ("of roof", |part| or_none(part.rate.as_ref().and_then(|rate| rate.of_roof), percent)),
];

/// The columns of the rows of one suite.
fn columns(rows: &[Row]) -> Vec<Column<Row>> {
    let mut columns: Vec<Column<Row>> = TIMES.to_vec();
    columns.extend(RATES);
    if rows.iter().any(|row| row.call.is_some()) {
        columns.extend(CALLS);
    } else {
        columns.extend(KERNELS);
    }
    if rows.iter().any(|row| row.comparison.is_some()) {
        columns.extend(COMPARISON);
    }
    columns
}

pub(super) fn table<T>(columns: &[Column<T>], rows: &[T]) -> String {
    let heading = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let rule = vec!["---".to_owned(); columns.len()];
    let cells = rows.iter().map(|row| columns.iter().map(|(_, cell)| cell(row)).collect());
    let lines: Vec<Vec<String>> = [heading, rule].into_iter().chain(cells).collect();
    aligned_cells(&lines, " | ").lines().fold(String::new(), |text, line| text + "| " + line + " |\n")
}

fn rate_text(rate: Option<&Rate>) -> String {
    or_none(rate, |rate| format!("{} {}", significant(rate.value), rate.unit))
}

pub(super) fn or_none<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), text)
}

/// Three significant digits, without an exponent.
pub(super) fn significant(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { 2 - value.abs().log10().floor() as i32 };
    format!("{value:.*}", digits.clamp(0, 9) as usize)
}

pub(super) fn milliseconds(seconds: f64) -> String {
    significant(seconds * 1e3)
}

pub(super) fn percent(share: f64) -> String {
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
const FIELDS: [Column<Row>; 22] = [
    ("suite", |row| row.suite.clone()),
    ("case", |row| row.case.clone()),
    ("status", |row| status_text(row.status).to_owned()),
    ("reason", |row| or_empty(row.reason.clone())),
    ("median_s", |row| figure(row.timing.as_ref().map(|timing| timing.median))),
    ("least_s", |row| figure(row.timing.as_ref().and_then(|timing| timing.least))),
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

/// The further columns of a run with the kernels of its calls. They are empty in the lines of cases.
const PART_FIELDS: [Column<Part>; 4] = [
    ("module", |part| part.module.clone()),
    ("operation", |part| part.operation.clone()),
    ("operation_dispatches", |part| part.dispatches.to_string()),
    ("share", |part| figure(Some(part.share))),
];

/// Returns one line per case, each complete in itself, and after that of a network with a breakdown one line per part
/// of its call.
#[must_use]
pub fn csv(findings: &Findings, grouping: Grouping) -> String {
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
    let has_parts = findings.rows.iter().any(|row| row.breakdown.is_some());
    let part_fields: &[Column<Part>] = if has_parts { &PART_FIELDS } else { &[] };
    let headings = FIELDS.iter().map(|(heading, _)| *heading).chain(part_fields.iter().map(|(heading, _)| *heading));
    let headings = headings.chain(origin.iter().map(|(heading, _)| *heading));
    let mut text = headings.collect::<Vec<_>>().join(",") + "\n";
    let mut add = |row: &Row, part: Option<&Part>| {
        let fields = FIELDS.iter().map(|(_, cell)| quoted(&cell(row)));
        let of_part = part_fields.iter().map(|(_, cell)| quoted(&or_empty(part.map(cell))));
        let line: Vec<_> = fields.chain(of_part).chain(origin.iter().map(|(_, value)| quoted(value))).collect();
        text += &(line.join(",") + "\n");
    };
    for row in &findings.rows {
        add(row, None);
        for part in row.breakdown.iter().flat_map(|breakdown| breakdown.parts(grouping)) {
            let Part { kernel, timing, rate, .. } = part.clone();
            let of_case = Row { kernels: vec![kernel], timing: Some(timing), rate, ..Row::new(&row.suite, &row.case) };
            add(&of_case, Some(part));
        }
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
