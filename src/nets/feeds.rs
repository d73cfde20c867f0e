//! The feeds of a call: images, timesteps, contexts and labels as tensors, for the inputs of a graph.

use std::path::Path;

use crate::error::{Error, Result};
use crate::formats::npy;
use crate::kernels::timestep_embedding::split_in_three;
use crate::tensor::Tensor;

/// Names of a graph's inputs and of its output.
pub mod names {
    /// The images, (n, h, w, `in_channels`).
    pub const X: &str = "x";
    /// Timesteps in three parts, (n, 1, 1, 3): a positional time embedding.
    pub const TIMESTEP: &str = "timestep";
    /// Projected timesteps, (n, 1, 1, c): a learned or Fourier time embedding.
    pub const TIME_ROWS: &str = "time_rows";
    /// Class labels in three parts: `class_embed_type` of `timestep`, with a positional embedding.
    pub const CLASS_TIMESTEP: &str = "class_timestep";
    /// Class vectors, (n, 1, 1, c): every other class embedding.
    pub const CLASS_ROWS: &str = "class_rows";
    /// The vector that is added to the time embedding: the embedding of a text, then that of numbers, (n, 1, 1, c).
    pub const ADDED_ROWS: &str = "added_rows";
    /// The embedding of a scale of guidance, (n, 1, 1, c).
    pub const GUIDANCE_ROWS: &str = "guidance_rows";
    /// The 2 of 2x - 1, (n, 1, 1, 1): `center_input_sample`.
    pub const CENTER_COEFFICIENTS: &str = "center_coefficients";
    /// 1 / t, (n, 1, 1, 1): a Fourier time embedding.
    pub const OUTPUT_COEFFICIENTS: &str = "output_coefficients";
    /// The context of cross-attention, (n, 1, tokens, channels).
    pub const CONTEXT: &str = "context";
    /// A fixed position embedding, (n, rows, columns, channels).
    pub const POSITIONS: &str = "positions";
    /// The output, (n, h, w, `out_channels`).
    pub const SAMPLE: &str = "sample";
}

/// The inputs of a graph, by name.
pub type Feeds = Vec<(String, Tensor)>;

/// The class labels of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassLabels {
    /// One number per image: a row of a table, or a label that is embedded like a timestep.
    Numbers(Vec<f64>),
    /// One vector per image, (n, channels).
    Rows(Tensor),
}

impl ClassLabels {
    /// Reads the labels of `images` images from an `.npy`: (n) numbers, or (n, d) vectors.
    ///
    /// # Errors
    /// Those of [`npy::read`]; [`Error::BadFile`] for another shape.
    pub fn read(file: &Path, images: usize) -> Result<Self> {
        let rows = npy::read(file)?;
        match rows.shape.as_slice() {
            [found] if *found == images => Ok(Self::Numbers(npy::read_f64(file)?)),
            [found, _] if *found == images => Ok(Self::Rows(rows)),
            shape => Err(Error::bad_file_hint(
                file,
                format!("the array has shape {shape:?} for {images} images"),
                format!("give one label for each image: [{images}], or a vector for each: [{images}, D]"),
            )),
        }
    }

    /// The number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Rows(rows) => rows.shape.first().copied().unwrap_or(0),
        }
    }

    /// Returns `true` if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The vectors that a network adds to its time embedding besides class labels: SDXL's `text_time`.
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    /// The embedding of a whole text for each image, (n, channels).
    pub pooled: Tensor,
    /// Numbers for each image, (n, count), which are embedded like timesteps: for SDXL height and width of the original
    /// image, top and left of its crop, height and width of the target.
    pub numbers: Tensor,
}

impl Added {
    /// The number of images, or 0 where the two parts have different numbers.
    #[must_use]
    pub fn len(&self) -> usize {
        match (self.pooled.shape.as_slice(), self.numbers.shape.as_slice()) {
            ([images, _], [others, _]) if images == others => *images,
            _ => 0,
        }
    }

    /// Returns `true` if it is for no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The number of images, which must have `channels` channels and one timestep each.
pub(super) fn check_images(x: &Tensor, timesteps: &[f64], channels: usize) -> Result<usize> {
    let [batch, found, _, _] = x.shape[..] else {
        return Err(images_error(&x.shape, channels));
    };
    if found != channels {
        return Err(images_error(&x.shape, channels));
    }
    if timesteps.len() != batch {
        return Err(Error::argument(
            format!("{} timesteps for {batch} images", timesteps.len()),
            "give one timestep per image",
        ));
    }
    Ok(batch)
}

/// Refuses a context, for a network without cross-attention layers.
pub(super) fn expect_no_context(context: Option<&Tensor>) -> Result<()> {
    match context {
        None => Ok(()),
        Some(_) => Err(Error::argument("this network does not take a context", "omit the context")),
    }
}

/// The feed of [`names::CENTER_COEFFICIENTS`].
pub(super) fn center_feed(batch: usize) -> (String, Tensor) {
    (names::CENTER_COEFFICIENTS.to_owned(), vectors(batch, vec![2.0; batch]))
}

/// Refuses timesteps, or labels that are embedded like timesteps, that are not finite or far too large.
pub(super) fn check_range(what: &str, numbers: &[f64]) -> Result<()> {
    match numbers.iter().find(|number| !(number.is_finite() && number.abs() < LARGEST_NUMBER)) {
        Some(number) => Err(Error::argument(format!("{what} {number} is out of range"), "give a finite number")),
        None => Ok(()),
    }
}

/// Each number in three parts, for a positional embedding.
pub(super) fn parts(numbers: &[f64]) -> Tensor {
    vectors(numbers.len(), numbers.iter().flat_map(|t| split_in_three(*t)).collect())
}

/// Far beyond any schedule; the three parts of a number below it are ordinary float32 numbers.
const LARGEST_NUMBER: f64 = 1e30;

/// One vector per image, as (n, c, 1, 1).
pub(super) fn vectors(batch: usize, data: Vec<f32>) -> Tensor {
    Tensor::new([batch, data.len() / batch.max(1), 1, 1], data)
}

/// Rows of a table.
pub(super) fn gather(what: &str, numbers: &[f64], table: &Tensor) -> Result<Vec<f32>> {
    let rows = table.shape.first().copied().unwrap_or(0);
    let mut gathered = Vec::with_capacity(numbers.len() * table.stride());
    for number in numbers {
        if number.fract() != 0.0 || *number < 0.0 || *number >= rows as f64 {
            return Err(Error::argument(
                format!("{what} {number} is not in this network's table"),
                format!("give whole numbers from 0 to {}", rows.saturating_sub(1)),
            ));
        }
        gathered.extend_from_slice(table.item(*number as usize));
    }
    Ok(gathered)
}

fn images_error(shape: &[usize], channels: usize) -> Error {
    Error::argument(
        format!("images of shape {shape:?} do not fit this network"),
        format!("give shape [n, {channels}, height, width]"),
    )
}
