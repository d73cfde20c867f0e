//! The 16 handwritten digits of `downhill sample`, as one picture.
//!
//! ```text
//! cargo run --example sample -- digits.png
//! ```

use downhill::formats::images::{WHITE, grid, square_columns};
use downhill::formats::png::write_png;
use downhill::{Engine, Model, Options};

/// Samples the digits, and writes them to a file.
pub fn digits(file: &str) -> downhill::Result<()> {
    let engine = Engine::open(&Options::default())?;
    let images = Model::embedded()?.sampling().run(&engine)?;
    write_png(file, &grid(&images, square_columns(images.len()), WHITE), &[])
}

fn main() -> downhill::Result<()> {
    digits(&std::env::args().nth(1).unwrap_or_else(|| "digits.png".to_owned()))
}
