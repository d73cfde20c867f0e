//! The output of a run's images: one grid, one file per image, or one array of all.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::formats::png;

/// The target of a run's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// All images in one PNG: `samples.png`.
    Grid(PathBuf),
    /// One PNG an image: `dir/%05d.png`.
    Files(Pattern),
    /// All images in one uint8 array: `samples.npz`.
    Npz(PathBuf),
}

/// A path with a place for the image's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    before: String,
    /// Digits at least, filled up with zeros.
    width: usize,
    after: String,
}

/// Widest index that a pattern may ask for: more digits than any index has.
const WIDEST: usize = 20;
const FORMS: &str = "use `x.png` (one grid), `dir/%05d.png` (one file per image) or `x.npz` (one uint8 array)";

impl Output {
    /// Understands a path as given to `-o`. `%d` and `%0Nd` stand for the image's index, `%%` for a percent sign.
    ///
    /// # Errors
    /// [`Error::Argument`] for another extension than `.png` and `.npz`, for more than one index, and for anything else
    /// after a percent sign.
    pub fn parse(text: &str) -> Result<Self> {
        let target = Directives::parse(text)?;
        let extension = Path::new(text).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match (extension.to_ascii_lowercase().as_str(), target) {
            ("png", Directives::None(path)) => Ok(Self::Grid(path.into())),
            ("png", Directives::One(pattern)) => Ok(Self::Files(pattern)),
            ("npz", Directives::None(path)) => Ok(Self::Npz(path.into())),
            ("npz", Directives::One(_)) => {
                Err(Error::argument(format!("`{text}`: an `.npz` holds all images, so it takes no index"), FORMS))
            }
            _ => Err(Error::argument(format!("`{text}` does not say how to write images"), FORMS)),
        }
    }
}

impl Pattern {
    /// The file of image `index`.
    #[must_use]
    pub fn path(&self, index: usize) -> PathBuf {
        format!("{}{index:0width$}{}", self.before, self.after, width = self.width).into()
    }

    /// True when the file of image `index` is there, whole and readable, so that a resumed run can pass it over.
    #[must_use]
    pub fn is_complete(&self, index: usize) -> bool {
        png::is_complete(self.path(index))
    }
}

/// A text with its percent signs understood.
enum Directives {
    None(String),
    One(Pattern),
}

impl Directives {
    fn parse(text: &str) -> Result<Self> {
        let mut literal = String::new();
        let mut found = None;
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let digits = &after[..after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len()];
            let Some(after) = after[digits.len()..].strip_prefix('d') else {
                let hint = "write `%05d` for the image's index and `%%` for a percent sign";
                return Err(Error::argument(format!("`{text}`: `%` is followed by something other than `0Nd`"), hint));
            };
            let width = width(text, digits)?;
            if found.replace((std::mem::take(&mut literal), width)).is_some() {
                return Err(Error::argument(format!("`{text}` has more than one place for the image's index"), FORMS));
            }
            rest = after;
        }
        literal.push_str(rest);
        Ok(match found {
            Some((before, width)) => Self::One(Pattern { before, width, after: literal }),
            None => Self::None(literal),
        })
    }
}

/// The number of digits in `%0Nd`, 0 for `%d`.
fn width(text: &str, digits: &str) -> Result<usize> {
    if digits.is_empty() {
        return Ok(0);
    }
    match digits.strip_prefix('0').and_then(|digits| digits.parse().ok()) {
        Some(width) if width <= WIDEST => Ok(width),
        _ => {
            let what =
                format!("`{text}`: `%{digits}d` is not a number filled up with zeros to at most {WIDEST} digits");
            Err(Error::argument(what, "write `%05d`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Image;

    fn files(text: &str, index: usize) -> PathBuf {
        match Output::parse(text) {
            Ok(Output::Files(pattern)) => pattern.path(index),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn targets_are_told_apart() {
        assert_eq!(Output::parse("x.png").unwrap(), Output::Grid("x.png".into()));
        assert_eq!(Output::parse("a.b/X.PNG").unwrap(), Output::Grid("a.b/X.PNG".into()));
        assert_eq!(Output::parse("x.npz").unwrap(), Output::Npz("x.npz".into()));
        assert_eq!(Output::parse("100%%/x.png").unwrap(), Output::Grid("100%/x.png".into()));
    }

    #[test]
    fn patterns_number_files() {
        assert_eq!(files("dir/%05d.png", 42), Path::new("dir/00042.png"));
        assert_eq!(files("dir/%05d.png", 1_234_567), Path::new("dir/1234567.png"));
        assert_eq!(files("%d.png", 42), Path::new("42.png"));
        assert_eq!(files("100%%/größe-%03d-%%.png", 7), Path::new("100%/größe-007-%.png"));
        assert_eq!(files("%02d/sample.png", 7), Path::new("07/sample.png"));
    }

    #[test]
    fn what_cannot_be_meant_is_a_usage_error() {
        let texts = [
            "",
            "x",
            "x.jpg",
            "dir/",
            ".png",
            "%05d",
            "x.npy",
            "%d.npz",
            "%d-%d.png",
            "%.png",
            "%5d.png",
            "%0d.png",
            "%s.png",
            "%021d.png",
            "%099999999999999999999d.png",
            "x%",
        ];
        for text in texts {
            let error = Output::parse(text).map(|output| format!("{text}: {output:?}")).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Argument, "{text}");
            assert!(error.to_string().contains(text), "{error}");
            assert!(error.hint().is_some(), "{text}");
        }
    }

    #[test]
    fn only_whole_files_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("%03d.png");
        let output = Output::parse(text.to_str().unwrap()).unwrap();
        let Output::Files(pattern) = output else { panic!("{output:?}") };
        let image = Image { height: 1, width: 1, channels: 1, pixels: vec![3] };
        png::write_png(pattern.path(1), &image, &[]).unwrap();
        std::fs::write(pattern.path(2), "half").unwrap();
        assert_eq!([0, 1, 2].map(|index| pattern.is_complete(index)), [false, true, false]);
    }
}
