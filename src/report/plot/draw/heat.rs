//! A heat map within a frame.

use super::canvas::Drawing;
use super::colour::mapped;
use super::fitted::Fitted;
use super::frame::Frame;
use crate::report::plot::axis::{Axis, Scale};
use crate::report::plot::figure::{FirstRow, Heat};

/// The axes of a heat map: cells are numbered where there is no range.
pub(super) fn axes(heat: &Heat) -> [Fitted; 2] {
    let numbered = |axis: &Axis, count: usize, upside_down: bool| {
        let (low, high) = (-0.5, count as f64 - 0.5);
        let range = if upside_down { (high, low) } else { (low, high) };
        Axis { range: axis.range.or(Some(range)), ..axis.clone() }.fitted([].into_iter(), 0.0)
    };
    [numbered(&heat.x, heat.columns, false), numbered(&heat.y, heat.rows, heat.first_row == FirstRow::Top)]
}

/// The range of the colours: the given axis, with a range.
pub(super) fn colours(heat: &Heat) -> Axis {
    let fitted = heat.colours.fitted(heat.values.iter().copied(), 0.0);
    let value = |place: f64| if heat.colours.scale == Scale::Log { 10f64.powf(place) } else { place };
    Axis { range: Some((value(fitted.low), value(fitted.high))), ..heat.colours.clone() }
}

/// Draws the cells of a heat map within a frame, neighbours of one colour in a row at once.
pub(super) fn draw(drawing: &mut Drawing, frame: &Frame, heat: &Heat) {
    let fitted = colours(heat).fitted([].into_iter(), 0.0);
    // A value below a logarithmic scale has its lowest colour; NaN has none.
    let colour = |value: f64| mapped(if value.is_nan() { f64::NAN } else { fitted.share(value).unwrap_or(0.0) });
    for (row, values) in heat.values.chunks(heat.columns.max(1)).take(heat.rows).enumerate() {
        let share = |edge: usize| match heat.first_row {
            FirstRow::Top => 1.0 - edge as f64 / heat.rows as f64,
            FirstRow::Bottom => edge as f64 / heat.rows as f64,
        };
        let (a, b) = (share(row), share(row + 1));
        let mut first = 0;
        while first < values.len() {
            let here = colour(values[first]);
            let last = (first..values.len()).take_while(|at| colour(values[*at]) == here).last().unwrap_or(first) + 1;
            let x = |edge: usize| edge as f64 / heat.columns as f64;
            drawing.box_of(frame.place((x(first), a.max(b))), frame.place((x(last), a.min(b))), here);
            first = last;
        }
    }
}
