//! The embedded digits; `data/digits/README.md` names their source.

use std::path::Path;

use super::source::SourceKind;
use super::stream::InMemory;
use super::{Dataset, Pixels};
use crate::error::Result;
use crate::formats::idx;

const IMAGES: &[u8] = include_bytes!("../../data/digits/digits-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../data/digits/digits-labels-idx1-ubyte.gz");

/// The embedded digits and both of their parts, unless there is a file or a folder of that name.
pub(super) static KIND: SourceKind = SourceKind {
    form: "`digits`, `digits-train`, `digits-held-out`",
    accepts: |candidate| Ok(!candidate.exists && PARTS.iter().any(|(name, _)| *name == candidate.text)),
    load: |text, pixels| part(text, pixels),
    stream: |text, pixels| Ok(Box::new(InMemory { data: part(text, pixels)?, has_pixels: true })),
    extent: None,
};

/// The digits that the embedded networks were trained on: the first ones. The others were held out.
pub const TRAINED_ON: usize = 8000;

/// The name of the digits that the embedded networks were trained on.
pub const SEEN: &str = "digits-train";

/// The name of the digits that the embedded networks have not seen.
pub const HELD_OUT: &str = "digits-held-out";

/// The names of the digits and of their parts, and which digits these are.
const PARTS: [(&str, (usize, usize)); 3] =
    [("digits", (0, 10_000)), (SEEN, (0, TRAINED_ON)), (HELD_OUT, (TRAINED_ON, 10_000))];

fn part(text: &str, pixels: Pixels) -> Result<Dataset> {
    let all = digits(pixels)?;
    let Some((name, (first, end))) = PARTS.into_iter().find(|(name, _)| *name == text) else { return Ok(all) };
    let samples = all.samples.slice(first..end);
    Ok(Dataset { name: name.to_owned(), samples, ..all })
}

/// Returns the 10,000 handwritten digits of 28 x 28 pixels: shape (10000, 784).
///
/// # Errors
/// None in practice: a test reads the embedded files.
pub fn digits(pixels: Pixels) -> Result<Dataset> {
    Dataset::new("digits", idx::parse(Path::new("(embedded digits)/images"), IMAGES, pixels)?)
}

/// Returns the label of each digit, 0 to 9.
///
/// # Errors
/// Those of [`digits`].
pub fn digit_labels() -> Result<Vec<u8>> {
    let labels = idx::parse(Path::new("(embedded digits)/labels"), LABELS, Pixels::Unit)?;
    Ok(labels.data.iter().map(|value| (value * 255.0).round() as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_are_those_trained_on_and_those_held_out() {
        let load = |text: &str| part(text, Pixels::Signed).unwrap();
        let (all, seen, unseen) = (load("digits"), load("digits-train"), load(HELD_OUT));
        assert_eq!((seen.count(), unseen.count()), (8000, 2000));
        assert_eq!((seen.name.as_str(), unseen.name.as_str()), ("digits-train", "digits-held-out"));
        assert_eq!([seen.samples.data, unseen.samples.data].concat(), all.samples.data);
    }

    #[test]
    fn the_embedded_digits_are_whole() {
        let unit = digits(Pixels::Unit).unwrap();
        assert_eq!((unit.count(), unit.sample_shape.as_slice()), (10_000, [28, 28].as_slice()));
        let extremes = |data: &Dataset| {
            data.samples
                .data
                .iter()
                .fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)))
        };
        assert_eq!(extremes(&unit), (0.0, 1.0));
        let signed = digits(Pixels::Signed).unwrap();
        assert_eq!(extremes(&signed), (-1.0, 1.0));
        let labels = digit_labels().unwrap();
        let mut counts = [0; 10];
        for label in &labels {
            counts[usize::from(*label)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        // Ink and label belong together: a one has less ink than a zero.
        let ink = |digit: u8| {
            let of_digit = labels.iter().enumerate().filter(|(_, label)| **label == digit);
            let (sum, count) = of_digit.fold((0.0, 0.0), |(sum, count), (at, _)| {
                (sum + unit.samples.item(at).iter().sum::<f32>(), count + 1.0)
            });
            sum / count
        };
        assert!(ink(1) < 0.6 * ink(0));
    }
}
