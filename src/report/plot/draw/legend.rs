//! The legend beside a panel: the names of series, or a scale of colours.

use super::canvas::{Anchor, Drawing, Place, text_width};
use super::colour::{BLACK, GREY, Rgb, mapped};
use super::curves::TICK;
use crate::report::plot::axis::Axis;
use crate::report::plot::figure::{Colour, Figure, Mark, Series};

pub(super) const TEXT: f64 = 11.0;
const ROW: f64 = 18.0;
/// The sample of a series, and what lies between it and its name.
const SAMPLE: f64 = 24.0;
const BETWEEN: f64 = 6.0;
/// A scale of colours.
const BAR: f64 = 12.0;
const STEPS: usize = 64;

/// A row of a legend.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    name: String,
    mark: Mark,
    colour: Colour,
    band: bool,
}

/// The named series of a figure.
pub(super) fn entries(figure: &Figure) -> Vec<Entry> {
    let entry = |series: &Series| Entry {
        name: series.name.clone(),
        mark: series.mark,
        colour: series.colour,
        band: series.band.is_some(),
    };
    figure.series.iter().filter(|series| !series.name.is_empty()).map(entry).collect()
}

/// The width that entries take, without a margin.
pub(super) fn width(entries: &[Entry]) -> f64 {
    let longest = entries.iter().map(|entry| text_width(&entry.name, TEXT)).fold(0.0, f64::max);
    if entries.is_empty() { 0.0 } else { SAMPLE + BETWEEN + longest }
}

/// The height of entries.
pub(super) fn height(entries: &[Entry]) -> f64 {
    ROW * entries.len() as f64
}

/// Draws entries below `at`.
pub(super) fn draw(drawing: &mut Drawing, at: Place, entries: &[Entry]) {
    for (row, entry) in entries.iter().enumerate() {
        let y = at.1 + ROW * (row as f64 + 0.5);
        let colour = entry.colour.rgb();
        let ends = vec![(at.0, y), (at.0 + SAMPLE, y)];
        let middle = at.0 + SAMPLE / 2.0;
        if entry.band && matches!(entry.mark, Mark::Line | Mark::Dashed) {
            drawing.box_of((at.0, y - 5.0), (at.0 + SAMPLE, y + 5.0), pale(colour));
        }
        match entry.mark {
            Mark::Line => drawing.line(ends, 1.8, colour),
            Mark::Dashed => drawing.dashes(&ends, 1.5, colour),
            Mark::Points => {
                if entry.band {
                    drawing.line(vec![(middle, y - 6.0), (middle, y + 6.0)], 1.0, colour);
                }
                drawing.shapes.push(super::canvas::Shape::Dot { at: (middle, y), radius: 3.0, colour });
            }
            Mark::Ticks => drawing.line(vec![(middle - TICK, y), (middle + TICK, y)], 1.8, colour),
            Mark::Bars => drawing.box_of((middle - 5.0, y - 5.0), (middle + 5.0, y + 5.0), colour),
        }
        drawing.text((at.0 + SAMPLE + BETWEEN, y), TEXT, &entry.name, Anchor::Left, BLACK);
    }
}

/// A colour on white at a fifth of its strength.
fn pale(colour: Rgb) -> Rgb {
    colour.map(|part| (f64::from(part) * 0.2 + 255.0 * 0.8) as u8)
}

/// The width of a scale of colours with its numbers and label.
pub(super) const SCALE_WIDTH: f64 = BAR + 66.0;

/// Draws a scale of colours from the bottom (`colour(0)`) to the top (`colour(1)`), as the axis says, between two
/// heights.
pub(super) fn scale(drawing: &mut Drawing, at: Place, height: f64, axis: &Axis, colour: impl Fn(f64) -> Rgb) {
    let bottom = at.1 + height;
    for step in 0..STEPS {
        let share = |edge: usize| bottom - height * edge as f64 / STEPS as f64;
        let middle = (step as f64 + 0.5) / STEPS as f64;
        drawing.box_of((at.0, share(step + 1)), (at.0 + BAR, share(step)), colour(middle));
    }
    for tick in axis.fitted([].into_iter(), 0.0).ticks(5) {
        if let Some(label) = tick.label {
            let y = bottom - tick.share * height;
            drawing.line(vec![(at.0 + BAR, y), (at.0 + BAR + 4.0, y)], 0.8, GREY);
            drawing.text((at.0 + BAR + 7.0, y), TEXT, &label, Anchor::Left, BLACK);
        }
    }
    drawing.text((at.0 + SCALE_WIDTH - 8.0, at.1 + height / 2.0), TEXT, &axis.label, Anchor::Upright, BLACK);
}

/// The scale of shades as curves have them.
pub(super) fn shades(drawing: &mut Drawing, at: Place, height: f64, axis: &Axis) {
    scale(drawing, at, height, axis, |share| Colour::Shade(share).rgb());
}

/// The scale of a heat map.
pub(super) fn colours(drawing: &mut Drawing, at: Place, height: f64, axis: &Axis) {
    scale(drawing, at, height, axis, mapped);
}
