//! The content of a file: an image, an array, or arrays by name.

use std::io::Read;
use std::path::Path;

use crate::data::picture::{Levels, Picture};
use crate::error::{Error, Result};
use crate::formats::npy::{MAGIC, TypedArray, read_typed};
use crate::formats::{npz, png};
use crate::input::open_regular;

/// The first bytes of PNG files and of archives.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const ZIP: &[u8] = b"PK";
/// Integers from here on are not all float64.
const LARGEST_EXACT: f64 = (1u64 << 53) as f64;

/// The content of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// The values.
    pub parts: Parts,
    /// The texts of a PNG by keyword, such as the settings of a run.
    pub texts: Vec<(String, String)>,
    /// Sentences for the user: parts of the file that are not compared.
    pub notes: Vec<String>,
}

/// The values of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Parts {
    /// An image.
    Image(Levels),
    /// The array of an `.npy`.
    Array(TypedArray),
    /// The arrays of an `.npz`, sorted by name.
    Archive(Vec<(String, TypedArray)>),
}

impl Content {
    /// Reads an image (PNG, JPEG, WebP, BMP, GIF or TIFF), an `.npy` or an `.npz`, which its content decides, then its
    /// name.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for any other and for a damaged file; [`Error::OutOfMemory`].
    pub fn read(file: &Path) -> Result<Self> {
        let mut start = Vec::new();
        let (opened, _) = open_regular(file)?;
        opened.take(PNG.len() as u64).read_to_end(&mut start).map_err(|error| Error::io(file, error))?;
        let is_named = |suffix: &str| file.extension().is_some_and(|name| name.eq_ignore_ascii_case(suffix));
        let mut notes = Vec::new();
        let mut texts = Vec::new();
        let parts = if start.starts_with(MAGIC) || is_named("npy") {
            Parts::Array(read_typed(file)?)
        } else if start.starts_with(ZIP) || is_named("npz") {
            Parts::Archive(npz::read_all(file)?)
        } else {
            let picture = Picture::read(file)?;
            notes.extend(picture.note().map(str::to_owned));
            if start == PNG {
                match png::read_metadata(file) {
                    Ok(found) => texts = found,
                    Err(error) => notes.push(format!("its texts cannot be read: {error}")),
                }
            }
            let levels = picture.levels()?;
            if levels.is_rounded {
                notes.push(format!(
                    "`{}` has transparency and more than 8 bits per channel: its levels are rounded to 8 bits",
                    file.display()
                ));
            }
            Parts::Image(levels)
        };
        let arrays: Vec<&TypedArray> = match &parts {
            Parts::Image(_) => Vec::new(),
            Parts::Array(array) => vec![array],
            Parts::Archive(arrays) => arrays.iter().map(|(_, array)| array).collect(),
        };
        if arrays.into_iter().any(is_beyond_float64) {
            notes.push(format!("`{}` holds integers of 2^53 and more, which are compared as float64", file.display()));
        }
        Ok(Self { parts, texts, notes })
    }
}

/// Returns `true` for an array of integers that float64 may round.
fn is_beyond_float64(array: &TypedArray) -> bool {
    matches!(array.dtype, "int64" | "uint64") && array.values.iter().any(|value| value.abs() >= LARGEST_EXACT)
}

/// Returns the keywords whose texts differ, or that one side lacks, sorted. None unless both sides have texts.
#[must_use]
pub fn differing_texts(a: &[(String, String)], b: &[(String, String)]) -> Vec<String> {
    if a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let missing = |from: &[(String, String)], among: &[(String, String)]| {
        from.iter().filter(|pair| !among.contains(pair)).map(|(keyword, _)| keyword.clone()).collect::<Vec<_>>()
    };
    let mut keywords = [missing(a, b), missing(b, a)].concat();
    keywords.sort();
    keywords.dedup();
    keywords
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Image, png::write_png};
    use crate::tensor::Tensor;

    fn pair(keyword: &str, text: &str) -> (String, String) {
        (keyword.to_owned(), text.to_owned())
    }

    #[test]
    fn the_content_decides_before_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        crate::formats::npy::write(at("array"), &Tensor::new([2], vec![1.0, 2.0])).unwrap();
        npz::write(&at("arrays"), &[("b", &[1], &[1.0]), ("a", &[2], &[1.0, 2.0])]).unwrap();
        let image = Image { height: 1, width: 1, channels: 1, pixels: vec![3] };
        write_png(at("image"), &image, &[pair("seed", "1")]).unwrap();
        let Parts::Array(array) = Content::read(&at("array")).unwrap().parts else { panic!() };
        assert_eq!((array.dtype, array.shape, array.values), ("float32", vec![2], vec![1.0, 2.0]));
        let Parts::Archive(arrays) = Content::read(&at("arrays")).unwrap().parts else { panic!() };
        assert_eq!(arrays.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let content = Content::read(&at("image")).unwrap();
        assert!(matches!(&content.parts, Parts::Image(levels) if levels.values == [3.0]));
        assert_eq!((content.texts, content.notes), (vec![pair("seed", "1")], vec![]));
        std::fs::write(at("x.npy"), "text").unwrap();
        std::fs::write(at("x.npz"), "text").unwrap();
        std::fs::write(at("x.txt"), "text").unwrap();
        for name in ["x.npy", "x.npz", "x.txt"] {
            assert_eq!(Content::read(&at(name)).unwrap_err().kind(), crate::ErrorKind::File, "{name}");
        }
        assert_eq!(Content::read(&at("none")).unwrap_err().kind(), crate::ErrorKind::NotFound);
    }

    #[test]
    fn texts_differ_where_both_sides_have_some() {
        let (a, b) = ([pair("seed", "1"), pair("steps", "5")], [pair("seed", "2"), pair("sampler", "ge")]);
        assert_eq!(differing_texts(&a, &b), ["sampler", "seed", "steps"]);
        assert!(differing_texts(&a, &a).is_empty() && differing_texts(&a, &[]).is_empty());
    }

    #[test]
    fn large_integers_are_named() {
        let array = |dtype, value: f64| TypedArray { dtype, shape: vec![1], values: vec![value] };
        assert!(is_beyond_float64(&array("int64", -9_007_199_254_740_992.0)));
        assert!(!is_beyond_float64(&array("int64", 9_007_199_254_740_991.0)));
        assert!(!is_beyond_float64(&array("float64", 1e300)));
    }
}
