//! What a run leaves behind: images as they are made, everything else when all are there.

use std::path::PathBuf;

use super::job::{Job, step_file};
use super::metadata::{self, Metadata};
use crate::error::Result;
use crate::report::images::{WHITE, grid, quantise, square_columns};
use crate::report::output::Pattern;
use crate::report::{Console, Image, Output, npy, png_file};
use crate::sample::samplers::Progress;
use crate::tensor::Tensor;

/// The results of a run, gathered batch by batch.
pub struct Results<'j> {
    job: &'j Job,
    metadata: Metadata,
    /// The images made so far, by their index in the whole run.
    indices: Vec<usize>,
    /// For a grid or an archive.
    images: Vec<Image>,
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

/// What is kept of the steps of one batch; it counts only once the batch is whole.
pub struct BatchSteps(Vec<StepResults>);

impl<'j> Results<'j> {
    /// Nothing yet.
    pub fn new(job: &'j Job) -> Self {
        let steps = vec![StepResults::default(); job.schedule.steps().len()];
        let metadata = metadata::of_run(job);
        Self { job, metadata, indices: Vec::new(), images: Vec::new(), samples: Vec::new(), steps, files: 0 }
    }

    /// A batch begins.
    pub fn begin_batch(&self) -> BatchSteps {
        BatchSteps(Vec::with_capacity(self.steps.len()))
    }

    /// The batch of images `indices` is done: `z` are its samples in the model's own scale.
    ///
    /// # Errors
    /// [`crate::Error::NonFinite`] before anything of the batch is written; those of writing files.
    pub fn end_batch(&mut self, indices: &[usize], z: &Tensor, batch: BatchSteps) -> Result<()> {
        match &self.job.targets.images {
            None => {}
            Some(Output::Files(pattern)) => self.write_files(pattern, indices, &quantise(z)?)?,
            Some(Output::Grid(_) | Output::Npz(_)) => self.images.extend(quantise(z)?),
        }
        if self.job.targets.samples.is_some() {
            self.samples.extend_from_slice(&z.data);
        }
        for (kept, step) in self.steps.iter_mut().zip(batch.0) {
            kept.predictions.extend(step.predictions);
            kept.states.extend(step.states);
        }
        self.indices.extend_from_slice(indices);
        Ok(())
    }

    fn write_files(&mut self, pattern: &Pattern, indices: &[usize], images: &[Image]) -> Result<()> {
        for (index, image) in indices.iter().zip(images) {
            png_file::write_png(pattern.path(*index), image, &metadata::of_image(&self.metadata, *index))?;
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
                png_file::write_png(path, &whole_grid(&self.images), &grid_metadata)?;
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
        if let Some(path) = &targets.path {
            let states = self.steps.iter().flat_map(|step| step.states.iter().copied()).collect();
            npy::write(path, &self.array(&[self.steps.len()], states))?;
            written.push(path.display().to_string());
        }
        if let Some(folder) = &targets.steps {
            for (index, step) in self.steps.iter().enumerate() {
                let pairs = metadata::with(&grid_metadata, "prediction of x0 at step", (index + 1).to_string());
                png_file::write_png(step_file(folder, index), &whole_grid(&step.predictions), &pairs)?;
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
            leading.iter().copied().chain([self.indices.len()]).chain(self.job.image_shape()).collect();
        Tensor::new(shape, values)
    }
}

impl BatchSteps {
    /// Keeps what `job` wants of a step.
    ///
    /// # Errors
    /// [`crate::Error::NonFinite`] for a prediction that is no number.
    pub fn watch(&mut self, job: &Job, progress: &Progress) -> Result<()> {
        let mut step = StepResults::default();
        if job.targets.steps.is_some() {
            step.predictions = quantise(progress.x0)?;
        }
        if job.targets.path.is_some() {
            step.states = job.schedule.shown(progress.x, progress.step.to).data;
        }
        self.0.push(step);
        Ok(())
    }
}

fn whole_grid(images: &[Image]) -> Image {
    grid(images, square_columns(images.len()), WHITE)
}
