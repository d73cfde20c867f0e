//! Differences between files of images and arrays, value by value: tests against kept files.
//!
//! Images are compared in levels from 0 to 255 as viewers show them, with their opacity as a channel, arrays as
//! float64. An infinity equals the same infinity. A NaN equals nothing, as in `numpy.array_equal` and `numpy.allclose`,
//! unless [`Tolerance::equal_nan`] is set. Sizes, shapes and the kinds of types (`bool`, `int`, `uint`, `float`, as in
//! `numpy.dtype.kind`) must be the same; the widths of types may differ.

mod content;
mod folders;
mod measure;
mod pairs;
mod picture;

pub use content::{Content, Parts, differing_texts};
pub use folders::{FileNames, shared_names};
pub use measure::{Difference, Tolerance, measure};
pub use pairs::{Comparison, Verdict, compare};
pub use picture::{SideBySide, side_by_side};
