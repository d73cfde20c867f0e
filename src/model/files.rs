//! The files of a run: images are written as they are made, everything else at the end.

use std::path::{Path, PathBuf};

use super::images::Batch;
use super::metadata::Metadata;
use super::resolve::ModelRun;
use crate::error::{Error, Result};
use crate::formats::images::{WHITE, grid, quantise, square_columns, to_unit};
use crate::formats::{Image, check_writable, npy, png};
use crate::report::Output;
use crate::report::output::Pattern;
use crate::tensor::Tensor;

/// The files that the images of a run go to.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// The images in 8 bits.
    pub images: Option<Output>,
    /// The images as numbers in 0..1, in an `.npy`.
    pub floats: Option<PathBuf>,
    /// The samples in the scale of the model, in an `.npy`.
    pub samples: Option<PathBuf>,
    /// A folder for the predictions of x0, one grid per step.
    pub steps: Option<PathBuf>,
    /// The states after each step, in an `.npy`.
    pub path: Option<PathBuf>,
}

impl Targets {
    /// Checks that everything can be written, and that no two outputs have the same path. `check` checks a path that
    /// one whole file goes to.
    ///
    /// # Errors
    /// Those of `check` and of [`check_writable`]; [`Error::Argument`] for a path that is named twice.
    pub fn check(&self, check: impl Fn(&Path) -> Result<()>) -> Result<()> {
        if let Some(Output::Files(pattern)) = &self.images {
            check_writable(pattern.path(0))?;
        }
        let whole = match &self.images {
            Some(Output::Npz(path) | Output::Grid(path)) => Some(path),
            Some(Output::Files(_)) | None => None,
        };
        let files: Vec<&PathBuf> =
            [whole, self.floats.as_ref(), self.samples.as_ref(), self.path.as_ref()].into_iter().flatten().collect();
        for (at, file) in files.iter().enumerate() {
            check(file)?;
            if files[..at].contains(file) {
                let what = format!("two outputs would both be `{}`", file.display());
                return Err(Error::argument(what, "give each a different path"));
            }
        }
        self.steps.as_ref().map_or(Ok(()), |folder| check_writable(step_file(folder, 0)))
    }

    /// Returns `true` if pixels are written, for which latents are decoded.
    #[must_use]
    pub fn takes_pixels(&self) -> bool {
        self.images.is_some() || self.floats.is_some()
    }

    /// Returns `true` if there is one file per image and nothing else. A run may then have no images.
    #[must_use]
    pub fn is_one_file_per_image(&self) -> bool {
        matches!(self.images, Some(Output::Files(_)))
            && [&self.floats, &self.samples, &self.steps, &self.path].iter().all(|target| target.is_none())
    }
}

/// The file of the prediction at step `index`, from 0.
fn step_file(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("step-{:03}.png", index + 1))
}

/// The results of a run, gathered batch by batch.
#[derive(Clone, Debug)]
pub struct Files {
    targets: Targets,
    /// (channels, height, width) of a state.
    state: [usize; 3],
    metadata: Metadata,
    /// The images made so far, by their index in the whole run.
    indices: Vec<usize>,
    /// The images, for a grid or an archive.
    images: Vec<Image>,
    /// All images as numbers, where they are wanted, and the (channels, height, width) of one.
    floats: Vec<f32>,
    image_shape: Vec<usize>,
    samples: Vec<f32>,
    steps: Vec<Step>,
}

/// The results of one step.
#[derive(Clone, Debug, Default)]
struct Step {
    /// Predictions of x0.
    predictions: Vec<Image>,
    /// States after the step.
    states: Vec<f32>,
}

/// The files that were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The files of single images, in the order of the images.
    pub images: Vec<PathBuf>,
    /// The files that hold all images, and the folder of the steps.
    pub others: Vec<PathBuf>,
}

/// A function that writes a whole file: it calls the function that it is given with the path to write to.
pub type Sink<'s> = &'s dyn Fn(&Path, &dyn Fn(&Path) -> Result<()>) -> Result<()>;

impl Files {
    /// No results yet.
    #[must_use]
    pub fn new(run: &ModelRun, targets: Targets, metadata: Metadata) -> Self {
        Self {
            targets,
            state: run.state,
            metadata,
            indices: Vec::new(),
            images: Vec::new(),
            floats: Vec::new(),
            image_shape: Vec::new(),
            samples: Vec::new(),
            steps: vec![Step::default(); run.run.schedule.steps().len()],
        }
    }

    /// Takes a whole batch, and writes its images where each has a file.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before anything of the batch is written; those of writing files.
    pub fn take(&mut self, batch: &Batch) -> Result<()> {
        if self.targets.takes_pixels() {
            let quantised = batch.images()?;
            if self.targets.floats.is_some() {
                self.floats.extend(batch.pixels.data.iter().map(|value| to_unit(*value)));
            }
            self.image_shape = batch.pixels.shape[1..].to_vec();
            match &self.targets.images {
                None => {}
                Some(Output::Files(pattern)) => {
                    for (index, image) in batch.indices.iter().zip(&quantised) {
                        png::write_png(pattern.path(*index), image, self.metadata.of_image(*index).pairs())?;
                    }
                }
                Some(Output::Grid(_) | Output::Npz(_)) => self.images.extend(quantised),
            }
        }
        if self.targets.samples.is_some() {
            self.samples.extend_from_slice(&batch.samples.data);
        }
        for (kept, prediction) in self.steps.iter_mut().zip(&batch.predictions) {
            kept.predictions.extend(quantise(prediction)?);
        }
        for (kept, states) in self.steps.iter_mut().zip(&batch.path) {
            kept.states.extend_from_slice(&states.data);
        }
        self.indices.extend_from_slice(&batch.indices);
        Ok(())
    }

    /// The number of images that were taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Returns `true` if no image was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Writes what holds all images that were taken.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn finish(self, sink: Sink) -> Result<Written> {
        let targets = &self.targets;
        let mut written = Written::default();
        let grid_metadata = self.metadata.of_grid(&self.indices);
        match &targets.images {
            Some(Output::Grid(path)) => {
                let image = whole_grid(&self.images);
                sink(path, &|file| png::write_png(file, &image, grid_metadata.pairs()))?;
                written.others.push(path.clone());
            }
            Some(Output::Npz(path)) => {
                npy::write_npz(path, &self.images)?;
                written.others.push(path.clone());
            }
            Some(Output::Files(pattern)) => {
                written.images = self.indices.iter().map(|index| pattern.path(*index)).collect();
            }
            None => {}
        }
        let mut array = |path: &Option<PathBuf>, shape: Vec<usize>, values: Vec<f32>| -> Result<()> {
            let Some(path) = path else { return Ok(()) };
            let array = Tensor::new(shape, values);
            sink(path, &|file| npy::write(file, &array))?;
            written.others.push(path.clone());
            Ok(())
        };
        let count = self.indices.len();
        let shaped = |leading: &[usize], item: &[usize]| [leading, &[count], item].concat();
        if targets.samples.is_some() {
            array(&targets.samples, shaped(&[], &self.state), self.samples)?;
        }
        if targets.floats.is_some() {
            array(&targets.floats, shaped(&[], &self.image_shape), self.floats)?;
        }
        if targets.path.is_some() {
            let states = self.steps.iter().flat_map(|step| step.states.iter().copied()).collect();
            array(&targets.path, shaped(&[self.steps.len()], &self.state), states)?;
        }
        if let Some(folder) = &targets.steps {
            for (index, step) in self.steps.iter().enumerate() {
                let metadata = grid_metadata.with("prediction of x0 at step", (index + 1).to_string());
                png::write_png(step_file(folder, index), &whole_grid(&step.predictions), metadata.pairs())?;
            }
            written.others.push(folder.clone());
        }
        Ok(written)
    }
}

fn whole_grid(images: &[Image]) -> Image {
    grid(images, square_columns(images.len()), WHITE)
}

/// The images of a run that are there from an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The number of whole files.
    pub count: usize,
    /// Those of them that were made otherwise.
    pub others: Vec<PathBuf>,
}

impl ModelRun<'_> {
    /// Drops the images whose files are whole, and finds those that were made otherwise: with other metadata than
    /// `metadata` and their index.
    pub fn keep_complete(&mut self, pattern: &Pattern, metadata: &Metadata) -> Kept {
        let mut kept = Kept::default();
        self.run.images.retain(|index| {
            let is_complete = pattern.is_complete(*index);
            if is_complete {
                kept.count += 1;
                let found = png::read_metadata(pattern.path(*index)).unwrap_or_default();
                if !metadata.of_image(*index).pairs().iter().all(|pair| found.contains(pair)) {
                    kept.others.push(pattern.path(*index));
                }
            }
            !is_complete
        });
        kept
    }
}
