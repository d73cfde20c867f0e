//! A figure: curves with bands, points, bars, within a frame.

use super::canvas::{Drawing, Place, Shape};
use super::colour::Rgb;
use super::fitted::Fitted;
use super::frame::Frame;
use crate::report::plot::axis::Scale;
use crate::report::plot::figure::{Figure, Mark, Series};

/// The margin of an axis beyond the data, as a share of their range.
const MARGIN: f64 = 0.04;
const BAND_OPACITY: f64 = 0.2;
const LINE: f64 = 1.8;

/// The axes that a figure needs.
pub(super) fn axes(figure: &Figure) -> [Fitted; 2] {
    let bars = figure.series.iter().any(|series| series.mark == Mark::Bars);
    let xs = figure.series.iter().flat_map(|series| series.points.iter().map(|point| point.0));
    let ys = figure.series.iter().flat_map(|series| {
        let band = series.band.iter().flatten().flat_map(|(low, high)| [*low, *high]);
        series.points.iter().map(|point| point.1).chain(band)
    });
    let from_zero = (bars && figure.y.scale == Scale::Linear).then_some(0.0);
    let sides = if bars { 0.08 } else { MARGIN };
    [figure.x.fitted(xs, sides), figure.y.fitted(ys.chain(from_zero), MARGIN)]
}

/// Draws the series of a figure within a frame.
pub(super) fn draw(drawing: &mut Drawing, frame: &Frame, figure: &Figure) {
    let groups: Vec<&Series> = figure.series.iter().filter(|series| series.mark == Mark::Bars).collect();
    for series in &figure.series {
        let colour = series.colour.rgb();
        match series.mark {
            Mark::Line | Mark::Dashed => {
                band(drawing, frame, series, colour);
                curve(drawing, frame, series, colour);
            }
            Mark::Points => dots(drawing, frame, series, colour),
            Mark::Ticks => ticks(drawing, frame, series, colour),
            Mark::Bars => {
                let at = groups.iter().position(|other| std::ptr::eq(*other, series)).unwrap_or(0);
                bars(drawing, frame, series, colour, (at, groups.len()));
            }
        }
    }
}

/// Returns the position of a point in shares of the frame, or `None` if an axis cannot show it.
fn shares(frame: &Frame, point: (f64, f64)) -> Option<Place> {
    Some((frame.x.share(point.0)?, frame.y.share(point.1)?))
}

fn curve(drawing: &mut Drawing, frame: &Frame, series: &Series, colour: Rgb) {
    let mut run: Vec<Place> = Vec::new();
    let mut runs = Vec::new();
    let mut before = None;
    for point in &series.points {
        let here = shares(frame, *point);
        if let (Some(from), Some(to)) = (before, here)
            && let Some((from, to)) = clipped(from, to)
        {
            if run.last() != Some(&from) {
                runs.push(std::mem::replace(&mut run, vec![from]));
            }
            run.push(to);
        }
        before = here;
    }
    runs.push(run);
    for run in runs.into_iter().filter(|run| run.len() > 1) {
        let places: Vec<Place> = run.into_iter().map(|share| frame.place(share)).collect();
        match series.mark {
            Mark::Dashed => drawing.dashes(&places, LINE - 0.2, colour),
            _ => drawing.line(places, LINE, colour),
        }
    }
}

/// The part of a segment within the unit square (Liang and Barsky 1984).
fn clipped(from: Place, to: Place) -> Option<(Place, Place)> {
    let step = (to.0 - from.0, to.1 - from.1);
    let (mut enter, mut leave) = (0.0f64, 1.0f64);
    for (along, room) in [(-step.0, from.0), (step.0, 1.0 - from.0), (-step.1, from.1), (step.1, 1.0 - from.1)] {
        if along == 0.0 && room < 0.0 {
            return None;
        } else if along < 0.0 {
            enter = enter.max(room / along);
        } else if along > 0.0 {
            leave = leave.min(room / along);
        }
    }
    let at = |part: f64| match part {
        0.0 => from,
        1.0 => to,
        part => (from.0 + part * step.0, from.1 + part * step.1),
    };
    (enter <= leave).then(|| (at(enter), at(leave)))
}

fn band(drawing: &mut Drawing, frame: &Frame, series: &Series, colour: Rgb) {
    let Some(band) = &series.band else { return };
    let mut runs: Vec<Vec<[Place; 2]>> = vec![Vec::new()];
    for ((x, _), (low, high)) in series.points.iter().zip(band) {
        // A value below a logarithmic axis is drawn at its foot.
        let y =
            |value: f64| if value.is_nan() { None } else { Some(frame.y.share(value).unwrap_or(0.0).clamp(0.0, 1.0)) };
        let ends = frame.x.share(*x).filter(|x| (0.0..=1.0).contains(x)).zip(y(*low).zip(y(*high)));
        match (ends, runs.last_mut()) {
            (Some((x, (low, high))), Some(run)) => run.push([(x, low), (x, high)]),
            _ => runs.push(Vec::new()),
        }
    }
    for run in runs.into_iter().filter(|run| run.len() > 1) {
        let above = run.iter().map(|ends| frame.place(ends[1]));
        let below = run.iter().rev().map(|ends| frame.place(ends[0]));
        let points = above.chain(below).collect();
        drawing.shapes.push(Shape::Area { points, colour, opacity: BAND_OPACITY });
    }
}

fn dots(drawing: &mut Drawing, frame: &Frame, series: &Series, colour: Rgb) {
    let radius = if series.points.len() > 200 { 1.2 } else { 2.6 };
    for (at, point) in series.points.iter().enumerate() {
        let within = |share: &Place| (0.0..=1.0).contains(&share.0) && (0.0..=1.0).contains(&share.1);
        let Some(share) = shares(frame, *point).filter(within) else { continue };
        if let Some((low, high)) = series.band.as_ref().and_then(|band| band.get(at)) {
            let end = |value: f64| frame.place((share.0, frame.y.share(value).unwrap_or(0.0).clamp(0.0, 1.0)));
            drawing.line(vec![end(*low), end(*high)], 1.0, colour);
        }
        drawing.shapes.push(Shape::Dot { at: frame.place(share), radius, colour });
    }
}

/// Half the length of a tick.
pub(super) const TICK: f64 = 6.0;

fn ticks(drawing: &mut Drawing, frame: &Frame, series: &Series, colour: Rgb) {
    for point in &series.points {
        let within = |share: &Place| (0.0..=1.0).contains(&share.0) && (0.0..=1.0).contains(&share.1);
        let Some((x, y)) = shares(frame, *point).filter(within).map(|share| frame.place(share)) else { continue };
        drawing.line(vec![(x - TICK, y), (x + TICK, y)], 1.8, colour);
    }
}

/// Bars of series `group.0` of `group.1` that stand side by side.
fn bars(drawing: &mut Drawing, frame: &Frame, series: &Series, colour: Rgb, group: (usize, usize)) {
    let places: Vec<f64> = series.points.iter().filter_map(|point| frame.x.share(point.0)).collect();
    let nearest = places.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(1.0, f64::min);
    let whole = 0.8 * nearest.min(0.2);
    let width = whole / group.1 as f64;
    for (point, place) in series.points.iter().zip(&places) {
        let Some(top) = frame.y.share(point.1) else { continue };
        let left = place - whole / 2.0 + width * group.0 as f64;
        let within = |share: f64| share.clamp(0.0, 1.0);
        let corner = |x: f64, y: f64| frame.place((within(x), within(y)));
        let (foot, top) = (within(frame.y.foot()), within(top));
        drawing.box_of(corner(left, foot.max(top)), corner(left + width, foot.min(top)), colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_cut_at_the_frame() {
        let ((_, y), (_, z)) = clipped((0.0, -1.0), (1.0, 3.0)).unwrap();
        assert_eq!((y, z), (0.0, 1.0));
        assert_eq!(clipped((0.2, 0.2), (0.9, 0.4)), Some(((0.2, 0.2), (0.9, 0.4))));
        assert_eq!(clipped((0.0, 1.1), (1.0, 1.1)), None);
        assert_eq!(clipped((-1.0, 0.5), (-0.1, 0.6)), None);
    }
}
