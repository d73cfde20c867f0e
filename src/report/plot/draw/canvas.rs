//! A drawing as a list of shapes, and the two ways in which the `plotters` crate renders it.

use std::sync::Once;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBAColor, RGBColor, ShapeStyle, register_font,
};

use super::colour::{Rgb, WHITE};
use crate::formats::Image;

static FONT: &[u8] = include_bytes!("../../../../data/font/dejavu-sans-subset.ttf");
/// The name under which the font is registered, and which an SVG requests from its viewer.
const FAMILY: FontFamily<'static> = FontFamily::SansSerif;
/// Units of an SVG, and pixels of a PNG, to a point of the page.
const SVG_SCALE: f64 = 10.0;
const PNG_SCALE: f64 = 2.0;
/// Pixels are drawn finer by this, and averaged: `plotters` rounds places to whole pixels.
const FINER: usize = 2;

/// A place on the page in points, from the upper left corner.
pub(super) type Place = (f64, f64);

/// The point of a text that is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Left,
    Middle,
    Right,
    /// Its middle, the text running upwards.
    Upright,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Line { points: Vec<Place>, width: f64, colour: Rgb },
    Area { points: Vec<Place>, colour: Rgb, opacity: f64 },
    Box { from: Place, to: Place, colour: Rgb },
    Dot { at: Place, radius: f64, colour: Rgb },
    Text { at: Place, size: f64, text: String, anchor: Anchor, colour: Rgb },
}

/// Shapes on a page of a size in points, later ones above earlier ones.
#[derive(Clone, Debug)]
pub(super) struct Drawing {
    pub width: f64,
    pub height: f64,
    pub shapes: Vec<Shape>,
}

impl Drawing {
    pub fn line(&mut self, points: Vec<Place>, width: f64, colour: Rgb) {
        self.shapes.push(Shape::Line { points, width, colour });
    }

    pub fn box_of(&mut self, from: Place, to: Place, colour: Rgb) {
        self.shapes.push(Shape::Box { from, to, colour });
    }

    pub fn text(&mut self, at: Place, size: f64, text: &str, anchor: Anchor, colour: Rgb) {
        if !text.is_empty() {
            self.shapes.push(Shape::Text { at, size, text: text.to_owned(), anchor, colour });
        }
    }

    /// A line in dashes.
    pub fn dashes(&mut self, points: &[Place], width: f64, colour: Rgb) {
        const DASH: f64 = 6.0;
        const GAP: f64 = 4.0;
        let (mut dash, mut left, mut drawn) = (Vec::new(), DASH, true);
        for pair in points.windows(2) {
            let (mut from, to) = (pair[0], pair[1]);
            loop {
                let length = (to.0 - from.0).hypot(to.1 - from.1);
                if drawn && dash.is_empty() {
                    dash.push(from);
                }
                if length <= left {
                    left -= length;
                    if drawn {
                        dash.push(to);
                    }
                    break;
                }
                let part = left / length;
                from = (from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1));
                if drawn {
                    dash.push(from);
                    self.line(std::mem::take(&mut dash), width, colour);
                }
                drawn = !drawn;
                left = if drawn { DASH } else { GAP };
            }
        }
        if dash.len() > 1 {
            self.line(dash, width, colour);
        }
    }

    /// As a document of SVG.
    pub fn svg(&self) -> String {
        let size = self.size(SVG_SCALE);
        let mut text = String::new();
        draw(self, SVGBackend::with_string(&mut text, size).into_drawing_area(), SVG_SCALE);
        // Drawn in tenths of a point, shown in points.
        let drawn = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
        text.replacen(&drawn, &format!("width=\"{:.0}\" height=\"{:.0}\"", self.width, self.height), 1)
    }

    /// As pixels.
    pub fn image(&self) -> Image {
        let (width, height) = self.size(PNG_SCALE);
        let fine = (width * FINER as u32, height * FINER as u32);
        let mut pixels = vec![0; fine.0 as usize * fine.1 as usize * 3];
        draw(self, BitMapBackend::with_buffer(&mut pixels, fine).into_drawing_area(), PNG_SCALE * FINER as f64);
        let (width, height) = (width as usize, height as usize);
        Image { height, width, channels: 3, pixels: averaged(&pixels, width, height) }
    }

    fn size(&self, scale: f64) -> (u32, u32) {
        ((self.width * scale).ceil() as u32, (self.height * scale).ceil() as u32)
    }
}

/// Each pixel the mean of the finer ones in its place.
fn averaged(fine: &[u8], width: usize, height: usize) -> Vec<u8> {
    let row = width * FINER * 3;
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width * 3 {
            let first = y * FINER * row + x / 3 * FINER * 3 + x % 3;
            let places = (0..FINER * FINER).map(|at| first + at / FINER * row + at % FINER * 3);
            pixels.push((places.map(|at| usize::from(fine[at])).sum::<usize>() / (FINER * FINER)) as u8);
        }
    }
    pixels
}

/// The width of a text in points.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    /// Measured larger and scaled down, since widths come in whole pixels.
    const LARGER: f64 = 16.0;
    font(size * LARGER).box_size(text).map_or(0.0, |(width, _)| f64::from(width) / LARGER)
}

fn font(size: f64) -> FontDesc<'static> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // The font is part of the program; a test draws with it.
        let _ = register_font(FAMILY.as_str(), FontStyle::Normal, FONT);
    });
    FontDesc::new(FAMILY, size, FontStyle::Normal)
}

/// Draws into memory, where nothing can fail but the font, which is there.
fn draw<B: DrawingBackend>(drawing: &Drawing, area: DrawingArea<B, Shift>, scale: f64) {
    let _ = area.fill(&style(WHITE, 1.0));
    for shape in &drawing.shapes {
        let _ = draw_shape(shape, &area, scale);
    }
    let _ = area.present();
}

fn style([red, green, blue]: Rgb, opacity: f64) -> RGBAColor {
    RGBColor(red, green, blue).mix(opacity)
}

fn draw_shape<B: DrawingBackend>(
    shape: &Shape,
    area: &DrawingArea<B, Shift>,
    scale: f64,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let whole = |value: f64| (value * scale).round() as i32;
    let at = |place: &Place| (whole(place.0), whole(place.1));
    let width = |width: f64| (width * scale).round().max(1.0) as u32;
    match shape {
        Shape::Line { points, width: thick, colour } => {
            let style = ShapeStyle { color: style(*colour, 1.0), filled: false, stroke_width: width(*thick) };
            area.draw(&PathElement::new(points.iter().map(at).collect::<Vec<_>>(), style))
        }
        Shape::Area { points, colour, opacity } => {
            area.draw(&Polygon::new(points.iter().map(at).collect::<Vec<_>>(), style(*colour, *opacity).filled()))
        }
        Shape::Box { from, to, colour } => area.draw(&Rectangle::new([at(from), at(to)], style(*colour, 1.0).filled())),
        Shape::Dot { at: place, radius, colour } => {
            area.draw(&Circle::new(at(place), (radius * scale).round() as u32, style(*colour, 1.0).filled()))
        }
        Shape::Text { at: place, size, text, anchor, colour } => {
            let h_pos = match anchor {
                Anchor::Left => HPos::Left,
                Anchor::Middle | Anchor::Upright => HPos::Center,
                Anchor::Right => HPos::Right,
            };
            let turn = if *anchor == Anchor::Upright { FontTransform::Rotate270 } else { FontTransform::None };
            let style =
                font(size * scale).transform(turn).color(&style(*colour, 1.0)).pos(Pos::new(h_pos, VPos::Center));
            area.draw_text(text, &style, at(place))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_have_the_length_of_what_they_follow() {
        let mut drawing = Drawing { width: 10.0, height: 10.0, shapes: Vec::new() };
        drawing.dashes(&[(0.0, 0.0), (7.0, 0.0), (7.0, 13.0)], 1.0, WHITE);
        let lengths: Vec<f64> = drawing
            .shapes
            .iter()
            .map(|shape| match shape {
                Shape::Line { points, .. } => {
                    points.windows(2).map(|pair| (pair[0].0 - pair[1].0).abs() + (pair[0].1 - pair[1].1).abs()).sum()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, [6.0, 6.0]);
    }

    #[test]
    fn the_font_has_the_signs_that_plots_use() {
        let width = text_width("abc", 10.0);
        assert!((15.0..25.0).contains(&width), "{width}");
        // A character that the font lacks is drawn as a box, the same for all.
        let outline = |sign: &str| {
            let mut pixels = Vec::new();
            let draw = |x: i32, y: i32, cover: f32| {
                pixels.push((x, y, cover.to_bits()));
                Ok::<_, std::convert::Infallible>(())
            };
            assert!(font(40.0).draw(sign, (0, 0), draw).is_ok_and(|drawn| drawn.is_ok()), "{sign}");
            pixels
        };
        let missing = outline("\u{4e00}");
        for sign in "σλγτε²⁻¹⁰×−≤·√₀ᵀ‖⟨".chars() {
            assert!(outline(&sign.to_string()) != missing, "{sign}");
        }
    }
}
