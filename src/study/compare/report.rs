//! The results of a comparison: tables, a plot, and rows for a report.

use std::sync::Arc;

use serde_json::json;

use super::table::{Row, Spread, csv, grid};
use super::{Cell, Measured, Score, ablation_cells};
use crate::error::Result;
use crate::noise::seeds;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::solvers::analytic::Variances;
use crate::study::results::{File, Results};

/// The files of the study.
pub const FILES: &[File] = &[TEXT, TABLE, PLOT];
const TEXT: File = File::new("compare.md", "the tables that are printed");
const TABLE: File = File::new("compare.csv", "one row per sampler and number of calls");
const PLOT: File = File::new("compare", "distances over network calls");

/// Network calls of the ablation, as in the paper.
const ABLATION_CALLS: usize = 10;

/// A line of a table; its cells are those of its seeds.
#[derive(Clone, Debug)]
pub struct Line {
    label: String,
    cell: Cell,
    is_ablation: bool,
}

impl Line {
    /// A line of the main table; its cells are those of `cell` with other seeds.
    #[must_use]
    pub fn new(label: &str, cell: Cell) -> Self {
        Self { label: label.to_owned(), cell, is_ablation: false }
    }

    /// A line of the ablation.
    #[must_use]
    pub fn of_ablation(label: &str, cell: Cell) -> Self {
        Self { is_ablation: true, ..Self::new(label, cell) }
    }

    /// Its cell, of any seed.
    #[must_use]
    pub fn cell(&self) -> &Cell {
        &self.cell
    }
}

/// The images of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Images {
    /// Images per seed and cell.
    pub count: usize,
    /// The number of seeds, and the first of them.
    pub seeds: u64,
    pub first_seed: u64,
}

/// The lines for `samplers` at each of `calls`, on `schedule` or the default schedule of each.
#[must_use]
pub fn lines(samplers: &[Sampler], calls: &[usize], schedule: Option<ScheduleKind>) -> Vec<Line> {
    let line = |sampler: Sampler, calls: usize| {
        let usual = Cell::usual(sampler, calls, 0);
        let cell = Cell { schedule: schedule.unwrap_or(usual.schedule), ..usual };
        Line::new(sampler.name(), cell)
    };
    samplers.iter().flat_map(|sampler| calls.iter().map(move |calls| line(*sampler, *calls))).collect()
}

/// The lines of Analytic-DDIM at each of `calls`.
#[must_use]
pub fn analytic_lines(calls: &[usize], variances: &Arc<Variances>) -> Vec<Line> {
    calls.iter().map(|calls| Line::new("analytic-ddim", Cell::analytic(*calls, variances))).collect()
}

/// The lines of the paper's ablation: DDIM in 10 steps on each schedule.
#[must_use]
pub fn ablation() -> Vec<Line> {
    let line = |(label, schedule, sigma_max): (&str, ScheduleKind, Option<f64>)| {
        Line::of_ablation(label, Cell { schedule, sigma_max, ..Cell::usual(Sampler::Ddim, ABLATION_CALLS, 0) })
    };
    ablation_cells().map(line).to_vec()
}

/// The cells of `lines`: those of each line, of each seed.
///
/// # Errors
/// Those of [`seeds`].
pub fn cells(lines: &[Line], images: &Images) -> Result<Vec<Cell>> {
    let seeds = seeds(images.first_seed, images.seeds)?;
    Ok(lines.iter().flat_map(|line| seeds.iter().map(|seed| Cell { seed: *seed, ..line.cell.clone() })).collect())
}

/// The results of `lines`, whose [`cells`] were measured.
#[must_use]
pub fn results(lines: &[Line], measured: &Measured, images: &Images) -> Results {
    let (mut rows, mut ablation) = (Vec::new(), Vec::new());
    for (at, line) in lines.iter().enumerate() {
        let range = at * images.seeds as usize..(at + 1) * images.seeds as usize;
        let mut row = Row::new(&line.label, &line.cell, images.count);
        row.scores = measured.scores[range.clone()].to_vec();
        let costs: Vec<(usize, f64)> = measured.costs[range].iter().copied().flatten().collect();
        row.made_calls = costs.first().map(|cost| cost.0);
        row.seconds =
            (!costs.is_empty()).then(|| Spread::of(&costs.iter().map(|cost| cost.1).collect::<Vec<_>>()).mean);
        if line.is_ablation { ablation.push(row) } else { rows.push(row) }
    }
    let text = markdown(&rows, &ablation, measured, images);
    let mut results = Results::default();
    results
        .text_file(TEXT, text.clone())
        .table(TABLE, csv(&[rows.clone(), ablation.clone()].concat()))
        .plot(PLOT, picture(&rows, measured))
        .set("samples", json!({ "images": images.count, "seeds": images.seeds, "first_seed": images.first_seed }))
        .set("rows", json!(rows))
        .set("ablation", json!(ablation))
        .set("floor", json!(measured.floor));
    results.text = Some(text);
    results
}

/// A figure of a score, where it has one.
type Figures<'a> = &'a dyn Fn(&Score) -> Option<f64>;

/// A table of the report: its title, decimals, whether larger is better, and its figure.
type Grid<'a> = (&'a str, usize, bool, Figures<'a>);

fn markdown(rows: &[Row], ablation: &[Row], measured: &Measured, images: &Images) -> String {
    let floor = |figure: Figures| {
        let of_sets: Vec<f64> = measured.floor.iter().filter_map(figure).collect();
        (!of_sets.is_empty()).then(|| Spread::of(&of_sets))
    };
    let seeds = images.seeds;
    let of_seeds = if seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds, ± their standard deviation") };
    let with = match measured.reference {
        Some(count) => format!("{count} images"),
        None => format!("the statistics in `{}`", measured.data),
    };
    let mut text = format!("{} images per cell, {of_seeds}; compared with {with}.\n\n", images.count);
    let figures: [Grid; 9] = [
        ("Frechet distance", 2, false, &|score| Some(score.frechet)),
        ("kernel distance x 1000", 3, false, &|score| score.kid.map(|kid| 1e3 * kid.mean)),
        ("precision", 4, true, &|score| score.prdc.map(|shares| shares.precision)),
        ("recall", 4, true, &|score| score.prdc.map(|shares| shares.recall)),
        ("density", 4, true, &|score| score.prdc.map(|shares| shares.density)),
        ("coverage", 4, true, &|score| score.prdc.map(|shares| shares.coverage)),
        ("CLIP score", 3, true, &|score| score.clip),
        ("sliced Wasserstein, features", 3, false, &|score| score.sliced_features),
        ("sliced Wasserstein, pixels", 4, false, &|score| score.sliced_pixels),
    ];
    for (title, digits, largest, figure) in figures {
        if rows.iter().any(|row| row.spread_of(figure).is_some()) {
            text += &grid(rows, (title, largest), digits, floor(figure), |row| row.spread_of(figure));
            text += "\n";
        }
    }
    text += &grid(rows, ("milliseconds per image", false), 0, None, |row| {
        row.seconds.map(|seconds| Spread { mean: 1e3 * seconds, deviation: 0.0 })
    });
    if !ablation.is_empty() {
        text += "\n";
        let is_ddim = ablation.iter().all(|row| row.sampler == Sampler::Ddim.name());
        let subject = if is_ddim { "DDIM" } else { "sampler" };
        let title = format!("{subject} on the schedule, Frechet distance");
        let of_data = floor(&|score| Some(score.frechet));
        text += &grid(ablation, (&title, false), 2, of_data, |row| Some(row.spread(|score| score.frechet)));
    }
    text
}

/// Numbers of calls from which a curve through them is a trend.
const TREND: usize = 4;

fn picture(rows: &[Row], measured: &Measured) -> Picture {
    let counts: std::collections::BTreeSet<usize> = rows.iter().map(|row| row.calls).collect();
    let has_trend = counts.len() >= TREND;
    let seeds = rows.first().map_or(1, |row| row.scores.len());
    let panel = |title: &str, label: &str, figure: Figures| {
        let mut plot = Figure::new(title, Axis::log("network calls"), Axis::log(label));
        let mut names: Vec<&str> = Vec::new();
        for row in rows {
            if !names.contains(&row.label.as_str()) {
                names.push(&row.label);
            }
        }
        for (at, name) in names.iter().enumerate() {
            let mut of_name: Vec<&Row> = rows.iter().filter(|row| row.label == **name).collect();
            of_name.sort_by_key(|row| row.calls);
            let known = of_name.iter().filter_map(|row| Some((row.calls as f64, row.spread_of(figure)?)));
            let (calls, spreads): (Vec<f64>, Vec<Spread>) = known.unzip();
            let points = calls.iter().zip(&spreads).map(|(calls, spread)| (*calls, spread.mean)).collect();
            let band = spreads.iter().map(|spread| (spread.mean - spread.deviation, spread.mean + spread.deviation));
            let series = if has_trend { Series::line(name, points) } else { Series::points(name, points) };
            let series = series.colour(Colour::Cycle(at));
            plot = plot.with(if seeds > 1 { series.band(band.collect()) } else { series });
        }
        let calls = || rows.iter().map(|row| row.calls as f64);
        let (least, most) = (calls().fold(f64::INFINITY, f64::min), calls().fold(0.0, f64::max));
        if !measured.floor.is_empty() {
            let floor = Spread::of(&measured.floor.iter().filter_map(figure).collect::<Vec<_>>()).mean;
            plot = plot
                .with(Series::dashed("as many real images", vec![(least, floor), (most, floor)]).colour(Colour::Grey));
        }
        plot.into()
    };
    let classified = rows.iter().any(|row| row.spread_of(|score| score.confidence).is_some());
    let title = if classified { "Features of the classifier" } else { "Features of InceptionV3" };
    let mut panels = vec![panel(title, "Frechet distance", &|score| Some(score.frechet))];
    if rows.iter().any(|row| row.spread_of(|score| score.sliced_pixels).is_some()) {
        panels.push(panel("Pixels", "sliced Wasserstein distance", &|score| score.sliced_pixels));
    }
    let spread = if has_trend { "bands" } else { "bars" };
    let of_seeds = match seeds {
        1 => "1 seed".to_owned(),
        _ => format!("mean of {seeds} seeds, {spread}: ± their standard deviation"),
    };
    Picture::new(&format!("Quality against network calls, lower is better; {of_seeds}"), panels.len(), panels)
}
