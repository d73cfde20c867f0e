//! Arrays that subcommands read.

use std::io::Read;
use std::path::Path;

use super::stream;
use crate::error::{Error, Result};
use crate::formats::{Pixels, npy};
use crate::input::open_regular;
use crate::tensor::Tensor;

/// Returns `true` for a file that begins as arrays do.
pub fn begins_as_array(file: &Path) -> bool {
    let mut start = [0; npy::MAGIC.len()];
    open_regular(file).is_ok_and(|(mut file, _)| file.read_exact(&mut start).is_ok() && start[..] == *npy::MAGIC)
}

/// An array of finite numbers from a file.
///
/// # Errors
/// Those of [`npy::read`]; [`Error::NonFinite`].
pub fn read_finite(file: &Path) -> Result<Tensor> {
    stream::read(file, |file| finite(file, npy::read(file)?))
}

/// The numbers read from a file, if all are finite.
fn finite(file: &Path, tensor: Tensor) -> Result<Tensor> {
    if tensor.is_finite() {
        return Ok(tensor);
    }
    let hint = "every value must be a finite number".to_owned();
    Err(Error::NonFinite { place: file.display().to_string(), hint })
}

/// Finite images of shape (N, `channels`, H, W) from a file, at least one.
///
/// # Errors
/// Those of [`read_finite`]; [`Error::BadFile`] for another shape.
pub fn read_images(file: &Path, channels: usize) -> Result<Tensor> {
    stream::read(file, |file| images(file, finite(file, npy::read(file)?)?, channels))
}

/// As [`read_images`], with bytes in -1 to 1, as in pictures.
///
/// # Errors
/// Those of [`read_images`].
pub fn read_pixels(file: &Path, channels: usize) -> Result<Tensor> {
    stream::read(file, |file| images(file, finite(file, npy::read_pixels(file, Pixels::Signed)?)?, channels))
}

fn images(file: &Path, tensor: Tensor, channels: usize) -> Result<Tensor> {
    if tensor.shape.len() != 4 || tensor.shape[1] != channels || tensor.data.is_empty() {
        return Err(Error::bad_file_hint(
            file,
            format!("the array has shape {:?}, expected [N, {channels}, H, W]", tensor.shape),
            format!("the network takes images of {channels} channels: (images, channels, height, width)"),
        ));
    }
    Ok(tensor)
}
