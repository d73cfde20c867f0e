//! Two contents side by side: the pairs in them, and a verdict on each.

use super::content::{Content, Parts};
use super::measure::{Difference, Tolerance, measure};
use crate::data::picture::Levels;
use crate::formats::npy::TypedArray;

/// The largest level of an image.
const WHITE: f64 = 255.0;

/// The verdict on a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing differs.
    Equal,
    /// Values differ, and the tolerance admits it.
    Within,
    /// The pair differs.
    Different,
}

impl Verdict {
    /// The verdict in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Within => "within the tolerance",
            Self::Different => "different",
        }
    }
}

/// A pair of images or arrays, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The name of the arrays in archives.
    pub array: Option<String>,
    /// The two sides in words: `image 28 x 28, grey`, `float32 (3, 4)`, or `absent`.
    pub sides: [String; 2],
    /// Reasons for a verdict besides the values: sizes, shapes, kinds.
    pub reasons: Vec<String>,
    /// The difference of the values; `None` where shapes differ.
    pub difference: Option<Difference>,
    /// The verdict.
    pub verdict: Verdict,
}

/// Compares two contents: one pair for images and arrays, one per name for archives.
#[must_use]
pub fn compare(a: &Content, b: &Content, tolerance: &Tolerance) -> Vec<Comparison> {
    match (&a.parts, &b.parts) {
        (Parts::Image(a), Parts::Image(b)) => vec![images(a, b, tolerance)],
        (Parts::Array(a), Parts::Array(b)) => vec![arrays(None, a, b, tolerance)],
        (Parts::Archive(a), Parts::Archive(b)) => archives(a, b, tolerance),
        (a, b) => {
            let reason = format!("{} is not comparable to {}", kind(a), kind(b));
            vec![apart(None, [kind(a).to_owned(), kind(b).to_owned()], reason)]
        }
    }
}

fn kind(parts: &Parts) -> &'static str {
    match parts {
        Parts::Image(_) => "an image",
        Parts::Array(_) => "an array (`.npy`)",
        Parts::Archive(_) => "an archive of arrays (`.npz`)",
    }
}

/// A pair that cannot be compared by its values.
fn apart(array: Option<&str>, sides: [String; 2], reason: String) -> Comparison {
    let array = array.map(str::to_owned);
    Comparison { array, sides, reasons: vec![reason], difference: None, verdict: Verdict::Different }
}

fn images(a: &Levels, b: &Levels, tolerance: &Tolerance) -> Comparison {
    let sides = [a, b].map(|image| format!("image {} x {}, {}", image.height, image.width, colors(image)));
    if (a.height, a.width) != (b.height, b.width) {
        let what = format!("sizes differ: {} x {} and {} x {}", a.height, a.width, b.height, b.width);
        return apart(None, sides, what);
    }
    if a.channels != b.channels {
        return apart(None, sides, format!("channels differ: {} and {}", colors(a), colors(b)));
    }
    let shape = [a.height, a.width, a.channels];
    let difference = measure(&shape, &a.values, &b.values, Some(WHITE), tolerance.equal_nan);
    judged(None, sides, Vec::new(), difference, tolerance)
}

fn colors(image: &Levels) -> &'static str {
    match image.channels {
        1 => "grey",
        2 => "grey with transparency",
        3 => "RGB",
        _ => "RGB with transparency",
    }
}

fn arrays(name: Option<&str>, a: &TypedArray, b: &TypedArray, tolerance: &Tolerance) -> Comparison {
    let sides = [a, b].map(|array| format!("{} {}", array.dtype, shape_text(&array.shape)));
    let mut reasons = Vec::new();
    // As `numpy.dtype.kind`: the names without their widths.
    let [kind, other] = [a, b].map(|array| array.dtype.trim_end_matches(|c: char| c.is_ascii_digit()));
    if kind != other {
        reasons.push(format!("types differ in kind: {} and {}", a.dtype, b.dtype));
    }
    if a.shape != b.shape {
        reasons.insert(0, format!("shapes differ: {} and {}", shape_text(&a.shape), shape_text(&b.shape)));
        let pair = apart(name, sides, String::new());
        return Comparison { reasons, ..pair };
    }
    let difference = measure(&a.shape, &a.values, &b.values, None, tolerance.equal_nan);
    judged(name, sides, reasons, difference, tolerance)
}

fn archives(a: &[(String, TypedArray)], b: &[(String, TypedArray)], tolerance: &Tolerance) -> Vec<Comparison> {
    let mut names: Vec<&str> = a.iter().chain(b).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let find = |among: &'_ [(String, TypedArray)], name: &str| among.iter().position(|(other, _)| other == name);
    let words = |array: &TypedArray| format!("{} {}", array.dtype, shape_text(&array.shape));
    let absent = || "absent".to_owned();
    let pair = |name: &str| match (find(a, name), find(b, name)) {
        (Some(one), Some(other)) => arrays(Some(name), &a[one].1, &b[other].1, tolerance),
        (Some(one), None) => apart(Some(name), [words(&a[one].1), absent()], "only A has this array".to_owned()),
        (None, Some(other)) => apart(Some(name), [absent(), words(&b[other].1)], "only B has this array".to_owned()),
        (None, None) => apart(Some(name), [absent(), absent()], "neither side has this array".to_owned()),
    };
    names.into_iter().map(pair).collect()
}

/// A pair with a verdict on its values.
fn judged(
    array: Option<&str>,
    sides: [String; 2],
    reasons: Vec<String>,
    difference: Difference,
    tolerance: &Tolerance,
) -> Comparison {
    let verdict = if !reasons.is_empty() || !tolerance.admits(&difference) {
        Verdict::Different
    } else if difference.differing == 0 {
        Verdict::Equal
    } else {
        Verdict::Within
    };
    Comparison { array: array.map(str::to_owned), sides, reasons, difference: Some(difference), verdict }
}

/// A shape as Python prints it.
fn shape_text(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        all => format!("({})", all.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(parts: Parts) -> Content {
        Content { parts, texts: Vec::new(), notes: Vec::new() }
    }

    fn array(dtype: &'static str, shape: &[usize], first: f64) -> TypedArray {
        let count: usize = shape.iter().product();
        TypedArray { dtype, shape: shape.to_vec(), values: (0..count).map(|at| first + at as f64).collect() }
    }

    fn image(height: usize, channels: usize, level: f64) -> Content {
        let values = vec![level; height * 2 * channels];
        content(Parts::Image(Levels { height, width: 2, channels, values, is_rounded: false }))
    }

    /// The only pair, exactly compared.
    fn only(a: &Content, b: &Content) -> Comparison {
        let mut pairs = compare(a, b, &Tolerance::default());
        assert_eq!(pairs.len(), 1);
        pairs.remove(0)
    }

    #[test]
    fn images_differ_in_size_in_channels_and_in_levels() {
        assert_eq!(only(&image(2, 3, 5.0), &image(2, 3, 5.0)).verdict, Verdict::Equal);
        let sizes = only(&image(2, 3, 5.0), &image(4, 3, 5.0));
        assert_eq!((sizes.reasons[0].as_str(), sizes.verdict), ("sizes differ: 2 x 2 and 4 x 2", Verdict::Different));
        let channels = only(&image(2, 3, 5.0), &image(2, 4, 5.0));
        assert_eq!(channels.reasons, ["channels differ: RGB and RGB with transparency"]);
        let one = Tolerance { absolute: Some(1.0), ..Tolerance::default() };
        assert_eq!(compare(&image(2, 1, 5.0), &image(2, 1, 6.0), &one)[0].verdict, Verdict::Within);
        assert_eq!(compare(&image(2, 1, 5.0), &image(2, 1, 7.0), &one)[0].verdict, Verdict::Different);
    }

    #[test]
    fn arrays_differ_in_shape_and_kind_but_not_in_width() {
        let of = |dtype, shape: &[usize]| content(Parts::Array(array(dtype, shape, 0.0)));
        let wide = only(&of("float32", &[2, 3]), &of("float64", &[2, 3]));
        assert_eq!((wide.verdict, wide.sides), (Verdict::Equal, ["float32 (2, 3)".into(), "float64 (2, 3)".into()]));
        let kinds = only(&of("float32", &[2]), &of("int64", &[2]));
        assert_eq!(kinds.reasons, ["types differ in kind: float32 and int64"]);
        assert_eq!((kinds.difference.unwrap().differing, kinds.verdict), (0, Verdict::Different));
        let shapes = only(&of("uint8", &[6]), &of("int8", &[2, 3]));
        assert_eq!(shapes.reasons, ["shapes differ: (6,) and (2, 3)", "types differ in kind: uint8 and int8"]);
        assert!(shapes.difference.is_none());
        let mixed = only(&of("uint8", &[8]), &image(2, 1, 0.0));
        assert_eq!(mixed.reasons, ["an array (`.npy`) is not comparable to an image"]);
        assert_eq!(mixed.verdict, Verdict::Different);
    }

    #[test]
    fn archives_are_compared_by_name() {
        let archive = |arrays: &[(&str, f64)]| {
            let all = arrays.iter().map(|(name, first)| ((*name).to_owned(), array("float32", &[2], *first)));
            content(Parts::Archive(all.collect()))
        };
        let pairs = compare(
            &archive(&[("a", 0.0), ("b", 1.0), ("c", 2.0)]),
            &archive(&[("b", 1.0), ("c", 3.0), ("d", 4.0)]),
            &Tolerance::default(),
        );
        let found: Vec<_> = pairs.iter().map(|pair| (pair.array.as_deref().unwrap(), pair.verdict)).collect();
        let different = Verdict::Different;
        assert_eq!(found, [("a", different), ("b", Verdict::Equal), ("c", different), ("d", different)]);
        assert_eq!((pairs[0].reasons[0].as_str(), pairs[3].sides[0].as_str()), ("only A has this array", "absent"));
    }
}
