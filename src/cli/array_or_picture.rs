//! Outputs that are an array or a picture, by their names.

use std::path::Path;

use clap::ValueEnum;

use super::stream::is_stream;
use crate::error::{Error, Result};

/// The formats of an output on standard output, which has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// An array of float32
    Npy,
    /// A picture, a grid of several
    Png,
}

/// Returns `true` if an output is a PNG, `false` for an array: by its name, or on standard output by `format`, by
/// default an array.
///
/// # Errors
/// [`Error::Argument`] for a file of another name, and for a format beside a name.
pub fn is_picture(path: &Path, format: Option<FormatArg>) -> Result<bool> {
    if is_stream(path) {
        return Ok(format == Some(FormatArg::Png));
    }
    if format.is_some() {
        let what = format!("`format` is for standard output, and the output is `{}`", path.display());
        return Err(Error::argument(what, "omit `format`: the name decides; or write to `-`"));
    }
    let is_named = |suffix: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(suffix));
    if is_named("png") || is_named("npy") {
        return Ok(is_named("png"));
    }
    let what = format!("`{}` is neither an array nor a picture", path.display());
    Err(Error::argument(what, "name the output `.npy` or `.png`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_and_standard_output_asks() {
        let of = |path: &str, format| is_picture(Path::new(path), format);
        assert_eq!([of("x.PNG", None), of("x.npy", None)].map(Result::unwrap), [true, false]);
        let formats = [None, Some(FormatArg::Npy), Some(FormatArg::Png)];
        assert_eq!(formats.map(|format| of("-", format).unwrap()), [false, false, true]);
        assert!(of("x.gif", None).is_err() && of("x.png", Some(FormatArg::Png)).is_err());
    }
}
