//! The results of restorations: tables, a plot, and rows for a report.

use std::fmt::Write;

use serde::Serialize;
use serde_json::json;

use super::{Cell, Problem, Score};
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::study::results::{File, Results};

/// The files of the study.
pub const FILES: &[File] = &[TEXT, TABLE, PLOT];
const TEXT: File = File::new("restore.md", "the tables that are printed");
const TABLE: File = File::new("restore.csv", "one row per operator, method, sampler and number of calls");
const PLOT: File = File::new("restore", "PSNR and Frechet distance over calls, an operator after the other");

/// A row of the tables: a cell or a baseline.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The number of its problem.
    pub problem: usize,
    /// The method or the baseline.
    pub method: String,
    /// The sampler, if there is one.
    pub sampler: Option<&'static str>,
    /// The most calls; `None` for a baseline.
    pub calls: Option<usize>,
    /// `None` where the walk has left the numbers.
    pub score: Option<Score>,
    /// Seconds per image, where they were measured.
    pub seconds: Option<f64>,
}

impl Row {
    /// A row of a cell.
    #[must_use]
    pub fn of_cell(cell: &Cell, score: Option<Score>, seconds: Option<f64>) -> Self {
        let (problem, sampler) = (cell.problem.0, cell.sampler.map(crate::sample::samplers::Sampler::name));
        Self { problem, method: cell.method.name().to_owned(), sampler, calls: Some(cell.calls), score, seconds }
    }

    /// A row of a baseline.
    #[must_use]
    pub fn of_baseline(problem: usize, name: &str, score: Score) -> Self {
        Self { problem, method: name.to_owned(), sampler: None, calls: None, score: Some(score), seconds: None }
    }

    /// The label in tables.
    fn label(&self) -> String {
        self.sampler.map_or_else(|| self.method.clone(), |sampler| format!("{}, {sampler}", self.method))
    }
}

/// The settings of the tables.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// The problems.
    pub problems: &'a [Problem],
    /// The number of images of each.
    pub images: usize,
    /// The Frechet distance of as many other images of the data, where there are any.
    pub floor: Option<f64>,
}

/// The results of `rows`.
#[must_use]
pub fn results(rows: &[Row], setting: &Setting) -> Results {
    let text = markdown(rows, setting);
    let mut results = Results::default();
    results
        .text_file(TEXT, text.clone())
        .table(TABLE, csv(rows, setting))
        .plot(PLOT, picture(rows, setting))
        .set("rows", json!(rows))
        .set("frechet_of_other_images", json!(setting.floor));
    for row in rows {
        let label = &setting.problems[row.problem].label;
        match &row.score {
            None => {
                results.note(format!("`{label}` by {} in {} calls has diverged", row.label(), row.calls.unwrap_or(0)));
            }
            Some(score) if score.diverged > 0 && row.calls.is_some() => {
                let (bad, all, calls) = (score.diverged, setting.images, row.calls.unwrap_or(0));
                results.note(format!("`{label}` by {} in {calls} calls: {bad} of {all} images diverged", row.label()));
            }
            Some(_) => {}
        }
    }
    results.text = Some(text);
    results
}

/// All rows, for a `.csv`.
fn csv(rows: &[Row], setting: &Setting) -> Table {
    let mut table = Table::new(&[
        "operator",
        "noise",
        "method",
        "sampler",
        "calls",
        "images",
        "psnr",
        "psnr_error",
        "frechet",
        "misfit",
        "diverged",
        "seconds_per_image",
    ]);
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for row in rows {
        let problem = &setting.problems[row.problem];
        let of_score = |figure: &dyn Fn(&Score) -> Option<f64>| number(row.score.as_ref().and_then(figure));
        table.row(&[
            &problem.label,
            &problem.measurement.noise(),
            &row.method,
            &row.sampler.unwrap_or_default(),
            &row.calls.map_or_else(String::new, |calls| calls.to_string()),
            &setting.images,
            &of_score(&|score| Some(score.psnr)),
            &of_score(&|score| score.psnr_error),
            &of_score(&|score| score.frechet),
            &of_score(&|score| Some(score.misfit)),
            &row.score.map_or_else(|| "all".to_owned(), |score| score.diverged.to_string()),
            &number(row.seconds),
        ]);
    }
    table
}

/// The labels of the rows of a problem and all numbers of calls.
fn axes(rows: &[Row], problem: usize) -> (Vec<String>, Vec<usize>) {
    let (mut labels, mut calls) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| row.problem == problem) {
        if !labels.contains(&row.label()) {
            labels.push(row.label());
        }
        calls.extend(row.calls);
    }
    calls.sort_unstable();
    calls.dedup();
    (labels, calls)
}

/// A figure of a score: its title, its decimals, `true` if larger is better, and its value with an error.
type Measure = (&'static str, usize, bool, fn(&Score) -> Option<(f64, Option<f64>)>);

const MEASURES: [Measure; 2] = [
    ("PSNR in dB", 2, true, |score| Some((score.psnr, score.psnr_error))),
    ("Frechet distance", 1, false, |score| Some((score.frechet?, None))),
];

fn markdown(rows: &[Row], setting: &Setting) -> String {
    let mut text = String::new();
    for (index, problem) in setting.problems.iter().enumerate() {
        let noise = problem.measurement.noise();
        let _ = writeln!(text, "`{}`, noise {noise}, {} images\n", problem.label, setting.images);
        let (labels, calls) = axes(rows, index);
        for (title, digits, largest, figure) in MEASURES {
            let of = |row: &Row| row.score.as_ref().and_then(figure);
            let own: Vec<&Row> = rows.iter().filter(|row| row.problem == index).collect();
            if own.iter().all(|row| of(row).is_none()) {
                continue;
            }
            let _ = write!(text, "| {title} |");
            for calls in &calls {
                let _ = write!(text, " {calls} calls |");
            }
            let _ = writeln!(text, "\n|---|{}", "---|".repeat(calls.len()));
            for label in &labels {
                let _ = write!(text, "| {label} |");
                for at in &calls {
                    let is_at = |row: &&&Row| row.calls.is_none_or(|calls| calls == *at);
                    let found = own.iter().filter(is_at).find(|row| row.label() == *label);
                    let rivals = own.iter().filter(|row| row.calls == Some(*at)).filter_map(|row| of(row));
                    let best = rivals.map(|(value, _)| value).reduce(if largest { f64::max } else { f64::min });
                    match found.map(|row| (row.calls, of(row))) {
                        None => text.push_str(" – |"),
                        Some((_, None)) => text.push_str(" diverged |"),
                        Some((own, Some((value, error)))) => {
                            let is_best = own.is_some() && best.is_some_and(|best| value.total_cmp(&best).is_eq());
                            let bold = if is_best { "**" } else { "" };
                            let error = error.map_or_else(String::new, |error| format!(" ± {error:.digits$}"));
                            let _ = write!(text, " {bold}{value:.digits$}{bold}{error} |");
                        }
                    }
                }
                text.push('\n');
            }
            if let Some(floor) = setting.floor.filter(|_| !largest) {
                let cell = format!(" {floor:.digits$} |");
                let _ = writeln!(text, "| other images of the data |{}", cell.repeat(calls.len()));
            }
            text.push('\n');
        }
    }
    text
}

fn picture(rows: &[Row], setting: &Setting) -> Picture {
    let mut panels = Vec::new();
    for (index, problem) in setting.problems.iter().enumerate() {
        let (labels, calls) = axes(rows, index);
        let (least, most) = (calls.first().copied().unwrap_or(1) as f64, calls.last().copied().unwrap_or(1) as f64);
        for (title, _, _, figure) in MEASURES {
            let of = |row: &Row| row.score.as_ref().and_then(figure);
            let axis = if title.starts_with("PSNR") { Axis::linear(title) } else { Axis::log(title) };
            let mut plot = Figure::new(&problem.label, Axis::log("calls of the denoiser"), axis);
            for (at, label) in labels.iter().enumerate() {
                let own = rows.iter().filter(|row| row.problem == index && row.label() == *label);
                // Calls, and a score with its error.
                let found: Vec<(_, (f64, Option<f64>))> = own.filter_map(|row| Some((row.calls, of(row)?))).collect();
                let baseline = found.iter().find(|(calls, _)| calls.is_none()).map(|(_, (value, _))| *value);
                let series = if let Some(value) = baseline {
                    Series::dashed(label, vec![(least, value), (most, value)])
                } else {
                    let point = |(calls, (value, _)): &(Option<usize>, (f64, _))| (calls.unwrap_or(1) as f64, *value);
                    let around = |(_, (value, error)): &(_, (f64, Option<f64>))| {
                        let error = error.unwrap_or(0.0);
                        (value - error, value + error)
                    };
                    let points: Vec<(f64, f64)> = found.iter().map(point).collect();
                    Series::line(label, points).band(found.iter().map(around).collect())
                };
                plot = plot.with(series.colour(Colour::Cycle(at)));
            }
            panels.push(plot.into());
        }
    }
    Picture::new("Restorations: PSNR (higher is better), Frechet distance (lower is better)", 2, panels)
}
