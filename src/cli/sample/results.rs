//! What a run leaves behind: images as they are made, everything else when all are there.

use std::path::PathBuf;

use super::job::Job;
use super::metadata::{self, Metadata};
use super::targets::step_file;
use crate::error::Result;
use crate::formats::images::{WHITE, grid, quantise, square_columns, to_unit};
use crate::formats::{Image, npy, png};
use crate::report::output::Pattern;
use crate::report::{Console, Output};
use crate::sample::walk::Progress;
use crate::tensor::Tensor;

/// The results of a run, gathered batch by batch.
pub struct Results<'j> {
    job: &'j Job,
    metadata: Metadata,
    /// The images made so far, by their index in the whole run.
    indices: Vec<usize>,
    /// For a grid or an archive.
    images: Vec<Image>,
    /// All images as numbers, where they are wanted, and the (channels, height, width) of one.
    floats: Vec<f32>,
    image_shape: Vec<usize>,
    samples: Vec<f32>,
    steps: Vec<StepResults>,
    files: usize,
}

/// What is kept of one step.
#[derive(Clone, Default)]
struct StepResults {
    /// Predictions of x0.
    predictions: Vec<Image>,
    /// States after the step.
    states: Vec<f32>,
}

/// A batch that was sampled and is no images yet.
pub struct Batch {
    /// Its images, by their index in the whole run.
    indices: Vec<usize>,
    /// Its samples in the model's own scale, once it is whole.
    z: Tensor,
    /// The predictions of x0 at each step, where they are wanted.
    predictions: Vec<Tensor>,
    /// The states after each step, where they are wanted.
    states: Vec<Vec<f32>>,
}

/// How samples become images in -1..1: as they are, or by a decoder.
pub type ToImages<'a> = &'a mut dyn FnMut(&Tensor) -> Result<Tensor>;

impl<'j> Results<'j> {
    /// Nothing yet.
    pub fn new(job: &'j Job) -> Self {
        let steps = vec![StepResults::default(); job.schedule.steps().len()];
        Self {
            job,
            metadata: metadata::of_run(job),
            indices: Vec::new(),
            images: Vec::new(),
            floats: Vec::new(),
            image_shape: Vec::new(),
            samples: Vec::new(),
            steps,
            files: 0,
        }
    }

    /// Takes a batch that is whole, and writes its images where each has a file.
    ///
    /// # Errors
    /// [`crate::Error::NonFinite`] before anything of the batch is written; those of `to_images` and of writing files.
    pub fn take(&mut self, batch: Batch, to_images: ToImages) -> Result<()> {
        let Batch { indices, z, predictions, states } = batch;
        let targets = &self.job.targets;
        if targets.images.is_some() || targets.floats.is_some() {
            let decoded = to_images(&z)?;
            let quantised = quantise(&decoded)?;
            if targets.floats.is_some() {
                self.floats.extend(decoded.data.iter().map(|value| to_unit(*value)));
            }
            self.image_shape = decoded.shape[1..].to_vec();
            match &targets.images {
                None => {}
                Some(Output::Files(pattern)) => self.write_files(pattern, &indices, &quantised)?,
                Some(Output::Grid(_) | Output::Npz(_)) => self.images.extend(quantised),
            }
        }
        if targets.samples.is_some() {
            self.samples.extend_from_slice(&z.data);
        }
        for (kept, prediction) in self.steps.iter_mut().zip(&predictions) {
            kept.predictions.extend(quantise(&to_images(prediction)?)?);
        }
        for (kept, states) in self.steps.iter_mut().zip(states) {
            kept.states.extend(states);
        }
        self.indices.extend_from_slice(&indices);
        Ok(())
    }

    fn write_files(&mut self, pattern: &Pattern, indices: &[usize], images: &[Image]) -> Result<()> {
        for (index, image) in indices.iter().zip(images) {
            png::write_png(pattern.path(*index), image, &metadata::of_image(&self.metadata, *index))?;
            self.files += 1;
        }
        Ok(())
    }

    /// All batches are done: writes what holds all images, says so, and answers the paths.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn finish(self, console: Console) -> Result<Vec<String>> {
        let targets = &self.job.targets;
        let mut written: Vec<String> = Vec::new();
        let grid_metadata = metadata::of_grid(&self.metadata, &self.indices);
        match &targets.images {
            Some(Output::Grid(path)) => {
                png::write_png(path, &whole_grid(&self.images), &grid_metadata)?;
                written.push(path.display().to_string());
            }
            Some(Output::Npz(path)) => {
                npy::write_npz(path, &self.images)?;
                written.push(path.display().to_string());
            }
            Some(Output::Files(pattern)) => {
                let path = |index: &usize| pattern.path(*index).display().to_string();
                match (self.indices.first(), self.indices.last()) {
                    (Some(first), Some(last)) if first != last => {
                        console.note(&format!("wrote {} images, {} to {}", self.files, path(first), path(last)));
                    }
                    (Some(one), _) => console.note(&format!("wrote {}", path(one))),
                    _ => {}
                }
            }
            None => {}
        }
        if let Some(path) = &targets.samples {
            npy::write(path, &self.array(&[], self.samples.clone()))?;
            written.push(path.display().to_string());
        }
        if let Some(path) = &targets.floats {
            let shape: Vec<usize> = std::iter::once(self.indices.len()).chain(self.image_shape.clone()).collect();
            npy::write(path, &Tensor::new(shape, self.floats.clone()))?;
            written.push(path.display().to_string());
        }
        if let Some(path) = &targets.path {
            let states = self.steps.iter().flat_map(|step| step.states.iter().copied()).collect();
            npy::write(path, &self.array(&[self.steps.len()], states))?;
            written.push(path.display().to_string());
        }
        if let Some(folder) = &targets.steps {
            for (index, step) in self.steps.iter().enumerate() {
                let pairs = metadata::with(&grid_metadata, "prediction of x0 at step", (index + 1).to_string());
                png::write_png(step_file(folder, index), &whole_grid(&step.predictions), &pairs)?;
            }
            written.push(folder.display().to_string());
        }
        for path in &written {
            console.note(&format!("wrote {path}"));
        }
        let files = match &targets.images {
            Some(Output::Files(pattern)) => self.indices.iter().map(|index| pattern.path(*index)).collect(),
            _ => Vec::<PathBuf>::new(),
        };
        written.extend(files.iter().map(|path| path.display().to_string()));
        Ok(written)
    }

    /// Values of all images, (`leading`..., images, channels, height, width).
    fn array(&self, leading: &[usize], values: Vec<f32>) -> Tensor {
        let shape: Vec<usize> =
            leading.iter().copied().chain([self.indices.len()]).chain(self.job.state_shape()).collect();
        Tensor::new(shape, values)
    }
}

impl Batch {
    /// A batch begins.
    pub fn new(indices: &[usize]) -> Self {
        Self { indices: indices.to_vec(), z: Tensor::zeros([0]), predictions: Vec::new(), states: Vec::new() }
    }

    /// Keeps what `job` wants of a step.
    pub fn watch(&mut self, job: &Job, progress: &Progress) {
        if job.targets.steps.is_some() {
            self.predictions.push(progress.x0.clone());
        }
        if job.targets.path.is_some() {
            self.states.push(job.schedule.shown(progress.x, progress.step.to).data);
        }
    }

    /// The batch is whole: `z` are its samples in the model's own scale.
    pub fn done(self, z: Tensor) -> Self {
        Self { z, ..self }
    }
}

fn whole_grid(images: &[Image]) -> Image {
    grid(images, square_columns(images.len()), WHITE)
}
