//! Figures as data and, with the feature `plot`, drawn: the same picture as SVG and as PNG, on any machine, with an
//! embedded font.
//!
//! A [`Picture`] is a grid of panels: a [`Figure`] holds curves, points and bars over two axes, a [`Heat`] a matrix of
//! colours.
#![cfg_attr(
    feature = "plot",
    doc = r#"
```
use downhill::report::plot::{Axis, Figure, Picture, Series};
let curve = Series::line("sine", (0..100).map(|i| f64::from(i) / 10.0).map(|x| (x, x.sin())).collect());
let figure = Figure::new("A wave", Axis::linear("x"), Axis::linear("sin x")).with(curve);
let svg = Picture::from(figure).svg();
assert!(svg.starts_with("<svg") && svg.contains("sin x"));
```"#
)]

mod axis;
#[cfg(feature = "plot")]
mod draw;
mod figure;

pub use axis::{Axis, Scale};
#[cfg(feature = "plot")]
pub use draw::write;
pub use figure::{Above, Colour, Figure, FirstRow, Heat, Mark, Panel, Picture, Series, Shades};
