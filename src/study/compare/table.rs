//! The results of a comparison in rows, and as a table in the shape of the paper's: one row per sampler, one column per
//! number of calls.

use std::fmt::Write;

use super::{Cell, Score};
use crate::report::Table;

/// The measurements of a cell, over its seeds.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Row {
    /// The label in tables.
    pub label: String,
    pub sampler: &'static str,
    pub schedule: String,
    pub gamma: Option<f64>,
    /// The first sigma, where it is not the usual one.
    pub sigma_max: Option<f64>,
    /// The most calls, and those made.
    pub calls: usize,
    pub made_calls: Option<usize>,
    /// Images per seed.
    pub images: usize,
    /// One per seed.
    pub scores: Vec<Score>,
    /// Seconds per image, where they were measured.
    pub seconds: Option<f64>,
}

/// A mean, and the spread around it: the standard deviation of the sample, 0 of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub mean: f64,
    pub deviation: f64,
}

impl Spread {
    /// The spread of `values`, at least one.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, deviation: (squares / (count - 1.0).max(1.0)).sqrt() }
    }
}

impl Spread {
    /// The deviation as text, if there is one.
    fn around(self, digits: usize) -> String {
        if self.deviation > 0.0 { format!(" ± {:.digits$}", self.deviation) } else { String::new() }
    }
}

impl Row {
    /// A row of `cell` (of any seed).
    #[must_use]
    pub fn new(label: &str, cell: &Cell, images: usize) -> Self {
        Self {
            label: label.to_owned(),
            sampler: if cell.variances.is_some() { "analytic-ddim" } else { cell.sampler.name() },
            schedule: cell.schedule.name().to_owned(),
            gamma: cell.gamma,
            sigma_max: cell.sigma_max,
            calls: cell.calls,
            made_calls: None,
            images,
            scores: Vec::new(),
            seconds: None,
        }
    }

    /// One figure of the scores over the seeds.
    #[must_use]
    pub fn spread(&self, figure: impl Fn(&Score) -> f64) -> Spread {
        Spread::of(&self.scores.iter().map(figure).collect::<Vec<_>>())
    }

    /// As [`Row::spread`], of a figure that scores may lack.
    #[must_use]
    pub fn spread_of(&self, figure: impl Fn(&Score) -> Option<f64>) -> Option<Spread> {
        let figures: Option<Vec<f64>> = self.scores.iter().map(figure).collect();
        figures.filter(|figures| !figures.is_empty()).map(|figures| Spread::of(&figures))
    }
}

/// All rows, for a `.csv`.
#[must_use]
pub fn csv(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "label",
        "sampler",
        "schedule",
        "calls",
        "made_calls",
        "seeds",
        "images",
        "frechet",
        "frechet_deviation",
        "sliced_features",
        "sliced_pixels",
        "confidence",
        "seconds_per_image",
        "gamma",
        "sigma_max",
        "kid",
        "precision",
        "recall",
        "density",
        "coverage",
        "clip_score",
    ]);
    let or_empty = |value: Option<String>| value.unwrap_or_default();
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for row in rows {
        let frechet = row.spread(|score| score.frechet);
        let mean = |figure: &dyn Fn(&Score) -> Option<f64>| number(row.spread_of(figure).map(|spread| spread.mean));
        table.row(&[
            &row.label,
            &row.sampler,
            &row.schedule,
            &row.calls,
            &or_empty(row.made_calls.map(|calls| calls.to_string())),
            &row.scores.len(),
            &row.images,
            &frechet.mean,
            &frechet.deviation,
            &mean(&|score| score.sliced_features),
            &mean(&|score| score.sliced_pixels),
            &mean(&|score| score.confidence),
            &number(row.seconds),
            &number(row.gamma),
            &number(row.sigma_max),
            &mean(&|score| score.kid.map(|kid| kid.mean)),
            &mean(&|score| score.prdc.map(|shares| shares.precision)),
            &mean(&|score| score.prdc.map(|shares| shares.recall)),
            &mean(&|score| score.prdc.map(|shares| shares.density)),
            &mean(&|score| score.prdc.map(|shares| shares.coverage)),
            &mean(&|score| score.clip),
        ]);
    }
    table
}

/// A figure of all rows as a table of Markdown: labels down, calls across, the least of a column in bold, or the
/// `largest`; below them, where there is one, what the data themselves have.
#[must_use]
pub fn grid(
    rows: &[Row],
    (title, largest): (&str, bool),
    digits: usize,
    floor: Option<Spread>,
    figure: impl Fn(&Row) -> Option<Spread>,
) -> String {
    let mut labels: Vec<&str> = Vec::new();
    let mut columns: Vec<usize> = Vec::new();
    for row in rows {
        if !labels.contains(&row.label.as_str()) {
            labels.push(&row.label);
        }
        columns.push(row.calls);
    }
    columns.sort_unstable();
    columns.dedup();
    let at =
        |label: &str, calls: usize| rows.iter().find(|row| row.label == label && row.calls == calls).and_then(&figure);
    let mut text = format!("| {title} |");
    for calls in &columns {
        let _ = write!(text, " {calls} calls |");
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(columns.len()));
    for label in &labels {
        let _ = write!(text, "| {label} |");
        for calls in &columns {
            let means = labels.iter().filter_map(|label| at(label, *calls)).map(|spread| spread.mean);
            let best =
                if largest { means.fold(f64::NEG_INFINITY, f64::max) } else { means.fold(f64::INFINITY, f64::min) };
            match at(label, *calls) {
                None => text.push_str(" – |"),
                Some(spread) => {
                    let bold = if spread.mean.total_cmp(&best).is_eq() { "**" } else { "" };
                    let _ = write!(text, " {bold}{:.digits$}{bold}{} |", spread.mean, spread.around(digits));
                }
            }
        }
        text.push('\n');
    }
    if let Some(floor) = floor {
        let cell = format!(" {:.digits$}{} |", floor.mean, floor.around(digits));
        let _ = writeln!(text, "| data |{}", cell.repeat(columns.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_shape_of_the_papers() {
        let row = |label: &str, calls: usize, frechet: &[f64]| {
            let mut row = Row::new(label, &Cell::ge(calls, 0), 64);
            row.scores = frechet
                .iter()
                .map(|frechet| Score {
                    frechet: *frechet,
                    sliced_features: Some(1.0),
                    sliced_pixels: None,
                    confidence: Some(0.9),
                    kid: None,
                    prdc: None,
                    clip: None,
                })
                .collect();
            row
        };
        let rows = [row("ge", 5, &[4.0, 6.0]), row("ge", 10, &[3.0]), row("ddim", 5, &[5.5])];
        let text =
            grid(&rows, ("sampler", false), 2, Some(Spread::of(&[0.5])), |row| Some(row.spread(|score| score.frechet)));
        let expected = "| sampler | 5 calls | 10 calls |\n|---|---|---|\n| ge | **5.00** ± 1.41 | **3.00** |\n\
            | ddim | 5.50 | – |\n| data | 0.50 | 0.50 |\n";
        assert_eq!(text, expected);
        let csv = csv(&rows).csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].starts_with("ge,ge,paper,5,,2,64,5,1.41"), "{}", lines[1]);
        assert!(lines[1].ends_with(",1,,0.9,,,,,,,,,"), "{}", lines[1]);
    }
}
