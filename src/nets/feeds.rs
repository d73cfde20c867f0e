//! What a call feeds to the graph of a U-Net: images, timesteps and labels as tensors.

use crate::error::{Error, Result};
use crate::kernels::timestep_embedding::split_in_three;
use crate::tensor::Tensor;

/// Names of the graphs' inputs and of their output.
pub mod names {
    /// The images, (n, h, w, `in_channels`).
    pub const X: &str = "x";
    /// Timesteps in three parts, (n, 1, 1, 3): a positional time embedding.
    pub const TIMESTEP: &str = "timestep";
    /// Projected timesteps, (n, 1, 1, c): a learned or Fourier time embedding.
    pub const TIME_ROWS: &str = "time_rows";
    /// Class labels in three parts: `class_embed_type` timestep over a positional embedding.
    pub const CLASS_TIMESTEP: &str = "class_timestep";
    /// Class vectors, (n, 1, 1, c): every other class embedding.
    pub const CLASS_ROWS: &str = "class_rows";
    /// The 2 of 2x - 1, (n, 1, 1, 1): `center_input_sample`.
    pub const CENTER_COEFFICIENTS: &str = "center_coefficients";
    /// 1 / t, (n, 1, 1, 1): a Fourier time embedding.
    pub const OUTPUT_COEFFICIENTS: &str = "output_coefficients";
    /// The context that cross-attention looks at, (n, 1, tokens, dim).
    pub const CONTEXT: &str = "context";
    /// What the network answers, (n, h, w, `out_channels`).
    pub const SAMPLE: &str = "sample";
}

/// The labels of a batch.
#[derive(Clone, Copy, Debug)]
pub enum ClassLabels<'a> {
    /// A number an image: a row of the table, or a label that is embedded like a timestep.
    Numbers(&'a [f64]),
    /// A vector an image, (n, `time_embedding_dim`): `class_embed_type` identity.
    Rows(&'a Tensor),
}

/// What a network takes as class labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labels {
    None,
    /// A number an image.
    Numbers,
    /// A vector of this length an image.
    Rows(usize),
}

impl Labels {
    /// Refuses labels that are not what `self` says, for `batch` images.
    pub fn check(self, labels: Option<ClassLabels>, batch: usize) -> Result<()> {
        match (self, labels) {
            (Self::None, None) => Ok(()),
            (Self::None, Some(_)) => {
                Err(Error::argument("this network takes no class labels", "leave the class labels away"))
            }
            (_, None) => Err(Error::argument("this network needs class labels", "give one class label an image")),
            (Self::Rows(dim), Some(ClassLabels::Rows(rows))) if rows.shape == [batch, dim] => Ok(()),
            (Self::Rows(dim), Some(_)) => Err(Error::argument(
                "the class labels do not fit this network",
                format!("give a vector of {dim} numbers an image: class labels of shape [{batch}, {dim}]"),
            )),
            (Self::Numbers, Some(ClassLabels::Numbers(numbers))) if numbers.len() == batch => Ok(()),
            (Self::Numbers, Some(_)) => Err(Error::argument(
                "the class labels do not fit this network",
                format!("give one number an image: {batch} class labels"),
            )),
        }
    }
}

/// How many images there are, which must have `channels` and a timestep each.
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
            "give one timestep an image",
        ));
    }
    Ok(batch)
}

/// The feed of [`names::CENTER_COEFFICIENTS`].
pub(super) fn center_feed(batch: usize) -> (String, Tensor) {
    (names::CENTER_COEFFICIENTS.to_owned(), vectors(batch, vec![2.0; batch]))
}

/// Refuses timesteps, or labels that are treated as such, beyond what can be embedded.
pub(super) fn check_range(what: &str, numbers: &[f64]) -> Result<()> {
    match numbers.iter().find(|number| !(number.is_finite() && number.abs() < LARGEST_NUMBER)) {
        Some(number) => Err(Error::argument(format!("{what} {number} is out of range"), "give a finite number")),
        None => Ok(()),
    }
}

/// Numbers in three parts each, for a positional embedding.
pub(super) fn parts(numbers: &[f64]) -> Tensor {
    vectors(numbers.len(), numbers.iter().flat_map(|t| split_in_three(*t)).collect())
}

/// Far beyond any schedule; the three parts of a number below it are ordinary float32 numbers.
const LARGEST_NUMBER: f64 = 1e30;

/// One vector an image, as (n, c, 1, 1).
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
