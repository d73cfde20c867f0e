//! Frames: rectangles on the page with two axes.

use super::canvas::Place;
use super::fitted::Fitted;

/// A rectangle on the page with two axes.
pub(super) struct Frame {
    /// The upper left corner.
    pub corner: Place,
    pub size: (f64, f64),
    pub x: Fitted,
    pub y: Fitted,
}

impl Frame {
    /// Returns the place on the page of shares of the axes.
    pub fn place(&self, share: Place) -> Place {
        (self.corner.0 + share.0 * self.size.0, self.corner.1 + (1.0 - share.1) * self.size.1)
    }
}
