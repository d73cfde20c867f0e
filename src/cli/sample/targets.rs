//! The outputs of a run.

use std::path::{Path, PathBuf};

use super::args::Args;
use crate::cli::stream;
use crate::error::{Error, Result};
use crate::formats::check_writable;
use crate::report::Output;

/// The outputs of a run.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The images; none for a model whose samples are not images.
    pub images: Option<Output>,
    /// The images as numbers in 0..1.
    pub floats: Option<PathBuf>,
    /// The raw samples.
    pub samples: Option<PathBuf>,
    /// A folder for the predictions of x0.
    pub steps: Option<PathBuf>,
    /// The states after each step.
    pub path: Option<PathBuf>,
}

impl Targets {
    /// Reads the flags, for a model whose images have `channels` channels.
    ///
    /// # Errors
    /// [`Error::Argument`] for what cannot be shown, or cannot be written.
    pub fn new(args: &Args, output: Output, channels: usize, has_pixels: bool) -> Result<Self> {
        let is_image = has_pixels && matches!(channels, 1 | 3 | 4);
        let saves_arrays = args.save_samples.is_some() || args.save_path.is_some();
        if !is_image
            && (args.output.is_some() || args.save_steps.is_some() || args.save_images.is_some() || !saves_arrays)
        {
            let what = if has_pixels {
                format!("samples of {channels} channels cannot be shown as images, which have 1, 3 or 4")
            } else {
                format!("samples of {channels} values are no images")
            };
            return Err(Error::argument(
                what,
                "leave out `--output` and `--save-steps`, and take `--save-samples FILE.npy`",
            ));
        }
        let targets = Self {
            images: is_image.then_some(output),
            floats: args.save_images.clone(),
            samples: args.save_samples.clone(),
            steps: args.save_steps.clone(),
            path: args.save_path.clone(),
        };
        targets.check()?;
        Ok(targets)
    }

    /// Checks that everything can be written, and that no two outputs have the same path.
    fn check(&self) -> Result<()> {
        if let Some(images) = &self.images {
            match images {
                Output::Grid(path) => stream::check_writable(path)?,
                Output::Files(_) | Output::Npz(_) => images.check_writable()?,
            }
        }
        let array = match &self.images {
            Some(Output::Npz(path) | Output::Grid(path)) => Some(path),
            _ => None,
        };
        let files: Vec<&PathBuf> =
            [array, self.floats.as_ref(), self.samples.as_ref(), self.path.as_ref()].into_iter().flatten().collect();
        for (at, file) in files.iter().enumerate() {
            stream::check_writable(file)?;
            if files[..at].contains(file) {
                let what = format!("two outputs would both be `{}`", file.display());
                return Err(Error::argument(what, "give each a path of its own"));
            }
        }
        self.steps.as_ref().map_or(Ok(()), |folder| check_writable(step_file(folder, 0)))
    }

    /// Returns whether pixels are written, for which latents are decoded.
    pub fn takes_pixels(&self) -> bool {
        self.images.is_some() || self.floats.is_some()
    }

    /// Returns whether only single images are written. A run may then have no images.
    pub fn is_one_file_an_image(&self) -> bool {
        matches!(self.images, Some(Output::Files(_)))
            && [&self.floats, &self.samples, &self.steps, &self.path].iter().all(|target| target.is_none())
    }
}

/// The target of `--output`: `-` is a grid on standard output.
///
/// # Errors
/// Those of [`Output::parse`].
pub fn output(text: &str) -> Result<Output> {
    if stream::is_stream(Path::new(text)) { Ok(Output::Grid(text.into())) } else { Output::parse(text) }
}

/// The file of the prediction at step `index`, from 0.
pub fn step_file(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("step-{:03}.png", index + 1))
}

/// Only files of single images can be passed over.
///
/// # Errors
/// [`Error::Argument`] for any other target.
pub fn check_resume(args: &Args, output: &Output) -> Result<()> {
    if !args.resume {
        return Ok(());
    }
    if !matches!(output, Output::Files(_)) {
        return Err(Error::argument(
            "`--resume` passes over files of single images, and the output is one file",
            "add `-o dir/%05d.png`, or leave out `--resume`",
        ));
    }
    let saved = [
        ("save-images", args.save_images.is_some()),
        ("save-samples", args.save_samples.is_some()),
        ("save-steps", args.save_steps.is_some()),
        ("save-path", args.save_path.is_some()),
    ];
    match saved.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::argument(
            format!("`--{flag}` would lack the images that `--resume` passes over"),
            format!("leave out `--resume` or `--{flag}`"),
        )),
    }
}
