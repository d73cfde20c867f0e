//! The CLIP score (Hessel et al. 2021): how well images fit their captions, as in torchmetrics: 100 times the cosine of
//! the angle between the embeddings of an image and of its caption.

use std::path::Path;

use image::imageops::{FilterType, crop_imm, resize};
use image::{ImageBuffer, Rgb};
use serde_json::{Map, Value, json};

use crate::checkpoint::{ConfigFile, Weights, transformers_folder};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::formats::images::to_byte;
use crate::graph::{Compiler, Program};
use crate::latent::text::TextEncoder;
use crate::latent::tokenizer::Tokenizer;
use crate::nets::clip_text::{ClipText, Readout};
use crate::nets::clip_vision::{self, ClipVision, names};
use crate::nets::fields::Fields;
use crate::report::columns::Lines;
use crate::study::results::Results;
use crate::tensor::Tensor;

/// Images, and texts, per call.
const BATCH: usize = 8;
/// The settings of the images' input, beside the configuration.
const PREPROCESSOR: &str = "preprocessor_config.json";
/// Mean and standard deviation of the colours that CLIP was trained on, where the folder does not say.
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
/// Pillow's number for bicubic interpolation.
const BICUBIC: i64 = 3;
/// Sides beyond which no image is resized.
const MOST_SIDE: usize = 1 << 14;

/// A CLIP model in a folder of transformers' `CLIPModel`, with its tokenizer. Nothing is on a device.
#[derive(Clone, Debug)]
pub struct Clip {
    text: ClipText,
    vision: ClipVision,
    weights: Weights,
    tokenizer: Tokenizer,
    input: Input,
}

/// The way from an image to the network's input (`CLIPImageProcessor`).
#[derive(Clone, Debug, PartialEq)]
struct Input {
    /// Pixels of the shorter side before the middle is cut out.
    shortest: usize,
    mean: [f64; 3],
    deviation: [f64; 3],
}

/// The score of a set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipScore {
    /// 100 times the mean cosine, at least 0.
    pub mean: f64,
    /// 100 times the cosine of each image.
    pub each: Vec<f64>,
    /// Captions that are longer than what the model reads.
    pub truncated: usize,
}

impl ClipScore {
    /// Adds the score to results: a line of their text, and a section of the report.
    pub fn add_to(&self, results: &mut Results) {
        let mut lines = Lines::default();
        lines.add("CLIP score", format!("{:.4} of {} images", self.mean, self.each.len()));
        let text = results.text.take().unwrap_or_default();
        results.text = Some(format!("{text}{lines}"));
        results.set("clip_score", json!({ "mean": self.mean, "images": self.each.len() }));
        if self.truncated > 0 {
            results.note(format_args!("{} captions are longer than what CLIP reads, and are cut off", self.truncated));
        }
    }
}

impl Clip {
    /// Opens a folder: `config.json`, weights, tokenizer, and `preprocessor_config.json` if there is one.
    ///
    /// # Errors
    /// Those of [`transformers_folder`], [`clip_vision::open`] and [`Tokenizer::open`]; [`Error::UnsupportedField`] for
    /// another way to prepare images.
    pub fn open(folder: &Path) -> Result<Self> {
        let (config, weights) = transformers_folder(folder)?;
        let (text, vision) = clip_vision::open(&config, &weights)?;
        let tokenizer = Tokenizer::open(folder)?;
        let (length, places) = (tokenizer.length(), text.config().max_position_embeddings);
        if length > places {
            let what = format!("the tokenizer makes {length} tokens of a text, and the network has {places} positions");
            return Err(Error::bad_file_hint(folder, what, "take all files from one model"));
        }
        let file = folder.join(PREPROCESSOR);
        let values = if file.exists() { ConfigFile::read(&file)?.values } else { Map::new() };
        let input = Input::read(&values, &file, vision.config().image_size)?;
        Ok(Self { text, vision, weights, tokenizer, input })
    }

    /// The score of images in -1..1, of three channels or grey, with a caption for each.
    ///
    /// # Errors
    /// [`Error::Argument`] for another number of captions, and for images of other channels; those of the device.
    pub fn score(&self, compiler: Compiler, images: &Dataset, captions: &[String]) -> Result<ClipScore> {
        self.check(images, captions)?;
        let scorer = self.scorer(compiler, captions)?;
        let each = scorer.cosines(0, &images.samples, Self::planes(images)?)?;
        Ok(ClipScore { mean: mean(&each), each, truncated: scorer.truncated })
    }

    /// The network of images on a device, beside the embeddings of captions.
    ///
    /// # Errors
    /// Those of the device.
    pub fn scorer<'a>(&'a self, compiler: Compiler<'a>, captions: &[String]) -> Result<Scorer<'a>> {
        let (texts, truncated) = self.texts(compiler, captions)?;
        Ok(Scorer { images: self.embedder(compiler)?, texts, truncated })
    }

    /// Refuses images and captions that cannot be scored; nothing is on a device.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self, images: &Dataset, captions: &[String]) -> Result<()> {
        if captions.len() != images.count() {
            let what = format!("{} captions for the {} images of `{}`", captions.len(), images.count(), images.name);
            return Err(Error::argument(what, "give a line for each image, in the order of the images"));
        }
        Self::planes(images).map(|_| ())
    }

    /// (channels, height, width) of images.
    fn planes(images: &Dataset) -> Result<[usize; 3]> {
        match images.sample_shape[..] {
            [height, width] => Some([1, height, width]),
            [channels @ (1 | 3), height, width] => Some([channels, height, width]),
            _ => None,
        }
        .filter(|[_, height, width]| *height.max(width) <= MOST_SIDE)
        .ok_or_else(|| {
            let what = format!("`{}` has samples of shape {:?}", images.name, images.sample_shape);
            Error::argument(what, "CLIP reads images of one channel or three")
        })
    }

    /// The embeddings of captions, (n, `projection_dim`), and the number of those that were cut off.
    fn texts(&self, compiler: Compiler, captions: &[String]) -> Result<(Tensor, usize)> {
        let tokens: Vec<_> = captions.iter().map(|text| self.tokenizer.encode(text)).collect::<Result<_>>()?;
        let truncated = tokens.iter().filter(|tokens| tokens.truncated.is_some()).count();
        let ids: Vec<Vec<u32>> = tokens.into_iter().map(|tokens| tokens.ids).collect();
        let plan = compiler.plan(&self.text.graph_of(BATCH, Readout { pooled: true, ..Readout::default() }));
        let encoder = TextEncoder::planned(compiler.engine, self.text.clone(), self.weights.clone(), BATCH, plan)?;
        let pooled = encoder.read(&ids)?.pooled.ok_or_else(|| {
            Error::argument("a text encoder without a projection", "open the folder of a `CLIPModel`")
        })?;
        Ok((pooled, truncated))
    }

    /// The embeddings of images, (n, `projection_dim`).
    ///
    /// # Errors
    /// [`Error::Argument`] for images of other channels; those of the device.
    pub fn images(&self, compiler: Compiler, images: &Dataset) -> Result<Tensor> {
        self.embedder(compiler)?.of(&images.samples, Self::planes(images)?)
    }

    /// The network of images on a device.
    fn embedder<'a>(&'a self, compiler: Compiler<'a>) -> Result<Embedder<'a>> {
        let fetch = |key: &str, shape: &[usize]| self.vision.fetch(&self.weights, key, shape);
        let program = compiler.program(&self.vision.graph(BATCH), &fetch)?;
        Ok(Embedder { clip: self, program, positions: self.vision.positions(&self.weights, BATCH)? })
    }
}

/// The network of images on a device.
struct Embedder<'a> {
    clip: &'a Clip,
    program: Program<'a>,
    positions: Tensor,
}

impl Embedder<'_> {
    /// The embeddings of images of `planes`, (channels, height, width).
    fn of(&self, images: &Tensor, planes: [usize; 3]) -> Result<Tensor> {
        let Self { clip, program, positions } = self;
        let (side, dimension) = (clip.vision.config().image_size, clip.vision.config().projection_dim);
        let (tokens, count) = (clip.vision.config().tokens(), images.shape[0]);
        let mut embeddings = Vec::with_capacity(count * dimension);
        for first in (0..count).step_by(BATCH) {
            let taken = BATCH.min(count - first);
            let mut batch = Tensor::zeros([BATCH, 3, side, side]);
            for (at, into) in batch.data.chunks_exact_mut(3 * side * side).take(taken).enumerate() {
                into.copy_from_slice(&clip.input.of(images.item(first + at), planes, side));
            }
            let patches = clip.vision.patches(&batch);
            let outputs = program.run(&[(names::PATCHES, &patches), (names::POSITIONS, positions)])?;
            for at in 0..taken {
                // Channels first: the first token of each channel.
                let projected = outputs[0].item(at);
                embeddings.extend((0..dimension).map(|channel| projected[channel * tokens]));
            }
        }
        Ok(Tensor::new([count, dimension], embeddings))
    }
}

/// The scores of many sets of images of the same captions, with one load of the networks.
pub struct Scorer<'a> {
    images: Embedder<'a>,
    texts: Tensor,
    /// Captions that are longer than what the model reads.
    pub truncated: usize,
}

impl Scorer<'_> {
    /// 100 times the cosine of each image of `planes`, (channels, height, width), the first of which has the caption
    /// `first`.
    fn cosines(&self, first: usize, images: &Tensor, planes: [usize; 3]) -> Result<Vec<f64>> {
        let pictures = self.images.of(images, planes)?;
        let cosine = |at: usize| {
            let (a, b) = (self.texts.item(first + at), pictures.item(at));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            100.0 * dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
        };
        Ok((0..images.shape[0]).map(cosine).collect())
    }

    /// The score of images (n, channels, height, width) in -1..1 that come in parts, image i with caption i.
    ///
    /// # Errors
    /// Those of the parts and of the device; [`Error::Argument`] for images of other channels or without a caption.
    pub fn mean(&self, parts: impl Iterator<Item = Result<Tensor>>) -> Result<f64> {
        let mut each = Vec::new();
        for part in parts {
            let images = Dataset::new("images", part?)?;
            if each.len() + images.count() > self.texts.shape[0] {
                let what = format!("more than {} images, one for each caption", self.texts.shape[0]);
                return Err(Error::argument(what, "give a caption for each image"));
            }
            each.extend(self.cosines(each.len(), &images.samples, Clip::planes(&images)?)?);
        }
        Ok(mean(&each))
    }
}

/// The score of cosines: their mean, at least 0.
fn mean(each: &[f64]) -> f64 {
    (each.iter().sum::<f64>() / each.len().max(1) as f64).max(0.0)
}

impl Input {
    /// The settings in a `preprocessor_config.json`, for a network of images of `side` x `side` pixels.
    fn read(map: &Map<String, Value>, file: &Path, side: usize) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        for step in ["do_resize", "do_center_crop", "do_rescale", "do_normalize"] {
            if !fields.get(step, true)? {
                return Err(fields.unsupported(step, "false", "true"));
            }
        }
        fields.get("do_convert_rgb", true)?;
        let resample = fields.get("resample", BICUBIC)?;
        if resample != BICUBIC {
            return Err(fields.unsupported("resample", &resample.to_string(), "3 (bicubic)"));
        }
        let factor = fields.get("rescale_factor", 1.0 / 255.0)?;
        if (factor * 255.0f64 - 1.0).abs() > 1e-6 {
            return Err(fields.unsupported("rescale_factor", &factor.to_string(), "1/255"));
        }
        let size: Value = fields.get("size", json!(side))?;
        let shortest = size.as_u64().or_else(|| size.get("shortest_edge")?.as_u64());
        let crop: Value = fields.get("crop_size", json!(side))?;
        let cropped = crop.as_u64().or_else(|| crop.get("height")?.as_u64());
        let is_square = crop.get("width").is_none_or(|width| width.as_u64() == cropped);
        if cropped != Some(side as u64) || !is_square {
            return Err(fields.unsupported("crop_size", &crop.to_string(), format!("{side}, the network's")));
        }
        let Some(shortest) = shortest.filter(|size| (side as u64..=MOST_SIDE as u64).contains(size)) else {
            return Err(fields.unsupported("size", &size.to_string(), format!("a `shortest_edge` of {side} at least")));
        };
        let (mean, deviation) = (fields.get("image_mean", MEAN)?, fields.get("image_std", DEVIATION)?);
        if deviation.iter().any(|value| *value <= 0.0) {
            return Err(fields.bad("`image_std` is not above 0"));
        }
        Ok(Self { shortest: shortest as usize, mean, deviation })
    }

    /// The network's input for an image (channels, height, width) in -1..1: its shorter side is brought to a size by
    /// bicubic interpolation, the middle is cut out, and colours are normalised.
    fn of(&self, image: &[f32], [channels, height, width]: [usize; 3], side: usize) -> Vec<f32> {
        let plane = height * width;
        let value = |channel: usize, at: usize| to_byte(image[if channels == 1 { at } else { channel * plane + at }]);
        let bytes = ImageBuffer::from_fn(width as u32, height as u32, |x, y| {
            let at = y as usize * width + x as usize;
            Rgb([0, 1, 2].map(|channel| value(channel, at)))
        });
        // As transformers rounds.
        let longer = |long: usize, short: usize| long * self.shortest / short;
        let (rows, columns) = if height <= width {
            (self.shortest, longer(width, height))
        } else {
            (longer(height, width), self.shortest)
        };
        let resized = if (rows, columns) == (height, width) {
            bytes
        } else {
            resize(&bytes, columns as u32, rows as u32, FilterType::CatmullRom)
        };
        let before = |extent: usize| ((extent - side) as f64 / 2.0).round_ties_even() as u32;
        let (top, left) = (before(rows), before(columns));
        let cut = crop_imm(&resized, left, top, side as u32, side as u32).to_image();
        let mut values = Vec::with_capacity(3 * side * side);
        for channel in 0..3 {
            let (mean, deviation) = (self.mean[channel], self.deviation[channel]);
            let of = |pixel: &Rgb<u8>| ((f64::from(pixel[channel]) / 255.0 - mean) / deviation) as f32;
            values.extend(cut.pixels().map(of));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Input> {
        let Value::Object(map) = value else { panic!("an object") };
        Input::read(&map, Path::new("preprocessor_config.json"), 4)
    }

    #[test]
    fn colours_are_normalised_and_the_middle_is_cut_out() {
        let input = read(json!({"image_mean": [0.5, 0.0, 1.0], "image_std": [0.5, 1.0, 0.25]})).unwrap();
        // Four rows of six: nothing is resized, and one column is cut off on each side.
        let image: Vec<f32> = (0..24).map(|at| if at % 6 == 0 { 1.0 } else { -1.0 }).collect();
        let values = input.of(&image, [1, 4, 6], 4);
        assert_eq!(values.len(), 48);
        assert!(values[..16].iter().all(|value| *value == -1.0), "{values:?}");
        assert!(values[16..32].iter().all(|value| *value == 0.0));
        assert!(values[32..].iter().all(|value| *value == -4.0));
        // A constant stays one at any size.
        let flat = input.of(&[1.0; 3 * 7 * 13], [3, 7, 13], 4);
        assert!(flat[..16].iter().all(|value| *value == 1.0));
    }

    #[test]
    fn other_ways_to_prepare_images_are_refused_by_name() {
        assert_eq!(
            read(json!({"size": {"shortest_edge": 4}, "crop_size": {"height": 4, "width": 4}})).unwrap().shortest,
            4
        );
        for (value, expected) in [
            (json!({"do_resize": false}), "do_resize"),
            (json!({"resample": 2}), "resample"),
            (json!({"size": 3}), "size"),
            (json!({"size": {"height": 4}}), "size"),
            (json!({"crop_size": {"height": 4, "width": 5}}), "crop_size"),
            (json!({"image_std": [1.0, 0.0, 1.0]}), "image_std"),
            (json!({"rescale_factor": 1.0}), "rescale_factor"),
        ] {
            let error = read(value.clone()).unwrap_err();
            assert!(error.to_string().contains(expected), "{value}: {error}");
        }
    }
}
