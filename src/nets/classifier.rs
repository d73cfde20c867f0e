//! The small classifier of digits (`weights/digits-classifier`, `tools/train_classifier.py`) as a graph: sets of
//! images are compared by its features.
//!
//! Pixels in -1..1; four 3 x 3 convolutions with `SiLU`, means of 2 x 2 after the first two; the last convolution
//! reads the whole 3 x 3 map that is left and gives the features; one linear layer turns them into logits. There is
//! no normalisation, so that an image's features never depend on its batch.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::graph::op::{Activation, Graph};
use crate::nets::builder::{Builder, Key, Window};
use crate::nets::fields::Fields;
use crate::tensor::Shape;

/// Its `_class_name`.
pub const CLASS_NAME: &str = "DigitsClassifier";
/// The images, (n, 28, 28, 1) in -1..1.
pub const X: &str = "x";
/// (n, 1, 1, features).
pub const FEATURES: &str = "features";
/// (n, 1, 1, classes).
pub const LOGITS: &str = "logits";

const MOST_CHANNELS: usize = 1 << 12;
/// The only side that three halvings and a kernel of 3 x 3 bring to one pixel.
const SIDE: usize = 28;
const HALVE: Window = Window { side: 3, stride: 2, pad_before: 0, pad_after: 0 };
const WHOLE: Window = Window { side: 3, stride: 1, pad_before: 0, pad_after: 0 };

/// The classifier: its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classifier {
    /// Channels of an image.
    pub in_channels: usize,
    /// Channels of the first three convolutions.
    pub channels: [usize; 3],
    /// Values of a feature vector.
    pub features: usize,
    /// Classes.
    pub classes: usize,
}

impl Classifier {
    /// The classifier of a configuration, read from `file` (for messages).
    ///
    /// # Errors
    /// [`crate::Error::BadFile`] or [`crate::Error::UnsupportedField`] naming the field.
    pub fn from_map(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        fields.choice("act_fn", "silu", &[("silu", ())])?;
        let side = fields.count("sample_size", SIDE, MOST_CHANNELS)?;
        if side != SIDE {
            return Err(fields.unsupported("sample_size", &side.to_string(), SIDE.to_string()));
        }
        let channels = fields.counts("channels", &[32, 64, 96], MOST_CHANNELS)?;
        let Ok(channels) = <[usize; 3]>::try_from(channels) else {
            return Err(fields.bad("`channels` does not list three numbers"));
        };
        let found = Self {
            in_channels: fields.count("in_channels", 1, MOST_CHANNELS)?,
            channels,
            features: fields.count("features", 64, MOST_CHANNELS)?,
            classes: fields.count("classes", 10, MOST_CHANNELS)?,
        };
        fields.finish()?;
        Ok(found)
    }

    /// (channels, height, width) of an image.
    #[must_use]
    pub fn image_shape(&self) -> [usize; 3] {
        [self.in_channels, SIDE, SIDE]
    }

    /// The graph for `batch` images: from [`X`] to [`FEATURES`] and [`LOGITS`].
    #[must_use]
    pub fn graph(&self, batch: usize) -> Graph {
        self.build(batch).graph
    }

    /// Every tensor in a checkpoint, with its shape there.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.build(1).keys
    }

    fn build(&self, batch: usize) -> Builder {
        let mut b = Builder::new("classifier");
        let [first, second, third] = self.channels;
        let mut x = b.input(X, Shape::new(batch, SIDE, SIDE, self.in_channels));
        for (name, channels) in [("conv_in", first), ("conv_mid", second)] {
            x = b.conv(name, x, channels, Window::THREE);
            x = b.activation(&format!("{name}.act"), x, Activation::Silu);
            x = b.average_pool(&format!("{name}.pool"), x);
        }
        for (name, channels, window) in [("conv_down", third, HALVE), ("conv_features", self.features, WHOLE)] {
            x = b.conv(name, x, channels, window);
            x = b.activation(&format!("{name}.act"), x, Activation::Silu);
        }
        let logits = b.linear("classify", x, self.classes);
        b.graph.outputs.push((FEATURES.to_owned(), x));
        b.graph.outputs.push((LOGITS.to_owned(), logits));
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Classifier> {
        let Value::Object(map) = serde_json::from_str(json).unwrap() else { panic!("an object") };
        Classifier::from_map(&map, Path::new("config.json"))
    }

    #[test]
    fn every_halving_leads_to_one_pixel() {
        let net = read("{}").unwrap();
        let graph = net.graph(3);
        let shapes: Vec<Shape> = graph.outputs.iter().map(|(_, value)| graph.shape(*value)).collect();
        assert_eq!(shapes, [Shape::vector(3, 64), Shape::vector(3, 10)]);
        let parameters: usize = net.keys().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(parameters, 320 + (64 * 32 * 9 + 64) + (96 * 64 * 9 + 96) + (64 * 96 * 9 + 64) + 650);
    }

    #[test]
    fn other_configurations_are_refused_by_name() {
        for (json, expected) in [
            (r#"{"sample_size": 32}"#, "sample_size"),
            (r#"{"act_fn": "relu"}"#, "act_fn"),
            (r#"{"channels": [8, 16]}"#, "channels"),
            (r#"{"features": 0}"#, "features"),
            (r#"{"depth": 3}"#, "depth"),
        ] {
            let error = read(json).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::File, "{json}");
            assert!(error.to_string().contains(expected), "{json}: {error}");
        }
    }
}
