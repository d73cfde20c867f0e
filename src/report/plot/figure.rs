//! Pictures, panels, figures and heat maps.

use super::axis::Axis;

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
    /// The meaning of [`Colour::Shade`], drawn as a scale beside the panel.
    pub shades: Option<Shades>,
    /// A second scale of the x axis, drawn above the panel.
    pub above: Option<Above>,
}

/// Marks of another quantity at places of the x axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Above {
    pub label: String,
    /// The place on the x axis, and the text of the mark.
    pub marks: Vec<(f64, String)>,
}

/// The values of the darkest and of the brightest shade.
#[derive(Clone, Debug, PartialEq)]
pub struct Shades {
    pub label: String,
    pub darkest: f64,
    pub brightest: f64,
}

/// One curve, or points, or bars. A value that is not finite, or not above zero on a logarithmic axis, is a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The name in the legend; empty for a series without one.
    pub name: String,
    pub mark: Mark,
    pub points: Vec<(f64, f64)>,
    /// Low and high of each point: a band around a curve, a bar through a point.
    pub band: Option<Vec<(f64, f64)>>,
    pub colour: Colour,
}

/// The marks of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Line,
    Dashed,
    Points,
    /// Short horizontal strokes: values of places that no curve joins, beside points.
    Ticks,
    /// From zero, or from the foot of a logarithmic axis.
    Bars,
}

/// The colour of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    /// One of twelve that can be told apart; further ones repeat.
    Cycle(usize),
    /// From dark (0) to bright (1): curves in an order.
    Shade(f64),
    Black,
    Grey,
}

/// A matrix of colours: rows by columns of values. Values that are not finite are grey.
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
    /// The meaning of the colours: label, scale, and range if it is not that of the values.
    pub colours: Axis,
    /// The first row is at the top, as in a matrix, or at the bottom, as in a histogram.
    pub first_row: FirstRow,
}

/// The side of the first row of a heat map.
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
        Self { title: title.to_owned(), x, y, series: Vec::new(), shades: None, above: None }
    }

    /// Adds a series.
    #[must_use]
    pub fn with(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// With marks of another quantity above the panel.
    #[must_use]
    pub fn with_above(mut self, label: &str, marks: Vec<(f64, String)>) -> Self {
        self.above = Some(Above { label: label.to_owned(), marks });
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

    /// Short horizontal strokes.
    #[must_use]
    pub fn ticks(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { mark: Mark::Ticks, ..Self::line(name, points) }
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
