//! Pictures as SVG and PNG.

mod canvas;
mod colour;
mod curves;
mod fitted;
mod frame;
mod heat;
mod legend;
mod page;

use std::path::Path;

use super::figure::Picture;
use crate::error::Result;
use crate::formats::png::write_png;
use crate::formats::write_atomically;

impl Picture {
    /// Returns the picture as an SVG document.
    #[must_use]
    pub fn svg(&self) -> String {
        page::svg(self)
    }
}

/// Draws `picture` as `STEM.svg` and `STEM.png` in `folder`. Each file appears whole or not at all.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn write(folder: &Path, stem: &str, picture: &Picture) -> Result<()> {
    let svg = picture.svg();
    write_atomically(folder.join(format!("{stem}.svg")), |writer| std::io::Write::write_all(writer, svg.as_bytes()))?;
    write_png(folder.join(format!("{stem}.png")), &page::image(picture), &[])
}
