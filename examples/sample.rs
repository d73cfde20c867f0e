//! The 16 handwritten digits of `downhill sample`, as one picture.
//!
//! ```text
//! cargo run --example sample -- digits.png
//! ```

use downhill::{Engine, Model, Options};

/// Samples the digits, and writes them to a file.
pub fn digits(file: &str) -> downhill::Result<()> {
    let engine = Engine::open(&Options::default())?;
    Model::embedded()?.sampling().save(&engine, file).map(drop)
}

fn main() -> downhill::Result<()> {
    digits(&std::env::args().nth(1).unwrap_or_else(|| "digits.png".to_owned()))
}
