//! Figures as data, and how they are drawn: the same picture as SVG and as PNG, on any machine, with a font of its own.
//!
//! A [`Picture`] is a grid of panels: a [`Figure`] holds curves, points and bars over two axes, a [`Heat`] a matrix of
//! colours. [`write()`] draws them. Nothing here knows what is plotted.
//!
//! ```
//! use downhill::report::plot::{Axis, Figure, Picture, Series};
//! let curve = Series::line("sine", (0..100).map(|i| f64::from(i) / 10.0).map(|x| (x, x.sin())).collect());
//! let figure = Figure::new("A wave", Axis::linear("x"), Axis::linear("sin x")).with(curve);
//! let svg = Picture::from(figure).svg();
//! assert!(svg.starts_with("<svg") && svg.contains("sin x"));
//! ```

mod axis;
mod canvas;
mod colour;
mod curves;
mod heat;
mod legend;
mod page;

use std::path::Path;

use crate::error::Result;
use crate::formats::png::write_png;
use crate::formats::write_atomically;

pub use axis::{Axis, Scale};

/// Panels side by side, in rows of `columns`.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Above everything; may be empty.
    pub title: String,
    /// In reading order.
    pub panels: Vec<Panel>,
    /// Panels of a row.
    pub columns: usize,
}

/// One part of a picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Panel {
    /// Curves, points and bars.
    Figure(Figure),
    /// A matrix of colours.
    Heat(Heat),
}

/// Curves, points and bars over two axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Above the panel; may be empty.
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    /// Drawn in this order.
    pub series: Vec<Series>,
    /// What the shades of [`Colour::Shade`] mean, drawn as a scale beside the panel.
    pub shades: Option<Shades>,
}

/// The meaning of shades: what the darkest and the brightest stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Shades {
    pub label: String,
    pub darkest: f64,
    pub brightest: f64,
}

/// One curve, or points, or bars. What is not finite, or not above zero on a logarithmic axis, is a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// In the legend; without one when empty.
    pub name: String,
    pub mark: Mark,
    pub points: Vec<(f64, f64)>,
    /// Low and high of each point: a band around a curve, a bar through a point.
    pub band: Option<Vec<(f64, f64)>>,
    pub colour: Colour,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Line,
    Dashed,
    Points,
    /// From zero, or from the foot of a logarithmic axis.
    Bars,
}

/// The colour of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    /// One of eight that are easy to tell apart; further ones repeat.
    Cycle(usize),
    /// From dark (0) to bright (1): curves in an order.
    Shade(f64),
    Black,
    Grey,
}

/// A matrix of colours: rows by columns of values; what is not finite is grey.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// Above the panel; may be empty.
    pub title: String,
    /// Along the columns. Without a range, cells are numbered from 0; with one, they divide it evenly, on its scale.
    pub x: Axis,
    /// Along the rows, likewise.
    pub y: Axis,
    pub rows: usize,
    pub columns: usize,
    /// Row-major.
    pub values: Vec<f64>,
    /// What the colours mean: label, scale, and range if it is not that of the values.
    pub colours: Axis,
    /// The first row is at the top, as in a matrix, or at the bottom, as in a histogram.
    pub first_row: FirstRow,
}

/// Where the first row of a heat map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstRow {
    /// As in a matrix; cells are square.
    Top,
    /// As in a histogram; cells fill the panel.
    Bottom,
}

impl Picture {
    /// Panels in rows of `columns`.
    #[must_use]
    pub fn new(title: &str, columns: usize, panels: Vec<Panel>) -> Self {
        Self { title: title.to_owned(), panels, columns: columns.max(1) }
    }

    /// The picture as a document of SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        page::svg(self)
    }
}

impl<P: Into<Panel>> From<P> for Picture {
    fn from(panel: P) -> Self {
        Self::new("", 1, vec![panel.into()])
    }
}

impl From<Figure> for Panel {
    fn from(figure: Figure) -> Self {
        Self::Figure(figure)
    }
}

impl From<Heat> for Panel {
    fn from(heat: Heat) -> Self {
        Self::Heat(heat)
    }
}

impl Figure {
    /// Axes without anything on them.
    #[must_use]
    pub fn new(title: &str, x: Axis, y: Axis) -> Self {
        Self { title: title.to_owned(), x, y, series: Vec::new(), shades: None }
    }

    /// Adds a series.
    #[must_use]
    pub fn with(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Explains the shades.
    #[must_use]
    pub fn with_shades(mut self, label: &str, darkest: f64, brightest: f64) -> Self {
        self.shades = Some(Shades { label: label.to_owned(), darkest, brightest });
        self
    }
}

impl Series {
    /// A curve through points in their order, in the first colour.
    #[must_use]
    pub fn line(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), mark: Mark::Line, points, band: None, colour: Colour::Cycle(0) }
    }

    /// A dashed curve.
    #[must_use]
    pub fn dashed(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { mark: Mark::Dashed, ..Self::line(name, points) }
    }

    /// Dots.
    #[must_use]
    pub fn points(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { mark: Mark::Points, ..Self::line(name, points) }
    }

    /// Bars at the points.
    #[must_use]
    pub fn bars(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { mark: Mark::Bars, ..Self::line(name, points) }
    }

    /// In this colour.
    #[must_use]
    pub fn colour(self, colour: Colour) -> Self {
        Self { colour, ..self }
    }

    /// With a low and a high for each point.
    #[must_use]
    pub fn band(self, band: Vec<(f64, f64)>) -> Self {
        Self { band: Some(band), ..self }
    }
}

impl Colour {
    /// The shade of curve `index` of `count`.
    #[must_use]
    pub fn shade_of(index: usize, count: usize) -> Self {
        Self::Shade(index as f64 / (count.max(2) - 1) as f64)
    }
}

impl Heat {
    /// A matrix, its first row at the top, cells numbered from 0, colours over the range of its values.
    #[must_use]
    pub fn matrix(title: &str, rows: usize, columns: usize, values: Vec<f64>) -> Self {
        Self {
            title: title.to_owned(),
            x: Axis::linear(""),
            y: Axis::linear(""),
            rows,
            columns,
            values,
            colours: Axis::linear(""),
            first_row: FirstRow::Top,
        }
    }
}

/// Draws `picture` as `STEM.svg` and `STEM.png` in `folder`, each whole or not at all.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn write(folder: &Path, stem: &str, picture: &Picture) -> Result<()> {
    let svg = picture.svg();
    write_atomically(folder.join(format!("{stem}.svg")), |writer| std::io::Write::write_all(writer, svg.as_bytes()))?;
    write_png(folder.join(format!("{stem}.png")), &page::image(picture), &[])
}
