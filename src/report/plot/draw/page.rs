//! The layout of panels on a page: frames, axes, titles and legends.

use super::canvas::{Anchor, Drawing, Place, text_width};
use super::colour::{BLACK, GREY, Rgb};
use super::frame::Frame;
use super::legend::{self, Entry, SCALE_WIDTH};
use super::{curves, heat};
use crate::formats::Image;
use crate::report::plot::axis::Axis;
use crate::report::plot::figure::{Above, Figure, FirstRow, Heat, Panel, Picture};

/// The frame of a figure, and of a matrix, in points.
const FRAME: (f64, f64) = (400.0, 270.0);
const SQUARE: (f64, f64) = (250.0, 250.0);
/// Around a frame: numbers and label of the y axis, title, numbers and label of the x axis, air.
const LEFT: f64 = 72.0;
const TOP: f64 = 34.0;
const BELOW: f64 = 54.0;
const RIGHT: f64 = 22.0;
/// Between a frame and what stands beside it.
const BESIDE: f64 = 14.0;
/// The title of the page.
const HEADING: f64 = 34.0;
const HEADING_TEXT: f64 = 15.0;
const TITLE_TEXT: f64 = 13.0;
const LABEL_TEXT: f64 = 12.0;
const TICK_TEXT: f64 = 11.0;
const SMALL_TEXT: f64 = 9.0;
const GRID: Rgb = [228, 228, 228];

/// The picture as SVG.
pub(super) fn svg(picture: &Picture) -> String {
    drawn(picture).svg()
}

/// The picture as pixels.
pub(super) fn image(picture: &Picture) -> Image {
    drawn(picture).image()
}

/// A panel with what its place depends on.
struct Laid<'a> {
    panel: &'a Panel,
    frame: (f64, f64),
    /// Series named beside it.
    entries: Vec<Entry>,
    /// Width of what stands beside it.
    side: f64,
}

impl<'a> Laid<'a> {
    fn new(panel: &'a Panel, with_legend: bool) -> Self {
        match panel {
            Panel::Figure(figure) => {
                let entries = if with_legend { legend::entries(figure) } else { Vec::new() };
                let scale = if figure.shades.is_some() { SCALE_WIDTH } else { 0.0 };
                let side = legend::width(&entries).max(scale);
                Self { panel, frame: FRAME, entries, side: if side > 0.0 { side + BESIDE } else { 0.0 } }
            }
            Panel::Heat(heat) => {
                let frame = if heat.first_row == FirstRow::Top { SQUARE } else { FRAME };
                Self { panel, frame, entries: Vec::new(), side: SCALE_WIDTH + BESIDE }
            }
        }
    }

    fn width(&self) -> f64 {
        LEFT + self.frame.0 + self.side + RIGHT
    }

    fn height(&self) -> f64 {
        TOP + self.frame.1.max(legend::height(&self.entries)) + BELOW
    }
}

/// The legend that all figures of a picture have in common, if there are several.
fn common_legend(picture: &Picture) -> Option<Vec<Entry>> {
    let mut legends = picture.panels.iter().filter_map(|panel| match panel {
        Panel::Figure(figure) => Some(legend::entries(figure)),
        Panel::Heat(_) => None,
    });
    let first = legends.next().filter(|entries| !entries.is_empty())?;
    let others: Vec<_> = legends.collect();
    (!others.is_empty() && others.iter().all(|entries| *entries == first)).then_some(first)
}

fn drawn(picture: &Picture) -> Drawing {
    let common = common_legend(picture);
    let laid: Vec<Laid> = picture.panels.iter().map(|panel| Laid::new(panel, common.is_none())).collect();
    let columns = picture.columns.clamp(1, laid.len().max(1));
    let most = |sizes: &mut dyn Iterator<Item = f64>| sizes.fold(0.0, f64::max);
    let widths: Vec<f64> =
        (0..columns).map(|column| most(&mut laid.iter().skip(column).step_by(columns).map(Laid::width))).collect();
    let heights: Vec<f64> = laid.chunks(columns).map(|row| most(&mut row.iter().map(Laid::height))).collect();
    let heading = if picture.title.is_empty() { 0.0 } else { HEADING };
    let panels_width: f64 = widths.iter().sum();
    let beside = common.as_deref().map_or(0.0, |entries| legend::width(entries) + RIGHT);
    let width = (panels_width + beside).max(text_width(&picture.title, HEADING_TEXT) + 2.0 * RIGHT);
    let tallest = common.as_deref().map_or(0.0, |entries| TOP + legend::height(entries));
    let height = heading + heights.iter().sum::<f64>().max(tallest);
    let mut drawing = Drawing { width, height, shapes: Vec::new() };
    drawing.text((width / 2.0, HEADING / 2.0 + 4.0), HEADING_TEXT, &picture.title, Anchor::Middle, BLACK);
    let mut y = heading;
    for (row, height) in laid.chunks(columns).zip(&heights) {
        let mut x = 0.0;
        for (panel, width) in row.iter().zip(&widths) {
            draw_panel(&mut drawing, (x + LEFT, y + TOP), panel);
            x += width;
        }
        y += height;
    }
    if let Some(entries) = &common {
        legend::draw(&mut drawing, (panels_width, heading + TOP), entries);
    }
    drawing
}

/// Draws a panel whose frame has its upper left corner at `corner`.
fn draw_panel(drawing: &mut Drawing, corner: Place, laid: &Laid) {
    let size = laid.frame;
    let beside = (corner.0 + size.0 + BESIDE, corner.1);
    match laid.panel {
        Panel::Figure(figure) => {
            let [x, y] = curves::axes(figure);
            let frame = Frame { corner, size, x, y };
            grid(drawing, &frame);
            curves::draw(drawing, &frame, figure);
            surround(drawing, &frame, &figure.x.label, &figure.y.label);
            titled(drawing, &frame, &figure.title, figure.above.as_ref());
            beside_figure(drawing, beside, size.1, figure, &laid.entries);
        }
        Panel::Heat(map) => {
            let [x, y] = heat::axes(map);
            let frame = Frame { corner, size, x, y };
            heat::draw(drawing, &frame, map);
            surround(drawing, &frame, &map.x.label, &map.y.label);
            titled(drawing, &frame, &map.title, None);
            beside_heat(drawing, beside, size.1, map);
        }
    }
}

fn beside_figure(drawing: &mut Drawing, at: Place, height: f64, figure: &Figure, entries: &[Entry]) {
    legend::draw(drawing, at, entries);
    if let Some(shades) = &figure.shades {
        let taken = if entries.is_empty() { 0.0 } else { legend::height(entries) + 14.0 };
        let axis = Axis::linear(&shades.label).over(shades.darkest, shades.brightest);
        legend::shades(drawing, (at.0, at.1 + taken), (height - taken).max(80.0), &axis);
    }
}

fn beside_heat(drawing: &mut Drawing, at: Place, height: f64, map: &Heat) {
    legend::colours(drawing, at, height, &heat::colours(map));
}

/// Lines across the frame at the labelled marks.
fn grid(drawing: &mut Drawing, frame: &Frame) {
    for tick in frame.x.ticks(X_TICKS).iter().filter(|tick| tick.label.is_some()) {
        drawing.line(vec![frame.place((tick.share, 0.0)), frame.place((tick.share, 1.0))], 0.7, GRID);
    }
    for tick in frame.y.ticks(Y_TICKS).iter().filter(|tick| tick.label.is_some()) {
        drawing.line(vec![frame.place((0.0, tick.share)), frame.place((1.0, tick.share))], 0.7, GRID);
    }
}

const X_TICKS: usize = 6;
const Y_TICKS: usize = 6;

/// The title, above the marks of a second scale if there is one.
fn titled(drawing: &mut Drawing, frame: &Frame, title: &str, above: Option<&Above>) {
    let ((left, top), (width, _)) = (frame.corner, frame.size);
    let lift = if above.is_some() { 24.0 } else { 16.0 };
    drawing.text((left + width / 2.0, top - lift), TITLE_TEXT, title, Anchor::Middle, BLACK);
    let Some(above) = above else { return };
    for (value, text) in &above.marks {
        if let Some(share) = frame.x.share(*value).filter(|share| (0.0..=1.0).contains(share)) {
            let x = left + share * width;
            drawing.line(vec![(x, top), (x, top - 4.0)], 0.8, GREY);
            drawing.text((x, top - 9.0), SMALL_TEXT, text, Anchor::Middle, BLACK);
        }
    }
    drawing.text((left - 9.0, top - 9.0), SMALL_TEXT, &above.label, Anchor::Right, BLACK);
}

/// The frame's edge, its marks, numbers and labels.
fn surround(drawing: &mut Drawing, frame: &Frame, x_label: &str, y_label: &str) {
    let ((left, top), (width, height)) = (frame.corner, frame.size);
    let (right, bottom) = (left + width, top + height);
    let edge = vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
    drawing.line(edge, 1.0, GREY);
    for tick in frame.x.ticks(X_TICKS) {
        let x = left + tick.share * width;
        drawing.line(vec![(x, bottom), (x, bottom + if tick.label.is_some() { 5.0 } else { 3.0 })], 0.8, GREY);
        let label = tick.label.unwrap_or_default();
        drawing.text((x, bottom + 15.0), TICK_TEXT, &label, Anchor::Middle, BLACK);
    }
    for tick in frame.y.ticks(Y_TICKS) {
        let y = bottom - tick.share * height;
        drawing.line(vec![(left, y), (left - if tick.label.is_some() { 5.0 } else { 3.0 }, y)], 0.8, GREY);
        drawing.text((left - 9.0, y), TICK_TEXT, &tick.label.unwrap_or_default(), Anchor::Right, BLACK);
    }
    drawing.text((left + width / 2.0, bottom + 36.0), LABEL_TEXT, x_label, Anchor::Middle, BLACK);
    drawing.text((left - 58.0, top + height / 2.0), LABEL_TEXT, y_label, Anchor::Upright, BLACK);
}
