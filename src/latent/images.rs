//! Files of images as what an encoder reads.

use std::path::Path;

use image::imageops::FilterType;

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A PNG or JPEG as (1, `channels`, height, width), -1 to 1: colours (3 channels) or grey (1), transparency left out; brought to
/// `size` (height, width) by Lanczos' filter where it has another.
///
/// # Errors
/// [`Error::FileNotFound`], [`Error::Io`]; [`Error::BadFile`] for what is no readable image; [`Error::Usage`] for other numbers of
/// channels.
pub fn image_to_input(path: &Path, channels: usize, size: Option<(usize, usize)>) -> Result<Tensor> {
    if !matches!(channels, 1 | 3) {
        let what = format!("images of {channels} channels are no pictures");
        return Err(Error::usage(what, "give the values as `.npy`"));
    }
    let read = image::ImageReader::open(path)
        .and_then(image::ImageReader::with_guessed_format)
        .map_err(|error| Error::io(path, error))?;
    let mut image = read.decode().map_err(|error| match error {
        image::ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::io(path, error)
        }
        error => Error::bad_file_hint(path, format!("not a readable image ({error})"), "give a PNG or JPEG file"),
    })?;
    let own = (image.height() as usize, image.width() as usize);
    if let Some((height, width)) = size.filter(|size| *size != own) {
        let side = |side: usize| {
            u32::try_from(side).map_err(|_| Error::usage(format!("{side} pixels are too many"), "ask for fewer"))
        };
        image = image.resize_exact(side(width)?, side(height)?, FilterType::Lanczos3);
    }
    let (height, width) = (image.height() as usize, image.width() as usize);
    let bytes = if channels == 1 { image.to_luma8().into_raw() } else { image.to_rgb8().into_raw() };
    let of = |channel: usize| bytes.iter().skip(channel).step_by(channels).map(|byte| f32::from(*byte) / 127.5 - 1.0);
    Ok(Tensor::new([1, channels, height, width], (0..channels).flat_map(of).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Image, png_file::write_png};

    #[test]
    fn pictures_become_planes_of_any_size() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.png");
        let pixels = vec![0, 255, 51, 0, 255, 51];
        write_png(&file, &Image { height: 1, width: 2, channels: 3, pixels }, &[]).unwrap();
        let planes = image_to_input(&file, 3, None).unwrap();
        assert_eq!(planes.shape, [1, 3, 1, 2]);
        assert_eq!(planes.data[..4], [-1.0, -1.0, 1.0, 1.0]);
        assert!((planes.data[4] + 0.6).abs() < 1e-6);
        let large = image_to_input(&file, 3, Some((8, 16))).unwrap();
        assert_eq!(large.shape, [1, 3, 8, 16]);
        assert!((large.data[8 * 16] - 1.0).abs() < 1e-6);
        assert_eq!(image_to_input(&file, 1, None).unwrap().shape, [1, 1, 1, 2]);
        assert_eq!(image_to_input(&file, 4, None).unwrap_err().exit_code(), 2);
        assert_eq!(image_to_input(&folder.path().join("none.png"), 3, None).unwrap_err().exit_code(), 2);
        let text = folder.path().join("text.png");
        std::fs::write(&text, "no image").unwrap();
        assert_eq!(image_to_input(&text, 3, None).unwrap_err().exit_code(), 4);
    }
}
